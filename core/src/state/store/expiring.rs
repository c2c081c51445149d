//! Rows with a time to live.

use thalweg_state::table::Made;
use thalweg_state::{Key, KeyRef, Table, Ttl};

use super::super::cold::{Cold, key_bytes};
use super::super::encoding::{Row, Stamped};
use super::{Rows, Store};
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

pub(super) struct Expiring<K: Key, V> {
    pub(super) table: Table<K, Stamped<V>>,
    pub(super) ttl: Ttl,
    /// Whether rows hang together: whoever holds them together removes the expired ones.
    hang_together: bool,
    cursor: usize,
    round_cursor: usize,
    /// When the next whole round begins; `i64::MAX` while the table is empty.
    round_at: i64,
}

impl<K: Key, V: Row> Store<K, V> {
    /// Lets go of the expired among the next few rows.
    #[inline]
    pub(crate) fn sweep_some(&mut self) {
        if let Rows::Expiring(rows) = &mut self.rows {
            rows.sweep_some(&self.core, self.cold.as_deref_mut());
        }
    }

    /// As [`Store::sweep_some`], but only tells which rows have expired: their removal is more than
    /// a row's.
    pub(crate) fn expired_some(&mut self, found: &mut Vec<K>) {
        if let Rows::Expiring(rows) = &mut self.rows {
            let mut cursor = rows.cursor;
            rows.find(&mut cursor, LINES_PER_ACCESS, self.core.wall_millis(), found);
            rows.cursor = cursor;
        }
    }

    /// The time to live of rows that may go by themselves when it is over. Not of those that hang
    /// together: others tell how many there are, or where the next one is.
    pub(super) fn lone_ttl(&self) -> Option<Ttl> {
        match &self.rows {
            Rows::Expiring(rows) if !rows.hang_together => Some(rows.ttl),
            _ => None,
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
            rows.sweep(&mut cursor, LINES_PER_SLICE, now, self.cold.as_deref_mut());
            rows.end_slice(cursor, now);
        }
    }

    /// As [`Store::sweep_slice`] for rows whose removal is the caller's.
    pub(crate) fn expired_slice(&mut self, found: &mut Vec<K>) {
        if let Rows::Expiring(rows) = &mut self.rows {
            let now = self.core.wall_millis();
            let mut cursor = rows.round_cursor;
            rows.find(&mut cursor, LINES_PER_SLICE, now, found);
            rows.end_slice(cursor, now);
        }
    }
}

impl<K: Key, V: Row> Expiring<K, V> {
    pub(super) fn new(table: Table<K, Stamped<V>>, ttl: Ttl, hang_together: bool) -> Self {
        Self { table, ttl, hang_together, cursor: 0, round_cursor: 0, round_at: i64::MAX }
    }

    pub(super) fn touch(
        &mut self,
        key: KeyRef<'_>,
        core: &Core,
        cold: Option<&mut Cold<K>>,
    ) -> Option<V> {
        let now = core.wall_millis();
        let accessed = self.table.get(key)?.accessed;
        if self.ttl.is_expired(accessed, now) {
            if lives(&self.ttl, accessed, now) {
                self.table.get_mut(key, core.epoch.get())?.accessed = SEEN;
                return None;
            }
            return self.expire(key, cold);
        }
        let read = self.ttl.after_read(accessed, now);
        if read != accessed {
            self.table.get_mut(key, core.epoch.get())?.accessed = read;
        }
        None
    }

    /// Removes a row with all that is counted for it; the cold tier will hear of it.
    fn expire(&mut self, key: KeyRef<'_>, cold: Option<&mut Cold<K>>) -> Option<V> {
        let (Stamped { row, .. }, stored) = self.table.take_out(key)?;
        let bytes = row.heap_bytes() + key_bytes::<K>(key);
        self.table.adjust_heap(-(bytes as isize));
        if let Some(cold) = cold {
            cold.removed(key, stored);
        }
        Some(row)
    }

    #[inline(never)]
    pub(super) fn get_or_insert_with(
        &mut self,
        key: KeyRef<'_>,
        core: &Core,
        mut cold: Option<&mut Cold<K>>,
        init: impl FnOnce() -> V,
    ) -> (&K, &mut V, bool) {
        if !self.hang_together {
            self.sweep_some(core, cold.as_deref_mut());
        }
        let now = core.wall_millis();
        self.begin_rounds(now);
        if let Some(cold) = cold.as_deref_mut() {
            cold.bring(&mut self.table, key);
        }
        let ttl = self.ttl;
        // An expired row goes with all that is counted for it; the new one comes as any other.
        if self.table.get(key).is_some_and(|row| !lives(&ttl, row.accessed, now)) {
            drop(self.expire(key, cold.as_deref_mut()));
        }
        let accessed = ttl.after_write(now);
        let made = || Stamped { row: init(), accessed };
        let slot = self.table.slot_with(key, core.epoch.get(), || match cold {
            None => Made::New(made()),
            Some(cold) => cold.make(key, made),
        });
        slot.value.accessed = accessed;
        (slot.key, &mut slot.value.row, slot.changed_in.is_none())
    }

    /// A round begins at once: rows that were restored may have expired long ago.
    pub(super) fn begin_now(&mut self, now: i64) {
        self.round_at = if self.table.is_empty() { i64::MAX } else { now };
    }

    /// Rounds begin when the first row comes.
    pub(super) fn begin_rounds(&mut self, now: i64) {
        if self.round_at == i64::MAX {
            self.round_at = self.ttl.expires_at(now);
        }
    }

    #[inline]
    fn sweep_some(&mut self, core: &Core, cold: Option<&mut Cold<K>>) {
        let mut cursor = self.cursor;
        self.sweep(&mut cursor, LINES_PER_ACCESS, core.wall_millis(), cold);
        self.cursor = cursor;
    }

    fn sweep(&mut self, cursor: &mut usize, lines: usize, now: i64, cold: Option<&mut Cold<K>>) {
        if let Some(cold) = cold {
            return self.sweep_above(cursor, lines, now, cold);
        }
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

    /// As `sweep` with cold rows: each removal is noted.
    #[cold]
    fn sweep_above(&mut self, cursor: &mut usize, lines: usize, now: i64, cold: &mut Cold<K>) {
        let mut found = Vec::new();
        self.find(cursor, lines, now, &mut found);
        for key in found {
            key.with_encoded(|bytes| drop(self.expire(KeyRef::new(bytes), Some(&mut *cold))));
        }
    }

    /// Tells which rows of the next lines have expired.
    fn find(&mut self, cursor: &mut usize, lines: usize, now: i64, found: &mut Vec<K>) {
        let ttl = self.ttl;
        self.table.sweep(cursor, lines, |key, row| {
            if ttl.is_expired(row.accessed, now) {
                found.push(key.clone());
            }
            true
        });
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
pub(super) fn lives(ttl: &Ttl, accessed: i64, now: i64) -> bool {
    accessed != SEEN && ttl.is_visible(accessed, now)
}
