//! The whole `main` of a program that runs jobs: verbs, configuration, errors, exit codes.
//!
//! Data goes to standard output, everything else to standard error. Every failure is one error with
//! a hint and the exit code of its kind.

mod artefact;
mod cli;
mod cpu;
mod demo;
mod figures;
mod logs;
mod progress;
mod report;
mod run;
mod running;
mod show;
mod signals;
mod supervise;
mod terminal;
pub(crate) mod usage;

pub use demo::{Demo, DemoFn};

use clap::FromArgMatches;

use crate::config::{Config, Sources};
use crate::dataflow::Dataflow;
use crate::error::Kind;
use crate::job::Args;
use crate::nearest::nearest;
use crate::{Error, Result};
use cli::{Cli, Common, Layers, Verb};
use terminal::Terminal;

/// A job as `launch` takes it.
pub type JobFn = fn(&Dataflow, &Args) -> Result<()>;

/// Runs the verb that the command line asks for, over these jobs, and ends the process with its
/// exit code.
///
/// ```no_run
/// use thalweg::prelude::*;
///
/// fn doubled(flow: &Dataflow, _args: &Args) -> thalweg::Result<()> {
///     flow.from_iter("numbers", 0..10u64).map(|n| n * 2).sink("out", Print::new());
///     Ok(())
/// }
///
/// fn main() {
///     thalweg::launch(&[("doubled", doubled)])
/// }
/// ```
pub fn launch(jobs: &[(&'static str, JobFn)]) -> ! {
    let launcher = Launcher::new();
    jobs.iter().fold(launcher, |launcher, (name, job)| launcher.job(name, *job)).launch()
}

/// A table of jobs with descriptions and demos, for [`launch`] and more.
///
/// ```no_run
/// # use thalweg::prelude::*;
/// # fn doubled(_: &Dataflow, _: &Args) -> thalweg::Result<()> { Ok(()) }
/// thalweg::Launcher::new().job("doubled", doubled).about("twice every number").launch()
/// ```
#[derive(Debug, Clone, Default)]
pub struct Launcher {
    entries: Vec<Entry>,
}

/// A job of the table.
#[derive(Debug, Clone, Copy)]
struct Entry {
    name: &'static str,
    job: JobFn,
    about: &'static str,
    example: &'static str,
    demo: Option<DemoFn>,
}

impl Launcher {
    /// An empty table. Ends the process with a sentence if the CPU is older than what the program
    /// was compiled for: make it the first thing that `main` does.
    pub fn new() -> Self {
        cpu::check();
        Self::default()
    }

    /// Adds a job.
    #[must_use]
    pub fn job(mut self, name: &'static str, job: JobFn) -> Self {
        self.entries.push(Entry { name, job, about: "", example: "...", demo: None });
        self
    }

    /// Describes the job that was added last, in one line.
    #[must_use]
    pub fn about(mut self, about: &'static str) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.about = about;
        }
        self
    }

    /// Gives arguments of the job that was added last, for the examples of the help.
    #[must_use]
    pub fn example(mut self, words: &'static str) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.example = words;
        }
        self
    }

    /// Gives the job that was added last a demonstration for the verb `demo`.
    #[must_use]
    pub fn demo(mut self, demo: DemoFn) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.demo = Some(demo);
        }
        self
    }

    /// Runs the verb that the command line asks for and ends the process with its exit code.
    pub fn launch(self) -> ! {
        let mut words = std::env::args_os();
        let program = words.next().unwrap_or_default();
        let program = std::path::Path::new(&program).file_name().unwrap_or_default();
        let program = program.to_string_lossy().into_owned();
        let program = if program.is_empty() { "thalweg".to_owned() } else { program };
        let mut terminal = Terminal::default();
        let result = self.dispatch(&program, words.collect(), &mut terminal);
        let code = match result {
            Ok(code) => code,
            Err(error) if error.kind() == Kind::Help => terminal.data(&error.to_string()),
            Err(error) => {
                terminal.error(&error);
                error.kind().exit_code()
            }
        };
        std::process::exit(code)
    }

    fn dispatch(
        &self,
        program: &str,
        words: Vec<std::ffi::OsString>,
        terminal: &mut Terminal,
    ) -> Result<i32> {
        if words.is_empty() {
            return Err(cli::help(program, &self.entries));
        }
        let mut command = cli::command(program, &self.entries);
        let parsed = command.try_get_matches_from_mut(words.iter());
        let parsed = parsed.and_then(|matches| Cli::from_arg_matches(&matches));
        let cli = parsed.map_err(|error| self.refused(program, &words, &error))?;
        terminal.set(&cli.output);
        logs::start(&cli.output, terminal);
        let cx = Context { launcher: self, program, terminal };
        match cli.verb {
            Verb::Run(verb) => cx.run(verb),
            Verb::Plan(verb) => cx.plan(&verb),
            Verb::Jobs(verb) => Ok(cx.jobs(verb.json)),
            Verb::Demo(verb) => cx.demo(&verb),
            Verb::Config(verb) => cx.config(&verb),
            Verb::List(verb) => cx.list(&verb),
            Verb::Stop(verb) => cx.stop(&verb),
            Verb::Cancel(verb) => cx.cancel(&verb),
            Verb::Checkpoint(verb) => cx.checkpoint(&verb),
        }
    }

    /// The error for a command line that is none.
    fn refused(&self, program: &str, words: &[std::ffi::OsString], error: &clap::Error) -> Error {
        const VERBS: [&str; 10] = [
            "run",
            "plan",
            "info",
            "jobs",
            "demo",
            "config",
            "list",
            "stop",
            "cancel",
            "checkpoint",
        ];
        // Flags for all verbs may stand in front of the verb.
        let mut texts = words.iter().filter_map(|word| word.to_str());
        let first = texts.clone().find(|word| VERBS.contains(word));
        let first = first.or_else(|| texts.find(|word| !word.starts_with('-'))).unwrap_or("");
        let is_verb = VERBS.contains(&first);
        let verb = if is_verb { format!(" {first}") } else { String::new() };
        let refused = usage::refused("", error, &format!("{program}{verb} --help"));
        let unknown = error.kind() == clap::error::ErrorKind::UnknownArgument;
        if refused.kind() == Kind::Help {
            refused
        } else if self.entries.iter().any(|entry| entry.name == first) {
            refused.with_hint(format!("to run the job: {program} run {first}"))
        } else if is_verb && unknown && matches!(first, "run" | "plan" | "info" | "demo") {
            let tip = refused.hint().filter(|hint| hint.starts_with("did you mean"));
            let tip = tip.map(|tip| format!("{tip} ")).unwrap_or_default();
            refused.with_hint(format!(
                "{tip}arguments of the job follow `--`: {program} {first} JOB -- --help"
            ))
        } else if let (false, Some(meant)) = (is_verb, nearest(first, VERBS)) {
            refused.with_hint(format!("did you mean \"{meant}\"?"))
        } else {
            refused
        }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| {
            let names = self.entries.iter().map(|entry| entry.name);
            let hint = match nearest(name, names.clone()) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("there are: {}", names.collect::<Vec<_>>().join(", ")),
            };
            Error::new(Kind::NotFound, format!("unknown job \"{name}\"")).with_hint(hint)
        })
    }
}

/// What the verbs work with.
struct Context<'a> {
    launcher: &'a Launcher,
    program: &'a str,
    terminal: &'a Terminal,
}

impl Context<'_> {
    /// The configuration with the layers of this process, its notices said.
    fn configuration(&self, common: &Common) -> Result<Config> {
        self.layered(&common.layers, common.parallelism)
    }

    /// Likewise, for verbs that build no job.
    fn layered(&self, layers: &Layers, parallelism: Option<usize>) -> Result<Config> {
        let parallelism = parallelism.map(|n| ("-p", "job.parallelism", n.to_string()));
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = Config::load(&Sources {
            directory: std::env::current_dir().ok(),
            file: layers.config.clone(),
            environment,
            definitions: layers.definitions.clone(),
            flags: parallelism.into_iter().collect(),
        })?;
        for notice in config.notices() {
            tracing::info!("{notice}");
        }
        Ok(config)
    }

    /// The job's arguments; its help names the command line that leads to it.
    fn arguments(&self, verb: &str, job: &str, words: &[String]) -> Args {
        Args::new(words.iter().cloned()).of(format!("{} {verb} {job} --", self.program))
    }
}
