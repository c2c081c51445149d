//! What checkpoints cost and how soon a job goes on from one: each case has a bar to meet.
//!
//! The baseline is the same job without checkpoints, or the bare file operations, in the same run.
//! Before anything is measured, a job with checkpoints must have emitted what it emits without.

mod backpressure;
mod child;
mod one_percent;
mod paced;
mod rates;
mod restart;
mod ten_times;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use thalweg::config::Idle;
use thalweg_bench::durable::{self, Scratch};
use thalweg_bench::engine::{self, Job};
use thalweg_bench::report::{self, Options, Report};
use thalweg_bench::workload;

/// Events of the runs whose digests are compared, all in one hour of event time; fewer with
/// --quick.
const DIGEST_RECORDS: (u64, u64) = (4_000_000, 1_000_000);

/// Measure what checkpoints cost and how soon a job goes on from one
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pinned cores
    #[arg(short, long, default_value_t = 2)]
    parallelism: usize,
    /// Only these cases, separated by commas
    #[arg(long, value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Directory on a disk for all files, which are removed at the end
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
}

/// What a case gets.
struct Context {
    options: Options,
    parallelism: usize,
    scratch: Scratch,
}

/// What a case returns.
type Outcome = Result<(), Box<dyn Error>>;

/// A case measures something and adds it to the report.
type Case = fn(&Context, &mut Report) -> Outcome;

const CASES: [(&str, Case); 9] = [
    ("rate-1s", |context, report| rates::measure(context, &rates::EACH_SECOND, report)),
    ("rate-10s", |context, report| rates::measure(context, &rates::EACH_TEN_SECONDS, report)),
    ("zipf-100ms", |context, report| rates::measure(context, &rates::ZIPF, report)),
    ("busy-2m", paced::busy),
    ("latency-1m", paced::latency),
    ("backpressure", backpressure::measure),
    ("one-percent", one_percent::measure),
    ("restart", restart::measure),
    ("ten-times", ten_times::measure),
];

fn names() -> Vec<&'static str> {
    CASES.iter().map(|(name, _)| *name).collect()
}

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|word| word == child::WORD) {
        return child::main();
    }
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn Error>> {
    let mut report = Report::open("checkpoint", &arguments.options)?;
    let scratch = Scratch::below(&arguments.dir).map_err(|error| {
        format!("cannot make a directory in {}: {error}", arguments.dir.display())
    })?;
    let context =
        Context { options: arguments.options.clone(), parallelism: arguments.parallelism, scratch };
    report.configure("parallelism", arguments.parallelism);
    report.configure("pairs", arguments.options.pairs());
    report.configure("dir", &arguments.dir);
    if durable::is_in_memory(&arguments.dir) {
        report.void(format!("{} lies in memory, not on a disk", arguments.dir.display()));
    }
    if same_digest(&context, &mut report)? {
        for (name, case) in CASES {
            if arguments.only.is_empty() || arguments.only.iter().any(|only| only == name) {
                eprintln!("{name} ...");
                case(&context, &mut report).map_err(|error| format!("{name}: {error}"))?;
            }
        }
    } else {
        report.finish()?;
        return Ok(false);
    }
    Ok(report.finish()?)
}

impl Context {
    /// The job `fraud-p` without an end, at full rate.
    fn fraud_p(&self, zipf: Option<f64>) -> engine::Config {
        engine::Config {
            job: Job::FraudP,
            parallelism: self.parallelism,
            workload: workload::Options { zipf, ..workload::Options::default() },
            records: None,
            rate: None,
            idle: Idle::Park,
            warm_up: Duration::ZERO,
        }
    }

    /// An interval between checkpoints: a tenth of it for short runs, which are as much shorter.
    fn interval(&self, usual: Duration) -> Duration {
        if self.options.quick { (usual / 10).max(Duration::from_millis(20)) } else { usual }
    }
}

/// Runs the job with and without checkpoints over the same records and compares what it emitted.
fn same_digest(context: &Context, report: &mut Report) -> Result<bool, Box<dyn Error>> {
    let (many, few) = DIGEST_RECORDS;
    let records = if context.options.quick { few } else { many };
    let config = engine::Config { records: Some(records), ..context.fraud_p(None) };
    let without = engine::digest(&engine::run(&config)?);
    let place = context.scratch.place("digest")?;
    let options = durable::keep(config.options(), &place, Some(Duration::from_millis(20)));
    let summary = config.run(&options)?;
    let with = engine::digest(&summary);
    let made = &summary.checkpoints;
    report.figure("digest", with);
    report.figure("digest checkpoints", made.completed);
    if (with.count, with.unordered) != (without.count, without.unordered) {
        report.void(format!("with checkpoints it emits {with:?}, without {without:?}"));
        return Ok(false);
    }
    if made.completed < 2 || made.failed > 0 {
        let why = format!("{} checkpoints were made and {} failed", made.completed, made.failed);
        report.void(why);
        return Ok(false);
    }
    Ok(true)
}
