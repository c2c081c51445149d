//! The longest turn of a job whose state is ten times its memory, with a checkpoint a second.
//!
//! Each key comes once and then at random, so nearly every record needs a row from disk. Runs with
//! and without checkpoints alternate; all of their turns count, those that fill the state too.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use thalweg::config::Share;
use thalweg::prelude::*;
use thalweg::sink::Blackhole;
use thalweg::{RunOptions, Summary};
use thalweg_bench::durable;
use thalweg_bench::engine::Session;
use thalweg_bench::machine::sleep;
use thalweg_bench::report::{Bar, Quantiles, Quartiles, Report};
use thalweg_bench::workload::mix;

use super::{Context, Outcome};

const NAME: &str = "ten-times";

/// Different keys; fewer with --quick.
const KEYS: (u64, u64) = (1_000_000, 50_000);

/// What a key's row takes up in memory at least.
const ROW_BYTES: u64 = size_of::<Row>() as u64 + 8;

/// How many times its memory the state is.
const TIMES: u64 = 10;

/// The state of a key.
#[record]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Row {
    words: [u64; 16],
}

/// Runs both kinds of run in turn.
pub fn measure(context: &Context, report: &mut Report) -> Outcome {
    let keys = if context.options.quick { KEYS.1 } else { KEYS.0 };
    report.configure(&format!("{NAME} keys"), keys);
    report.configure(&format!("{NAME} state.memory"), memory(keys));
    let (mut with, mut without) = (Vec::new(), Vec::new());
    // A run takes a while to fill its state: fewer than elsewhere.
    for _ in 0..context.options.pairs().div_ceil(2) {
        for (interval, turns) in
            [(Some(context.interval(Duration::from_secs(1))), &mut with), (None, &mut without)]
        {
            let place = context.scratch.place(NAME)?;
            let summary = run(context, keys, &place, interval)?;
            let own = Quantiles::of(&summary.turns);
            let checkpoints = &summary.checkpoints;
            report.raw(&json!({ "case": NAME, "with": interval.is_some(), "turns": own,
                "absences": Quantiles::of(&summary.absences), "evicted": summary.state.evicted,
                "fetched": summary.state.fetched, "records": summary.records_in,
                "bytes at most": summary.state.bytes_max, "checkpoints": checkpoints.newest }));
            if summary.state.evicted < keys / 2 {
                report.void(format!("{NAME}: only {} rows left memory", summary.state.evicted));
            }
            if interval.is_some() && (checkpoints.completed < 2 || checkpoints.failed > 0) {
                let (completed, failed) = (checkpoints.completed, checkpoints.failed);
                report.void(format!("{NAME}: {completed} checkpoints made, {failed} failed"));
            }
            turns.push(own);
        }
    }
    for (which, turns) in [("with", &with), ("without", &without)] {
        let each = |of: fn(&Quantiles) -> f64| -> Vec<f64> { turns.iter().map(of).collect() };
        report.figure(
            &format!("{NAME} turns p99.9 us {which}"),
            Quartiles::of(&each(|q| q.p99_9_us)),
        );
        report
            .figure(&format!("{NAME} longest turn us {which}"), Quartiles::of(&each(|q| q.max_us)));
    }
    let longest = with.iter().map(|turns| turns.max_us).fold(0.0, f64::max);
    report.bar(NAME, &Bar::Most("ms of the longest turn", 5.0), longest / 1e3);
    Ok(())
}

/// Memory for the state of so many keys, too little by far.
fn memory(keys: u64) -> u64 {
    keys * ROW_BYTES / TIMES
}

fn run(
    context: &Context,
    keys: u64,
    place: &Path,
    interval: Option<Duration>,
) -> Result<Summary, Box<dyn std::error::Error>> {
    let mut options = RunOptions::new(context.parallelism);
    if let Some(interval) = interval {
        options = durable::keep(options, place, Some(interval));
    }
    options.runtime.state.memory = Share::Bytes(memory(keys));
    options.runtime.state.directory = Some(place.join("data"));
    let job = move |flow: &Dataflow, _: &Args| rows(flow, keys);
    let session =
        Session::launch(options, move |options| thalweg::run(job, &Args::default(), options));
    session.run_until(keys);
    session.run_while(|| sleep(context.options.window(5.0).max(Duration::from_millis(500))));
    Ok(session.stop()?)
}

/// Changes the row of one key with each record: of every key once, then of keys at random.
fn rows(flow: &Dataflow, keys: u64) -> thalweg::Result<()> {
    let changes =
        Generator::new(move |index| (if index < keys { index } else { mix(index) % keys }, 0));
    let sum = flow.fingerprint("rows");
    flow.source("keys", changes)
        .key_by(|key: &u64| *key)
        .flat_map_with_state("change", ValueSpec::<Row>::new("row"), |key, _, row| {
            if *row == Row::default() {
                // Bytes that do not compress.
                row.words = std::array::from_fn(|at| mix(*key * 16 + at as u64));
            }
            row.words[0] = row.words[0].wrapping_add(1);
            Some(row.words[0])
        })
        .sink("changed", Blackhole::new(move |word: &u64| sum.fold(*word)));
    Ok(())
}
