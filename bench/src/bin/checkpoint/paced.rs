//! What checkpoints do to `fraud-p` at a fixed rate: how busy its cores are, and how late records.
//!
//! Runs with and without checkpoints alternate; a run that rests would fall behind its schedule.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::json;
use thalweg::Summary;
use thalweg_bench::durable;
use thalweg_bench::engine;
use thalweg_bench::machine::{Usage, histogram};
use thalweg_bench::report::{Bar, Quantiles, Quartiles, Report};

use super::{Context, Outcome};

/// A rate, and how often checkpoints are made.
struct Case {
    name: &'static str,
    rate: f64,
    interval: Duration,
    seconds: f64,
}

const BUSY: Case =
    Case { name: "busy-2m", rate: 2_000_000.0, interval: Duration::from_millis(100), seconds: 5.0 };

const LATENCY: Case =
    Case { name: "latency-1m", rate: 1_000_000.0, interval: Duration::from_secs(1), seconds: 5.0 };

/// A run, from its start to its end.
struct Run {
    summary: Summary,
    /// Processor time of the whole process, in seconds a second.
    cores: f64,
}

impl Run {
    /// Share of the time that a core was busy, on average.
    fn busy(&self) -> f64 {
        self.summary.busy.iter().sum::<f64>() / self.summary.busy.len() as f64
    }

    fn latency(&self) -> Quantiles {
        Quantiles::of(&self.summary.latency)
    }
}

/// Runs a pair: with checkpoints, and without.
fn pair(context: &Context, case: &Case, report: &mut Report) -> thalweg::Result<[Run; 2]> {
    let with = run(context, case, true)?;
    let without = run(context, case, false)?;
    let raw = |run: &Run| {
        json!({ "latency": run.latency(), "hiccups": Quantiles::of(&run.summary.hiccups),
            "turns": Quantiles::of(&run.summary.turns), "busy": run.summary.busy,
            "cores": run.cores, "checkpoints": run.summary.checkpoints.newest })
    };
    report.raw(&json!({ "case": case.name, "with": raw(&with), "without": raw(&without) }));
    let checkpoints = &with.summary.checkpoints;
    // The last one is made at the end.
    if checkpoints.completed < 2 || checkpoints.failed > 0 {
        let (completed, failed) = (checkpoints.completed, checkpoints.failed);
        let name = case.name;
        report.void(format!("{name}: {completed} checkpoints were made and {failed} failed"));
    }
    Ok([with, without])
}

fn run(context: &Context, case: &Case, with: bool) -> thalweg::Result<Run> {
    let length = context.options.window(case.seconds);
    let warm_up = context.options.window(1.0).max(Duration::from_millis(200));
    let records = (case.rate * (warm_up + length).as_secs_f64()) as u64;
    let config = engine::Config {
        records: Some(records),
        rate: Some(case.rate),
        warm_up,
        ..context.fraud_p(None)
    };
    let mut options = config.options();
    if with {
        let place = context.scratch.place(case.name);
        let place = place.map_err(|error| thalweg::Error::io("cannot make a directory", error))?;
        options = durable::keep(options, &place, Some(context.interval(case.interval)));
    }
    let usage = Usage::now();
    let summary = config.run(&options)?;
    let cores = usage.cpu_seconds_since() / summary.seconds();
    Ok(Run { summary, cores })
}

/// How much busier cores are with checkpoints.
pub fn busy(context: &Context, report: &mut Report) -> Outcome {
    let name = BUSY.name;
    let (mut with, mut without, mut more) = (Vec::new(), Vec::new(), Vec::new());
    let (mut cores_with, mut cores_without) = (Vec::new(), Vec::new());
    for _ in 0..context.options.pairs() {
        let [ours, base] = pair(context, &BUSY, report)?;
        more.push((ours.busy() - base.busy()) * 100.0);
        with.push(ours.busy());
        without.push(base.busy());
        cores_with.push(ours.cores);
        cores_without.push(base.cores);
    }
    let columns = [
        ("busy share with", &with),
        ("busy share without", &without),
        ("processor seconds a second with", &cores_with),
        ("processor seconds a second without", &cores_without),
        ("points more", &more),
    ];
    for (column, values) in columns {
        report.figure(&format!("{name} {column}"), Quartiles::of(values));
    }
    let median = Quartiles::of(&more).median;
    report.bar(name, &Bar::Most("points of busy share more than without", 15.0), median);
    Ok(())
}

/// How much later records are with checkpoints, and how long cuts take the cores.
pub fn latency(context: &Context, report: &mut Report) -> Outcome {
    let name = LATENCY.name;
    let mut taken = Vec::new();
    let (mut instants, mut slices) = (histogram(), histogram());
    for _ in 0..context.options.pairs() {
        let [ours, base] = pair(context, &LATENCY, report)?;
        add(&mut instants, &ours.summary.instants);
        add(&mut slices, &ours.summary.slices);
        let hiccups = [&ours, &base].map(|run| Quantiles::of(&run.summary.hiccups));
        taken.push(([ours.latency(), base.latency()], hiccups));
    }
    let quantiles: [(&str, fn(&Quantiles) -> f64); 4] = [
        ("p50", |q| q.p50_us),
        ("p99", |q| q.p99_us),
        ("p99.9", |q| q.p99_9_us),
        ("p99.99", |q| q.p99_99_us),
    ];
    for (quantile, of) in quantiles {
        for (at, which) in ["with", "without"].into_iter().enumerate() {
            let latency: Vec<f64> = taken.iter().map(|(latency, _)| of(&latency[at])).collect();
            let hiccups: Vec<f64> = taken.iter().map(|(_, hiccups)| of(&hiccups[at])).collect();
            report.figure(&format!("{name} {quantile} us {which}"), Quartiles::of(&latency));
            report
                .figure(&format!("{name} {quantile} us hiccups {which}"), Quartiles::of(&hiccups));
        }
        let pairs: Vec<_> = taken.iter().map(|([a, b], _)| (of(a), of(b))).collect();
        let ratio = report.ratio(&format!("{name} {quantile}: with/without"), &pairs);
        let over: Vec<f64> = pairs.iter().map(|(ours, base)| ours - base).collect();
        let over = Quartiles::of(&over);
        report.figure(&format!("{name} {quantile} us above without"), over);
        match quantile {
            "p99" => report.bar(name, &Bar::Most("p99 by that without", 1.3), ratio.median),
            "p99.9" => report.bar(name, &Bar::Most("p99.9 us above without", 300.0), over.median),
            "p99.99" => report.bar(name, &Bar::Most("p99.99 us above without", 300.0), over.median),
            _ => {}
        }
    }
    let (instants, slices) = (Quantiles::of(&instants), Quantiles::of(&slices));
    report.figure(&format!("{name} instants"), instants);
    report.figure(&format!("{name} slices"), slices);
    report.bar(name, &Bar::Most("slices p99.9 us", 100.0), slices.p99_9_us);
    report.bar(name, &Bar::Most("instants p99.9 us", 50.0), instants.p99_9_us);
    Ok(())
}

fn add(all: &mut Histogram<u64>, own: &Histogram<u64>) {
    own.iter_recorded().for_each(|step| {
        all.saturating_record_n(step.value_iterated_to(), step.count_since_last_iteration());
    });
}
