//! Two hundred seeds of the simulator, each twice, and the seeds that have found something.

use std::collections::BTreeMap;

use thalweg_tests::sim::marks::missing;
use thalweg_tests::sim::{Report, run_seed};

const SEEDS: u64 = 200;

/// Seeds that failed once, and what it was.
const FOUND: &[(u64, &str)] = &[
    (5, "records skipped: the cursors of a gate's consumers were shared by all of its channels"),
    (9, "a job without an exchange was done after its first turn"),
    (18, "a sink that had finished was asked again while another one had not"),
    (31, "records doubled: a budget ended inside the run that one consumer had taken already"),
    (34, "the end of one input ended the time of inputs that were merely idle"),
    (298, "a periodic watermark was made behind the last one"),
    (466, "what timers had emitted was not flushed when their operator came to wait for cold rows"),
    (100_275, "a row was lost: the first to leave was one that had been read while it was stored"),
    (101_237, "the same with a small budget instead of none"),
    (6_287, "each attempt added control frames to those that its checkpoint had brought back"),
];

fn run(seed: u64) -> Report {
    let (outcome, _) = run_seed(seed, false);
    outcome.unwrap_or_else(|failure| {
        panic!("seed {seed} ({}): {}\n{}", failure.job, failure.what, failure.command())
    })
}

#[test]
fn two_hundred_seeds_hold_twice_with_the_same_trace_and_reach_every_mark() {
    let mut marks: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..SEEDS {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first.hash, second.hash, "seed {seed} is not deterministic");
        for (mark, count) in first.marks {
            *marks.entry(mark).or_default() += count;
        }
    }
    let missing = missing(&marks);
    assert!(missing.is_empty(), "never reached: {missing:?}");
}

#[test]
fn seeds_that_found_something_hold() {
    for (seed, what) in FOUND {
        println!("{seed}: {what}");
        run(*seed);
    }
}

#[test]
fn different_seeds_have_different_traces() {
    assert_ne!(run(1).hash, run(14).hash);
}
