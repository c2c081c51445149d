//! The table against a model: a `BTreeMap` that is told the same things.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::{Entry, Table};
use crate::key::{Key, KeyRef, hash};

#[derive(Clone, Debug)]
enum Step {
    Insert(u64, u32),
    Access(u64),
    Change(u64),
    Remove(u64),
    Enter(u64, u32),
    Sweep(usize, u64),
    Rehash,
}

fn step(keys: u64) -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..keys, any::<u32>()).prop_map(|(key, value)| Step::Insert(key, value)),
        4 => (0..keys).prop_map(Step::Access),
        2 => (0..keys).prop_map(Step::Change),
        4 => (0..keys).prop_map(Step::Remove),
        2 => (0..keys, any::<u32>()).prop_map(|(key, value)| Step::Enter(key, value)),
        1 => (0..200_usize, 2..5_u64).prop_map(|(lines, part)| Step::Sweep(lines, part)),
        1 => Just(Step::Rehash),
    ]
}

/// A key and a value of the table under test, made from numbers.
trait Sample: Sized {
    fn of(number: u64) -> Self;
}

impl Sample for u64 {
    fn of(number: u64) -> Self {
        number
    }
}

impl Sample for String {
    fn of(number: u64) -> Self {
        format!("key number {number}")
    }
}

/// A value of a chosen size that counts how many of its kind are alive.
struct Value<const N: usize> {
    number: u32,
    padding: [u32; N],
    alive: Rc<()>,
}

impl<const N: usize> Value<N> {
    fn new(number: u32, alive: &Rc<()>) -> Self {
        Self { number, padding: [number; N], alive: Rc::clone(alive) }
    }

    fn check(&self) -> u32 {
        assert!(Rc::strong_count(&self.alive) > 1, "the value is dead");
        assert!(self.padding.iter().all(|part| *part == self.number));
        self.number
    }
}

/// A table, and a map from keys to values and epochs that is told the same things.
struct Twins<K: Key, const N: usize> {
    table: Table<K, Value<N>>,
    model: BTreeMap<K, (u32, u64)>,
    alive: Rc<()>,
    cursor: usize,
}

impl<K: Key + Sample, const N: usize> Twins<K, N> {
    fn apply(&mut self, step: &Step, epoch: u64, hashes: u64) -> Result<(), TestCaseError> {
        let (number, value) = match *step {
            Step::Insert(number, value) | Step::Enter(number, value) => (number, value),
            Step::Access(number) | Step::Change(number) | Step::Remove(number) => (number, 7),
            Step::Sweep(lines, part) => return self.sweep(lines, part),
            Step::Rehash => {
                self.table.rehash_step();
                return Ok(());
            }
        };
        let key = K::of(number);
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        let at = KeyRef { hash: hash(&bytes) % hashes, bytes: &bytes };
        let expected = self.model.get(&key).copied();
        self.table.prefetch(at.hash);
        self.table.prefetch_entry(at.hash, |_| {});
        let found = self.table.get(at).map(Value::check);
        prop_assert_eq!(found, expected.map(|(value, _)| value));
        let fresh = Value::new(value, &self.alive);
        match step {
            Step::Insert(..) => {
                let before = self.table.insert(at, epoch, fresh);
                prop_assert_eq!(before.map(|v| v.check()), found);
                self.model.insert(key, (value, epoch));
            }
            Step::Access(_) => {
                let slot = self.table.slot(at, epoch, || fresh);
                prop_assert_eq!((slot.key, slot.changed_in), (&key, expected.map(|e| e.1)));
                self.model.insert(key, (found.unwrap_or(value), epoch));
            }
            Step::Change(_) => {
                let present = self.table.get_mut(at, epoch);
                prop_assert_eq!(present.as_ref().map(|v| v.check()), found);
                if let Some(present) = present {
                    *present = fresh;
                    self.model.insert(key, (value, epoch));
                }
            }
            Step::Remove(_) => {
                prop_assert_eq!(self.table.remove(at).map(|v| v.check()), found);
                self.model.remove(&key);
            }
            _ => self.enter(at, key, epoch, fresh)?,
        }
        Ok(())
    }

    fn enter(
        &mut self,
        at: KeyRef<'_>,
        key: K,
        epoch: u64,
        fresh: Value<N>,
    ) -> Result<(), TestCaseError> {
        let value = fresh.check();
        match self.table.entry(at, epoch) {
            Entry::Vacant(vacant) => {
                prop_assert_eq!(vacant.key(), at);
                prop_assert_eq!(vacant.insert(fresh).0, &key);
                prop_assert!(self.model.insert(key, (value, epoch)).is_none());
            }
            Entry::Occupied(entry) => {
                let present = (entry.value().check(), entry.changed_in());
                prop_assert_eq!(self.model.get(&key), Some(&present));
                prop_assert_eq!(entry.key(), &key);
                if value.is_multiple_of(2) {
                    prop_assert_eq!(&entry.remove().0, &key);
                    self.model.remove(&key);
                } else {
                    *entry.into_mut().1 = fresh;
                    self.model.insert(key, (value, epoch));
                }
            }
        }
        Ok(())
    }

    fn sweep(&mut self, lines: usize, part: u64) -> Result<(), TestCaseError> {
        let model = &mut self.model;
        self.table.sweep(&mut self.cursor, lines, |key, value| {
            let keep = u64::from(value.check()) % part != 0;
            if !keep {
                assert!(model.remove(key).is_some(), "{key:?} was swept but never there");
            }
            keep
        });
        Ok(())
    }
}

/// Runs steps on a table and a model. With few `hashes`, keys collide.
fn run<K: Key + Sample, const N: usize>(steps: &[Step], hashes: u64) -> Result<(), TestCaseError> {
    let alive = Rc::new(());
    let table = Table::with_capacity(0);
    let model = BTreeMap::new();
    let mut twins = Twins::<K, N> { table, model, alive: Rc::clone(&alive), cursor: 0 };
    for (epoch, step) in (1..).zip(steps) {
        twins.apply(step, epoch, hashes)?;
        prop_assert_eq!(twins.table.len(), twins.model.len());
        prop_assert_eq!(Rc::strong_count(&alive), 2 + twins.model.len(), "a leak or a double drop");
    }
    let Twins { table, model, alive: copy, .. } = twins;
    let found: BTreeMap<K, (u32, u64)> = table
        .entries()
        .map(|entry| (entry.key.clone(), (entry.value.check(), entry.changed_in)))
        .collect();
    prop_assert_eq!(table.iter().count(), model.len(), "an entry occurs twice");
    prop_assert_eq!(found, model);
    drop((table, copy));
    prop_assert_eq!(Rc::strong_count(&alive), 1, "values outlive the table");
    Ok(())
}

const CASES: u32 = if cfg!(miri) { 2 } else { 200 };

proptest! {
    #![proptest_config(ProptestConfig {
        cases: CASES,
        failure_persistence: None,
        ..Default::default()
    })]

    #[test]
    fn inline_entries_behave_like_a_map(steps in prop::collection::vec(step(300), 1..2_000)) {
        run::<u64, 4>(&steps, u64::MAX)?;
    }

    #[test]
    fn entries_in_the_slab_behave_like_a_map(steps in prop::collection::vec(step(300), 1..2_000)) {
        run::<u64, 40>(&steps, u64::MAX)?;
    }

    #[test]
    fn keys_on_the_heap_behave_like_a_map(steps in prop::collection::vec(step(300), 1..2_000)) {
        run::<String, 1>(&steps, u64::MAX)?;
        run::<String, 10>(&steps, u64::MAX)?;
    }

    #[test]
    fn colliding_hashes_behave_like_a_map(steps in prop::collection::vec(step(100), 1..800)) {
        run::<u64, 4>(&steps, 1)?;
        run::<u64, 4>(&steps, 3)?;
        run::<String, 20>(&steps, 2)?;
    }
}
