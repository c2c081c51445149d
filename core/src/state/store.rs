//! One table of one state, with or without a time to live, and the cold rows below it.
//!
//! Time is the core's wall clock as of this turn. An expired row is removed when it is looked up;
//! the others go by and by: a few lines are looked at per access, and from time to time the whole
//! table in slices, so that memory returns to its baseline without traffic too.
//!
//! Until a row is evicted for the first time the table is all there is. From then on a row may be
//! cold: who knows its keys ahead makes sure of them with [`Store::ready`], others wait for a row
//! where they look it up.

mod expiring;
mod journal;
#[cfg(test)]
mod model;
mod tending;

use std::rc::Rc;

use thalweg_state::macros::fingerprint;
use thalweg_state::segment::{BlockWriter, Column, ColumnKind};
use thalweg_state::table::{Journal, Made};
use thalweg_state::{Key, KeyRef, Table, UpdateType};

use super::cold::{Cold, key_bytes};
use super::encoding::{Row, Stamped, key_shape};
use super::{Budget, Places, StateSpec};
use crate::runtime::Core;

use expiring::{Expiring, lives};

/// The rows of one state on one core.
pub(crate) struct Store<K: Key, V: Row> {
    core: Rc<Core>,
    rows: Rows<K, V>,
    /// What is known of rows that are not in the table; `None`: there are none.
    cold: Option<Box<Cold<K>>>,
    /// Whether rows were cold when the last epoch ended.
    was_cold: bool,
    /// What it is named by on its core, in the cold tier and in segments.
    column: Column,
    places: Places<K>,
}

enum Rows<K: Key, V> {
    Plain(Table<K, V>),
    Expiring(Box<Expiring<K, V>>),
}

/// Runs an expression for whichever table there is.
macro_rules! with_table {
    ($rows:expr, $table:ident => $body:expr) => {
        match $rows {
            Rows::Plain($table) => $body,
            Rows::Expiring(rows) => {
                let $table = &mut rows.table;
                $body
            }
        }
    };
}
use with_table;

impl<K: Key, V: Row> Store<K, V> {
    /// An empty store; `operator` and the state's name together name it on its core.
    pub(crate) fn new(core: Rc<Core>, operator: &str, spec: &StateSpec) -> Self {
        Self::of_rows(&core, operator, spec, Places::PLAIN)
    }

    /// As [`Store::new`] for rows that belong to a key of the stream.
    pub(crate) fn of_rows(
        core: &Rc<Core>,
        operator: &str,
        spec: &StateSpec,
        places: Places<K>,
    ) -> Self {
        // In quotes: a slash may be part of either name.
        let name = format!("{operator:?}/{:?}{}", spec.name, spec.part);
        let shape = |value| fingerprint("rows", &[("key", key_shape::<K>()), ("value", value)]);
        let column = |value| Column {
            name: Rc::from(&*name),
            kind: ColumnKind::Rows,
            fingerprint: shape(value),
            hash_of_key: places.is_plain,
        };
        let core = Rc::clone(core);
        let ttl = spec.ttl.filter(|ttl| ttl.update != UpdateType::Disabled);
        let (rows, column) = match ttl {
            None => {
                let column = column(V::SHAPE);
                let mut table = table(&core.budget, spec.keys, &column);
                if spec.in_turns {
                    table.fills_in_turns();
                }
                journal(&core, &mut table, &column, &places);
                (Rows::Plain(table), column)
            }
            Some(ttl) => {
                let column = column(Stamped::<V>::SHAPE);
                let mut table = table(&core.budget, spec.keys, &column);
                journal(&core, &mut table, &column, &places);
                let rows = Expiring::new(table, ttl, spec.hang_together);
                (Rows::Expiring(Box::new(rows)), column)
            }
        };
        Self { core, rows, cold: None, was_cold: false, column, places }
    }

    /// Whether a look-up may do more than look: rows expire, or some are cold.
    #[inline]
    pub(crate) fn is_lively(&self) -> bool {
        self.cold.is_some() || self.expires()
    }

    /// Whether rows expire.
    #[inline]
    pub(crate) fn expires(&self) -> bool {
        matches!(self.rows, Rows::Expiring(_))
    }

    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        match &self.rows {
            Rows::Plain(table) => table.prefetch(hash),
            Rows::Expiring(rows) => rows.table.prefetch(hash),
        }
    }

    /// Asks for what lies behind the line of a key that was prefetched some records ago.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        match &self.rows {
            Rows::Plain(table) => table.prefetch_entry(hash, V::prefetch),
            Rows::Expiring(rows) => rows.table.prefetch_entry(hash, |row| row.row.prefetch()),
        }
    }

    /// A row to look at, without any effect on its life; a cold one only behind [`Store::bring`].
    #[inline]
    pub(crate) fn peek(&self, key: KeyRef<'_>) -> Option<&V> {
        match &self.rows {
            Rows::Plain(table) => table.get(key),
            Rows::Expiring(rows) => {
                let stamped = rows.table.get(key)?;
                let now = self.core.wall_millis();
                rows.ttl.is_visible(stamped.accessed, now).then_some(&stamped.row)
            }
        }
    }

    /// As [`Store::peek`], be it that the row has expired.
    pub(crate) fn peek_any(&self, key: KeyRef<'_>) -> Option<&V> {
        match &self.rows {
            Rows::Plain(table) => table.get(key),
            Rows::Expiring(rows) => rows.table.get(key).map(|stamped| &stamped.row),
        }
    }

    /// Counts as a read: removes an expired row, may restart the time of a live one. What is left
    /// to be seen is seen by [`Store::peek`].
    #[inline]
    pub(crate) fn touch(&mut self, key: KeyRef<'_>) -> Option<V> {
        self.bring(key);
        match &mut self.rows {
            Rows::Plain(_) => None,
            Rows::Expiring(rows) => rows.touch(key, &self.core, self.cold.as_deref_mut()),
        }
    }

    /// A row to change; counts as a write.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: KeyRef<'_>) -> Option<&mut V> {
        self.bring(key);
        let epoch = self.core.epoch.get();
        match &mut self.rows {
            Rows::Plain(table) => table.get_mut(key, epoch),
            Rows::Expiring(rows) => {
                let now = self.core.wall_millis();
                let ttl = rows.ttl;
                if !rows.table.get(key).is_some_and(|row| lives(&ttl, row.accessed, now)) {
                    return None;
                }
                let stamped = rows.table.get_mut(key, epoch)?;
                stamped.accessed = ttl.after_write(now);
                Some(&mut stamped.row)
            }
        }
    }

    /// A row to change, made by `init` if it is not there or not seen any more; counts as a write.
    #[inline(always)]
    pub(crate) fn get_or_insert_with(
        &mut self,
        key: KeyRef<'_>,
        init: impl FnOnce() -> V,
    ) -> (&K, &mut V, bool) {
        let epoch = self.core.epoch.get();
        let cold = &mut self.cold;
        match &mut self.rows {
            Rows::Plain(table) => {
                let slot = table.slot_with(key, epoch, move || match cold {
                    None => Made::New(init()),
                    Some(cold) => cold.make(key, init),
                });
                (slot.key, slot.value, slot.changed_in.is_none())
            }
            Rows::Expiring(rows) => {
                rows.get_or_insert_with(key, &self.core, cold.as_deref_mut(), init)
            }
        }
    }

    /// Sets a row and returns the one that was there and not expired.
    pub(crate) fn insert(&mut self, key: KeyRef<'_>, row: V) -> Option<V> {
        let mut given = Some(row);
        let (found, new, before) = {
            let (key, slot, new) = self.get_or_insert_with(key, || given.take().expect("one row"));
            let before = given.take().map(|row| std::mem::replace(slot, row));
            let key_bytes = if new { key.heap_bytes() } else { 0 };
            (key_bytes + slot.heap_bytes(), new, before)
        };
        debug_assert_eq!(new, before.is_none(), "a new row replaces none");
        let gone = before.as_ref().map_or(0, Row::heap_bytes);
        self.adjust_heap(found as isize - gone as isize);
        before
    }

    /// Adds a row whose key the caller knows to have none.
    pub(crate) fn add(&mut self, key: KeyRef<'_>, row: V) {
        if let Some(cold) = &mut self.cold {
            cold.know_absent(key);
        }
        let before = self.insert(key, row);
        debug_assert!(before.is_none(), "key {:02x?} has a row", key.bytes);
    }

    /// Takes a row out; `None` if there is none or it is not seen any more.
    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        self.take(key).and_then(|(row, lives)| lives.then_some(row))
    }

    /// Removes a row without a look at it: a cold one is not read for it.
    pub(crate) fn discard(&mut self, key: KeyRef<'_>) {
        let taken = self.take_from_table(key);
        let Some(cold) = self.cold.as_mut().filter(|_| taken.is_none()) else { return };
        if cold.discard(key) {
            with_table!(&mut self.rows, table => table.note_discarded(key));
        }
    }

    /// Takes a row out, expired or not, and tells whether it was still to be seen.
    pub(crate) fn take(&mut self, key: KeyRef<'_>) -> Option<(V, bool)> {
        self.bring(key);
        self.take_from_table(key)
    }

    fn take_from_table(&mut self, key: KeyRef<'_>) -> Option<(V, bool)> {
        let ((row, lives), stored) = match &mut self.rows {
            Rows::Plain(table) => {
                let (row, stored) = table.take_out(key)?;
                ((row, true), stored)
            }
            Rows::Expiring(rows) => {
                let (Stamped { row, accessed }, stored) = rows.table.take_out(key)?;
                let now = self.core.wall_millis();
                ((row, lives(&rows.ttl, accessed, now)), stored)
            }
        };
        if let Some(cold) = &mut self.cold {
            cold.removed(key, stored);
        }
        self.adjust_heap(-((row.heap_bytes() + key_bytes::<K>(key)) as isize));
        Some((row, lives))
    }

    /// Changes a row, expired or not, without counting as an access to it.
    pub(crate) fn change_quietly<R>(
        &mut self,
        key: KeyRef<'_>,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
        self.bring(key);
        let epoch = self.core.epoch.get();
        let row = match &mut self.rows {
            Rows::Plain(table) => table.get_mut(key, epoch)?,
            Rows::Expiring(rows) => &mut rows.table.get_mut(key, epoch)?.row,
        };
        Some(change(row))
    }

    #[inline]
    pub(crate) fn adjust_heap(&mut self, change: isize) {
        if change != 0 {
            with_table!(&mut self.rows, table => table.adjust_heap(change));
        }
    }

    /// Memory of the table, of what its rows own, and of what is known of cold ones.
    pub(crate) fn bytes(&self) -> usize {
        let table = match &self.rows {
            Rows::Plain(table) => table.bytes(),
            Rows::Expiring(rows) => rows.table.bytes(),
        };
        table + self.cold.as_ref().map_or(0, |cold| cold.bytes())
    }
}

/// A table within the budget; it starts smaller than it was asked to if that would break it.
fn table<K: Key, V>(budget: &Budget, keys: usize, column: &Column) -> Table<K, V> {
    let most = budget.room().bytes() / (4 * LINE_BYTES);
    let mut table = Table::with_capacity(keys.min(most));
    table.order_by(KeyRef::new(column.name.as_bytes()).hash);
    budget.room().take(table.bytes());
    table.set_room(Rc::clone(budget.room()));
    table
}

/// Keeps a journal if there are to be checkpoints.
fn journal<K: Key, R: Row>(
    core: &Core,
    table: &mut Table<K, R>,
    column: &Column,
    places: &Places<K>,
) {
    if core.journal.get() {
        let block = BlockWriter::pooled(column.clone(), core.blocks.clone());
        table.keep_journal(Journal::new(block, places.stream, R::encode));
    }
}

/// Bytes of a table's line.
const LINE_BYTES: usize = 64;
