//! Finding, filling and emptying lines.

use super::lines::{Line, Lines, prefetch};
use super::pair::Pair;
use super::{LINES_MIN, Table};
use crate::key::{Key, KeyRef};

/// Lines in which a prefetch looks for an entry.
const CELL_PROBES_MAX: usize = 8;

/// Where an entry lies. Valid until the next change of the table.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) in_old: bool,
}

impl<K: Key, V> Table<K, V> {
    /// Finds the line of a key.
    #[inline]
    pub(super) fn find(&self, key: KeyRef<'_>) -> Option<Place> {
        if self.old.is_some() {
            return self.find_in_both(key);
        }
        self.probe(key).map(|index| Place { index, in_old: false })
    }

    /// Finds a key while entries are being moved, in the likelier table first.
    ///
    /// Keys that are still to be moved are not looked for in the new table, whose memory may not
    /// have been touched yet: a page fault per new key is what would stop the core.
    #[cold]
    fn find_in_both(&self, key: KeyRef<'_>) -> Option<Place> {
        let old = self.old.as_ref()?;
        let home = old.lines.home(key.hash);
        if home >= old.cursor && home < old.ahead_from {
            return self.find_in_old(key);
        }
        match self.probe(key) {
            Some(index) => Some(Place { index, in_old: false }),
            None => self.find_in_old(key),
        }
    }

    #[inline]
    pub(super) fn probe(&self, key: KeyRef<'_>) -> Option<usize> {
        let mut index = self.lines.home(key.hash);
        loop {
            let line = self.lines.line(index);
            if line.hash == key.hash && line.is_occupied() && self.holds(line, key.bytes) {
                return Some(index);
            }
            if line.is_empty() {
                return None;
            }
            index = self.lines.next(index);
        }
    }

    fn find_in_old(&self, key: KeyRef<'_>) -> Option<Place> {
        let old = self.old.as_ref()?;
        // A key whose home was moved already can only lie where the cursor is or behind it.
        let mut index = old.lines.home(key.hash).max(old.cursor);
        for _ in old.cursor..old.lines.count() {
            let line = old.lines.line(index);
            if line.hash == key.hash && line.is_occupied() && self.holds(line, key.bytes) {
                return Some(Place { index, in_old: true });
            }
            if line.is_empty() {
                return None;
            }
            index = old.lines.next(index).max(old.cursor);
        }
        None
    }

    /// Asks for what lies behind the first line near the home line that has this hash.
    #[inline]
    pub(super) fn prefetch_behind(&self, hash: u64, ask: impl FnOnce(&V)) {
        let mut index = self.lines.home(hash);
        for _ in 0..CELL_PROBES_MAX {
            let line = self.lines.line(index);
            if line.hash == hash && line.is_occupied() {
                if Pair::<K, V>::INLINE {
                    // SAFETY: the line is this table's and was seen to be occupied.
                    ask(unsafe { &self.pair_of(line).value });
                } else {
                    prefetch(self.slab.address(slab_index(line)));
                }
                return;
            }
            if line.is_empty() {
                return;
            }
            index = self.lines.next(index);
        }
    }

    #[inline]
    fn holds(&self, line: &Line, encoded: &[u8]) -> bool {
        // SAFETY: the caller saw that the line is occupied.
        unsafe { self.pair_of(line) }.key.matches(encoded)
    }

    #[inline]
    pub(super) fn lines_of(&self, place: Place) -> &Lines {
        match &self.old {
            Some(old) if place.in_old => &old.lines,
            _ => &self.lines,
        }
    }

    #[inline]
    pub(super) fn line_mut(&mut self, place: Place) -> &mut Line {
        match &mut self.old {
            Some(old) if place.in_old => old.lines.line_mut(place.index),
            _ => self.lines.line_mut(place.index),
        }
    }

    /// The pair of an occupied line.
    ///
    /// # Safety
    ///
    /// The line belongs to this table and is occupied.
    #[inline]
    pub(super) unsafe fn pair_of<'a>(&'a self, line: &'a Line) -> &'a Pair<K, V> {
        if Pair::<K, V>::INLINE {
            // SAFETY: an occupied line of a table with inline pairs holds one, written by `store`,
            // and `INLINE` says that it fits the payload in size and alignment.
            unsafe { &*line.payload.as_ptr().cast::<Pair<K, V>>() }
        } else {
            // SAFETY: an occupied line of a table with slab pairs holds the index of a cell in use.
            unsafe { self.slab.get(slab_index(line)) }
        }
    }

    #[inline]
    pub(super) fn pair(&self, place: Place) -> &Pair<K, V> {
        let line = self.lines_of(place).line(place.index);
        debug_assert!(line.is_occupied(), "line {} has no entry", place.index);
        // SAFETY: places are made for occupied lines only, and the table did not change since.
        unsafe { self.pair_of(line) }
    }

    #[inline]
    pub(super) fn pair_mut(&mut self, place: Place) -> &mut Pair<K, V> {
        if Pair::<K, V>::INLINE {
            let line = self.line_mut(place);
            debug_assert!(line.is_occupied(), "line {} has no entry", place.index);
            // SAFETY: as for `pair_of`; places are made for occupied lines only, and the line is
            // lent exclusively.
            unsafe { &mut *line.payload.as_mut_ptr().cast::<Pair<K, V>>() }
        } else {
            let index = slab_index(self.lines_of(place).line(place.index));
            // SAFETY: as for `pair_of`; places are made for occupied lines only.
            unsafe { self.slab.get_mut(index) }
        }
    }

    /// Notes an access in `epoch` and returns the epoch that was noted before.
    #[inline]
    pub(super) fn mark(&mut self, place: Place, epoch: u64) -> u64 {
        let line = self.line_mut(place);
        let before = line.epoch();
        line.occupy(epoch);
        if before != epoch {
            self.note_change(place, before);
        }
        before
    }

    #[inline]
    pub(super) fn epoch(&self, place: Place) -> u64 {
        self.lines_of(place).line(place.index).epoch()
    }

    /// Adds a key that is not in the table.
    #[inline(never)]
    pub(super) fn insert_new(
        &mut self,
        key: KeyRef<'_>,
        epoch: u64,
        init: impl FnOnce() -> V,
    ) -> Place {
        let pair = Pair { key: decode(key.bytes), value: init() };
        self.insert_pair(key, epoch, pair)
    }

    pub(super) fn insert_pair(&mut self, key: KeyRef<'_>, epoch: u64, pair: Pair<K, V>) -> Place {
        self.make_room();
        let place = self.claim(key.hash);
        if Pair::<K, V>::INLINE {
            let payload = self.line_mut(place).payload.as_mut_ptr();
            // SAFETY: `INLINE` says that the pair fits the payload in size and alignment; the line
            // is not occupied, so nothing is overwritten that would have to be dropped.
            unsafe { payload.cast::<Pair<K, V>>().write(pair) };
        } else {
            let cell = self.slab.insert(pair);
            set_slab_index(self.line_mut(place), cell);
        }
        let line = self.line_mut(place);
        line.hash = key.hash;
        line.occupy(epoch);
        if epoch != 0 {
            self.note_new(key.hash);
        }
        place
    }

    /// Finds a free line for a new key and counts it as in use.
    fn claim(&mut self, hash: u64) -> Place {
        if let Some(place) = self.old.as_mut().and_then(|old| old.claim(hash)) {
            return place;
        }
        let index = self.lines.free(hash);
        self.live += 1;
        Place { index, in_old: false }
    }

    /// Removes an entry for good.
    #[inline]
    pub(super) fn remove_at(&mut self, place: Place) -> Pair<K, V> {
        self.note_removal(place);
        self.take(place)
    }

    /// Takes an entry out that the cold tier has.
    #[inline]
    pub(super) fn leave_from(&mut self, place: Place) -> Pair<K, V> {
        self.note_leave(place);
        self.take(place)
    }

    /// Takes an entry out of the table.
    pub(super) fn take(&mut self, place: Place) -> Pair<K, V> {
        let pair = self.read_out(place);
        match &mut self.old {
            // What is left of a table that is being emptied keeps its places.
            Some(old) if place.in_old => old.live -= 1,
            _ => {
                self.live -= 1;
                if self.journal.is_some() {
                    self.note_close(place.index);
                }
                self.lines.close(place.index);
            }
        }
        pair
    }

    /// Reads the pair out of a line and marks the line as that of a removed entry.
    fn read_out(&mut self, place: Place) -> Pair<K, V> {
        let line = self.line_mut(place);
        debug_assert!(line.is_occupied(), "line {} has no entry", place.index);
        line.set_removed();
        if Pair::<K, V>::INLINE {
            // SAFETY: the line was occupied, so its payload is a pair; the mark set above keeps it
            // from being read or dropped again.
            unsafe { line.payload.as_ptr().cast::<Pair<K, V>>().read() }
        } else {
            let index = slab_index(line);
            // SAFETY: the line was occupied, so its index is in use; the mark set above ends its
            // life.
            unsafe { self.slab.remove(index) }
        }
    }

    /// Starts a smaller table when next to nothing is left in this one; if it fills in turns only
    /// after as many removed entries as a quarter of its lines.
    pub(super) fn shrink_if_sparse(&mut self) {
        let count = self.lines.count();
        let sparse = self.live < count / 16;
        self.sparse_for = if sparse { self.sparse_for + 1 } else { 0 };
        let long = sparse && (!self.in_turns || self.sparse_for >= count / 4);
        if long && self.old.is_none() && count > self.lines_floor.max(LINES_MIN) {
            self.sparse_for = 0;
            self.start_rehash((count / 4).max(self.lines_floor));
        }
    }
}

impl<K: Key, V> Drop for Table<K, V> {
    fn drop(&mut self) {
        if !std::mem::needs_drop::<Pair<K, V>>() {
            return;
        }
        let old = self.old.as_ref().map_or(0..0, |old| old.cursor..old.lines.count());
        let places = old.map(|index| Place { index, in_old: true });
        let lines = (0..self.lines.count()).map(|index| Place { index, in_old: false });
        for place in places.chain(lines) {
            if self.lines_of(place).line(place.index).is_occupied() {
                drop(self.read_out(place));
            }
        }
    }
}

#[cold]
#[inline(never)]
pub(super) fn decode<K: Key>(bytes: &[u8]) -> K {
    match K::decode(bytes) {
        Ok(key) => key,
        Err(error) => panic!("key {bytes:02x?} of {}: {error}", std::any::type_name::<K>()),
    }
}

#[inline]
pub(super) fn slab_index(line: &Line) -> u32 {
    // SAFETY: occupied lines of a table with slab pairs start their payload with an index, written
    // by `set_slab_index`; the payload is aligned to 16 bytes.
    unsafe { line.payload.as_ptr().cast::<u32>().read() }
}

#[inline]
fn set_slab_index(line: &mut Line, index: u32) {
    // SAFETY: the payload has 48 bytes and is aligned to 16.
    unsafe { line.payload.as_mut_ptr().cast::<u32>().write(index) };
}
