//! Two hundred seeds of the simulator, each twice, and the seeds that have found something.

use std::collections::BTreeMap;

use thalweg_tests::sim::jobs::CASES;
use thalweg_tests::sim::marks::missing;
use thalweg_tests::sim::{Failure, Report, run_case, run_seed};

const SEEDS: u64 = 200;

/// Seeds that failed once, their jobs, and what it was.
const FOUND: &[(u64, &str, &str)] = &[
    (5, "consumers", "records skipped: all channels of a gate shared its consumers' cursors"),
    (9, "straight", "a job without an exchange was done after its first turn"),
    (18, "consumers", "a sink that had finished was asked again while another one had not"),
    (31, "consumers", "records doubled: a budget ended inside the run that one consumer had taken"),
    (34, "idleness", "the end of one input ended the time of inputs that were merely idle"),
    (298, "late strategy", "a periodic watermark was made behind the last one"),
    (466, "windows", "what timers had emitted was not flushed while they waited for cold rows"),
    (100_275, "kinds of state", "a row was lost that had been read while it was stored"),
    (101_237, "kinds of state", "the same with a small budget instead of none"),
    (
        6_287,
        "idleness",
        "each attempt added control frames to those that its checkpoint brought back",
    ),
];

fn run(seed: u64) -> Report {
    whole(seed, run_seed(seed, false).0)
}

fn whole(seed: u64, outcome: Result<Report, Failure>) -> Report {
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
    for (seed, job, what) in FOUND {
        println!("{seed} ({job}): {what}");
        let case = CASES.iter().find(|case| case.name == *job).unwrap();
        whole(*seed, run_case(case, *seed, false).0);
    }
}

#[test]
fn different_seeds_have_different_traces() {
    assert_ne!(run(1).hash, run(14).hash);
}
