//! Broadcast state: what a stream that goes to every core has told an operator.
//!
//! All cores must hear the same and change the same, so only the side of the broadcast stream may
//! write: writing takes its context.

use std::cell::{Ref, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_state::segment::Op;
use thalweg_state::{Key, State};

use super::table::{Rows, Table};
use crate::Result;

/// The context of a call that may write broadcast state: that of an element of the broadcast
/// stream.
pub trait MayWrite: sealed::Sealed {}

pub(crate) mod sealed {
    pub trait Sealed {}
}

/// A map that an element of a broadcast stream changes on every core, and records read.
///
/// Its entries are in the order of their keys. Reading costs a search of a sorted map; nothing is
/// copied.
///
/// ```
/// use thalweg::{Result, prelude::*};
/// struct Judge { rules: BroadcastState<String, u64> }
/// impl KeyedBroadcastProcess<u64, u64, (String, u64)> for Judge {
///     type Out = u64;
///     fn process(&mut self, amount: u64, cx: &mut ProcessContext<u64, u64>) -> Result<()> {
///         if self.rules.get("limit").is_some_and(|limit| amount > *limit) {
///             cx.emit(amount);
///         }
///         Ok(())
///     }
///     fn process_broadcast(
///         &mut self,
///         (name, value): (String, u64),
///         cx: &mut BroadcastContext<u64, u64>,
///     ) -> Result<()> {
///         self.rules.write(cx).insert(name, value);
///         Ok(())
///     }
/// }
/// ```
///
/// The side of the keyed stream cannot write:
///
/// ```compile_fail,E0277
/// # use thalweg::prelude::*;
/// # fn f(rules: &mut BroadcastState<String, u64>, cx: &mut ProcessContext<u64, u64>) {
/// rules.write(cx).insert("limit".into(), 3);
/// # }
/// ```
pub struct BroadcastState<K: Key, V: State> {
    table: Rc<RefCell<Table<Entries<K, V>>>>,
}

impl<K: Key, V: State> BroadcastState<K, V> {
    pub(super) fn new(table: Rc<RefCell<Table<Entries<K, V>>>>) -> Self {
        Self { table }
    }

    /// The value of an entry, to look at.
    pub fn get<Q>(&self, key: &Q) -> Option<Ref<'_, V>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        Ref::filter_map(self.table.borrow(), |table| table.rows.entries.get(key)).ok()
    }

    /// Whether there is such an entry.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
        Q: Ord + ?Sized,
    {
        self.get(key).is_some()
    }

    /// All entries, in the order of their keys.
    pub fn read(&self) -> Ref<'_, BTreeMap<K, V>> {
        Ref::map(self.table.borrow(), |table| &table.rows.entries)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.read().len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.read().is_empty()
    }

    /// All entries, to change, while an element of the broadcast stream is processed.
    pub fn write(&mut self, _context: &impl MayWrite) -> BroadcastMut<'_, K, V> {
        BroadcastMut { table: self.table.borrow_mut() }
    }
}

/// Broadcast state that is being changed; made by [`BroadcastState::write`]. Each change costs the
/// encoding of the entry, for the next checkpoint.
pub struct BroadcastMut<'a, K: Key, V: State> {
    table: RefMut<'a, Table<Entries<K, V>>>,
}

impl<K: Key, V: State> BroadcastMut<'_, K, V> {
    /// Sets an entry and returns the value that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.table.note(&key, &value);
        self.table.rows.insert(key, value)
    }

    /// Changes an entry, or the default if there is none, and returns what `change` returns.
    pub fn update<R>(&mut self, key: K, change: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        let mut value = self.table.rows.remove(&key).unwrap_or_default();
        let result = change(&mut value);
        self.insert(key, value);
        result
    }

    /// Removes an entry and returns its value.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.table.rows.remove(key)?;
        self.table.bury(key);
        Some(value)
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        let gone = std::mem::take(&mut self.table.rows);
        gone.entries.keys().for_each(|key| self.table.bury(key));
    }

    /// All entries, in the order of their keys.
    pub fn read(&self) -> &BTreeMap<K, V> {
        &self.table.rows.entries
    }
}

/// Entries by key.
pub(super) struct Entries<K, V> {
    entries: BTreeMap<K, V>,
    /// Memory that keys and values own.
    heap: usize,
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), heap: 0 }
    }
}

impl<K: Key, V: State> Entries<K, V> {
    fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (of_key, of_value) = (key.heap_bytes(), value.heap_bytes());
        let before = self.entries.insert(key, value);
        self.heap += of_value;
        match &before {
            Some(before) => self.heap -= before.heap_bytes(),
            None => self.heap += of_key,
        }
        before
    }

    fn remove(&mut self, key: &K) -> Option<V> {
        let (key, value) = self.entries.remove_entry(key)?;
        self.heap -= key.heap_bytes() + value.heap_bytes();
        Some(value)
    }
}

impl<K: Key, V: State> Rows for Entries<K, V> {
    fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
    fn bytes(&self) -> usize {
        self.heap + self.entries.len() * size_of::<(K, V)>()
    }
    fn replay(&mut self, op: Op<'_>) -> Result<()> {
        let key = K::decode(op.key)?;
        match op.value {
            Some(value) => drop(self.insert(key, V::decode(value)?)),
            None => drop(self.remove(&key)),
        }
        Ok(())
    }
}
