//! How long a record takes from the time at which it was due to its sink, beside the same work done
//! by hand at the same rate.
//!
//! Open loop: event `i` is due `i / rate` after the start, whatever became of the ones before it.
//! Runs of both alternate. The machine's own hiccups are gaps between two clock readings of turns
//! that did no work, taken in the cores themselves.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use thalweg::config;
use thalweg_bench::engine::{self, Job};
use thalweg_bench::handwritten::{self, Idle, Mode};
use thalweg_bench::machine::{self, Usage};
use thalweg_bench::report::{self, Options, Quantiles, Quartiles, Report};
use thalweg_bench::workload;

/// Compare the engine's latency on fraud-p with the hand-written pipeline's
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pinned cores
    #[arg(short, long, default_value_t = 2)]
    parallelism: usize,
    /// How many users there are
    #[arg(long, default_value_t = 1_000_000)]
    users: u64,
    /// Only this case: spin-1m, spin-10k, park-10k or park-500
    #[arg(long)]
    only: Option<String>,
}

/// A rate and what a core does when nothing is due.
struct Case {
    name: &'static str,
    rate: f64,
    idle: Idle,
}

const CASES: [Case; 4] = [
    Case { name: "spin-1m", rate: 1_000_000.0, idle: Idle::Spin },
    Case { name: "spin-10k", rate: 10_000.0, idle: Idle::Spin },
    Case { name: "park-10k", rate: 10_000.0, idle: Idle::Park },
    Case { name: "park-500", rate: 500.0, idle: Idle::Park },
];

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("latency", &arguments.options)?;
    report.configure("parallelism", arguments.parallelism);
    report.configure("users", arguments.users);
    report.configure("pairs", arguments.options.pairs());
    for case in &CASES {
        if arguments.only.as_deref().is_none_or(|only| only == case.name) {
            compare(arguments, case, &mut report)?;
        }
    }
    Ok(report.finish()?)
}

/// What one run of one contestant gave, in microseconds.
struct Run {
    latency: Quantiles,
    hiccups: Quantiles,
    cores: f64,
}

fn compare(arguments: &Arguments, case: &Case, report: &mut Report) -> thalweg::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut turns = Vec::new();
    for _ in 0..arguments.options.pairs() {
        let (run, longest) = by_engine(arguments, case)?;
        let base = by_hand(arguments, case);
        report.raw(&json!({
            "case": case.name,
            "thalweg": run.latency, "thalweg turns": longest, "thalweg hiccups": run.hiccups,
            "thalweg cores": run.cores,
            "handwritten": base.latency, "handwritten hiccups": base.hiccups,
            "handwritten cores": base.cores,
        }));
        ours.push(run);
        theirs.push(base);
        turns.push(longest);
    }
    let name = case.name;
    for (program, runs) in [("thalweg", &ours), ("handwritten", &theirs)] {
        report.figure(&format!("{name} {program} latency"), medians(runs, |run| run.latency));
        report.figure(&format!("{name} {program} hiccups"), medians(runs, |run| run.hiccups));
        report.figure(&format!("{name} {program} cores"), Quartiles::of(&each(runs, |r| r.cores)));
    }
    let longest: Vec<f64> = turns.iter().map(|turns| turns.p99_99_us).collect();
    report.figure(&format!("{name} thalweg turns p99.99 us"), Quartiles::of(&longest));
    let quantiles: [(&str, fn(&Quantiles) -> f64); 4] = [
        ("p50", |q| q.p50_us),
        ("p99", |q| q.p99_us),
        ("p99.9", |q| q.p99_9_us),
        ("p99.99", |q| q.p99_99_us),
    ];
    for (quantile, of) in quantiles {
        let pairs = ours.iter().zip(&theirs).map(|(a, b)| (of(&a.latency), of(&b.latency)));
        let pairs: Vec<_> = pairs.collect();
        report.ratio(&format!("{name} {quantile}/handwritten"), &pairs);
        let over: Vec<_> = pairs.iter().map(|(a, b)| a - b).collect();
        report.figure(&format!("{name} {quantile} us above handwritten"), Quartiles::of(&over));
    }
    Ok(())
}

fn each(runs: &[Run], of: impl Fn(&Run) -> f64) -> Vec<f64> {
    runs.iter().map(of).collect()
}

/// The median over the runs of each quantile.
fn medians(runs: &[Run], of: impl Fn(&Run) -> Quantiles) -> Quantiles {
    let median =
        |field: fn(&Quantiles) -> f64| Quartiles::of(&each(runs, |r| field(&of(r)))).median;
    Quantiles {
        samples: runs.iter().map(|run| of(run).samples).sum(),
        p50_us: median(|q| q.p50_us),
        p99_us: median(|q| q.p99_us),
        p99_9_us: median(|q| q.p99_9_us),
        p99_99_us: median(|q| q.p99_99_us),
        max_us: median(|q| q.max_us),
    }
}

/// How long a run takes before its records count: the table is filled then.
fn warm_up(arguments: &Arguments) -> Duration {
    arguments.options.window(1.0).max(Duration::from_millis(200))
}

fn workload_of(arguments: &Arguments) -> workload::Options {
    workload::Options { users: arguments.users, ..workload::Options::default() }
}

fn by_engine(arguments: &Arguments, case: &Case) -> thalweg::Result<(Run, Quantiles)> {
    let (warm_up, length) = (warm_up(arguments), arguments.options.window(5.0));
    let config = engine::Config {
        job: Job::FraudP,
        parallelism: arguments.parallelism,
        workload: workload_of(arguments),
        records: Some((case.rate * (warm_up + length).as_secs_f64()) as u64),
        rate: Some(case.rate),
        idle: match case.idle {
            Idle::Spin => config::Idle::Spin,
            Idle::Park => config::Idle::Park,
        },
        warm_up,
    };
    let usage = Usage::now();
    let summary = engine::run(&config)?;
    let run = Run {
        latency: Quantiles::of(&summary.latency),
        hiccups: Quantiles::of(&summary.hiccups),
        cores: usage.cpu_seconds_since() / summary.seconds(),
    };
    Ok((run, Quantiles::of(&summary.turns)))
}

fn by_hand(arguments: &Arguments, case: &Case) -> Run {
    let config = handwritten::Config {
        parallelism: arguments.parallelism,
        workload: workload_of(arguments),
        ..handwritten::Config::default()
    };
    let (warm, duration) = (warm_up(arguments), arguments.options.window(5.0));
    let mode = Mode::Paced { rate_total: case.rate, warm, duration, idle: case.idle };
    machine::sleep(Duration::from_millis(50));
    let report = handwritten::run(&config, &mode);
    Run {
        latency: Quantiles::of(&report.outcome.latency),
        hiccups: Quantiles::of(&report.outcome.hiccups),
        cores: report.outcome.cpu_seconds / report.seconds,
    }
}
