//! The rate of `fraud-p` with checkpoints beside the same job without.
//!
//! Both run warm in windows that alternate; starts and final checkpoints lie outside. Time passes
//! for a job that rests, so a checkpoint that fell due meanwhile is made in the ramp of its next
//! window: the windows are as long as several intervals, or one of ten seconds. What the host does
//! lasts for seconds: where windows are short, several make up a pair, so that both get some of it.

use std::time::Duration;

use serde_json::json;
use thalweg::console::CheckpointStatus;
use thalweg_bench::durable::{self, Console};
use thalweg_bench::engine::Session;
use thalweg_bench::machine::wall_millis;
use thalweg_bench::report::{Bar, Quartiles, Report};

use super::{Context, Outcome};

/// How long a checkpoint may take before the case is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A workload, how often checkpoints are made, and the share of the rate that must be left.
pub struct Rate {
    name: &'static str,
    interval: Duration,
    zipf: Option<f64>,
    /// Length of a window, and how many of each job make up a pair.
    seconds: f64,
    windows: usize,
    least: f64,
}

pub const EACH_SECOND: Rate = Rate {
    name: "rate-1s",
    interval: Duration::from_secs(1),
    zipf: None,
    seconds: 3.0,
    windows: 2,
    least: 0.9,
};

pub const EACH_TEN_SECONDS: Rate = Rate {
    name: "rate-10s",
    interval: Duration::from_secs(10),
    zipf: None,
    seconds: 10.0,
    windows: 1,
    least: 0.97,
};

pub const ZIPF: Rate = Rate {
    name: "zipf-100ms",
    interval: Duration::from_millis(100),
    zipf: Some(0.99),
    seconds: 0.5,
    windows: 8,
    least: 0.85,
};

/// A window of the job with checkpoints.
struct Window {
    rate: f64,
    made: Vec<CheckpointStatus>,
}

/// Takes the pairs of a case.
pub fn measure(context: &Context, case: &Rate, report: &mut Report) -> Outcome {
    let name = case.name;
    let (config, interval) = (context.fraud_p(case.zipf), context.interval(case.interval));
    let length = context.options.window(case.seconds);
    let place = context.scratch.place(name)?;
    let options = durable::keep(config.options(), &place, Some(interval));
    let without = Session::start(&config);
    let with = Session::launch(options, move |options| config.run(options));
    let console = Console::of(&place)?;
    let warm = context.options.window(3.0);
    without.window(warm);
    with.window(warm);
    // The first one holds everything: it is made before windows count.
    with.run_while(|| console.checkpoint(PATIENCE))?;
    let (mut pairs, mut made) = (Vec::new(), Vec::new());
    for _ in 0..context.options.pairs() {
        let (mut ours, mut base, mut milliseconds) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..case.windows {
            let window = window(&with, &console, length)?;
            base.push(without.window(length).rate());
            ours.push(window.rate);
            milliseconds.extend(window.made.iter().map(|it| it.duration_ms));
            made.push(window.made);
        }
        report.raw(&json!({ "case": name, "with": ours, "without": base,
            "checkpoint ms": milliseconds }));
        pairs.push((mean(&ours), mean(&base)));
    }
    without.stop()?;
    let summary = with.stop()?;
    let failed = summary.checkpoints.failed;
    if failed > 0 {
        report.void(format!("{name}: {failed} checkpoints failed"));
    }
    tell(case, &made, report);
    let cores = context.parallelism as f64;
    let per_core: Vec<f64> = pairs.iter().map(|(_, base)| base / cores).collect();
    report.figure(&format!("{name} records/s per core without"), Quartiles::of(&per_core));
    let ratio = report.ratio(&format!("{name}: with/without"), &pairs);
    report.bar(
        name,
        &Bar::Least("rate with checkpoints by that without", case.least),
        ratio.median,
    );
    Ok(())
}

fn mean(rates: &[f64]) -> f64 {
    rates.iter().sum::<f64>() / rates.len() as f64
}

/// A window, and the checkpoints that were completed in it.
fn window(with: &Session, console: &Console, length: Duration) -> std::io::Result<Window> {
    let from = wall_millis();
    let rate = with.window(length).rate();
    let to = wall_millis();
    let checkpoints = console.status()?.checkpoints.unwrap_or_default();
    let in_window = |it: &CheckpointStatus| {
        it.failure.is_none() && (from..=to).contains(&(it.started_ms + it.duration_ms))
    };
    Ok(Window { rate, made: checkpoints.newest.into_iter().filter(in_window).collect() })
}

/// What the checkpoints of all windows were like.
fn tell(case: &Rate, made: &[Vec<CheckpointStatus>], report: &mut Report) {
    let name = case.name;
    let counts: Vec<f64> = made.iter().map(|made| made.len() as f64).collect();
    let count = report_quartiles(report, &format!("{name} checkpoints a window"), &counts);
    if count.is_none_or(|count| count.median < 1.0) {
        report.void(format!("{name}: windows without checkpoints"));
    }
    let each =
        |of: fn(&CheckpointStatus) -> f64| -> Vec<f64> { made.iter().flatten().map(of).collect() };
    report_quartiles(report, &format!("{name} ms"), &each(|it| it.duration_ms as f64));
    report_quartiles(report, &format!("{name} new bytes"), &each(|it| it.new_bytes as f64));
    report_quartiles(report, &format!("{name} longest pause us"), &each(|it| it.pause_us as f64));
}

fn report_quartiles(report: &mut Report, key: &str, values: &[f64]) -> Option<Quartiles> {
    let quartiles = (!values.is_empty()).then(|| Quartiles::of(values));
    report.figure(key, quartiles);
    quartiles
}
