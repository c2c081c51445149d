//! A list per key: a row per element and a head row per key.
//!
//! Elements are numbered in the order in which they were added. One that has expired leaves a gap;
//! the head knows the range of numbers and how many elements are there.

use std::cell::{Ref, RefCell};
use std::rc::Rc;

use thalweg_state::macros::fingerprint;
use thalweg_state::{CodecError, Encoder, Key, KeyRef, State};

use super::encoding::Row;
use super::states::StateTable;
use super::{
    ColdState, Held, Journalled, KeyedState, Places, RowKey, Scope, StateSpec, Store, row_hash,
};
use crate::Result;
use crate::runtime::Core;

/// Cold elements of a key that are asked for ahead of their use; whoever reads on waits for each.
const ELEMENTS_MAX: usize = 256;

/// A list of the current key.
///
/// ```
/// use thalweg::prelude::*;
/// # fn f(recent: &mut ListState<u64>) {
/// recent.push(3);
/// recent.extend([4, 5]);
/// assert_eq!(recent.iter().map(|n| *n).sum::<u64>(), 12);
/// recent.clear();
/// # }
/// ```
pub struct ListState<V> {
    cell: Rc<dyn ListAccess<V>>,
}

impl<V: State> ListState<V> {
    pub(crate) fn new<K: Key>(cell: Rc<ListCell<K, V>>) -> Self {
        Self { cell }
    }

    /// Adds an element at the end.
    pub fn push(&mut self, value: V) {
        self.cell.push(value);
    }

    /// Adds elements at the end.
    pub fn extend(&mut self, values: impl IntoIterator<Item = V>) {
        values.into_iter().for_each(|value| self.cell.push(value));
    }

    /// The elements in the order in which they were added.
    pub fn iter(&mut self) -> ListIter<'_, V> {
        let range = self.cell.range();
        ListIter { cell: &*self.cell, next: range.0, end: range.1 }
    }

    /// Copies of the elements.
    pub fn to_vec(&mut self) -> Vec<V>
    where
        V: Clone,
    {
        self.iter().map(|value| V::clone(&value)).collect()
    }

    /// Number of elements.
    pub fn len(&mut self) -> usize {
        self.iter().count()
    }

    /// Whether there is no element.
    pub fn is_empty(&mut self) -> bool {
        self.iter().next().is_none()
    }

    /// Replaces all elements.
    pub fn set(&mut self, values: impl IntoIterator<Item = V>) {
        self.clear();
        self.extend(values);
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.cell.clear();
    }
}

/// The elements of a list; made by [`ListState::iter`].
pub struct ListIter<'a, V> {
    cell: &'a dyn ListAccess<V>,
    next: u64,
    end: u64,
}

impl<'a, V: State> Iterator for ListIter<'a, V> {
    type Item = Ref<'a, V>;

    fn next(&mut self) -> Option<Ref<'a, V>> {
        while self.next < self.end {
            let index = self.next;
            self.next += 1;
            if let Some(value) = self.cell.at(index) {
                return Some(value);
            }
        }
        None
    }
}

trait ListAccess<V> {
    fn push(&self, value: V);
    /// The numbers between which the elements lie; expired ones are gone then.
    fn range(&self) -> (u64, u64);
    fn at(&self, index: u64) -> Option<Ref<'_, V>>;
    fn clear(&self);
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()>;
}

impl<V: State> KeyedState for ListState<V> {
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.cell.keys(out)
    }
    fn is_present(&mut self) -> bool {
        !self.is_empty()
    }
}

/// Where the elements of a key lie.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    first: u64,
    end: u64,
    count: u64,
}

impl Row for Head {
    const SHAPE: u64 = fingerprint("list", &[]);

    fn heap_bytes(&self) -> usize {
        0
    }
    fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Row::encode(&(self.first, self.end, self.count), encoder, out)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (first, end, count) = Row::decode(bytes)?;
        Ok(Self { first, end, count })
    }
}

/// The lists of one state on one core.
pub(crate) struct ListCell<K: Key, V: State> {
    scope: Rc<Scope>,
    heads: RefCell<Store<K, Head>>,
    rows: RefCell<Store<(K, u64), V>>,
    row: RefCell<RowKey>,
    expired: RefCell<Vec<(K, u64)>>,
}

impl<K: Key, V: State> ListCell<K, V> {
    pub(crate) fn new(scope: Rc<Scope>, core: &Rc<Core>, operator: &str, spec: &StateSpec) -> Self {
        let heads = spec.heads();
        Self {
            scope,
            heads: RefCell::new(Store::new(Rc::clone(core), operator, &heads)),
            rows: RefCell::new(Store::of_rows(core, operator, &spec.entries(), Places::ENTRIES)),
            row: RefCell::new(RowKey::new()),
            expired: RefCell::default(),
        }
    }

    fn head(&self, key: KeyRef<'_>) -> Head {
        let mut heads = self.heads.borrow_mut();
        heads.bring(key);
        heads.peek(key).copied().unwrap_or_default()
    }

    /// Makes sure that the elements of a list can be lent out together.
    #[cold]
    fn bring_all(&self, key: KeyRef<'_>, head: Head) {
        let (mut row, mut rows) = (self.row.borrow_mut(), self.rows.borrow_mut());
        for index in head.first..head.end {
            rows.bring(row.of::<K, u64>(key, &index));
        }
    }

    /// Stores a changed head; one without elements goes.
    fn keep(&self, key: KeyRef<'_>, head: Head) {
        let mut heads = self.heads.borrow_mut();
        if head.count == 0 {
            heads.remove(key);
        } else {
            heads.insert(key, head);
        }
    }

    /// Lets go of the elements that were found expired.
    fn drop_expired(&self) {
        let mut expired = self.expired.borrow_mut();
        for (key, index) in expired.drain(..) {
            key.with_encoded(|bytes| self.drop_one(KeyRef::new(bytes), index));
        }
    }

    fn drop_one(&self, key: KeyRef<'_>, index: u64) {
        let mut row = self.row.borrow_mut();
        drop(self.rows.borrow_mut().remove(row.of::<K, u64>(key, &index)));
        let mut head = self.head(key);
        head.count -= 1;
        head.first += u64::from(head.first == index);
        self.keep(key, head);
    }

    fn sweep_some(&self) {
        if self.rows.borrow().expires() {
            self.rows.borrow_mut().expired_some(&mut self.expired.borrow_mut());
            self.drop_expired();
        }
    }

    /// Counts as a read of every element.
    fn touch_all(&self, key: KeyRef<'_>) {
        let mut head = self.head(key);
        let (before, mut live_from) = (head, None);
        for index in head.first..head.end {
            let mut row = self.row.borrow_mut();
            let row = row.of::<K, u64>(key, &index);
            let mut rows = self.rows.borrow_mut();
            head.count -= u64::from(rows.touch(row).is_some());
            if live_from.is_none() && rows.peek(row).is_some() {
                live_from = Some(index);
            }
        }
        head.first = live_from.unwrap_or(head.end);
        if head.count != before.count || head.first != before.first {
            self.keep(key, head);
        }
    }
}

impl<K: Key, V: State> ListAccess<V> for ListCell<K, V> {
    fn push(&self, value: V) {
        self.sweep_some();
        self.scope.with(|key| {
            let mut head = self.head(key);
            let mut row = self.row.borrow_mut();
            let row = row.of::<K, u64>(key, &head.end);
            self.rows.borrow_mut().add(row, value);
            head.end += 1;
            head.count += 1;
            self.keep(key, head);
        });
    }

    fn range(&self) -> (u64, u64) {
        self.sweep_some();
        self.scope.with(|key| {
            if self.rows.borrow().expires() {
                self.touch_all(key);
            }
            let head = self.head(key);
            if self.rows.borrow().is_cold() {
                self.bring_all(key, head);
            }
            (head.first, head.end)
        })
    }

    fn at(&self, index: u64) -> Option<Ref<'_, V>> {
        self.scope.with(|key| {
            let mut row = self.row.borrow_mut();
            let row = row.of::<K, u64>(key, &index);
            Ref::filter_map(self.rows.borrow(), |rows| rows.peek(row)).ok()
        })
    }

    fn clear(&self) {
        self.scope.with(|key| {
            let head = self.head(key);
            let mut row = self.row.borrow_mut();
            for index in head.first..head.end {
                self.rows.borrow_mut().discard(row.of::<K, u64>(key, &index));
            }
            self.heads.borrow_mut().remove(key);
        });
    }

    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.heads.borrow_mut().keys(out)
    }
}

impl<K: Key, V: State> StateTable for ListCell<K, V> {
    fn prefetch(&self, hashes: &[u64]) {
        let heads = self.heads.borrow();
        hashes.iter().for_each(|hash| heads.prefetch(*hash));
    }
    fn bytes(&self) -> usize {
        self.heads.borrow().bytes() + self.rows.borrow().bytes()
    }
    fn round_at(&self) -> i64 {
        self.rows.borrow().round_at()
    }
    fn sweep_slice(&self) {
        self.rows.borrow_mut().expired_slice(&mut self.expired.borrow_mut());
        self.drop_expired();
    }
    fn is_cold(&self) -> bool {
        self.heads.borrow().is_cold() || self.rows.borrow().is_cold()
    }
    /// The head comes first, and with it is known which elements there are.
    fn ready(&self, key: KeyRef<'_>) -> bool {
        let heads = &mut *self.heads.borrow_mut();
        if !heads.ready(key) {
            return false;
        }
        let rows = &mut *self.rows.borrow_mut();
        let head = heads.peek(key).filter(|_| rows.is_cold()).copied().unwrap_or_default();
        let mut row = self.row.borrow_mut();
        let mut ready = true;
        for index in (head.first..head.end).take(ELEMENTS_MAX) {
            ready &= rows.ready(row.of::<K, u64>(key, &index));
        }
        ready
    }
    fn ask(&self) {
        self.heads.borrow_mut().ask();
        self.rows.borrow_mut().ask();
    }
    fn hold(&self, key: KeyRef<'_>, held: &mut Held) {
        held.add(key.hash);
        let head = self.heads.borrow().peek(key).copied().unwrap_or_default();
        for index in (head.first..head.end).take(ELEMENTS_MAX) {
            held.add(row_hash(key.hash, index.key_hash()));
        }
    }
    fn stores(&self, visit: &mut dyn FnMut(&mut dyn ColdState)) {
        visit(&mut *self.heads.borrow_mut());
        visit(&mut *self.rows.borrow_mut());
    }
    fn journals(&self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        visit(&mut *self.heads.borrow_mut());
        visit(&mut *self.rows.borrow_mut());
    }
}
