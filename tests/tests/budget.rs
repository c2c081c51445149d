//! What a job says that its state takes is what it takes, with ten times as much of it on disk.
//!
//! The tables, what is on its way between them and the cold tier, and what is kept for it count.
//! RocksDB's own memory does not come from this allocator: it is configured out of the same budget.

#![cfg(feature = "rocksdb")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use thalweg::config::Share;
use thalweg::prelude::*;
use thalweg::{RunOptions, Summary};
use thalweg_tests::attempt::attempt;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const BUDGET: u64 = 16 << 20;

/// Memory of a key's value.
const VALUE_BYTES: u64 = 240;

/// Ten times the budget, not counting keys and lines.
const USERS: u64 = 10 * BUDGET / VALUE_BYTES;

/// Every user once, then some of them in no order.
const RECORDS: u64 = USERS + USERS / 4;

/// Bytes that the allocator has given out and not got back.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Resident bytes of mappings that were advised to be huge pages: the lines of large tables, which
/// no allocator sees.
fn lines() -> usize {
    let (mut resident, mut lines) = (0, 0);
    for line in std::fs::read_to_string("/proc/self/smaps").unwrap().lines() {
        if let Some(size) = line.strip_prefix("Rss:") {
            resident = size.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10;
        } else if line.starts_with("VmFlags:") && line.split(' ').any(|flag| flag == "hg") {
            lines += resident;
        }
    }
    lines
}

#[derive(Clone, Default)]
struct Peak(Arc<AtomicUsize>);

impl Peak {
    fn sample(&self) {
        self.0.fetch_max(held() + lines(), Ordering::Relaxed);
    }

    fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn user(event: u64) -> (u64, i64) {
    let user = if event < USERS { event } else { event.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 };
    (user % USERS, event as i64)
}

/// Runs one operator per key behind a generator; its results are counted, and what is held is
/// looked at from time to time.
fn run<C: thalweg::operator::Chain<u64> + 'static>(
    peak: &Peak,
    operator: impl Fn(Stream<u64>) -> Stream<u64, C> + Clone + Send + 'static,
) -> Option<Summary> {
    let mut options = RunOptions::new(1);
    options.runtime.state.memory = Share::Bytes(BUDGET);
    options.runtime.state.directory = Some(std::env::temp_dir().join("thalweg-budget"));
    let sampled = peak.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let (sampled, seen) = (sampled.clone(), AtomicU64::new(0));
        let users = flow.source("users", Generator::new(user).records(RECORDS));
        operator(users.boxed())
            .inspect(move |_| {
                if seen.fetch_add(1, Ordering::Relaxed).is_multiple_of(1_000) {
                    sampled.sample();
                }
            })
            .sink("out", Blackhole::new(|_: &u64| {}));
        Ok(())
    };
    let run = attempt(job, options, Duration::from_secs(600))?;
    Some(run.result.unwrap())
}

fn within_a_tenth(what: &str, summary: &Summary, peak: &Peak, baseline: usize) {
    let (accounted, counted) = (summary.state.bytes_max as usize, peak.take() - baseline);
    println!("{what}: {accounted} bytes accounted for, {counted} in use, {:?}", summary.state);
    assert!(summary.state.evicted > USERS / 2, "{what}: {:?}", summary.state);
    assert!(summary.state.fetched > USERS / 8, "{what}: {:?}", summary.state);
    assert!(accounted.abs_diff(counted) * 10 <= counted, "{what}: {accounted} against {counted}");
    assert!(counted as u64 <= BUDGET + BUDGET / 10, "{what}: {counted} bytes in use");
}

#[test]
fn the_account_of_a_job_with_ten_times_its_budget_of_state_is_within_a_tenth() {
    let peak = Peak::default();
    let Some(_) = run(&peak, |users| users.rebalance().map(|user| user)) else { return };
    let baseline = peak.take();

    let in_slabs = |users: Stream<u64>| {
        let spec = ValueSpec::<[u64; VALUE_BYTES as usize / 8]>::new("words");
        users.key_by(|user| *user).flat_map_with_state("wide", spec, |user, _, words| {
            words[0] += 1;
            Some(*user)
        })
    };
    let summary = run(&peak, in_slabs).unwrap();
    within_a_tenth("values in a slab", &summary, &peak, baseline);

    let on_the_heap = |users: Stream<u64>| {
        let spec = ValueSpec::<Vec<u64>>::new("words");
        users.key_by(|user| *user).flat_map_with_state("long", spec, |user, _, words| {
            words.resize(VALUE_BYTES as usize / 8, *user);
            Some(*user)
        })
    };
    let summary = run(&peak, on_the_heap).unwrap();
    within_a_tenth("values on the heap", &summary, &peak, baseline);
}
