//! The command line: verbs, flags, help.

use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum};

use super::Entry;
use crate::Error;
use crate::error::Kind;

/// The version with the commit that it was built from.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("THALWEG_COMMIT"), ")");

#[derive(Debug, Parser)]
#[command(about = "Runs stream processing jobs, a pinned thread per core (Linux only).")]
#[command(disable_help_subcommand = true, subcommand_required = true)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) verb: Verb,
    #[command(flatten)]
    pub(super) output: Output,
}

/// What is printed, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Output {
    /// Print errors only
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print more; -vv prints even more
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Colors: auto needs a terminal and no NO_COLOR
    #[arg(long, global = true, value_enum, default_value = "auto", value_name = "WHEN")]
    pub(super) color: Color,
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, default_value = "human", value_name = "FORM")]
    #[arg(env = "THALWEG_LOG_FORMAT", hide_env_values = true)]
    pub(super) log_format: LogFormat,
}

/// When to use colors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// The log's form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    #[default]
    Human,
    Json,
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Run a job until its input ends or a signal stops it
    Run(Run),
    /// Show the graph of a job without running it
    #[command(visible_alias = "info")]
    Plan(Plan),
    /// List the jobs that are built in
    Jobs(Jobs),
    /// Show a job at work on data of its own
    Demo(DemoVerb),
    /// List the jobs that run
    List(ListVerb),
    /// Have a running job work off what it has read, make a checkpoint, commit it and end
    Stop(JobVerb),
    /// End a running job at once
    Cancel(JobVerb),
    /// Show, check or explain the configuration
    Config(Configuration),
    /// Trigger, list, inspect or verify checkpoints
    Checkpoint(Checkpoints),
}

/// Layers of the configuration that the command line adds.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Layers {
    /// Set a key of the configuration; may be repeated
    #[arg(short = 'D', value_name = "KEY=VALUE", help_heading = "Configuration")]
    pub(super) definitions: Vec<String>,
    /// Read this file instead of ./thalweg.toml
    #[arg(long, value_name = "FILE", help_heading = "Configuration")]
    pub(super) config: Option<PathBuf>,
}

/// What every verb that builds a job takes.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Common {
    /// Cores to run on [default: all that are allowed] [env: THALWEG_JOB__PARALLELISM]
    #[arg(short, long, value_name = "N")]
    pub(super) parallelism: Option<usize>,
    #[command(flatten)]
    pub(super) layers: Layers,
    /// Print one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// The job to run
    #[arg(value_name = "JOB")]
    pub(super) job: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// Identity of this run: 32 hexadecimal digits [default: random]
    #[arg(long, value_name = "ID")]
    pub(super) job_id: Option<String>,
    /// Where to begin, with checkpoints: `newest` goes on from the newest complete one, `none`
    /// begins afresh, which needs vacant outputs (or the job's --overwrite)
    #[arg(long, value_enum, default_value = "newest", value_name = "WHAT")]
    pub(super) restart_from: RestartFromWord,
    /// If the newest checkpoint is damaged, go back to an older one even where a sink cannot take
    /// back what it has committed since, and gets it again
    #[arg(long)]
    pub(super) allow_output_replay: bool,
    /// Keep a parent process that starts the job again when its process dies
    #[arg(long)]
    pub(super) supervise: bool,
    #[command(flatten)]
    pub(super) flink: Flink,
    /// Arguments of the job: `-- --help` lists them
    #[arg(last = true, value_name = "JOB ARGUMENTS")]
    pub(super) arguments: Vec<String>,
}

/// Where a job begins that may have run before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum RestartFromWord {
    #[default]
    Newest,
    None,
}

/// Flags that people bring from elsewhere or from later versions: said what is done instead, or
/// refused.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Flink {
    #[arg(long, hide = true, value_name = "SIZE")]
    pub(super) jobmanager_memory: Option<String>,
    #[arg(long, hide = true, value_name = "SIZE")]
    pub(super) taskmanager_memory: Option<String>,
    #[arg(long, hide = true, value_name = "N")]
    pub(super) taskmanager_slots: Option<String>,
    #[arg(short = 's', long = "from-savepoint", hide = true, value_name = "PATH")]
    pub(super) savepoint: Option<String>,
    #[arg(short, long, hide = true)]
    pub(super) detached: bool,
    #[arg(short, long, hide = true, value_name = "HOST:PORT")]
    pub(super) master: Option<String>,
    #[arg(short = 'n', long, hide = true, alias = "allowNonRestoredState")]
    pub(super) allow_non_restored_state: bool,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    /// The job to show
    #[arg(value_name = "JOB")]
    pub(super) job: String,
    #[command(flatten)]
    pub(super) common: Common,
    /// Print the graph for graphviz
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    pub(super) dot: bool,
    /// Arguments of the job, as for run
    #[arg(last = true, value_name = "JOB ARGUMENTS")]
    pub(super) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Jobs {
    /// Print a JSON array
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DemoVerb {
    /// The job to show [default: the first that has a demonstration]
    #[arg(value_name = "JOB")]
    pub(super) job: Option<String>,
    #[command(flatten)]
    pub(super) common: Common,
    /// Arguments of the demonstration
    #[arg(last = true, value_name = "JOB ARGUMENTS")]
    pub(super) arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct ListVerb {
    /// Print the newest checkpoints of each job with their phases, too
    #[arg(long)]
    pub(super) checkpoints: bool,
    #[command(flatten)]
    pub(super) layers: Layers,
    /// Print one JSON object a job
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// What a verb takes that speaks to one running job.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct JobVerb {
    /// The job: its id, the beginning of it, or its name
    #[arg(value_name = "JOB")]
    pub(super) job: String,
    /// Wait at most so many seconds for the answer [default: until it comes]
    #[arg(long, value_name = "SECONDS")]
    pub(super) timeout: Option<u64>,
    #[command(flatten)]
    pub(super) layers: Layers,
}

impl JobVerb {
    pub(super) fn timeout(&self) -> Option<std::time::Duration> {
        // A socket refuses a limit of nothing.
        self.timeout.map(|seconds| std::time::Duration::from_secs(seconds.max(1)))
    }
}

#[derive(Debug, Args)]
pub(super) struct Configuration {
    #[command(subcommand)]
    pub(super) verb: ConfigVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigVerb {
    /// Print every key with its value
    Show {
        #[command(flatten)]
        common: Common,
        /// Print where each value comes from, too
        #[arg(long)]
        origin: bool,
    },
    /// Read all layers and say whether they are right
    Check {
        #[command(flatten)]
        common: Common,
    },
    /// Say what a key does; a Flink name is as good
    Explain {
        /// The key, for example runtime.idle
        key: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct Checkpoints {
    #[command(subcommand)]
    pub(super) verb: CheckpointVerb,
}

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointVerb {
    /// Have a running job make a checkpoint now
    Trigger(JobVerb),
    /// List the checkpoints of all jobs or of one, newest last
    List {
        /// The job's id [default: all jobs]
        #[arg(value_name = "JOB-ID")]
        job_id: Option<String>,
        /// List those whose files are gone, too
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        shelf: Shelf,
    },
    /// Show what a checkpoint holds: state, positions, records in flight, sealed output
    Inspect {
        #[command(flatten)]
        which: Which,
        /// Print every key group instead of the least, the middle and the most
        #[arg(long)]
        key_groups: bool,
    },
    /// Read every byte of a checkpoint and say which files are bad
    Verify {
        #[command(flatten)]
        which: Which,
    },
}

/// A checkpoint.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// A job's id, its directory, a chk-N directory or a _metadata file
    #[arg(value_name = "PATH|JOB-ID")]
    pub(super) what: String,
    /// The checkpoint [default: the one that a restart goes on from]
    #[arg(value_name = "ID")]
    pub(super) id: Option<u64>,
    #[command(flatten)]
    pub(super) shelf: Shelf,
}

/// Where checkpoints are looked for.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Shelf {
    /// The directory of checkpoints [default: checkpoint.dir]
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) layers: Layers,
    /// Print JSON on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// The command with examples that fit the program and its jobs.
pub(super) fn command(program: &str, entries: &[Entry]) -> clap::Command {
    let (job, words) = entries.first().map_or(("JOB", "..."), |entry| (entry.name, entry.example));
    let examples = |lines: &[&str]| -> String {
        let lines = lines.iter().map(|line| line.replace("{}", job).replace("...", words));
        let lines: Vec<_> = lines.map(|line| format!("  {program} {line}")).collect();
        format!("Examples:\n{}", lines.join("\n"))
    };
    let run = examples(&["run {} -- --help", "run {} -p 2 --json -D runtime.idle=spin -- ..."]);
    let plan = examples(&["plan {} -p 4 -- ...", "plan {} --dot -- ... | dot -Tsvg > plan.svg"]);
    let jobs = examples(&["jobs", "jobs --json"]);
    let demo = examples(&["demo", "demo {} -p 1 --json"]);
    let config = examples(&["config show --origin", "config explain runtime.idle"]);
    let show = examples(&["config show", "config show --origin -D job.parallelism=2"]);
    let check = examples(&["config check", "config check --config production.toml"]);
    let explain = examples(&[
        "config explain network.buffer-size",
        "config explain execution.checkpointing.interval",
    ]);
    let running = examples(&["list", "list --checkpoints -D data.dir=/var/lib/thalweg"]);
    let stop = examples(&["stop {}", "stop 9c34380c --timeout 60"]);
    let cancel = examples(&["cancel {}", "cancel 9c34380c"]);
    let checkpoint = examples(&["checkpoint list", "checkpoint trigger {}"]);
    let list = examples(&["checkpoint list", "checkpoint list JOB-ID --dir /checkpoints --json"]);
    let inspect = examples(&[
        "checkpoint inspect JOB-ID",
        "checkpoint inspect /checkpoints/JOB-ID/chk-7 --key-groups",
    ]);
    let verify = examples(&["checkpoint verify JOB-ID 7", "checkpoint verify /checkpoints/JOB-ID"]);
    let trigger = examples(&["checkpoint trigger {}", "checkpoint trigger 9c34380c --timeout 60"]);
    let all = examples(&["jobs", "run {} -p 2 -- ..."]);
    let exits = "Exit codes: 0 ok, 1 the job failed, 2 usage, 3 not found, 7 the machine lacks \
                 something, 8 cancelled, 130 and 143 stopped in order by a signal.";
    Cli::command()
        .name("thalweg")
        .no_binary_name(true)
        .bin_name(program)
        .version(VERSION)
        .max_term_width(100)
        .after_help(format!("{all}\n\n`{program} VERB --help` says more.\n{exits}"))
        .mut_subcommand("run", |verb| verb.after_help(run))
        .mut_subcommand("plan", |verb| verb.after_help(plan))
        .mut_subcommand("jobs", |verb| verb.after_help(jobs))
        .mut_subcommand("demo", |verb| verb.after_help(demo))
        .mut_subcommand("list", |verb| verb.after_help(running))
        .mut_subcommand("stop", |verb| verb.after_help(stop))
        .mut_subcommand("cancel", |verb| verb.after_help(cancel))
        .mut_subcommand("config", |verb| {
            let verb = verb.after_help(config).disable_help_subcommand(true);
            let verb = verb.mut_subcommand("show", |verb| verb.after_help(show));
            let verb = verb.mut_subcommand("check", |verb| verb.after_help(check));
            verb.mut_subcommand("explain", |verb| verb.after_help(explain))
        })
        .mut_subcommand("checkpoint", |verb| {
            let verb = verb.after_help(checkpoint).disable_help_subcommand(true);
            let verb = verb.mut_subcommand("list", |verb| verb.after_help(list));
            let verb = verb.mut_subcommand("inspect", |verb| verb.after_help(inspect));
            let verb = verb.mut_subcommand("trigger", |verb| verb.after_help(trigger));
            verb.mut_subcommand("verify", |verb| verb.after_help(verify))
        })
}

/// The help of the program itself.
pub(super) fn help(program: &str, entries: &[Entry]) -> Error {
    let text = command(program, entries).render_help().to_string();
    Error::new(Kind::Help, text)
}
