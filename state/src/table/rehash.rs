//! Growing and shrinking a table a few lines at a time.
//!
//! A rehash starts an empty second table; every change of the table then moves a bounded number of
//! entries. Home lines keep their order from one size to another, so both tables are walked front
//! to back, and until its turn comes a new key still goes into the old table: the new one's memory
//! is touched page by page in order, never all over. The quota is such that a rehash ends before a
//! table fills up: the proportions are spelled out at `make_room`.

use super::access::Place;
use super::lines::{Line, Lines};
use super::pair::Pair;
use super::{LINES_MIN, Table, lines_at, spread_of};
use crate::key::Key;

/// Entries that one change moves at most.
const MOVED_MAX: usize = 4;

/// Entries that one change moves at most if the new table is crowded from the beginning.
const MOVED_MAX_CROWDED: usize = 16;

/// Lines that one change passes at most.
const PASSED_MAX: usize = 32;

/// A table that is being emptied, front to back.
pub(super) struct Migration {
    pub(super) lines: Lines,
    /// Lines before this one were moved.
    pub(super) cursor: usize,
    /// Entries that were not moved yet.
    pub(super) live: usize,
    /// From this home line on, entries may have gone to the new table before their turn: those of a
    /// run that goes past the last line.
    pub(super) ahead_from: usize,
    /// Entries that one change moves at most.
    quota: usize,
}

impl Migration {
    /// Finds a free line for a new key whose turn has not come, and counts its entry.
    pub(super) fn claim(&mut self, hash: u64) -> Option<Place> {
        let mut index = self.lines.home(hash);
        if index < self.cursor {
            return None;
        }
        for _ in self.cursor..self.lines.count() {
            if !self.lines.line(index).is_occupied() {
                self.live += 1;
                return Some(Place { index, in_old: true });
            }
            index = self.lines.next(index).max(self.cursor);
        }
        self.ahead_from = self.ahead_from.min(self.lines.home(hash));
        None
    }
}

impl<K: Key, V> Table<K, V> {
    /// Moves a bounded number of entries if a rehash is under way.
    #[inline]
    pub(super) fn rehash_some(&mut self) {
        if self.old.is_some() {
            self.rehash_step();
        }
    }

    /// Moves a bounded number of entries of a rehash; without one, does nothing.
    ///
    /// Every change does this by itself; an idle core may call it to be done sooner.
    #[cold]
    #[inline(never)]
    pub fn rehash_step(&mut self) {
        let Some(old) = &mut self.old else {
            return;
        };
        let end = (old.cursor + PASSED_MAX).min(old.lines.count());
        let sweeping = self.journal.is_some();
        let mut moves = [(0, 0); MOVED_MAX_CROWDED];
        let mut moved = 0;
        while old.cursor < end && moved < old.quota {
            let line = old.lines.line(old.cursor);
            old.cursor += 1;
            if !line.is_occupied() {
                continue;
            }
            let home = old.lines.home(line.hash);
            if home >= old.cursor {
                old.ahead_from = old.ahead_from.min(home);
            }
            let index = self.lines.free(line.hash);
            let target = self.lines.line_mut(index);
            target.move_from(line);
            if sweeping {
                moves[moved] = (old.cursor - 1, index);
            }
            self.live += 1;
            old.live -= 1;
            moved += 1;
        }
        old.lines.release_before(old.cursor);
        if old.cursor == old.lines.count() {
            assert_eq!(old.live, 0, "a rehash left entries behind");
            self.old = None;
        }
        if sweeping {
            moves[..moved].iter().for_each(|(from, to)| self.note_move(*from, *to));
        }
    }

    /// Makes sure that one more line can be used.
    ///
    /// With `n` lines, a rehash starts when `n / 2` hold entries: the new table has `2 n` lines,
    /// and they have moved after `n / 8` changes: neither is the old one then filled beyond 5/8 nor
    /// the new one beyond 5/16. Shrinking to a quarter leaves room for `n / 16` and takes at most
    /// `3 n / 64` changes. A table without room for `2 n` lines fills up to 7/8 first, and grows
    /// all the same then: an entry in use is never refused.
    #[inline]
    pub(super) fn make_room(&mut self) {
        if self.live >= self.full_at {
            self.grow();
        }
    }

    #[cold]
    fn grow(&mut self) {
        self.rehash_all();
        let count = self.lines.count();
        if self.live < self.full_at {
            return;
        }
        if self.room.bytes() >= self.doubling() {
            self.room.take(count * size_of::<Line>());
            self.start_rehash(count * 2);
        } else if self.full_at < eighths(count, 7) {
            self.full_at = eighths(count, 7);
        } else {
            self.start_rehash(count * 2);
        }
    }

    /// Makes lines for so many entries that come in the order of this table's lines, as they were
    /// written: then they go in front to back. Up to five eighths of the lines may be in use by
    /// then, as memory that is touched for the first time is most of what the lines cost. Where
    /// there is no room for them the entries would run into each other at the front, each passing
    /// all before it: the table gets another order then, made of `seed`, once.
    ///
    /// Costs a rehash in one go: for a table that is being rebuilt.
    pub fn expect(&mut self, entries: usize, seed: u64) {
        let (wanted, lines) = (lines_at(entries, 5), self.lines.count());
        if lines >= wanted {
            self.full_at = self.full_at.max(eighths(lines, 5));
            return;
        }
        let share = if Pair::<K, V>::INLINE { 1 } else { 2 };
        let most = eighths(self.room.bytes() / (share * size_of::<Line>()), 7);
        let count = most.checked_ilog2().map_or(lines, |log2| wanted.min(1 << log2).max(lines));
        let scatters = count < wanted && !self.is_scattered;
        if count == lines && !scatters {
            return;
        }
        self.rehash_all();
        self.room.take((count - lines) * size_of::<Line>());
        let spread = if scatters { spread_of(seed) } else { self.lines.spread() };
        self.is_scattered |= scatters;
        self.start_rehash_as(count, spread);
        self.rehash_all();
        self.full_at = self.full_at.max(eighths(count, 5));
    }

    fn rehash_all(&mut self) {
        while self.old.is_some() {
            self.rehash_step();
        }
    }

    #[cold]
    pub(super) fn start_rehash(&mut self, count: usize) {
        self.start_rehash_as(count, self.lines.spread());
    }

    /// With another `spread` no entry may come or go before the rehash has ended: home lines do
    /// not keep their order.
    #[cold]
    fn start_rehash_as(&mut self, count: usize, spread: u64) {
        assert!(self.old.is_none(), "a rehash is under way");
        let crowded = self.live > count / 4;
        let quota = if crowded { MOVED_MAX_CROWDED } else { MOVED_MAX };
        if let Some(journal) = &mut self.journal {
            journal.rehash_starts();
        }
        let fresh = Lines::new(count, spread);
        let lines = std::mem::replace(&mut self.lines, fresh);
        let (live, ahead_from) = (self.live, usize::MAX);
        self.old = Some(Box::new(Migration { lines, cursor: 0, live, ahead_from, quota }));
        let packed = self.live > count / 16 * 7;
        self.full_at = if packed { eighths(count, 7) } else { count / 2 };
        self.live = 0;
    }

    /// How many entries the table takes with `room` bytes more, at a load that leaves look-ups
    /// short.
    pub fn entries_max(&self, room: usize) -> usize {
        let count = self.lines.count();
        let doubles = room >= self.doubling();
        let lines = if doubles { usize::MAX } else { eighths(count, 6) };
        lines.min(if Pair::<K, V>::INLINE { usize::MAX } else { self.slab.values_max(room) })
    }

    /// How much room there must be before the lines double: for them, and for what the first half
    /// of the entries more will own. Lines for entries that must leave again are of no use.
    fn doubling(&self) -> usize {
        let owned = self.slab.bytes().saturating_add_signed(self.heap_bytes);
        self.lines.count() * size_of::<Line>() + owned / 2
    }

    /// Starts a smaller table if what is left fits into one of half the size: for a table that had
    /// to grow without room.
    pub fn shrink_if_roomy(&mut self) {
        let count = self.lines.count();
        if self.old.is_none() && count > LINES_MIN && self.live <= eighths(count, 3) {
            self.start_rehash(count / 2);
        }
    }
}

fn eighths(count: usize, eighths: usize) -> usize {
    count / 8 * eighths
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::super::Room;
    use super::*;
    use crate::key::KeyRef;

    fn insert(table: &mut Table<u64, u64>, key: u64) {
        table.insert(KeyRef::new(&key.to_be_bytes()), 1, key);
    }

    const COUNT: u64 = if cfg!(miri) { 2_000 } else { 300_000 };

    #[test]
    fn no_change_moves_more_than_its_quota() {
        let mut table = Table::with_capacity(0);
        let (mut before, mut rehashes) = (None, 0);
        for key in 0..COUNT {
            insert(&mut table, key);
            let now = table.old.as_ref().map(|old| (old.lines.count(), old.cursor));
            match (before, now) {
                (Some((lines, from)), Some((same, to))) => {
                    assert_eq!(lines, same, "a rehash started before the last one ended");
                    assert!(to > from && to - from <= PASSED_MAX, "passed {from}..{to}");
                }
                (Some((lines, from)), None) => assert!(lines - from <= PASSED_MAX),
                (None, Some((_, to))) => {
                    assert_eq!(to, 0);
                    rehashes += 1;
                }
                (None, None) => {}
            }
            before = now;
            assert_eq!(table.len() as u64, key + 1);
        }
        assert!(rehashes > 5, "{rehashes}");
        for key in 0..COUNT {
            let found = table.get(KeyRef::new(&key.to_be_bytes()));
            assert_eq!(found, Some(&key));
        }
    }

    #[test]
    fn keys_that_wait_their_turn_leave_the_new_table_alone() {
        let mut table = Table::with_capacity(0);
        let mut key = 0;
        while table.old.is_none() || table.lines.count() < 1_024 {
            insert(&mut table, key);
            key += 1;
        }
        let old = table.old.as_ref().map_or(0, |old| old.live);
        assert_eq!((table.live, old as u64), (0, key), "the rehash has only just begun");
        insert(&mut table, key);
        let last =
            (0..table.lines.count()).rev().find(|index| table.lines.line(*index).is_occupied());
        let cursor = table.old.as_ref().map_or(0, |old| old.cursor);
        let wrapped = table.old.as_ref().is_some_and(|old| old.ahead_from != usize::MAX);
        assert!(wrapped || last.is_none_or(|last| last <= 4 * cursor + 8), "{last:?} {cursor}");
    }

    fn hash(key: u64) -> u64 {
        KeyRef::new(&key.to_be_bytes()).hash
    }

    /// How far the farthest entry of a table is from its home line.
    fn farthest(table: &Table<u64, u64>) -> usize {
        let lines = &table.lines;
        let far = |index: usize| {
            let line = lines.line(index);
            let far = index.wrapping_sub(lines.home(line.hash)) & (lines.count() - 1);
            if line.is_occupied() { far } else { 0 }
        };
        (0..lines.count()).map(far).max().unwrap_or(0)
    }

    /// Keys in the order of their home lines, as another table would have written them.
    fn in_order(table: &Table<u64, u64>) -> Vec<u64> {
        let mut keys: Vec<u64> = (0..COUNT).collect();
        keys.sort_by_key(|key| hash(*key).wrapping_mul(table.lines.spread()));
        keys
    }

    #[test]
    fn room_that_was_made_keeps_rows_in_order_apart() {
        let mut table: Table<u64, u64> = Table::with_capacity(0);
        let keys = in_order(&table);
        table.expect(keys.len(), 1);
        let lines = table.lines.count();
        keys.iter().for_each(|key| insert(&mut table, *key));
        assert_eq!((table.lines.count(), table.is_rehashing()), (lines, false));
        assert!(!table.is_scattered && farthest(&table) < 200, "{} lines", farthest(&table));
    }

    /// At every tenth key: the table is searched as far as its entries lie from their homes.
    #[test]
    fn rows_in_order_do_not_run_into_each_other_where_room_is_short() {
        let mut table: Table<u64, u64> = Table::with_capacity(0);
        table.order_by(7);
        let keys = in_order(&table);
        (1..=4).for_each(|key| insert(&mut table, COUNT + key));
        table.set_room(Rc::new(Room::none()));
        table.expect(keys.len(), 1);
        assert!(table.is_scattered && table.lines.count() == LINES_MIN);
        for (index, key) in keys.iter().enumerate() {
            insert(&mut table, *key);
            if (index as u64).is_multiple_of(COUNT / 10) {
                let (far, lines) = (farthest(&table), table.lines.count());
                assert!(far < 1_000, "{far} of {lines} lines with {index} keys");
                table.expect(keys.len(), 2);
            }
        }
        let all = keys.iter().chain(&[COUNT + 1, COUNT + 4]);
        all.for_each(|key| assert!(table.get(KeyRef::new(&key.to_be_bytes())).is_some(), "{key}"));
    }

    #[test]
    fn rows_with_room_for_fewer_lines_take_those_in_another_order() {
        let mut table: Table<u64, u64> = Table::with_capacity(0);
        let wanted = lines_at(COUNT as usize, 5);
        let room = |lines: usize| {
            let room = Room::none();
            room.set(lines * size_of::<Line>() * 5 / 4);
            Rc::new(room)
        };
        table.set_room(room(wanted / 4));
        table.expect(COUNT as usize, 1);
        assert_eq!((table.lines.count(), table.is_scattered), (wanted / 4, true));
        table.set_room(room(wanted));
        table.expect(COUNT as usize, 1);
        let spread = table.lines.spread();
        assert_eq!((table.lines.count(), spread), (wanted, spread_of(1)));
        table.set_room(Rc::new(Room::none()));
        table.expect(usize::MAX, 2);
        assert_eq!((table.lines.count(), table.lines.spread()), (wanted, spread));
    }

    /// As a restore leaves it: more than half full.
    #[test]
    fn a_table_that_was_expected_grows_a_few_lines_at_a_time() {
        let mut table: Table<u64, u64> = Table::with_capacity(0);
        let lines = lines_at(COUNT as usize, 5);
        let most = eighths(lines, 5) as u64;
        table.expect(COUNT as usize, 1);
        (0..most).for_each(|key| insert(&mut table, key));
        assert_eq!((table.lines.count(), table.is_rehashing()), (lines, false));
        let mut key = most;
        while key == most || table.is_rehashing() {
            insert(&mut table, key);
            key += 1;
        }
        assert_eq!((table.lines.count(), table.full_at), (2 * lines, lines));
        assert!((key - most) as usize <= lines / 24, "{} changes", key - most);
    }

    #[test]
    fn memory_returns_when_entries_go() {
        let mut table = Table::with_capacity(0);
        let empty = table.bytes();
        for round in 0..2 {
            (0..COUNT).for_each(|key| insert(&mut table, key));
            assert!(table.bytes() as u64 > COUNT * 64, "round {round}");
            for key in 0..COUNT {
                assert_eq!(table.remove(KeyRef::new(&key.to_be_bytes())), Some(key));
            }
            let mut cursor = 0;
            for _ in 0..COUNT {
                table.sweep(&mut cursor, 64, |_, _| true);
            }
            assert_eq!(table.bytes(), empty, "round {round}");
        }
    }

    #[test]
    fn churn_at_constant_size_does_not_grow_the_table() {
        let mut table = Table::with_capacity(1_000);
        let lines = table.line_count();
        for key in 0..COUNT {
            insert(&mut table, key);
            if let Some(gone) = key.checked_sub(500) {
                assert_eq!(table.remove(KeyRef::new(&gone.to_be_bytes())), Some(gone));
            }
            assert!(table.line_count() <= 2 * lines, "{} lines", table.line_count());
        }
        assert_eq!(table.len(), 500);
    }
}
