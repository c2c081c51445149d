//! What a checkpoint writes when one key in a hundred has changed, beside one that writes all.
//!
//! Each key comes once, and from then on only every hundredth: however long the job runs between
//! two checkpoints, one percent has changed. Records are paced, so that few are on their way.

use std::error::Error;
use std::time::Duration;

use serde_json::json;
use thalweg::RunOptions;
use thalweg::console::CheckpointStatus;
use thalweg::prelude::*;
use thalweg::sink::Blackhole;
use thalweg_bench::durable::{self, Console};
use thalweg_bench::engine::Session;
use thalweg_bench::machine::sleep;
use thalweg_bench::report::{Bar, Quartiles, Report};
use thalweg_jobs::fraud_p::rule::Profile;

use super::{Context, Outcome};

const NAME: &str = "one-percent";

/// Different keys; fewer with --quick.
const KEYS: (u64, u64) = (1_000_000, 100_000);

/// One key of so many changes.
const CHANGED_OF: u64 = 100;

/// Records a second.
const RATE: f64 = 500_000.0;

const PATIENCE: Duration = Duration::from_secs(60);

/// How often counts are looked at.
const TICK: Duration = Duration::from_millis(5);

/// Takes a full checkpoint, and then some of which little has changed.
pub fn measure(context: &Context, report: &mut Report) -> Outcome {
    let place = context.scratch.place(NAME)?;
    let keys = if context.options.quick { KEYS.1 } else { KEYS.0 };
    let options = durable::keep(RunOptions::new(context.parallelism), &place, None);
    let job = move |flow: &Dataflow, _: &Args| changes(flow, keys);
    let session =
        Session::launch(options, move |options| thalweg::run(job, &Args::default(), options));
    let console = Console::of(&place)?;
    let taken = session.run_while(|| -> Result<_, Box<dyn Error>> {
        // Once all keys were there, as many records again: none of the first are on their way.
        pass(&session, keys * 2)?;
        let mut taken = vec![checkpoint(&console)?];
        for _ in 0..context.options.pairs() {
            // Every key that changes has changed several times.
            pass(&session, session.meter().records_out() + 4 * keys / CHANGED_OF)?;
            taken.push(checkpoint(&console)?);
        }
        Ok(taken)
    })?;
    session.stop()?;
    report.raw(&json!({ "case": NAME, "checkpoints": taken }));
    let Some((full, few)) = taken.split_first() else { return Ok(()) };
    let bytes: Vec<f64> = few.iter().map(|it| it.new_bytes as f64).collect();
    let shares: Vec<_> = bytes.iter().map(|bytes| (*bytes, full.new_bytes as f64)).collect();
    report.figure(&format!("{NAME} new bytes of a full one"), full.new_bytes);
    report.figure(&format!("{NAME} new bytes"), Quartiles::of(&bytes));
    let share = report.ratio(&format!("{NAME}: new bytes/full"), &shares);
    report.bar(NAME, &Bar::Most("share of the new bytes of a full one", 0.03), share.max);
    if full.new_bytes < keys * size_of::<Profile>() as u64 {
        report.void(format!("{NAME}: the first checkpoint does not hold {keys} keys"));
    }
    Ok(())
}

/// Waits until so many records have passed the sink.
fn pass(session: &Session, records: u64) -> Result<(), Box<dyn Error>> {
    while session.meter().records_out() < records {
        if session.has_ended() {
            return Err("the job has ended".into());
        }
        sleep(TICK);
    }
    Ok(())
}

fn checkpoint(console: &Console) -> Result<CheckpointStatus, Box<dyn Error>> {
    console.checkpoint(PATIENCE)?;
    let checkpoints = console.status()?.checkpoints.unwrap_or_default();
    Ok(checkpoints.newest.last().ok_or("the checkpoint is not listed")?.clone())
}

/// Changes the profile of one key with each record: of every key once, then of few.
fn changes(flow: &Dataflow, keys: u64) -> thalweg::Result<()> {
    let purchases = Generator::new(move |index| {
        let key = if index < keys { index } else { index % (keys / CHANGED_OF) * CHANGED_OF };
        ((key, index as i64), index as i64)
    });
    let sum = flow.fingerprint("changes");
    let profiles = ValueSpec::<Profile>::new("profile");
    flow.source("purchases", purchases.rate(RATE))
        .key_by(|(key, _): &(u64, i64)| *key)
        .flat_map_with_state("judge", profiles, |_, (_, index), profile| {
            Some(profile.judge(index, 100).tx_count_1h as u64)
        })
        .sink("counts", Blackhole::new(move |count: &u64| sum.fold(*count)));
    Ok(())
}
