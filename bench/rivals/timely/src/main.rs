//! The workload `fraud-p` on timely-dataflow: one process, one spinning worker per core.
//!
//! Timely has neither checkpoints nor flow control here: each worker generates a batch, then steps.
//! The map is fused into the source and the sink into the judge, which favours timely.

mod digest;
mod purchase;

use std::cell::Cell;
use std::hash::BuildHasher;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::{Duration, Instant};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Exchange;
use timely::dataflow::operators::generic::{Operator, OutputBuilderSession};
use timely::dataflow::operators::{Input, Probe};
use timely::dataflow::{InputHandle, Stream};

use crate::digest::Digest;
use crate::purchase::{Enriched, Profile, USERS};

/// Records that a worker generates before it lets its operators run.
const BATCH: u64 = 4_096;

/// The judge emits nothing; what it returns only tells when it is done.
type Output<'a> = OutputBuilderSession<'a, u64, CapacityContainerBuilder<Vec<()>>>;

/// What one worker has seen.
struct Outcome {
    digest: Digest,
    first: Instant,
    last: Instant,
}

fn main() -> ExitCode {
    let arguments: Vec<u64> = std::env::args().skip(1).flat_map(|text| text.parse()).collect();
    let [records, workers] = arguments[..] else {
        eprintln!("usage: thalweg-rival-timely RECORDS WORKERS");
        return ExitCode::from(2);
    };
    match run(records, workers as usize) {
        Ok(outcomes) => {
            report(&outcomes);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(records: u64, workers: usize) -> Result<Vec<Outcome>, String> {
    let guards = timely::execute(timely::Config::process(workers), move |worker| {
        pin(worker.index());
        let digest = Rc::new(Cell::new(Digest::default()));
        let mut input = InputHandle::new();
        let probe = worker.dataflow(|scope| {
            let purchases = scope.input_from(&mut input).container::<Vec<Enriched>>();
            judge(purchases, digest.clone()).probe().0
        });
        let first = Instant::now();
        let (mut next, step) = (worker.index() as u64, worker.peers() as u64);
        let mut epoch = 0_u64;
        while next < records {
            let end = records.min(next + BATCH * step);
            while next < end {
                input.send(Enriched::of(next));
                next += step;
            }
            epoch += 1;
            input.advance_to(epoch);
            worker.step();
        }
        input.close();
        while !probe.done() {
            worker.step();
        }
        Outcome { digest: digest.get(), first, last: Instant::now() }
    })?;
    guards.join().into_iter().collect()
}

/// Sends each purchase to its user's worker, judges it there and folds the verdict.
fn judge<'scope>(
    purchases: Stream<'scope, u64, Vec<Enriched>>,
    digest: Rc<Cell<Digest>>,
) -> Stream<'scope, u64, Vec<()>> {
    // Two seeds: users who meet at a worker must not collide in its map.
    let route = FixedState::with_seed(1);
    let mut profiles: HashMap<u64, Profile, FixedState> =
        HashMap::with_capacity_and_hasher(USERS as usize, FixedState::with_seed(2));
    let to_user = Exchange::new(move |purchase: &Enriched| route.hash_one(purchase.user));
    purchases.unary(to_user, "judge", |_, _| {
        move |input, _: &mut Output<'_>| {
            let mut sum = digest.get();
            input.for_each(|_, batch| {
                for purchase in batch.drain(..) {
                    let profile = profiles.entry(purchase.user).or_default();
                    sum.fold(&profile.judge(&purchase));
                }
            });
            digest.set(sum);
        }
    })
}

/// Pins the calling thread to one core, as the engine does.
fn pin(index: usize) {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    if !cores.is_empty() {
        core_affinity::set_for_current(cores[index % cores.len()]);
    }
}

/// Prints one line of JSON.
fn report(outcomes: &[Outcome]) {
    let mut all = Digest::default();
    for outcome in outcomes {
        all.merge(&outcome.digest);
    }
    let first = outcomes.iter().map(|outcome| outcome.first).min();
    let last = outcomes.iter().map(|outcome| outcome.last).max();
    let took = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    let rate = all.count as f64 / took.as_secs_f64();
    println!(
        "{{\"engine\":\"timely\",\"records\":{},\"records_per_second\":{rate:.0},\
         \"unordered\":\"{:016x}\",\"unordered_xor\":\"{:016x}\",\
         \"verdicts\":\"{:016x}\",\"verdicts_xor\":\"{:016x}\"}}",
        all.count, all.unordered.sum, all.unordered.xor, all.verdicts.sum, all.verdicts.xor,
    );
}
