//! What a table that stands above a cold tier needs: entries that come back, entries that leave.
//!
//! An entry is *dirty* if it changed since it was last given to the cold tier, *stored* if the tier
//! may hold a row of its key, and *on its way* while a run with its row was given and not yet
//! answered. It stays readable until then, and afterwards leaves only if it did not change.

use super::Table;
use super::access::{Place, decode};
use super::pair::Pair;
use crate::key::{Key, KeyRef};

/// Lines that the clock's hand passes one after the other: a page holds four times as many.
const SPAN: usize = 16;

/// Where a value comes from that is not in the table.
#[derive(Debug)]
pub enum Made<V> {
    /// There is none, and the cold tier holds none either.
    New(V),
    /// There is none, but the cold tier may still hold one that was removed.
    Anew(V),
    /// The cold tier had it; it owns so much memory outside itself.
    Restored(V, usize),
}

/// An entry that the clock's hand passes, or whose run has arrived.
#[derive(Debug)]
pub struct Candidate<'a, K, V> {
    /// The key's hash.
    pub hash: u64,
    /// The key.
    pub key: &'a K,
    /// The value.
    pub value: &'a V,
    /// Whether it was used since the hand last passed, or since its run was sent.
    pub is_referenced: bool,
    /// Whether it changed since it was last given to the cold tier.
    pub is_dirty: bool,
    /// Whether it is on its way with a run.
    pub is_sent: bool,
}

/// What becomes of a [`Candidate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    Stay,
    /// It stays, and counts as not used from now on.
    Age,
    /// It leaves the table at once.
    Leave,
    /// It goes with this run, from 1 to [`RUNS_MAX`](super::RUNS_MAX), and stays meanwhile.
    Send(u8),
}

/// What a look at a line means for the probe.
#[derive(PartialEq, Eq)]
enum Probe {
    Ends,
    GoesOn,
    HasTaken,
}

impl<K: Key, V> Table<K, V> {
    /// Whether a key is in the table; if so it counts as used.
    #[inline]
    pub fn touch(&mut self, key: KeyRef<'_>) -> bool {
        let Some(place) = self.find(key) else {
            return false;
        };
        self.line_mut(place).refer();
        true
    }

    /// Adds an entry as the cold tier has it: it counts as used and not as changed.
    ///
    /// # Panics
    ///
    /// If the bytes are not an encoding of `K`; in debug builds if the key is there.
    pub fn restore(&mut self, key: KeyRef<'_>, value: V, heap_bytes: usize) {
        self.rehash_some();
        debug_assert!(self.find(key).is_none(), "key {:02x?} is there", key.bytes);
        let pair = Pair { key: decode(key.bytes), value };
        self.restore_pair(key, pair, heap_bytes);
    }

    fn restore_pair(&mut self, key: KeyRef<'_>, pair: Pair<K, V>, heap: usize) -> Place {
        self.heap_bytes += (pair.key.heap_bytes() + heap) as isize;
        let place = self.insert_pair(key, 0, pair);
        self.line_mut(place).set_restored();
        place
    }

    /// Adds a key that is not in the table, and tells when it was changed if it was restored.
    pub(super) fn insert_made(
        &mut self,
        key: KeyRef<'_>,
        epoch: u64,
        make: impl FnOnce() -> Made<V>,
    ) -> (Place, Option<u64>) {
        let owner = decode::<K>(key.bytes);
        match make() {
            Made::New(value) => (self.insert_pair(key, epoch, Pair { key: owner, value }), None),
            Made::Anew(value) => {
                let place = self.insert_pair(key, epoch, Pair { key: owner, value });
                self.line_mut(place).set_stored();
                (place, None)
            }
            Made::Restored(value, heap) => {
                let place = self.restore_pair(key, Pair { key: owner, value }, heap);
                (place, Some(self.mark(place, epoch)))
            }
        }
    }

    /// Removes a key and returns its value, and whether the cold tier may hold a row of it.
    pub fn take_out(&mut self, key: KeyRef<'_>) -> Option<(V, bool)> {
        self.rehash_some();
        let place = self.find(key)?;
        let is_stored = self.lines_of(place).line(place.index).is_stored();
        let pair = self.remove_at(place);
        self.shrink_if_sparse();
        Some((pair.value, is_stored))
    }

    /// Lets the clock's hand pass the next `line_count` lines; `judge` says what becomes of each
    /// entry. The table forgets those that leave: what they own is the caller's to account for.
    ///
    /// `cursor` counts lines of a round, from 0 until it is back at 0. Entries that growth has yet
    /// to move are left to the next round, and so may be some that move up for others; each call
    /// also moves a rehash along.
    pub fn pass(
        &mut self,
        cursor: &mut usize,
        line_count: usize,
        mut judge: impl FnMut(Candidate<'_, K, V>) -> Fate,
    ) {
        self.rehash_some();
        let count = self.lines.count();
        let start = if *cursor < count { *cursor } else { 0 };
        let end = start.saturating_add(line_count).min(count);
        let mut at = start;
        while at < end {
            let place = Place { index: scattered(at, count), in_old: false };
            if !self.lines.line(place.index).is_occupied() {
                at += 1;
                continue;
            }
            match judge(self.candidate(place)) {
                Fate::Stay => {}
                Fate::Age => self.line_mut(place).age(),
                Fate::Leave => {
                    // Another one may be in the line now.
                    drop(self.leave_from(place));
                    continue;
                }
                Fate::Send(run) => self.line_mut(place).send_with(run),
            }
            at += 1;
        }
        *cursor = if end == count { 0 } else { end };
    }

    /// Notes that a run has arrived, for its entries with this hash; `leaves` says of each whether
    /// it leaves.
    pub fn arrived(
        &mut self,
        hash: u64,
        run: u8,
        mut leaves: impl FnMut(Candidate<'_, K, V>) -> bool,
    ) {
        if let Some(old) = &self.old {
            let (cursor, count) = (old.cursor, old.lines.count());
            let mut index = old.lines.home(hash).max(cursor);
            for _ in cursor..count {
                let place = Place { index, in_old: true };
                if self.arrive_at(place, hash, run, &mut leaves) == Probe::Ends {
                    break;
                }
                index = ((index + 1) & (count - 1)).max(cursor);
            }
        }
        let mut index = self.lines.home(hash);
        loop {
            match self.arrive_at(Place { index, in_old: false }, hash, run, &mut leaves) {
                Probe::Ends => break,
                Probe::GoesOn => index = self.lines.next(index),
                // Another one may be in the line now.
                Probe::HasTaken => {}
            }
        }
    }

    fn arrive_at(
        &mut self,
        place: Place,
        hash: u64,
        run: u8,
        leaves: &mut impl FnMut(Candidate<'_, K, V>) -> bool,
    ) -> Probe {
        let line = self.lines_of(place).line(place.index);
        if line.is_empty() {
            return Probe::Ends;
        }
        if line.hash != hash || !line.is_occupied() || line.run() != run {
            return Probe::GoesOn;
        }
        self.line_mut(place).arrive();
        if !leaves(self.candidate(place)) {
            return Probe::GoesOn;
        }
        drop(self.leave_from(place));
        Probe::HasTaken
    }

    fn candidate(&self, place: Place) -> Candidate<'_, K, V> {
        let line = self.lines_of(place).line(place.index);
        let pair = self.pair(place);
        Candidate {
            hash: line.hash,
            key: &pair.key,
            value: &pair.value,
            is_referenced: line.is_referenced(),
            is_dirty: line.is_dirty(),
            is_sent: line.run() != 0,
        }
    }
}

/// The line that comes at `at` in a round over `count` lines: a span of them in their order, but
/// the spans far from each other. Lines that the hand has just passed are emptier than those that
/// it comes to; if these lay side by side they would overflow, and probes would go on for thousands
/// of lines.
fn scattered(at: usize, count: usize) -> usize {
    let spans = (count / SPAN).max(1);
    let shift = usize::BITS - spans.trailing_zeros();
    let span = (at / SPAN).reverse_bits().checked_shr(shift).unwrap_or(0);
    span * SPAN + at % SPAN
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::rc::Rc;

    use super::super::Room;
    use super::*;

    const STEPS: u64 = if cfg!(miri) { 2_000 } else { 100_000 };

    /// What is known of an entry.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Known {
        value: u64,
        referenced: bool,
        dirty: bool,
        stored: bool,
        run: u8,
    }

    struct Twins {
        table: Table<u64, u64>,
        model: BTreeMap<u64, Known>,
        random: u64,
        cursor: usize,
    }

    impl Twins {
        fn draw(&mut self, below: u64) -> u64 {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.random >> 33) % below
        }

        fn step(&mut self, keys: u64) {
            let number = self.draw(keys);
            let bytes = number.to_be_bytes();
            let key = KeyRef::new(&bytes);
            let value = self.draw(1 << 30);
            let known = self.model.get(&number).copied();
            match self.draw(8) {
                0..3 => self.change(key, number, value, known),
                3 if known.is_none() => {
                    self.table.restore(key, value, 0);
                    self.model.insert(number, Known::restored(value));
                }
                3 | 4 => {
                    assert_eq!(self.table.touch(key), known.is_some());
                    self.model.entry(number).and_modify(|known| known.referenced = true);
                }
                5 => {
                    let out = known.map(|known| (known.value, known.stored));
                    assert_eq!(self.table.take_out(key), out);
                    self.model.remove(&number);
                }
                6 => self.pass(),
                _ => {
                    if let Some(Known { run: run @ 1.., .. }) = known {
                        self.arrive(key.hash, number, run);
                    }
                }
            }
        }

        fn change(&mut self, key: KeyRef<'_>, number: u64, value: u64, known: Option<Known>) {
            let origin = self.draw(3);
            let slot = self.table.slot_with(key, 5, || match origin {
                0 => Made::New(value),
                1 => Made::Anew(value),
                _ => Made::Restored(value, 0),
            });
            assert_eq!(*slot.value, known.map_or(value, |known| known.value));
            assert_eq!(slot.changed_in.is_none(), known.is_none() && origin < 2);
            let known = known.unwrap_or(Known { stored: origin > 0, ..Known::restored(value) });
            let value = *slot.value + 1;
            *slot.value = value;
            let changed = Known { value, referenced: true, dirty: true, ..known };
            self.model.insert(number, changed);
        }

        fn pass(&mut self) {
            let (lines, seed) = (self.draw(64) as usize, self.random);
            let model = &mut self.model;
            self.table.pass(&mut self.cursor, lines, |entry| {
                let known = model.get_mut(entry.key).expect("only known keys are passed");
                let seen = (*entry.value, entry.is_referenced, entry.is_dirty, entry.is_sent);
                assert_eq!(seen, (known.value, known.referenced, known.dirty, known.run > 0));
                match (seed ^ entry.hash) % 4 {
                    0 => Fate::Stay,
                    1 => {
                        known.referenced = false;
                        Fate::Age
                    }
                    2 if !entry.is_dirty && !entry.is_sent => {
                        model.remove(entry.key);
                        Fate::Leave
                    }
                    _ if entry.is_sent => Fate::Stay,
                    _ => {
                        let run = 1 + (entry.hash % 3) as u8;
                        let value = known.value;
                        *known = Known { referenced: false, run, ..Known::restored(value) };
                        Fate::Send(run)
                    }
                }
            });
        }

        fn arrive(&mut self, hash: u64, number: u64, run: u8) {
            let mut found = 0;
            let model = &mut self.model;
            self.table.arrived(hash, run, |entry| {
                assert_eq!(*entry.key, number);
                found += 1;
                let known = model.get_mut(&number).expect("a known key arrives");
                assert_eq!((entry.is_dirty, known.run), (known.dirty, run));
                known.run = 0;
                let leaves = !entry.is_dirty && !entry.is_referenced;
                if leaves {
                    model.remove(&number);
                }
                leaves
            });
            assert_eq!(found, 1, "a key that was on its way with run {run}");
        }
    }

    impl Known {
        fn restored(value: u64) -> Self {
            Self { value, referenced: true, dirty: false, stored: true, run: 0 }
        }
    }

    fn twins(seed: u64) -> Twins {
        let table = Table::default();
        Twins { table, model: BTreeMap::new(), random: seed, cursor: 0 }
    }

    #[test]
    fn entries_are_dirty_stored_and_on_their_way_as_a_model_says() {
        for (seed, keys) in [(1, 20), (2, 500), (3, 5_000)] {
            let mut twins = twins(seed);
            for _ in 0..STEPS {
                twins.step(keys);
                assert_eq!(twins.table.len(), twins.model.len());
            }
        }
    }

    #[test]
    fn a_round_comes_to_every_line() {
        for count in [2, 16, 32, 1 << 10] {
            let mut lines: Vec<_> = (0..count).map(|at| scattered(at, count)).collect();
            lines.sort_unstable();
            assert!(lines.into_iter().eq(0..count), "{count} lines");
        }
    }

    /// Keys come and go as a bounded state's do: each new one finds a table at three quarters.
    #[test]
    fn probes_stay_short_where_the_hand_passes() {
        let room = Rc::new(Room::none());
        let mut table = Table::<u64, u64>::default();
        table.set_room(room);
        let (mut cursor, most) = (0, 12_000);
        let mut far = 0;
        for key in 0..200_000u64 {
            table.insert(KeyRef::new(&key.to_be_bytes()), 1, key);
            while table.len() > most {
                table.pass(&mut cursor, 1, |entry| match entry.is_referenced {
                    true => Fate::Age,
                    false => Fate::Leave,
                });
            }
            let lines = &table.lines;
            let from = lines.home(KeyRef::new(&key.to_be_bytes()).hash);
            let free = lines.free(KeyRef::new(&key.to_be_bytes()).hash);
            far += free.wrapping_sub(from) & (lines.count() - 1);
        }
        assert_eq!(table.line_count(), 16_384);
        assert!(far < 200_000 * 16, "{} lines a probe", far as f64 / 2e5);
    }

    #[test]
    fn without_room_a_table_keeps_its_size_and_every_entry() {
        let room = Rc::new(Room::default());
        let mut twins = twins(7);
        twins.table.set_room(Rc::clone(&room));
        for _ in 0..STEPS / 10 {
            twins.step(300);
        }
        room.set(0);
        let lines = twins.table.line_count();
        let most = twins.table.entries_max(0);
        for _ in 0..STEPS {
            if twins.table.len() < most {
                twins.step(3_000);
            } else {
                twins.pass();
            }
            let least = if twins.table.is_rehashing() { 2 * lines } else { lines };
            assert!(twins.table.line_count() <= least, "{} of {lines}", twins.table.line_count());
        }
        assert_eq!(twins.table.len(), twins.model.len());
    }

    #[test]
    fn a_table_without_room_grows_when_it_must_and_shrinks_when_it_can() {
        let room = Rc::new(Room::default());
        room.set(0);
        let mut table = Table::<u64, u64>::default();
        table.set_room(room);
        for key in 0..1_000u64 {
            table.insert(KeyRef::new(&key.to_be_bytes()), 1, key);
        }
        assert_eq!(table.len(), 1_000);
        assert!(table.line_count() <= 2_048, "{} lines", table.line_count());
        for key in 10..1_000u64 {
            assert_eq!(table.take_out(KeyRef::new(&key.to_be_bytes())), Some((key, false)));
        }
        for _ in 0..1_000 {
            table.shrink_if_roomy();
            table.rehash_step();
        }
        assert!(table.line_count() <= 32, "{} lines", table.line_count());
        assert_eq!(table.len(), 10);
    }
}
