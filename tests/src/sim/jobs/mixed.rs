//! Random pipelines: a tree of operators of every kind, and the same tree applied to a vector.
//!
//! Every operator is a function of the record alone, or of its key's count, so the multiset of the
//! output is the same for any order, any number of cores and any partitioning.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use thalweg::operator::Rejected;
use thalweg::prelude::*;

use super::{Instance, Item, manners, rows};
use crate::seen;
use crate::sim::Random;
use crate::sim::oracle::Equality;
use crate::sim::probe::{Manners, Outputs, Probe};
use crate::sim::random::mix;

/// One operator.
#[derive(Debug, Clone)]
enum Op {
    Map(u64),
    Filter(u64),
    Copy(u64),
    /// Gives the record a text of up to so many bytes.
    Grow(u64),
    Rebalance(usize),
    Rescale(usize),
    /// To so many cores, each of which keeps its share.
    Broadcast(usize),
    Global,
    NewChain,
    Boxed,
    Inspect,
    Timestamps(bool),
    /// Refuses one record in so many.
    Try(u64, Fallible),
    /// Counts per key; the shape of the key, how many keys, on how many cores.
    Count(KeyShape, u64, usize),
    /// A clone through each branch, then together again.
    Diamond(Vec<Op>, Vec<Op>),
}

#[derive(Debug, Clone, Copy)]
enum Fallible {
    Map,
    FlatMap,
    Filter,
}

#[derive(Debug, Clone, Copy)]
enum KeyShape {
    Number,
    Text,
    Pair,
}

/// Records that a pipeline may grow to.
const RECORDS_MAX: u64 = 6_000;

/// A random pipeline.
pub(super) fn mixed(random: &Random) -> Instance {
    let mut draw = random.fork("pipeline");
    let records = draw.between(0, 400);
    let splits = draw.between(1, 4) as usize;
    let rate = draw.pick(&[None, Some(1e6), Some(1e3)]);
    let mut size = records.max(1);
    let ops = draw_ops(&mut draw, 3, &mut size);
    let (outputs, manners) = (Outputs::default(), manners(random));
    let mut account = Account::default();
    let survivors = account.apply(&ops, (0..records).map(item).collect());
    let mut fold = rows("out", survivors.iter().map(Item::row));
    fold.extend(rows("refused", account.refused.iter().map(Item::row)));
    fold.retain(|_, rows| !rows.is_empty());
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let builder =
            Builder { flow, outputs: kept.clone(), manners: manners.clone(), names: Cell::new(0) };
        let mut items = Generator::new(|n| (item(n), n as i64)).records(records).splits(splits);
        if let Some(rate) = rate {
            items = items.rate(rate);
        }
        let items = builder.apply(&ops, flow.source("items", items).boxed());
        items.sink("out", builder.probe("out"));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: Some(fold), judge: None }
}

fn item(n: u64) -> Item {
    Item::new(mix(n) % 97, n)
}

fn draw_ops(draw: &mut Random, depth: u64, size: &mut u64) -> Vec<Op> {
    (0..draw.between(1, 5)).map(|_| draw_op(draw, depth, size)).collect()
}

fn draw_op(draw: &mut Random, depth: u64, size: &mut u64) -> Op {
    let cores = draw.between(1, 6) as usize;
    match draw.below(20) {
        0 | 1 => Op::Map(draw.bits()),
        2 => Op::Filter(draw.between(2, 9)),
        3 => {
            let copies = draw.magnitude((RECORDS_MAX / *size).clamp(1, 200));
            *size *= copies;
            Op::Copy(copies)
        }
        4 => Op::Grow(draw.pick(&[10, 200, 3_000])),
        5 | 6 => Op::Rebalance(cores),
        7 | 8 => Op::Rescale(cores),
        9 | 10 => Op::Broadcast(cores),
        11 => Op::Global,
        12 => Op::NewChain,
        13 => draw.pick(&[Op::Boxed, Op::Inspect]),
        14 => Op::Timestamps(draw.chance(50)),
        15 | 16 => {
            let kind = draw.pick(&[Fallible::Map, Fallible::FlatMap, Fallible::Filter]);
            Op::Try(draw.between(2, 9), kind)
        }
        17 | 18 if depth > 0 && *size * 2 <= RECORDS_MAX => {
            let left = draw_ops(draw, depth - 1, size);
            let right = draw_ops(draw, depth - 1, size);
            *size *= 2;
            Op::Diamond(left, right)
        }
        _ => {
            let shape = draw.pick(&[KeyShape::Number, KeyShape::Text, KeyShape::Pair]);
            Op::Count(shape, draw.magnitude(60), cores)
        }
    }
}

fn mapped(salt: u64, item: Item) -> Item {
    Item { key: mix(item.n ^ salt) % 97, n: mix(item.n ^ salt), text: item.text }
}

fn copies(count: u64, item: Item) -> impl Iterator<Item = Item> {
    (0..count).map(move |copy| Item { n: item.n ^ mix(copy + 1), ..item.clone() })
}

fn grown(most: u64, item: Item) -> Item {
    let text = "text".repeat((mix(item.n) % most / 4) as usize);
    Item { text, ..item }
}

fn refuses(one_in: u64, item: &Item) -> bool {
    mix(item.n ^ item.key).is_multiple_of(one_in)
}

fn counted(key: u64, count: u64) -> Item {
    Item::new(key, mix(count) ^ key)
}

/// What the pipeline means, without an engine.
#[derive(Default)]
struct Account {
    refused: Vec<Item>,
}

impl Account {
    fn apply(&mut self, ops: &[Op], items: Vec<Item>) -> Vec<Item> {
        ops.iter().fold(items, |items, op| self.one(op, items))
    }

    fn one(&mut self, op: &Op, items: Vec<Item>) -> Vec<Item> {
        match op {
            Op::Map(salt) => items.into_iter().map(|item| mapped(*salt, item)).collect(),
            Op::Filter(one_in) => items.into_iter().filter(|item| item.n % one_in > 0).collect(),
            Op::Copy(count) => items.into_iter().flat_map(|item| copies(*count, item)).collect(),
            Op::Grow(most) => items.into_iter().map(|item| grown(*most, item)).collect(),
            Op::Try(one_in, _) => {
                let (refused, kept) = items.into_iter().partition(|item| refuses(*one_in, item));
                self.refused.extend::<Vec<Item>>(refused);
                kept
            }
            Op::Count(_, keys, _) => {
                let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
                let count = |item: Item| {
                    let count = counts.entry(item.key % keys).or_default();
                    *count += 1;
                    counted(item.key % keys, *count)
                };
                items.into_iter().map(count).collect()
            }
            Op::Diamond(left, right) => {
                let mut both = self.apply(left, items.clone());
                both.extend(self.apply(right, items));
                both
            }
            Op::Rebalance(_) | Op::Rescale(_) | Op::Broadcast(_) | Op::Global | Op::NewChain => {
                items
            }
            Op::Boxed | Op::Inspect | Op::Timestamps(_) => items,
        }
    }
}

/// The pipeline with the engine.
struct Builder<'a> {
    flow: &'a Dataflow,
    outputs: Outputs,
    manners: Manners,
    names: Cell<u64>,
}

impl Builder<'_> {
    fn probe(&self, name: &str) -> Probe<fn(&Item) -> (u64, String)> {
        Probe::new(name, &self.outputs, &self.manners, Item::row)
    }

    fn name(&self, what: &str) -> String {
        self.names.set(self.names.get() + 1);
        format!("{what} {}", self.names.get())
    }

    fn apply(&self, ops: &[Op], items: Stream<Item>) -> Stream<Item> {
        ops.iter().fold(items, |items, op| self.one(op, items))
    }

    fn one(&self, op: &Op, items: Stream<Item>) -> Stream<Item> {
        let most = self.flow.parallelism();
        match op.clone() {
            Op::Map(salt) => items.map(move |item| mapped(salt, item)).boxed(),
            Op::Filter(one_in) => items.filter(move |item| item.n % one_in > 0).boxed(),
            Op::Copy(count) => items.flat_map(move |item| copies(count, item)).boxed(),
            Op::Grow(most) => items.map(move |item| grown(most, item)).boxed(),
            Op::Rebalance(cores) => items.rebalance().parallelism(cores.min(most)).boxed(),
            Op::Rescale(cores) => items.rescale().parallelism(cores.min(most)).boxed(),
            Op::Broadcast(cores) => {
                let (cores, own) = (cores.min(most), self.flow.core() as u64);
                let share = move |item: &Item| mix(item.n) % cores as u64 == own;
                items.broadcast().parallelism(cores).filter(share).boxed()
            }
            Op::Global => {
                let own = self.flow.core();
                items.global().inspect(move |_| assert_eq!(own, 0, "global is core 0")).boxed()
            }
            Op::NewChain => items.start_new_chain().boxed(),
            Op::Boxed => items.boxed(),
            Op::Inspect => items.inspect(|item| assert!(item.text.len() < 3_000)).boxed(),
            Op::Timestamps(periodic) => {
                let strategy = WatermarkStrategy::bounded(Duration::from_secs(1));
                let strategy = strategy.with_timestamps(|item: &Item| (item.n % 1_000) as i64);
                let strategy = match periodic {
                    true => strategy.periodic(Duration::from_millis(1)),
                    false => strategy,
                };
                items.assign_timestamps(strategy).boxed()
            }
            Op::Try(one_in, kind) => self.fallible(one_in, kind, items),
            Op::Count(shape, keys, cores) => self.count(shape, keys, cores.min(most), items),
            Op::Diamond(left, right) => {
                let other = items.clone();
                let left = self.apply(&left, items).rebalance();
                left.union(self.apply(&right, other).rebalance())
            }
        }
    }

    fn fallible(&self, one_in: u64, kind: Fallible, items: Stream<Item>) -> Stream<Item> {
        let tag = Tag::<Rejected<Item>>::new("refused");
        let refuse = move |item: &Item| match refuses(one_in, item) {
            true => Err(format!("refused {}", item.n)),
            false => Ok(item.clone()),
        };
        let (kept, refused) = match kind {
            Fallible::Map => {
                let kept = items.try_map(refuse).or_dead_letter(&tag);
                let refused = kept.side_output(&tag);
                (kept.boxed(), refused)
            }
            Fallible::FlatMap => {
                let refuse = move |item: &Item| refuse(item).map(Some);
                let kept = items.try_flat_map(refuse).or_dead_letter(&tag);
                let refused = kept.side_output(&tag);
                (kept.boxed(), refused)
            }
            Fallible::Filter => {
                let refuse = move |item: &Item| refuse(item).map(|_| true);
                let kept = items.try_filter(refuse).or_dead_letter(&tag);
                let refused = kept.side_output(&tag);
                (kept.boxed(), refused)
            }
        };
        let letters = refused.map(|letter| {
            seen!("a record was refused and went to the dead letters");
            assert_eq!(letter.error, format!("refused {}", letter.record.n));
            letter.record
        });
        letters.sink(&self.name("refused"), self.probe("refused"));
        kept
    }

    fn count(&self, shape: KeyShape, keys: u64, cores: usize, items: Stream<Item>) -> Stream<Item> {
        let (name, spec) = (self.name("count"), ValueSpec::new("n"));
        let count = move |item: Item, n: &mut u64| {
            *n += 1;
            [counted(item.key % keys, *n)]
        };
        match shape {
            KeyShape::Number => items
                .key_by(move |item| item.key % keys)
                .parallelism(cores)
                .flat_map_with_state(&name, spec, move |_, item, n| count(item, n))
                .boxed(),
            KeyShape::Text => items
                .key_by(move |item| format!("key {}", item.key % keys))
                .parallelism(cores)
                .flat_map_with_state(&name, spec, move |_, item, n| count(item, n))
                .boxed(),
            KeyShape::Pair => items
                .key_by(move |item| (item.key % keys, "k".repeat((item.key % keys) as usize)))
                .parallelism(cores)
                .flat_map_with_state(&name, spec, move |_, item, n| count(item, n))
                .boxed(),
        }
    }
}
