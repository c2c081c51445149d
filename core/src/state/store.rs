//! One table of one state, with or without a time to live.
//!
//! Time is the core's wall clock as of this turn. An expired row is removed when it is looked up;
//! the others go by and by: a few lines are looked at per access, and from time to time the whole
//! table in slices, so that memory returns to its baseline without traffic too.

use std::rc::Rc;

use thalweg_state::{Key, KeyRef, State, Table, Ttl, UpdateType};

use super::StateSpec;
use crate::runtime::Core;

/// Lines that an access looks at.
const LINES_PER_ACCESS: usize = 4;

/// Lines that a slice of a whole round looks at.
const LINES_PER_SLICE: usize = 1024;

/// Whole rounds are at least this many milliseconds apart.
const ROUND_MIN_MS: i64 = 100;

/// Stamp of an expired row that was seen once because the time to live allows it: it is not seen
/// again.
const SEEN: i64 = i64::MIN;

/// What a table holds: says how much memory it owns outside itself.
pub(crate) trait Row: 'static {
    fn heap_bytes(&self) -> usize;
    /// Asks for what the row owns outside itself.
    #[inline]
    fn prefetch(&self) {}
}

impl<S: State> Row for S {
    #[inline]
    fn prefetch(&self) {
        State::prefetch(self);
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        State::heap_bytes(self)
    }
}

/// The rows of one state on one core.
pub(crate) struct Store<K: Key, V: Row> {
    core: Rc<Core>,
    rows: Rows<K, V>,
}

enum Rows<K: Key, V> {
    Plain(Table<K, V>),
    Expiring(Box<Expiring<K, V>>),
}

struct Expiring<K: Key, V> {
    table: Table<K, Stamped<V>>,
    ttl: Ttl,
    cursor: usize,
    round_cursor: usize,
    /// When the next whole round begins; `i64::MAX` while the table is empty.
    round_at: i64,
}

/// A row and when it was last accessed, in milliseconds.
struct Stamped<V> {
    row: V,
    accessed: i64,
}

impl<K: Key, V: Row> Store<K, V> {
    pub(crate) fn new(core: Rc<Core>, spec: &StateSpec) -> Self {
        let ttl = spec.ttl.filter(|ttl| ttl.update != UpdateType::Disabled);
        let rows = match ttl {
            None => {
                let mut table = Table::with_capacity(spec.keys);
                if spec.in_turns {
                    table.fills_in_turns();
                }
                Rows::Plain(table)
            }
            Some(ttl) => Rows::Expiring(Box::new(Expiring {
                table: Table::with_capacity(spec.keys),
                ttl,
                cursor: 0,
                round_cursor: 0,
                round_at: i64::MAX,
            })),
        };
        Self { core, rows }
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

    /// A row to look at, without any effect on its life.
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

    /// Counts as a read: removes an expired row, may restart the time of a live one. What is left
    /// to be seen is seen by [`Store::peek`].
    #[inline]
    pub(crate) fn touch(&mut self, key: KeyRef<'_>) -> Option<V> {
        match &mut self.rows {
            Rows::Plain(_) => None,
            Rows::Expiring(rows) => rows.touch(key, &self.core),
        }
    }

    /// A row to change; counts as a write.
    #[inline]
    pub(crate) fn get_mut(&mut self, key: KeyRef<'_>) -> Option<&mut V> {
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
        match &mut self.rows {
            Rows::Plain(table) => {
                let slot = table.slot(key, epoch, init);
                (slot.key, slot.value, slot.changed_in.is_none())
            }
            Rows::Expiring(rows) => rows.get_or_insert_with(key, &self.core, init),
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

    /// Takes a row out; `None` if there is none or it is not seen any more.
    pub(crate) fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        self.take(key).and_then(|(row, lives)| lives.then_some(row))
    }

    /// Takes a row out, expired or not, and tells whether it was still to be seen.
    pub(crate) fn take(&mut self, key: KeyRef<'_>) -> Option<(V, bool)> {
        let (row, lives) = match &mut self.rows {
            Rows::Plain(table) => (table.remove(key)?, true),
            Rows::Expiring(rows) => {
                let stamped = rows.table.remove(key)?;
                let now = self.core.wall_millis();
                (stamped.row, lives(&rows.ttl, stamped.accessed, now))
            }
        };
        self.adjust_heap(-((row.heap_bytes() + key_bytes::<K>(key)) as isize));
        Some((row, lives))
    }

    /// Changes a row, expired or not, without counting as an access to it.
    pub(crate) fn change_quietly<R>(
        &mut self,
        key: KeyRef<'_>,
        change: impl FnOnce(&mut V) -> R,
    ) -> Option<R> {
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
            match &mut self.rows {
                Rows::Plain(table) => table.adjust_heap(change),
                Rows::Expiring(rows) => rows.table.adjust_heap(change),
            }
        }
    }

    /// Memory of the table and of what its rows own.
    pub(crate) fn bytes(&self) -> usize {
        match &self.rows {
            Rows::Plain(table) => table.bytes(),
            Rows::Expiring(rows) => rows.table.bytes(),
        }
    }

    /// Lets go of the expired among the next few rows.
    #[inline]
    pub(crate) fn sweep_some(&mut self) {
        if let Rows::Expiring(rows) = &mut self.rows {
            rows.sweep_some(&self.core);
        }
    }

    /// As [`Store::sweep_some`], but only tells which rows have expired: their removal is more than
    /// a row's.
    pub(crate) fn expired_some(&mut self, found: &mut Vec<K>) {
        if let Rows::Expiring(rows) = &mut self.rows {
            let now = self.core.wall_millis();
            let ttl = rows.ttl;
            rows.table.sweep(&mut rows.cursor, LINES_PER_ACCESS, |key, row| {
                if ttl.is_expired(row.accessed, now) {
                    found.push(key.clone());
                }
                true
            });
        }
    }

    /// When a whole round of sweeping wants to begin or go on.
    pub(crate) fn round_at(&self) -> i64 {
        match &self.rows {
            Rows::Plain(_) => i64::MAX,
            Rows::Expiring(rows) => rows.round_at,
        }
    }

    /// Does a slice of a round that is due; expired rows are removed.
    pub(crate) fn sweep_slice(&mut self) {
        if let Rows::Expiring(rows) = &mut self.rows {
            let now = self.core.wall_millis();
            let mut cursor = rows.round_cursor;
            rows.sweep(&mut cursor, LINES_PER_SLICE, now);
            rows.end_slice(cursor, now);
        }
    }

    /// As [`Store::sweep_slice`] for rows whose removal is the caller's.
    pub(crate) fn expired_slice(&mut self, found: &mut Vec<K>) {
        if let Rows::Expiring(rows) = &mut self.rows {
            let now = self.core.wall_millis();
            let ttl = rows.ttl;
            let mut cursor = rows.round_cursor;
            rows.table.sweep(&mut cursor, LINES_PER_SLICE, |key, row| {
                if ttl.is_expired(row.accessed, now) {
                    found.push(key.clone());
                }
                true
            });
            rows.end_slice(cursor, now);
        }
    }
}

impl<K: Key, V: Row> Expiring<K, V> {
    fn touch(&mut self, key: KeyRef<'_>, core: &Core) -> Option<V> {
        let now = core.wall_millis();
        let accessed = self.table.get(key)?.accessed;
        if self.ttl.is_expired(accessed, now) {
            if lives(&self.ttl, accessed, now) {
                self.table.get_mut(key, core.epoch.get())?.accessed = SEEN;
                return None;
            }
            let row = self.table.remove(key)?.row;
            let bytes = row.heap_bytes() + key_bytes::<K>(key);
            self.table.adjust_heap(-(bytes as isize));
            return Some(row);
        }
        let read = self.ttl.after_read(accessed, now);
        if read != accessed {
            self.table.get_mut(key, core.epoch.get())?.accessed = read;
        }
        None
    }

    #[inline(never)]
    fn get_or_insert_with(
        &mut self,
        key: KeyRef<'_>,
        core: &Core,
        init: impl FnOnce() -> V,
    ) -> (&K, &mut V, bool) {
        self.sweep_some(core);
        let now = core.wall_millis();
        if self.round_at == i64::MAX {
            self.round_at = self.ttl.expires_at(now);
        }
        let ttl = self.ttl;
        // An expired row goes with all that is counted for it; the new one comes as any other.
        if self.table.get(key).is_some_and(|row| !lives(&ttl, row.accessed, now)) {
            drop(self.touch(key, core));
        }
        let accessed = ttl.after_write(now);
        let made = || Stamped { row: init(), accessed };
        let slot = self.table.slot(key, core.epoch.get(), made);
        slot.value.accessed = accessed;
        (slot.key, &mut slot.value.row, slot.changed_in.is_none())
    }

    #[inline]
    fn sweep_some(&mut self, core: &Core) {
        let mut cursor = self.cursor;
        self.sweep(&mut cursor, LINES_PER_ACCESS, core.wall_millis());
        self.cursor = cursor;
    }

    fn sweep(&mut self, cursor: &mut usize, lines: usize, now: i64) {
        let (ttl, mut gone) = (self.ttl, 0);
        self.table.sweep(cursor, lines, |key, stamped| {
            let expired = ttl.is_expired(stamped.accessed, now);
            if expired {
                gone += key.heap_bytes() + stamped.row.heap_bytes();
            }
            !expired
        });
        if gone > 0 {
            self.table.adjust_heap(-(gone as isize));
        }
    }

    /// Notes where a round has got to; at its end, when the next one begins.
    fn end_slice(&mut self, cursor: usize, now: i64) {
        self.round_cursor = cursor;
        if cursor == 0 && !self.table.is_rehashing() {
            let pause = (self.ttl.after_ms / 2).max(ROUND_MIN_MS);
            let empty = self.table.is_empty();
            self.round_at = if empty { i64::MAX } else { now.saturating_add(pause) };
        }
    }
}

/// Whether a row counts as present for the next access.
#[inline]
fn lives(ttl: &Ttl, accessed: i64, now: i64) -> bool {
    accessed != SEEN && ttl.is_visible(accessed, now)
}

/// Memory that the key with these bytes owns in a table.
#[inline]
fn key_bytes<K: Key>(key: KeyRef<'_>) -> usize {
    if std::mem::needs_drop::<K>() {
        K::decode(key.bytes).map_or(0, |key| key.heap_bytes())
    } else {
        0
    }
}
