//! What state says that it takes is what it takes: within 10 % of what a counting allocator and the
//! kernel say.

#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::collections::BTreeMap;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use thalweg_state::{Key, KeyRef, State, Table, TimerRef, Timers};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Bytes that the allocator has given out and not got back.
fn held(region: &Region<'_, System>) -> usize {
    let stats = region.change();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// Memory of this process that is in use, without what belongs to files.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() << 10
}

fn within_a_tenth(what: &str, accounted: usize, counted: usize) {
    let apart = accounted.abs_diff(counted);
    assert!(apart * 10 <= counted, "{what}: {accounted} bytes accounted for, {counted} in use");
}

/// Fills a table, accounting for its heap as stores do.
fn fill<K: Key, V: State>(
    table: &mut Table<K, V>,
    count: u64,
    key: impl Fn(u64) -> K,
    value: impl Fn(u64) -> V,
) {
    for n in 0..count {
        let (key, value) = (key(n), value(n));
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let owned = value.heap_bytes();
        assert!(table.insert(KeyRef::new(&bytes), 1, value).is_none());
        // The table's own copy of the key has no more room than it needs.
        table.adjust_heap((K::decode(&bytes).unwrap().heap_bytes() + owned) as isize);
    }
}

fn tables() {
    let region = Region::new(ALLOCATOR);
    let mut words = Table::<String, u64>::default();
    fill(&mut words, 500, |n| format!("a key of some length {n}"), |n| n);
    within_a_tenth("keys on the heap", words.bytes(), held(&region));
    for n in 0..300u64 {
        let key = format!("a key of some length {n}");
        assert!(words.remove(KeyRef::new(key.as_bytes())).is_some());
        words.adjust_heap(-(key.len() as isize));
    }
    within_a_tenth("what is left of them", words.bytes(), held(&region));
    drop(words);

    let region = Region::new(ALLOCATOR);
    let mut lists = Table::<u64, Vec<u64>>::default();
    fill(&mut lists, 500, |n| n, |n| vec![n; (n % 100) as usize]);
    within_a_tenth("lists", lists.bytes(), held(&region));
    drop(lists);

    let region = Region::new(ALLOCATOR);
    let mut large = Table::<u64, [u64; 30]>::default();
    fill(&mut large, 500, |n| n, |n| [n; 30]);
    within_a_tenth("values in the slab", large.bytes(), held(&region));
    drop(large);

    let region = Region::new(ALLOCATOR);
    let mut trees = Table::<u64, BTreeMap<u64, u64>>::default();
    // One by one in no order: what is collected at once lies denser, ascending keys less so.
    let tree = |n: u64| {
        let mut tree = BTreeMap::new();
        for m in 0..200u64 {
            tree.insert((n * 200 + m).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20, n);
        }
        tree
    };
    fill(&mut trees, 500, |n| n, tree);
    within_a_tenth("trees", trees.bytes(), held(&region));
}

/// The lines of a large table are mapped: no allocator sees them.
fn mapped_lines() {
    let before = resident();
    let mut table = Table::<u64, u64>::default();
    fill(&mut table, 1_000_000, |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15), |n| n);
    while table.is_rehashing() {
        table.rehash_step();
    }
    within_a_tenth("mapped lines", table.bytes(), resident() - before);
}

fn timers() {
    let region = Region::new(ALLOCATOR);
    let mut timers = Timers::<u64>::new();
    for n in 0..20_000u64 {
        let key = n.to_be_bytes();
        let timestamp = (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as i64;
        assert!(timers.register(TimerRef { timestamp, key: &key, namespace: 0 }));
    }
    within_a_tenth("timers", timers.bytes(), held(&region));
}

#[test]
fn accounted_bytes_are_within_a_tenth_of_what_is_in_use() {
    tables();
    mapped_lines();
    timers();
}
