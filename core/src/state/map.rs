//! A map per key: a row per entry and a head row per key.
//!
//! The entries of a key are linked in the order in which they were inserted, which is the order of
//! iteration: a change touches an entry and its neighbours, never the whole map.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::rc::Rc;

use thalweg_state::macros::fingerprint;
use thalweg_state::{CodecError, Encoder, Key, KeyRef, State};

use super::encoding::{Row, cut_short, key_shape, put_key, take_key};
use super::states::StateTable;
use super::{
    ColdState, Held, Journalled, KeyedState, Places, RowKey, Scope, StateMut, StateSpec, Store,
};
use crate::Result;
use crate::runtime::Core;

/// A map of the current key, iterated in the order of insertion.
///
/// ```
/// use thalweg::prelude::*;
/// # fn f(days: &mut MapState<i64, u64>) {
/// days.insert(19_000, 5);
/// assert!(days.contains(&19_000));
/// let sum: u64 = days.iter().map(|(_day, amount)| *amount).sum();
/// days.remove(&19_000);
/// # }
/// ```
pub struct MapState<E, V> {
    cell: Rc<dyn MapAccess<E, V>>,
}

impl<E: Key, V: State> MapState<E, V> {
    pub(crate) fn new<K: Key>(cell: Rc<MapCell<K, E, V>>) -> Self {
        Self { cell }
    }

    /// The value of an entry, to look at.
    pub fn get(&mut self, entry: &E) -> Option<Ref<'_, V>> {
        self.cell.touch(entry);
        self.cell.at(entry).map(|(value, _)| value)
    }

    /// A copy of the value of an entry.
    pub fn value(&mut self, entry: &E) -> Option<V>
    where
        V: Clone,
    {
        self.get(entry).map(|value| V::clone(&value))
    }

    /// The value of an entry, to change.
    pub fn get_mut(&mut self, entry: &E) -> Option<StateMut<'_, V>> {
        self.cell.get_mut(entry)
    }

    /// The value of an entry, to change; the default if there is none.
    pub fn or_default(&mut self, entry: &E) -> StateMut<'_, V>
    where
        V: Default,
    {
        if !self.contains(entry) {
            self.cell.insert(entry, V::default());
        }
        self.cell.get_mut(entry).expect("an entry that was just inserted is there")
    }

    /// Sets an entry and returns the value that it had; a new one is the last of the order.
    pub fn insert(&mut self, entry: E, value: V) -> Option<V> {
        self.cell.insert(&entry, value)
    }

    /// Removes an entry and returns its value.
    pub fn remove(&mut self, entry: &E) -> Option<V> {
        self.cell.remove(entry)
    }

    /// Whether there is such an entry.
    pub fn contains(&mut self, entry: &E) -> bool {
        self.get(entry).is_some()
    }

    /// The entries in the order in which they were inserted.
    pub fn iter(&mut self) -> MapIter<'_, E, V> {
        MapIter { next: self.cell.first(), cell: &*self.cell }
    }

    /// The keys of the entries in the order in which they were inserted.
    pub fn keys(&mut self) -> impl Iterator<Item = E> {
        self.iter().map(|(entry, _)| entry)
    }

    /// Number of entries.
    pub fn len(&mut self) -> usize {
        self.iter().count()
    }

    /// Whether there is no entry.
    pub fn is_empty(&mut self) -> bool {
        self.iter().next().is_none()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.cell.clear();
    }
}

/// The entries of a map; made by [`MapState::iter`].
pub struct MapIter<'a, E, V> {
    cell: &'a dyn MapAccess<E, V>,
    next: Option<E>,
}

impl<'a, E: Key, V: State> Iterator for MapIter<'a, E, V> {
    type Item = (E, Ref<'a, V>);

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next.take()?;
        let (value, next) = self.cell.at(&entry)?;
        self.next = next;
        Some((entry, value))
    }
}

trait MapAccess<E, V: State> {
    /// Counts as a read of an entry.
    fn touch(&self, entry: &E);
    /// An entry that is there, and the one behind it.
    fn at(&self, entry: &E) -> Option<(Ref<'_, V>, Option<E>)>;
    fn get_mut(&self, entry: &E) -> Option<StateMut<'_, V>>;
    fn insert(&self, entry: &E, value: V) -> Option<V>;
    fn remove(&self, entry: &E) -> Option<V>;
    /// The first entry; counts as a read of all, so that none behind it has expired.
    fn first(&self) -> Option<E>;
    fn clear(&self);
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()>;
}

impl<E: Key, V: State> KeyedState for MapState<E, V> {
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.cell.keys(out)
    }
    fn is_present(&mut self) -> bool {
        !self.is_empty()
    }
}

/// The two ends of a key's entries.
#[derive(Debug, Clone)]
struct Head<E> {
    first: E,
    last: E,
}

impl<E: Key> Row for Head<E> {
    const SHAPE: u64 = fingerprint("map", &[("entry", key_shape::<E>())]);

    fn heap_bytes(&self) -> usize {
        self.first.heap_bytes() + self.last.heap_bytes()
    }
    fn encode(&self, _encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError> {
        put_key(&self.first, out);
        put_key(&self.last, out);
        Ok(())
    }
    fn decode(mut bytes: &[u8]) -> Result<Self> {
        let bytes = &mut bytes;
        Ok(Self { first: take_key(bytes)?, last: take_key(bytes)? })
    }
}

/// An entry between its neighbours.
#[derive(Debug)]
struct Linked<E, V> {
    value: V,
    previous: Option<E>,
    next: Option<E>,
}

impl<E: Key, V: State> Row for Linked<E, V> {
    const SHAPE: u64 =
        fingerprint("linked", &[("entry", key_shape::<E>()), ("value", V::FINGERPRINT)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        let key = |entry: &Option<E>| entry.as_ref().map_or(0, Key::heap_bytes);
        self.value.heap_bytes() + key(&self.previous) + key(&self.next)
    }
    fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError> {
        for neighbour in [&self.previous, &self.next] {
            out.push(u8::from(neighbour.is_some()));
            neighbour.iter().for_each(|entry| put_key(entry, out));
        }
        Row::encode(&self.value, encoder, out)
    }
    fn decode(mut bytes: &[u8]) -> Result<Self> {
        let mut neighbour = || match bytes.split_off_first() {
            None => Err(cut_short()),
            Some(0) => Ok(None),
            Some(_) => take_key(&mut bytes).map(Some),
        };
        let (previous, next) = (neighbour()?, neighbour()?);
        Ok(Self { value: Row::decode(bytes)?, previous, next })
    }
}

/// The maps of one state on one core.
pub(crate) struct MapCell<K: Key, E: Key, V: State> {
    scope: Rc<Scope>,
    heads: RefCell<Store<K, Head<E>>>,
    rows: RefCell<Store<(K, E), Linked<E, V>>>,
    row: RefCell<RowKey>,
    expired: RefCell<Vec<(K, E)>>,
    heap: Cell<isize>,
}

impl<K: Key, E: Key, V: State> MapCell<K, E, V> {
    pub(crate) fn new(scope: Rc<Scope>, core: &Rc<Core>, operator: &str, spec: &StateSpec) -> Self {
        let heads = spec.heads();
        Self {
            scope,
            heads: RefCell::new(Store::new(Rc::clone(core), operator, &heads)),
            rows: RefCell::new(Store::of_rows(core, operator, &spec.entries(), Places::ENTRIES)),
            row: RefCell::new(RowKey::new()),
            expired: RefCell::default(),
            heap: Cell::new(0),
        }
    }

    fn head(&self, key: KeyRef<'_>) -> Option<Head<E>> {
        let mut heads = self.heads.borrow_mut();
        heads.bring(key);
        heads.peek(key).cloned()
    }

    fn keep(&self, key: KeyRef<'_>, head: Head<E>) {
        self.heads.borrow_mut().insert(key, head);
    }

    fn sweep_some(&self) {
        let rows = &mut *self.rows.borrow_mut();
        rows.adjust_heap(self.heap.replace(0));
        if !rows.expires() {
            return;
        }
        rows.expired_some(&mut self.expired.borrow_mut());
    }

    /// Lets go of the entries that were found expired.
    fn drop_expired(&self) {
        let mut expired = self.expired.borrow_mut();
        for (key, entry) in expired.drain(..) {
            key.with_encoded(|bytes| self.take_one(KeyRef::new(bytes), &entry));
        }
    }

    /// Takes an entry out and tells whether it was still to be seen.
    fn take_one(&self, key: KeyRef<'_>, entry: &E) -> Option<(V, bool)> {
        let mut row = self.row.borrow_mut();
        let (gone, lives) = self.rows.borrow_mut().take(row.of::<K, E>(key, entry))?;
        drop(row);
        self.unlink(key, gone.previous, gone.next);
        Some((gone.value, lives))
    }

    /// Counts as a read; an expired entry is unlinked.
    fn touch_one(&self, key: KeyRef<'_>, entry: &E) {
        let mut row = self.row.borrow_mut();
        let gone = self.rows.borrow_mut().touch(row.of::<K, E>(key, entry));
        drop(row);
        if let Some(gone) = gone {
            self.unlink(key, gone.previous, gone.next);
        }
    }

    /// The entry behind one, expired or not; brings that one from the cold tier if it is there.
    fn behind(&self, key: KeyRef<'_>, entry: &E) -> Option<E> {
        let mut row = self.row.borrow_mut();
        let row = row.of::<K, E>(key, entry);
        let rows = &mut *self.rows.borrow_mut();
        rows.bring(row);
        rows.peek_any(row).and_then(|linked| linked.next.clone())
    }

    /// Changes an entry's links without counting as an access to its value.
    fn relink(&self, key: KeyRef<'_>, entry: &E, change: impl FnOnce(&mut Linked<E, V>)) {
        let mut row = self.row.borrow_mut();
        let rows = &mut *self.rows.borrow_mut();
        let own = |linked: &Linked<E, V>| {
            let key = |entry: &Option<E>| entry.as_ref().map_or(0, Key::heap_bytes);
            (key(&linked.previous) + key(&linked.next)) as isize
        };
        let found = rows.change_quietly(row.of::<K, E>(key, entry), |linked| {
            let before = own(linked);
            change(linked);
            own(linked) - before
        });
        rows.adjust_heap(found.expect("a neighbour of an entry is there"));
    }

    /// Joins the neighbours of an entry that has been taken out.
    fn unlink(&self, key: KeyRef<'_>, previous: Option<E>, next: Option<E>) {
        if let Some(previous) = &previous {
            self.relink(key, previous, |linked| linked.next.clone_from(&next));
        }
        if let Some(next) = &next {
            self.relink(key, next, |linked| linked.previous.clone_from(&previous));
        }
        let mut head = self.head(key).expect("a map with an entry has a head");
        match (previous, next) {
            (None, None) => drop(self.heads.borrow_mut().remove(key)),
            (None, Some(next)) => {
                head.first = next;
                self.keep(key, head);
            }
            (Some(previous), None) => {
                head.last = previous;
                self.keep(key, head);
            }
            (Some(_), Some(_)) => {}
        }
    }

    /// Adds an entry that is not there behind the last one.
    fn append(&self, key: KeyRef<'_>, entry: &E, value: V) {
        let head = self.head(key);
        let previous = head.as_ref().map(|head| head.last.clone());
        if let Some(last) = &previous {
            self.relink(key, last, |linked| linked.next = Some(entry.clone()));
        }
        let first = head.map_or_else(|| entry.clone(), |head| head.first);
        self.keep(key, Head { first, last: entry.clone() });
        let linked = Linked { value, previous, next: None };
        let mut row = self.row.borrow_mut();
        let row = row.of::<K, E>(key, entry);
        self.rows.borrow_mut().add(row, linked);
    }
}

impl<K: Key, E: Key, V: State> MapAccess<E, V> for MapCell<K, E, V> {
    fn touch(&self, entry: &E) {
        self.sweep_some();
        self.drop_expired();
        if self.rows.borrow().is_lively() {
            self.scope.with(|key| {
                // Without a head there is no entry: nothing to ask the cold tier for.
                if self.head(key).is_some() {
                    self.touch_one(key, entry);
                }
            });
        }
    }

    fn at(&self, entry: &E) -> Option<(Ref<'_, V>, Option<E>)> {
        self.scope.with(|key| {
            let mut row = self.row.borrow_mut();
            let row = row.of::<K, E>(key, entry);
            let linked = Ref::filter_map(self.rows.borrow(), |rows| rows.peek(row)).ok()?;
            let next = linked.next.clone();
            Some((Ref::map(linked, |linked| &linked.value), next))
        })
    }

    fn get_mut(&self, entry: &E) -> Option<StateMut<'_, V>> {
        self.touch(entry);
        self.scope.with(|key| {
            let mut row = self.row.borrow_mut();
            let row = row.of::<K, E>(key, entry);
            let rows = self.rows.borrow_mut();
            let linked = RefMut::filter_map(rows, |rows| rows.get_mut(row)).ok()?;
            let value = RefMut::map(linked, |linked| &mut linked.value);
            Some(StateMut::new(value, &self.heap, false))
        })
    }

    fn insert(&self, entry: &E, value: V) -> Option<V> {
        if let Some(mut present) = self.get_mut(entry) {
            return Some(std::mem::replace(&mut *present, value));
        }
        self.scope.with(|key| {
            // One that has expired and is not seen any more may still be linked.
            if self.rows.borrow().expires() && self.head(key).is_some() {
                drop(self.take_one(key, entry));
            }
            self.append(key, entry, value);
        });
        None
    }

    fn remove(&self, entry: &E) -> Option<V> {
        self.touch(entry);
        let taken = self.scope.with(|key| {
            self.head(key)?;
            self.take_one(key, entry)
        });
        taken.and_then(|(value, lives)| lives.then_some(value))
    }

    fn first(&self) -> Option<E> {
        self.sweep_some();
        self.drop_expired();
        self.scope.with(|key| {
            if self.rows.borrow().is_lively() {
                let mut at = self.head(key).map(|head| head.first);
                while let Some(entry) = at {
                    at = self.behind(key, &entry);
                    self.touch_one(key, &entry);
                }
            }
            self.head(key).map(|head| head.first)
        })
    }

    fn clear(&self) {
        self.sweep_some();
        self.drop_expired();
        self.scope.with(|key| {
            let mut at = self.heads.borrow_mut().remove(key).map(|head| head.first);
            while let Some(entry) = at {
                let mut row = self.row.borrow_mut();
                let rows = &mut *self.rows.borrow_mut();
                let taken = rows.take(row.of::<K, E>(key, &entry));
                at = taken.and_then(|(linked, _)| linked.next);
            }
        });
    }

    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.heads.borrow_mut().keys(out)
    }
}

impl<K: Key, E: Key, V: State> StateTable for MapCell<K, E, V> {
    fn prefetch(&self, hashes: &[u64]) {
        let heads = self.heads.borrow();
        hashes.iter().for_each(|hash| heads.prefetch(*hash));
    }
    fn bytes(&self) -> usize {
        let rows = self.rows.borrow().bytes().saturating_add_signed(self.heap.get());
        self.heads.borrow().bytes() + rows
    }
    fn round_at(&self) -> i64 {
        self.rows.borrow().round_at()
    }
    fn sweep_slice(&self) {
        self.rows.borrow_mut().expired_slice(&mut self.expired.borrow_mut());
        self.drop_expired();
    }
    fn is_cold(&self) -> bool {
        self.heads.borrow().is_cold()
    }
    fn ready(&self, key: KeyRef<'_>) -> bool {
        self.heads.borrow_mut().ready(key)
    }
    fn ask(&self) {
        self.heads.borrow_mut().ask();
    }
    fn hold(&self, key: KeyRef<'_>, held: &mut Held) {
        held.add(key.hash);
    }
    fn stores(&self, visit: &mut dyn FnMut(&mut dyn ColdState)) {
        visit(&mut *self.heads.borrow_mut());
        let rows = &mut *self.rows.borrow_mut();
        rows.adjust_heap(self.heap.replace(0));
        visit(rows);
    }
    fn journals(&self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        visit(&mut *self.heads.borrow_mut());
        visit(&mut *self.rows.borrow_mut());
    }
}
