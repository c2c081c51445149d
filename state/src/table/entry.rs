//! Views of one entry of a table.

use super::Table;
use super::access::Place;
use crate::key::{Key, KeyRef};

/// An entry that was found or made, lent for changing.
#[derive(Debug)]
pub struct Slot<'a, K, V> {
    /// The key.
    pub key: &'a K,
    /// The value.
    pub value: &'a mut V,
    /// The epoch that last changed the entry before this access; `None` if the entry is new.
    pub changed_in: Option<u64>,
}

/// The place of a key in a table, filled or not.
pub enum Entry<'a, K: Key, V> {
    /// The key is in the table.
    Occupied(Occupied<'a, K, V>),
    /// It is not.
    Vacant(Vacant<'a, K, V>),
}

/// An entry that is there. Looking at it leaves its epoch alone; changing it does not.
pub struct Occupied<'a, K: Key, V> {
    table: &'a mut Table<K, V>,
    place: Place,
    epoch: u64,
}

impl<'a, K: Key, V> Occupied<'a, K, V> {
    #[inline]
    pub(super) fn new(table: &'a mut Table<K, V>, place: Place, epoch: u64) -> Self {
        Self { table, place, epoch }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &K {
        &self.table.pair(self.place).key
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> &V {
        &self.table.pair(self.place).value
    }

    /// The epoch that last changed the entry.
    #[inline]
    pub fn changed_in(&self) -> u64 {
        self.table.epoch(self.place)
    }

    /// Marks the entry as changed and lends it for as long as the table is lent.
    #[inline]
    pub fn into_mut(self) -> (&'a K, &'a mut V) {
        self.table.mark(self.place, self.epoch);
        let pair = self.table.pair_mut(self.place);
        (&pair.key, &mut pair.value)
    }

    /// Removes the entry.
    pub fn remove(self) -> (K, V) {
        let pair = self.table.remove_at(self.place);
        self.table.shrink_if_sparse();
        (pair.key, pair.value)
    }
}

/// The place of a key that is not there.
pub struct Vacant<'a, K: Key, V> {
    table: &'a mut Table<K, V>,
    key: KeyRef<'a>,
    epoch: u64,
}

impl<'a, K: Key, V> Vacant<'a, K, V> {
    #[inline]
    pub(super) fn new(table: &'a mut Table<K, V>, key: KeyRef<'a>, epoch: u64) -> Self {
        Self { table, key, epoch }
    }

    /// The key's bytes and hash.
    #[inline]
    pub fn key(&self) -> KeyRef<'a> {
        self.key
    }

    /// Fills the place, decoding the key.
    ///
    /// # Panics
    ///
    /// If the key's bytes are not an encoding of `K`.
    #[inline]
    pub fn insert(self, value: V) -> (&'a K, &'a mut V) {
        let place = self.table.insert_new(self.key, self.epoch, || value);
        let pair = self.table.pair_mut(place);
        (&pair.key, &mut pair.value)
    }
}
