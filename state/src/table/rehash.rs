//! Growing, shrinking and purging a table a few lines at a time.
//!
//! A rehash starts an empty second table; every change of the table then moves a bounded number of
//! entries. Home lines keep their order from one size to another, so both tables are walked front
//! to back. The quota is such that a rehash ends before the new table fills up: the proportions are
//! spelled out at [`Table::make_room`].

use super::Table;
use super::lines::Lines;
use crate::key::Key;

/// Entries that one change moves at most.
const MOVED_MAX: usize = 8;

/// Lines that one change passes at most.
const PASSED_MAX: usize = 64;

/// A table that is being emptied, front to back.
pub(super) struct Migration {
    pub(super) lines: Lines,
    /// Lines before this one were moved.
    pub(super) cursor: usize,
    /// Entries that were not moved yet.
    pub(super) live: usize,
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
        let mut moved = 0;
        while old.cursor < end && moved < MOVED_MAX {
            let line = old.lines.line(old.cursor);
            old.cursor += 1;
            if !line.is_occupied() {
                continue;
            }
            let mut index = self.lines.home(line.hash);
            while self.lines.line(index).is_occupied() {
                index = self.lines.next(index);
            }
            let target = self.lines.line_mut(index);
            self.used += usize::from(target.is_empty());
            target.move_from(line);
            self.live += 1;
            old.live -= 1;
            moved += 1;
        }
        old.lines.release_before(old.cursor);
        if old.cursor == old.lines.count() {
            assert_eq!(old.live, 0, "a rehash left entries behind");
            self.old = None;
        }
    }

    /// Makes sure that one more line can be used.
    ///
    /// With `n` lines, a rehash starts when `n / 2` are used. If more than `n / 4` hold entries the
    /// new table has `2 n` lines: it has room for `n / 2` entries besides those that move, and they
    /// have moved after `n / 16` changes. Otherwise marks of removed entries fill the table; a new
    /// one of `n` lines has room for `n / 4` more. Shrinking leaves room for `n / 16` and takes at
    /// most `3 n / 128` changes.
    #[inline]
    pub(super) fn make_room(&mut self) {
        let count = self.lines.count();
        if self.used >= count / 2 {
            self.grow(count);
        }
    }

    #[cold]
    fn grow(&mut self, count: usize) {
        while self.old.is_some() {
            self.rehash_step();
        }
        if self.used >= count / 2 {
            let crowded = self.live >= count / 4;
            self.start_rehash(if crowded { count * 2 } else { count });
        }
    }

    #[cold]
    pub(super) fn start_rehash(&mut self, count: usize) {
        assert!(self.old.is_none(), "a rehash is under way");
        let lines = std::mem::replace(&mut self.lines, Lines::new(count));
        self.old = Some(Box::new(Migration {
            lines,
            cursor: 0,
            live: self.live,
        }));
        self.live = 0;
        self.used = 0;
    }
}
