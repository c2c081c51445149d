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
        Self {
            number,
            padding: [number; N],
            alive: Rc::clone(alive),
        }
    }

    fn check(&self) -> u32 {
        assert!(Rc::strong_count(&self.alive) > 1, "the value is dead");
        assert!(self.padding.iter().all(|part| *part == self.number));
        self.number
    }
}

/// Runs steps on a table and a model. With few `hashes`, keys collide.
fn run<K: Key + Sample, const N: usize>(steps: &[Step], hashes: u64) -> Result<(), TestCaseError> {
    let alive = Rc::new(());
    let mut table = Table::<K, Value<N>>::with_capacity(0);
    let mut model = BTreeMap::<K, (u32, u64)>::new();
    let mut cursor = 0;
    let mut bytes = Vec::new();
    for (epoch, step) in (1..).zip(steps) {
        let (Step::Insert(number, _)
        | Step::Access(number)
        | Step::Change(number)
        | Step::Remove(number)
        | Step::Enter(number, _)
        | Step::Sweep(_, number)) = *step
        else {
            table.rehash_step();
            continue;
        };
        let key = K::of(number);
        bytes.clear();
        key.encode(&mut bytes);
        let at = KeyRef {
            hash: hash(&bytes) % hashes,
            bytes: &bytes,
        };
        table.prefetch(at.hash);
        prop_assert_eq!(
            table.get(at).map(Value::check),
            model.get(&key).map(|(value, _)| *value)
        );
        match *step {
            Step::Insert(_, value) => {
                let before = table.insert(at, epoch, Value::new(value, &alive));
                let expected = model.insert(key, (value, epoch));
                prop_assert_eq!(before.map(|v| v.check()), expected.map(|(value, _)| value));
            }
            Step::Access(_) => {
                let slot = table.slot(at, epoch, || Value::new(7, &alive));
                let expected = model.get(&key).map(|(_, epoch)| *epoch);
                prop_assert_eq!((slot.key, slot.changed_in), (&key, expected));
                model.entry(key).or_insert((7, epoch)).1 = epoch;
            }
            Step::Change(_) => {
                let value = table.get_mut(at, epoch);
                prop_assert_eq!(value.is_some(), model.contains_key(&key));
                if let (Some(value), Some(expected)) = (value, model.get_mut(&key)) {
                    *value = Value::new(value.check().wrapping_add(1), &alive);
                    *expected = (value.number, epoch);
                }
            }
            Step::Remove(_) => {
                let removed = table.remove(at).map(|value| value.check());
                prop_assert_eq!(removed, model.remove(&key).map(|(value, _)| value));
            }
            Step::Enter(_, value) => match table.entry(at, epoch) {
                Entry::Vacant(vacant) => {
                    prop_assert_eq!(vacant.key(), at);
                    vacant.insert(Value::new(value, &alive));
                    prop_assert!(model.insert(key, (value, epoch)).is_none());
                }
                Entry::Occupied(entry) => {
                    let (present, changed_in) = (entry.value().check(), entry.changed_in());
                    prop_assert_eq!(model.get(&key), Some(&(present, changed_in)));
                    prop_assert_eq!(entry.key(), &key);
                    if value % 2 == 0 {
                        entry.remove();
                        model.remove(&key);
                    } else {
                        entry.into_mut().1.padding = [present; N];
                        model.insert(key, (present, epoch));
                    }
                }
            },
            Step::Sweep(lines, part) => table.sweep(&mut cursor, lines, |key, value| {
                let keep = u64::from(value.check()) % part != 0;
                if !keep {
                    assert!(model.remove(key).is_some());
                }
                keep
            }),
            Step::Rehash => {}
        }
        prop_assert_eq!(table.len(), model.len());
        prop_assert_eq!(
            Rc::strong_count(&alive),
            1 + model.len(),
            "values leak or die twice"
        );
    }
    let found: BTreeMap<K, (u32, u64)> = table
        .entries()
        .map(|entry| (entry.key.clone(), (entry.value.check(), entry.changed_in)))
        .collect();
    prop_assert_eq!(
        table.entries().count(),
        model.len(),
        "an entry occurs twice"
    );
    prop_assert_eq!(found, model);
    drop(table);
    prop_assert_eq!(Rc::strong_count(&alive), 1, "values outlive the table");
    Ok(())
}

const CASES: u32 = if cfg!(miri) { 2 } else { 200 };

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..Default::default() })]

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
