//! What the daily buckets and the hourly aggregate of `fraud` cost: its rate beside `fraud-p`'s.
//!
//! Both read the same generated purchases and drop what they emit. Windows of both alternate, with
//! warm state; several hours of event time pass in one.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use thalweg::config::Idle;
use thalweg_bench::engine::{Config, Job, Session};
use thalweg_bench::report::{self, Options, Quartiles, Report};
use thalweg_bench::workload;

/// Compare the rate of the job fraud with that of fraud-p
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
}

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("fraud", &arguments.options)?;
    report.configure("parallelism", arguments.parallelism);
    report.configure("users", arguments.users);
    report.configure("pairs", arguments.options.pairs());
    let config = |job| Config {
        job,
        parallelism: arguments.parallelism,
        workload: workload::Options { users: arguments.users, ..workload::Options::default() },
        records: None,
        rate: None,
        idle: Idle::Park,
        warm_up: Duration::ZERO,
    };
    let (fraud, plain) =
        (Session::start(&config(Job::Fraud)), Session::start(&config(Job::FraudP)));
    // Two hours of event time: the tables have their size, and windows have fired.
    fraud.window(arguments.options.window(8.0));
    plain.window(arguments.options.window(2.0));
    let length = arguments.options.window(5.0);
    let take = |_| (fraud.window(length).rate(), plain.window(length).rate());
    let pairs: Vec<(f64, f64)> = (0..arguments.options.pairs()).map(take).collect();
    fraud.stop()?;
    plain.stop()?;
    let per_core = |of: fn(&(f64, f64)) -> f64| -> Vec<f64> {
        pairs.iter().map(|pair| of(pair) / arguments.parallelism as f64).collect()
    };
    report.figure("fraud records/s per core", Quartiles::of(&per_core(|pair| pair.0)));
    report.figure("fraud-p records/s per core", Quartiles::of(&per_core(|pair| pair.1)));
    report.ratio("fraud/fraud-p", &pairs);
    Ok(report.finish()?)
}
