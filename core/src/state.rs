//! Declared state, as operators hold it.

use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_state::{Key, KeyRef, State, Table, Ttl};

use crate::graph::StateInfo;
use crate::runtime::Core;

/// Declares a value per key.
///
/// ```
/// use thalweg::prelude::*;
/// let seen: ValueSpec<u64> = ValueSpec::new("seen").expect_keys(1_000_000);
/// # let _ = seen;
/// ```
pub struct ValueSpec<S> {
    name: String,
    ttl: Option<Ttl>,
    keys: usize,
    value: PhantomData<fn() -> S>,
}

impl<S: State> ValueSpec<S> {
    /// A state with this name, unique in its operator.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ttl: None, keys: 0, value: PhantomData }
    }

    /// Lets values expire.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Makes room for this many keys per core at once instead of growing step by step.
    #[must_use]
    pub fn expect_keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    pub(crate) fn info(&self) -> StateInfo {
        StateInfo { name: self.name.clone(), kind: "value", fingerprint: S::FINGERPRINT }
    }
}

/// The values of one state on one core.
pub(crate) struct ValueTable<K: Key, S> {
    core: Rc<Core>,
    table: Table<K, S>,
}

impl<K: Key, S: State> ValueTable<K, S> {
    pub(crate) fn new(core: Rc<Core>, spec: ValueSpec<S>) -> Self {
        Self { core, table: Table::with_capacity(spec.keys) }
    }

    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.table.prefetch(hash);
    }

    #[inline]
    pub(crate) fn get_or_default(&mut self, key: KeyRef<'_>) -> (&K, &mut S)
    where
        S: Default,
    {
        self.table.get_or_insert_with(key, self.core.epoch.get(), S::default)
    }
}
