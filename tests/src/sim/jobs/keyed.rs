//! Keyed streams one behind another, several operators at one gate, and a job without any exchange.

use std::collections::BTreeMap;

use thalweg::prelude::*;

use super::{Instance, Item, manners, rows};
use crate::sim::oracle::Equality;
use crate::sim::probe::{Outputs, Probe, Rows};
use crate::sim::{Random, trap};

/// Each key comes from one split, and the second key is finer than the first: so the order per key
/// is fixed.
pub(super) fn chained(random: &Random) -> Instance {
    let mut draw = random.fork("chained");
    let (records, keys) = (draw.between(0, 1_500), draw.magnitude(100));
    let (coarse, splits) = (draw.magnitude(12), draw.between(1, 4) as usize);
    let middle = draw.between(1, 3) as usize;
    let salt = draw.bits();
    let key_of = move |n: u64| Random::new(n ^ salt).below(keys);
    let (outputs, manners) = (Outputs::default(), manners(random));
    let mut sums: BTreeMap<u64, u64> = BTreeMap::new();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let fold = (0..records).map(|n| {
        let key = key_of(n);
        let (sum, count) = (sums.entry(key).or_default(), counts.entry(key).or_default());
        (*sum, *count) = (*sum + n, *count + 1);
        Item { key, n: *sum, text: count.to_string() }.row()
    });
    let fold = rows("sums", fold.collect::<Vec<_>>());
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let items = Generator::new(move |n| (Item::new(key_of(n), n), n as i64));
        let cores = middle.min(flow.parallelism());
        flow.source(
            "items",
            items.records(records).splits(splits).assign_by(|item: &Item| item.key),
        )
        .assign_timestamps(WatermarkStrategy::monotonous())
        .key_by(move |item| (item.key % coarse) as u32)
        .parallelism(cores)
        .flat_map_with_state("count", ValueSpec::new("counts"), count_each)
        .start_new_chain()
        .map(|item| item)
        .key_by(|item| item.key)
        .flat_map_with_state("sum", ValueSpec::new("sum"), |_, item: Item, sum: &mut u64| {
            *sum += item.n;
            Some(Item { n: *sum, ..item })
        })
        .sink("sums", Probe::new("sums", &kept, &manners, Item::row));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::PerKey, fold: Some(fold), judge: None }
}

/// Counts the records of each fine key below a coarse one.
fn count_each(_: &u32, item: Item, counts: &mut BTreeMap<u64, u64>) -> Option<Item> {
    trap::call();
    let count = counts.entry(item.key).or_default();
    *count += 1;
    Some(Item { text: count.to_string(), ..item })
}

/// Several operators read one gate, each into an exchange of its own, at different speeds.
pub(super) fn consumers(random: &Random) -> Instance {
    let mut draw = random.fork("consumers");
    let (records, keys) = (draw.between(0, 800), draw.magnitude(50));
    let (splits, copies) = (draw.between(1, 3) as usize, draw.between(1, 8));
    let salt = draw.bits();
    let key_of = move |n: u64| Random::new(n ^ salt).below(keys);
    let (outputs, manners) = (Outputs::default(), manners(random));
    let fold = consumed(records, copies, key_of);
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let probe = |name: &str| Probe::new(name, &kept, &manners, Item::row);
        let items = Generator::new(move |n| (Item::new(key_of(n), n), n as i64));
        let keyed = flow
            .source(
                "items",
                items.records(records).splits(splits).assign_by(|item: &Item| item.key),
            )
            .assign_timestamps(WatermarkStrategy::monotonous())
            .key_by(|item| item.key);
        keyed
            .clone()
            .flat_map_with_state(
                "many",
                ValueSpec::new("seen"),
                move |_, item: Item, _: &mut u64| {
                    (0..copies).map(move |copy| Item::new(item.key, item.n * 8 + copy))
                },
            )
            .key_by(|item| item.key)
            .flat_map_with_state("pass", ValueSpec::new("seen"), pass)
            .sink("out-many", probe("many"));
        keyed
            .clone()
            .flat_map_with_state("few", ValueSpec::new("seen"), |_, item: Item, _: &mut u64| {
                item.n.is_multiple_of(5).then_some(item)
            })
            .key_by(|item| item.key)
            .flat_map_with_state("pass-few", ValueSpec::new("seen"), pass)
            .sink("out-few", probe("few"));
        keyed
            .flat_map_with_state("all", ValueSpec::new("seen"), pass)
            .sink("out-all", probe("all"));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::PerKey, fold: Some(fold), judge: None }
}

/// What each of the consumers hands on.
fn consumed(records: u64, copies: u64, key_of: impl Fn(u64) -> u64) -> Rows {
    let item = |n: u64| Item::new(key_of(n), n).row();
    let many = (0..records).flat_map(|n| copied(key_of(n), n, copies));
    let mut fold = rows("many", many);
    fold.extend(rows("few", (0..records).filter(|n| n % 5 == 0).map(item)));
    fold.extend(rows("all", (0..records).map(item)));
    fold.retain(|_, rows| !rows.is_empty());
    fold
}

fn pass(_: &u64, item: Item, seen: &mut u64) -> Option<Item> {
    trap::call();
    *seen += 1;
    Some(item)
}

fn copied(key: u64, n: u64, copies: u64) -> impl Iterator<Item = (u64, String)> {
    (0..copies).map(move |copy| Item::new(key, n * 8 + copy).row())
}

/// Source to sink without an exchange, beside a stream that has one.
pub(super) fn straight(random: &Random) -> Instance {
    let mut draw = random.fork("straight");
    let (records, splits) = (draw.between(0, 3_000), draw.between(1, 4) as usize);
    let exchanged = draw.chance(50);
    let (outputs, manners) = (Outputs::default(), manners(random));
    let mut fold =
        rows("straight", (0..records).filter(|n| n % 3 > 0).map(|n| Item::new(0, n).row()));
    if exchanged {
        fold.extend(rows("exchanged", (0..records).map(|n| Item::new(0, n).row())));
    }
    fold.retain(|_, rows| !rows.is_empty());
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let probe = |name: &str| Probe::new(name, &kept, &manners, Item::row);
        let items =
            || Generator::new(|n| (Item::new(0, n), n as i64)).records(records).splits(splits);
        flow.source("items", items()).filter(|item| item.n % 3 > 0).sink("out", probe("straight"));
        if exchanged {
            let others = flow.source("others", items()).rebalance();
            others.sink("out-exchanged", probe("exchanged"));
        }
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: Some(fold), judge: None }
}
