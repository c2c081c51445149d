//! `cargo sim`: runs the simulator over many seeds.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use thalweg::time::{Clock, MachineClock};
use thalweg_tests::sim::marks::{MARKS, missing};
use thalweg_tests::sim::run::case_of;
use thalweg_tests::sim::{Failure, Report, run_seed};

/// Seeds from which on a run must reach every mark.
const SEEDS_FOR_MARKS: u64 = 200;

/// Simulate the engine: production workers in one thread, in an order that a seed chooses.
#[derive(Debug, Parser)]
#[command(name = "cargo sim")]
struct Options {
    /// How many seeds to run.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// Runs this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Runs only seeds of jobs whose name contains this.
    #[arg(long)]
    job: Option<String>,
    /// Runs each seed twice and compares the traces.
    #[arg(long)]
    twice: bool,
    /// Goes on after a failure.
    #[arg(long)]
    keep_going: bool,
    /// Writes the trace of the last seed there.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut tally = Tally::new();
    let seeds = match options.seed {
        Some(seed) => seed..seed + 1,
        None => options.from..options.from + options.seeds,
    };
    let of_job = |seed: &u64| {
        options.job.as_ref().is_none_or(|job| case_of(*seed).name.contains(job.as_str()))
    };
    let mut failed = false;
    for seed in seeds.filter(of_job) {
        if let Err(failure) = one(seed, &options, &mut tally) {
            failed = true;
            tally.clear();
            eprintln!("seed {seed} ({}): {}", failure.job, failure.what);
            eprintln!("reproduce: {}", failure.command());
            if !options.keep_going {
                return ExitCode::FAILURE;
            }
        }
        tally.show(false);
    }
    tally.clear();
    let complete = tally.finish(options.seed.is_none() && options.job.is_none());
    if failed || !complete { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn one(seed: u64, options: &Options, tally: &mut Tally) -> Result<(), Failure> {
    let (outcome, lines) = run_seed(seed, options.trace.is_some());
    if let Some(path) = &options.trace
        && let Err(error) = std::fs::write(path, lines.join("\n") + "\n")
    {
        eprintln!("cannot write the trace to {}: {error}", path.display());
    }
    let report = outcome?;
    if options.twice {
        let (again, _) = run_seed(seed, false);
        let (first, second) = (report.hash, again?.hash);
        if first != second {
            let what = format!("two runs differ: traces {first:016x} and {second:016x}");
            return Err(Failure { seed, job: report.job, what });
        }
    }
    if options.seed.is_some() {
        println!("trace {:016x}", report.hash);
    }
    tally.add(&report);
    Ok(())
}

/// What all seeds so far have done.
struct Tally {
    clock: MachineClock,
    seeds: u64,
    steps: u64,
    records: u64,
    marks: BTreeMap<&'static str, u64>,
    jobs: BTreeMap<&'static str, u64>,
    shown: u64,
    terminal: bool,
}

impl Tally {
    fn new() -> Self {
        Self {
            clock: MachineClock::new(),
            seeds: 0,
            steps: 0,
            records: 0,
            marks: BTreeMap::new(),
            jobs: BTreeMap::new(),
            shown: 0,
            terminal: std::io::stderr().is_terminal(),
        }
    }

    fn add(&mut self, report: &Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.records += report.records;
        *self.jobs.entry(report.job).or_default() += 1;
        for (mark, count) in &report.marks {
            *self.marks.entry(mark).or_default() += count;
        }
    }

    fn line(&self) -> String {
        let seconds = self.clock.nanos() as f64 / 1e9;
        let rate = self.seeds as f64 / seconds * 60.0;
        let (seeds, steps, records) = (self.seeds, self.steps, self.records);
        format!(
            "{seeds} seeds, {steps} steps, {records} records, {seconds:.0} s, {rate:.0} a minute"
        )
    }

    /// Progress: often on a terminal, a line each 10 seconds elsewhere.
    fn show(&mut self, now: bool) {
        let every = if self.terminal { 100_000_000 } else { 10_000_000_000 };
        if !now && self.clock.nanos() < self.shown + every {
            return;
        }
        self.shown = self.clock.nanos();
        if self.terminal {
            eprint!("\r\x1b[2K{}", self.line());
            let _ = std::io::stderr().flush();
        } else {
            eprintln!("{}", self.line());
        }
    }

    fn clear(&self) {
        if self.terminal {
            eprint!("\r\x1b[2K");
        }
    }

    /// Prints everything; false if a mark is missing that should have been reached.
    fn finish(&self, all_jobs: bool) -> bool {
        println!("{}", self.line());
        for (job, seeds) in &self.jobs {
            println!("{seeds:>10}  {job}");
        }
        println!("marks:");
        for mark in MARKS {
            println!("{:>10}  {mark}", self.marks.get(mark).unwrap_or(&0));
        }
        let missing = missing(&self.marks);
        if all_jobs && self.seeds >= SEEDS_FOR_MARKS && !missing.is_empty() {
            eprintln!("never reached: {}", missing.join("; "));
            return false;
        }
        true
    }
}
