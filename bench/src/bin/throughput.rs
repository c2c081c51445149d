//! How fast `fraud-p` runs beside the same work done by hand.
//!
//! Both fold every field of every output record into a digest, which is compared before any rate is
//! taken. Then windows of both alternate, with warm state, and the median of the pairs' ratios
//! counts.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use thalweg::config::Idle;
use thalweg_bench::bare::Bare;
use thalweg_bench::engine::{self, Job};
use thalweg_bench::handwritten::{self, Mode};
use thalweg_bench::report::{self, Options, Quartiles, Report};
use thalweg_bench::workload;

/// Events of the runs whose digests are compared: all in one hour of event time.
const DIGEST_RECORDS: u64 = 4_000_000;

/// Compare the engine's rate on fraud-p with the hand-written pipeline's
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pinned cores
    #[arg(short, long, default_value_t = 2)]
    parallelism: usize,
    /// Only this workload: 1m, zipf, 10m or 1k
    #[arg(long)]
    only: Option<String>,
}

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("throughput", &arguments.options)?;
    report.configure("parallelism", arguments.parallelism);
    report.configure("pairs", arguments.options.pairs());
    let workloads = [
        ("1m", 1_000_000, None),
        ("zipf", 1_000_000, Some(0.99)),
        ("10m", 10_000_000, None),
        ("1k", 1_000, None),
    ];
    for (name, users, zipf) in workloads {
        if arguments.only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let workload = workload::Options { users, zipf, ..workload::Options::default() };
        if !same_digest(arguments, name, &workload, &mut report)? {
            report.finish()?;
            return Ok(false);
        }
        rates(arguments, name, &workload, &mut report)?;
    }
    Ok(report.finish()?)
}

fn by_hand(arguments: &Arguments, workload: &workload::Options) -> handwritten::Config {
    handwritten::Config {
        parallelism: arguments.parallelism,
        workload: workload.clone(),
        ..handwritten::Config::default()
    }
}

fn by_engine(arguments: &Arguments, workload: &workload::Options) -> engine::Config {
    engine::Config {
        job: Job::FraudP,
        parallelism: arguments.parallelism,
        workload: workload.clone(),
        records: None,
        rate: None,
        idle: Idle::Park,
        warm_up: Duration::ZERO,
    }
}

/// Runs both over the same records and compares what they emitted.
fn same_digest(
    arguments: &Arguments,
    name: &str,
    workload: &workload::Options,
    report: &mut Report,
) -> thalweg::Result<bool> {
    let mode = Mode::Fixed { records: DIGEST_RECORDS };
    let by_hand = handwritten::run(&by_hand(arguments, workload), &mode).outcome.digest;
    let config = engine::Config { records: Some(DIGEST_RECORDS), ..by_engine(arguments, workload) };
    let by_engine = engine::digest(&engine::run(&config)?);
    let equal = (by_hand.count, by_hand.unordered) == (by_engine.count, by_engine.unordered);
    report.figure(&format!("{name} digest"), by_engine);
    if !equal {
        report.void(format!("{name}: the engine emitted {by_engine:?}, by hand {by_hand:?}"));
    }
    Ok(equal)
}

/// Windows of the engine, the baseline and the bare table in turn.
fn rates(
    arguments: &Arguments,
    name: &str,
    workload: &workload::Options,
    report: &mut Report,
) -> thalweg::Result<()> {
    let length = arguments.options.window(3.0);
    let config = by_hand(arguments, workload);
    let engine = engine::Session::start(&by_engine(arguments, workload));
    let session = handwritten::Session::start(&config);
    let bare = Bare::start(&config);
    let warm = Duration::from_secs(1 + workload.users / 1_000_000);
    engine.window(warm);
    session.window(warm);
    let mut taken = Vec::new();
    for _ in 0..arguments.options.pairs() {
        let rates = [
            engine.window(length).rate(),
            session.window(length).rate(),
            bare.window(length).rate(),
        ];
        report.raw(&serde_json::json!({ "workload": name, "rates": rates }));
        taken.push(rates);
    }
    engine.stop()?;
    session.stop();
    bare.stop();
    let column = |which: usize| -> Vec<f64> {
        taken.iter().map(|rates| rates[which] / arguments.parallelism as f64).collect()
    };
    for (which, program) in ["thalweg", "handwritten", "bare"].into_iter().enumerate() {
        let key = format!("{name} {program} records/s per core");
        report.figure(&key, Quartiles::of(&column(which)));
    }
    let pairs = |ours: usize, base: usize| -> Vec<(f64, f64)> {
        taken.iter().map(|rates| (rates[ours], rates[base])).collect()
    };
    report.ratio(&format!("{name}/handwritten"), &pairs(0, 1));
    let base = report.ratio(&format!("{name}: handwritten/bare"), &pairs(1, 2));
    if name == "1m" && base.median < 0.5 {
        report.void(format!("handwritten reached {:.2} of the bare table's rate", base.median));
    }
    Ok(())
}
