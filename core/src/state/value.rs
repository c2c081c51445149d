//! A value per key.

use std::cell::{Cell, Ref, RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use thalweg_state::{Key, KeyRef, State};

use super::states::StateTable;
use super::{ColdState, Held, Journalled, KeyedState, Scope, StateSpec, Store};
use crate::Result;
use crate::runtime::Core;

/// A value of the current key.
///
/// Reads take `&mut self`, because with a time to live a read may end a value or restart its time.
///
/// ```
/// use thalweg::prelude::*;
/// # fn f(count: &mut ValueState<u64>) {
/// *count.or_default() += 1;
/// assert!(count.value() >= Some(1));
/// count.clear();
/// assert!(count.get().is_none());
/// # }
/// ```
pub struct ValueState<S> {
    cell: Rc<dyn ValueAccess<S>>,
}

impl<S: State> ValueState<S> {
    pub(crate) fn new<K: Key>(cell: Rc<ValueCell<K, S>>) -> Self {
        Self { cell }
    }

    /// The value, to look at.
    #[inline]
    pub fn get(&mut self) -> Option<Ref<'_, S>> {
        self.cell.get()
    }

    /// A copy of the value.
    #[inline]
    pub fn value(&mut self) -> Option<S>
    where
        S: Clone,
    {
        self.cell.get().map(|value| S::clone(&value))
    }

    /// The value, to change.
    #[inline]
    pub fn get_mut(&mut self) -> Option<StateMut<'_, S>> {
        self.cell.get_mut()
    }

    /// The value, to change; the default if there is none.
    #[inline]
    pub fn or_default(&mut self) -> StateMut<'_, S>
    where
        S: Default,
    {
        self.cell.get_or(S::default)
    }

    /// The value, to change; made by `init` if there is none.
    pub fn or_insert_with(&mut self, init: impl FnOnce() -> S) -> StateMut<'_, S> {
        if self.cell.get().is_none() {
            self.cell.set(init());
        }
        self.cell.get_mut().expect("a value that was just set is there")
    }

    /// Changes the value, or the default if there is none, and returns what `change` returns.
    #[inline]
    pub fn update<R>(&mut self, change: impl FnOnce(&mut S) -> R) -> R
    where
        S: Default,
    {
        change(&mut self.or_default())
    }

    /// Sets the value and returns the one before.
    pub fn set(&mut self, value: S) -> Option<S> {
        self.cell.set(value)
    }

    /// Removes the value and returns it.
    pub fn take(&mut self) -> Option<S> {
        self.cell.take()
    }

    /// Removes the value.
    pub fn clear(&mut self) {
        drop(self.cell.take());
    }
}

/// A value that is being changed; the memory that it owns is counted when this goes.
pub struct StateMut<'a, S: State> {
    value: RefMut<'a, S>,
    heap: &'a Cell<isize>,
    before: usize,
}

impl<'a, S: State> StateMut<'a, S> {
    #[inline]
    pub(super) fn new(value: RefMut<'a, S>, heap: &'a Cell<isize>, new: bool) -> Self {
        let before = if new { 0 } else { value.heap_bytes() };
        Self { value, heap, before }
    }
}

impl<S: State> Deref for StateMut<'_, S> {
    type Target = S;
    #[inline]
    fn deref(&self) -> &S {
        &self.value
    }
}

impl<S: State> DerefMut for StateMut<'_, S> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        &mut self.value
    }
}

impl<S: State> Drop for StateMut<'_, S> {
    #[inline]
    fn drop(&mut self) {
        if std::mem::needs_drop::<S>() {
            let change = self.value.heap_bytes() as isize - self.before as isize;
            self.heap.set(self.heap.get() + change);
        }
    }
}

/// A value table without its key type.
trait ValueAccess<S: State> {
    fn get(&self) -> Option<Ref<'_, S>>;
    fn get_mut(&self) -> Option<StateMut<'_, S>>;
    fn get_or(&self, init: fn() -> S) -> StateMut<'_, S>;
    fn set(&self, value: S) -> Option<S>;
    fn take(&self) -> Option<S>;
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()>;
}

impl<S: State> KeyedState for ValueState<S> {
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.cell.keys(out)
    }
    fn is_present(&mut self) -> bool {
        self.get().is_some()
    }
}

/// The values of one state on one core.
pub(crate) struct ValueCell<K: Key, S: State> {
    scope: Rc<Scope>,
    store: RefCell<Store<K, S>>,
    /// Memory that values have come to own while they were lent.
    heap: Cell<isize>,
}

impl<K: Key, S: State> ValueCell<K, S> {
    pub(crate) fn new(scope: Rc<Scope>, core: &Rc<Core>, operator: &str, spec: &StateSpec) -> Self {
        let store = Store::new(Rc::clone(core), operator, spec);
        Self { scope, store: RefCell::new(store), heap: Cell::new(0) }
    }

    /// What lent values came to own goes to the store's account.
    #[inline]
    fn settle(&self, store: &mut Store<K, S>) {
        if std::mem::needs_drop::<(K, S)>() {
            store.adjust_heap(self.heap.replace(0));
        }
    }
}

impl<K: Key, S: State> ValueAccess<S> for ValueCell<K, S> {
    fn get(&self) -> Option<Ref<'_, S>> {
        if self.store.borrow().is_lively() {
            let store = &mut *self.store.borrow_mut();
            self.settle(store);
            store.sweep_some();
            drop(self.scope.with(|key| store.touch(key)));
        }
        let store = self.store.borrow();
        Ref::filter_map(store, |store| self.scope.with(|key| store.peek(key))).ok()
    }

    fn get_mut(&self) -> Option<StateMut<'_, S>> {
        let mut store = self.store.borrow_mut();
        self.settle(&mut store);
        let value = self.scope.with(|key| RefMut::filter_map(store, |store| store.get_mut(key)));
        let value = value.ok()?;
        Some(StateMut::new(value, &self.heap, false))
    }

    fn get_or(&self, init: fn() -> S) -> StateMut<'_, S> {
        let mut store = self.store.borrow_mut();
        self.settle(&mut store);
        let mut new = false;
        let value = RefMut::map(store, |store| {
            self.scope.with(|key| {
                let (key, value, made) = store.get_or_insert_with(key, init);
                if made && std::mem::needs_drop::<K>() {
                    self.heap.set(self.heap.get() + key.heap_bytes() as isize);
                }
                new = made;
                value
            })
        });
        StateMut::new(value, &self.heap, new)
    }

    fn set(&self, value: S) -> Option<S> {
        let store = &mut *self.store.borrow_mut();
        self.settle(store);
        self.scope.with(|key| store.insert(key, value))
    }

    fn take(&self) -> Option<S> {
        let store = &mut *self.store.borrow_mut();
        self.settle(store);
        self.scope.with(|key| store.remove(key))
    }

    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.store.borrow_mut().keys(out)
    }
}

impl<K: Key, S: State> StateTable for ValueCell<K, S> {
    fn prefetch(&self, hashes: &[u64]) {
        let store = self.store.borrow();
        hashes.iter().for_each(|hash| store.prefetch(*hash));
    }
    fn prefetch_entry(&self, hash: u64) {
        self.store.borrow().prefetch_entry(hash);
    }
    fn is_deep(&self) -> bool {
        S::IS_DEEP || size_of::<(K, S)>() > 48
    }
    fn bytes(&self) -> usize {
        self.store.borrow().bytes().saturating_add_signed(self.heap.get())
    }
    fn round_at(&self) -> i64 {
        self.store.borrow().round_at()
    }
    fn sweep_slice(&self) {
        let store = &mut *self.store.borrow_mut();
        self.settle(store);
        store.sweep_slice();
    }
    fn is_cold(&self) -> bool {
        self.store.borrow().is_cold()
    }
    fn ready(&self, key: KeyRef<'_>) -> bool {
        self.store.borrow_mut().ready(key)
    }
    fn ask(&self) {
        self.store.borrow_mut().ask();
    }
    fn hold(&self, key: KeyRef<'_>, held: &mut Held) {
        held.add(key.hash);
    }
    fn stores(&self, visit: &mut dyn FnMut(&mut dyn ColdState)) {
        let store = &mut *self.store.borrow_mut();
        self.settle(store);
        visit(store);
    }
    fn journals(&self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        visit(&mut *self.store.borrow_mut());
    }
}
