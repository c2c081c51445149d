//! Every cold tier against a model: a map per column that is told the same things.
//!
//! A fetch may or may not show a run that is on its way, so the model keeps, for each key, every
//! value that a fetch was allowed to see since it was given.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};

use proptest::prelude::*;

use super::{Answer, ColdError, ColdTier, ColumnId, Fetch, MemoryTier, Rows};
use crate::ttl::Ttl;

const COLUMNS: usize = 3;

type Value = Option<Vec<u8>>;
type Key = (usize, Vec<u8>);

#[derive(Clone, Debug)]
pub(super) enum Step {
    Store(usize, Vec<(Vec<u8>, Value)>),
    Fetch(usize, Vec<Vec<u8>>),
    Get(usize, Vec<u8>),
    Poll(usize),
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0..40_u64).prop_map(|number| number.to_be_bytes().to_vec()),
        2 => proptest::collection::vec(0..3_u8, 0..4),
        1 => "a longer key [ab]{0,9}".prop_map(String::into_bytes),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(None),
        3 => proptest::collection::vec(any::<u8>(), 0..60).prop_map(Some),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let rows = || proptest::collection::vec((key(), value()), 0..30);
    let keys = || proptest::collection::vec(key(), 0..30);
    prop_oneof![
        3 => (0..COLUMNS, rows()).prop_map(|(column, rows)| Step::Store(column, rows)),
        3 => (0..COLUMNS, keys()).prop_map(|(column, keys)| Step::Fetch(column, keys)),
        2 => (0..COLUMNS, key()).prop_map(|(column, key)| Step::Get(column, key)),
        3 => (1..20_usize).prop_map(Step::Poll),
    ]
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 0..60)
}

/// A tier and what must be read from it.
struct Driver<'a> {
    tier: &'a mut dyn ColdTier,
    columns: Vec<ColumnId>,
    /// Rows of the runs that were answered.
    stored: BTreeMap<Key, Vec<u8>>,
    runs: VecDeque<(u64, usize, Vec<(Vec<u8>, Value)>)>,
    fetches: VecDeque<(u64, usize, Vec<Vec<u8>>, Vec<HashSet<Value, Hasher>>)>,
    spare: Option<(Fetch, Rows)>,
    next: u64,
}

type Hasher = BuildHasherDefault<DefaultHasher>;

/// Drives a tier through the steps, then until nothing is outstanding, and reads all that is there.
pub(super) fn drive(tier: &mut dyn ColdTier, steps: &[Step]) {
    let columns =
        (0..COLUMNS).map(|i| tier.column(&format!("state {i}"), None).expect("a column")).collect();
    assert_eq!(tier.column("state 1", None).expect("a column"), ColumnId(1));
    let mut driver = Driver {
        tier,
        columns,
        stored: BTreeMap::new(),
        runs: VecDeque::new(),
        fetches: VecDeque::new(),
        spare: None,
        next: 0,
    };
    for step in steps {
        match step.clone() {
            Step::Store(column, rows) => driver.store(column, rows),
            Step::Fetch(column, keys) => driver.fetch(column, keys),
            Step::Get(column, key) => driver.get(column, key),
            Step::Poll(polls) => (0..polls).for_each(|_| driver.poll()),
        }
    }
    driver.finish();
    let keys: Vec<Key> = driver.stored.keys().cloned().collect();
    for (column, key) in keys {
        driver.get(column, key.clone());
        driver.fetch(column, vec![key]);
    }
    driver.finish();
}

impl Driver<'_> {
    fn store(&mut self, column: usize, rows: Vec<(Vec<u8>, Value)>) {
        self.next += 1;
        let mut run = self.tier.run(self.next, self.columns[column]);
        assert!(run.is_empty());
        let before = self.tier.backlog_bytes();
        rows.iter().for_each(|(key, value)| run.push(key, value.as_deref()));
        let bytes = run.bytes();
        self.tier.store(run, 0);
        assert_eq!(self.tier.backlog_bytes(), before + bytes);
        for (_, fetched, keys, seen) in &mut self.fetches {
            for (key, seen) in keys.iter().zip(seen).filter(|_| *fetched == column) {
                let last = rows.iter().rev().find(|row| row.0 == *key);
                seen.extend(last.map(|(_, value)| value.clone()));
            }
        }
        self.runs.push_back((self.next, column, rows));
    }

    fn fetch(&mut self, column: usize, keys: Vec<Vec<u8>>) {
        self.next += 1;
        let mut fetch = match self.spare.take() {
            None => Fetch::new(self.next, self.columns[column]),
            Some((mut fetch, rows)) => {
                fetch.reset(self.next, self.columns[column], rows);
                fetch
            }
        };
        keys.iter().for_each(|key| fetch.push(key));
        self.tier.fetch(fetch);
        let seen = keys.iter().map(|key| self.visible(column, key)).collect();
        self.fetches.push_back((self.next, column, keys, seen));
    }

    fn get(&mut self, column: usize, key: Vec<u8>) {
        let found = self.tier.get(self.columns[column], &key).expect("a row can be read");
        let visible = self.visible(column, &key);
        assert!(visible.contains(&found), "{key:?}: {found:?} is none of {visible:?}");
    }

    /// The values that a read may see now: what was answered, or any run on its way.
    fn visible(&self, column: usize, key: &[u8]) -> HashSet<Value, Hasher> {
        let mut values = HashSet::default();
        values.insert(self.stored.get(&(column, key.to_vec())).cloned());
        for (_, _, rows) in self.runs.iter().filter(|run| run.1 == column) {
            let last = rows.iter().rev().find(|row| row.0 == key);
            values.extend(last.map(|(_, value)| value.clone()));
        }
        values
    }

    fn poll(&mut self) {
        match self.tier.poll() {
            None => {}
            Some(Answer::Stored { run }) => {
                let (id, column, rows) = self.runs.pop_front().expect("a run is outstanding");
                assert_eq!(run, id);
                for (key, value) in rows {
                    match value {
                        Some(value) => self.stored.insert((column, key), value),
                        None => self.stored.remove(&(column, key)),
                    };
                }
            }
            Some(Answer::Fetched { fetch, rows }) => {
                let (id, _, keys, seen) = self.fetches.pop_front().expect("a fetch is outstanding");
                assert_eq!((fetch.id, fetch.len(), rows.len()), (id, keys.len(), keys.len()));
                for (index, key) in keys.iter().enumerate() {
                    let found = rows.get(index).map(<[u8]>::to_vec);
                    assert_eq!(fetch.key(index), key);
                    assert!(seen[index].contains(&found), "{key:?}: {found:?}: {:?}", seen[index]);
                }
                self.spare = Some((fetch, rows));
            }
            Some(Answer::Failed(error)) => panic!("{error}"),
        }
    }

    fn finish(&mut self) {
        while self.tier.busy() {
            self.poll();
            std::thread::yield_now();
        }
        assert!(self.runs.is_empty() && self.fetches.is_empty());
        assert_eq!(self.tier.backlog_bytes(), 0);
        assert!(self.tier.poll().is_none());
    }
}

proptest! {
    #[test]
    fn the_tier_in_memory_answers_like_a_map(seed in any::<u64>(), steps in steps()) {
        drive(&mut MemoryTier::new(seed), &steps);
    }
}

#[test]
fn one_seed_always_takes_the_same_course() {
    let course = |seed: u64| -> Vec<bool> {
        let mut tier = MemoryTier::new(seed);
        let column = tier.column("state", None).unwrap();
        (0..50).for_each(|id| tier.store(tier_run(id, column), 0));
        (0..300).map(|_| tier.poll().is_some()).collect()
    };
    assert_eq!(course(7), course(7));
    assert_ne!(course(7), course(8));
}

#[test]
fn the_tier_in_memory_drops_what_has_expired_behind_some_runs() {
    let mut tier = MemoryTier::new(1);
    let column = tier.column("state", Some(Ttl::new(100))).unwrap();
    let other = tier.column("for ever", None).unwrap();
    let mut left = Vec::new();
    for (id, column, stamp, now) in
        [(1, column, 0, 100), (2, other, 0, 100), (3, column, 1, 100), (6, other, 0, 101)]
    {
        let mut run = tier.run(id, column);
        run.push(&id.to_be_bytes(), Some(&i64::to_le_bytes(stamp)));
        tier.store(run, now);
        while tier.wait().is_some() {}
        left.push(tier.len());
    }
    assert_eq!(left, [1, 2, 2, 2]);
}

#[test]
fn a_tier_that_failed_answers_with_its_error_only() {
    let mut tier = MemoryTier::new(1);
    let column = tier.column("state", None).unwrap();
    tier.store(tier_run(1, column), 0);
    tier.fail(ColdError::new("no space left"));
    assert!(tier.busy());
    assert!(matches!(tier.poll(), Some(Answer::Failed(_))));
    assert!(!tier.busy() && tier.poll().is_none() && tier.backlog_bytes() == 0);
    tier.fetch(Fetch::new(2, column));
    assert!(matches!(tier.poll(), Some(Answer::Failed(_))));
    assert!(tier.get(column, b"key").is_err());
}

fn tier_run(id: u64, column: ColumnId) -> super::Run {
    let mut run = super::Run::new(id, column);
    run.push(b"key", Some(&id.to_be_bytes()));
    run
}
