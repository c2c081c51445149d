//! The baseline alone: its rates beside the bare table, and its latency, spinning and parked.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use serde_json::json;
use thalweg_bench::bare::Bare;
use thalweg_bench::handwritten::{Config, Idle, Mode, Session, run};
use thalweg_bench::report::{self, Options, Quantiles, Quartiles, Report};
use thalweg_bench::workload;

/// Events of the run whose digest is printed: all in one hour of event time.
const DIGEST_RECORDS: u64 = 4_000_000;

/// Measure the hand-written pipeline alone
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Pinned cores
    #[arg(short, long, default_value_t = 2)]
    parallelism: usize,
    /// Do not ask for huge pages
    #[arg(long)]
    small_pages: bool,
    /// Rates only
    #[arg(long)]
    no_latency: bool,
}

fn main() -> std::io::Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut report = Report::open("handwritten", &arguments.options)?;
    report.configure("parallelism", arguments.parallelism);
    report.configure("huge_pages", !arguments.small_pages);
    report.configure("pairs", arguments.options.pairs());
    let fixed = run(&config(&arguments, 1_000_000, None), &Mode::Fixed { records: DIGEST_RECORDS });
    report.figure("digest", fixed.outcome.digest);
    for (name, users, zipf) in [
        ("1m", 1_000_000, None),
        ("zipf", 1_000_000, Some(0.99)),
        ("10m", 10_000_000, None),
        ("1k", 1_000, None),
    ] {
        rates(&arguments, name, config(&arguments, users, zipf), &mut report);
    }
    if !arguments.no_latency {
        for (rate, idle) in [
            (1_000_000.0, Idle::Spin),
            (10_000.0, Idle::Spin),
            (10_000.0, Idle::Park),
            (500.0, Idle::Park),
        ] {
            latency(&arguments, rate, idle, &mut report);
        }
    }
    // A short run on a busy machine says that the bench works, not what it measures.
    Ok(report::exit(Ok(report.finish()?)))
}

fn config(arguments: &Arguments, users: u64, zipf: Option<f64>) -> Config {
    let workload = workload::Options { users, zipf, ..workload::Options::default() };
    let parallelism = arguments.parallelism;
    Config { parallelism, workload, huge_pages: !arguments.small_pages, ..Config::default() }
}

/// Windows of the baseline and of the bare table, alternating.
fn rates(arguments: &Arguments, name: &str, config: Config, report: &mut Report) {
    let length = arguments.options.window(3.0);
    let session = Session::start(&config);
    let bare = Bare::start(&config);
    session.window(Duration::from_secs(1 + config.workload.users / 2_000_000));
    let take = |_| (session.window(length).rate(), bare.window(length).rate());
    let pairs: Vec<(f64, f64)> = (0..arguments.options.pairs()).map(take).collect();
    session.stop();
    bare.stop();
    let per_core: Vec<f64> =
        pairs.iter().map(|(rate, _)| rate / config.parallelism as f64).collect();
    report.figure(&format!("{name} records/s per core"), Quartiles::of(&per_core));
    let ratio = report.ratio(&format!("{name}: handwritten/bare"), &pairs);
    if name == "1m" && ratio.median < 0.5 {
        report.void(format!("handwritten reached {:.2} of the bare table's rate", ratio.median));
    }
}

fn latency(arguments: &Arguments, rate_total: f64, idle: Idle, report: &mut Report) {
    let duration = arguments.options.window(5.0);
    let warm = Duration::from_millis(500);
    let mode = Mode::Paced { rate_total, warm, duration, idle };
    let taken = run(&config(arguments, 1_000_000, None), &mode);
    let figure = json!({
        "latency": Quantiles::of(&taken.outcome.latency),
        "hiccups": Quantiles::of(&taken.outcome.hiccups),
        "cores_busy": taken.outcome.cpu_seconds / taken.seconds,
    });
    report.figure(&format!("{idle:?} at {rate_total} records/s"), figure);
}
