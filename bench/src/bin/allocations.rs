//! How often the whole process asks for memory once it is warm: calls of the allocator per 1,000
//! records of `fraud-p`.

use std::alloc::System;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use thalweg::config::Idle;
use thalweg_bench::engine::{Config, Job, Session};
use thalweg_bench::report::{self, Options, Quartiles, Report};
use thalweg_bench::workload;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Count the allocations of the warm job fraud-p
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pinned cores
    #[arg(short, long, default_value_t = 2)]
    parallelism: usize,
}

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("allocations", &arguments.options)?;
    report.configure("parallelism", arguments.parallelism);
    let session = Session::start(&Config {
        job: Job::FraudP,
        parallelism: arguments.parallelism,
        workload: workload::Options::default(),
        records: None,
        rate: None,
        idle: Idle::Park,
        warm_up: Duration::ZERO,
    });
    session.window(arguments.options.window(10.0));
    let mut per_thousand = Vec::new();
    for _ in 0..arguments.options.pairs() {
        let region = Region::new(ALLOCATOR);
        let window = session.window(arguments.options.window(2.0));
        let calls = region.change();
        let calls = calls.allocations + calls.reallocations;
        per_thousand.push(calls as f64 * 1_000.0 / window.records.max(1) as f64);
    }
    session.stop()?;
    report.raw(&serde_json::json!({ "allocations per 1,000 records": per_thousand }));
    report.figure("allocations per 1,000 records", Quartiles::of(&per_thousand));
    Ok(report.finish()?)
}
