//! The hot values of one declared state on one core: a hash table of cache lines.
//!
//! One line per entry, open addressing with linear probing, at most half of the lines in use. A key
//! and a value of up to 48 bytes together lie in the line itself, larger ones in a slab whose index
//! the line holds. The home line comes from the *high* bits of the hash times an odd constant,
//! since a core sees only the low bits of its own key groups. Growing moves a few lines per change
//! into a second table and releases the first one piece by piece, so no call ever waits for a whole
//! table. The caller hashes a batch first, calls [`Table::prefetch`] some 16 keys ahead, and finds
//! the lines in the cache when it gets to them.
//!
//! Where memory is bounded the tables of a core share its [`Room`]: one that cannot grow fills up
//! further, and its owner lets entries go to the cold tier, with the table as the clock that says
//! which were not used lately and which changed since they were last stored.

mod access;
mod cold;
mod entry;
mod journal;
mod lines;
mod pair;
mod rehash;
mod room;
mod slab;
mod walk;

#[cfg(test)]
mod model;

use std::marker::PhantomData;
use std::rc::Rc;

use crate::key::{Key, KeyRef};

pub use cold::{Candidate, Fate, Made};
pub use entry::{Entry, Occupied, Slot, Vacant};
pub use journal::{EncodeValue, Journal, StreamHash};
pub use room::Room;
pub use walk::{EntryRef, Iter};

use access::Place;
pub(crate) use lines::prefetch;
use lines::{Lines, SPREAD};
use pair::Pair;
use rehash::Migration;
use slab::Slab;

/// Least number of lines of a table.
const LINES_MIN: usize = 16;

/// Most lines that are ever asked for at once: more than any machine has memory for.
const LINES_MAX: usize = 1 << 48;

/// How many runs of a table may be on their way to the cold tier at the same time: an entry knows
/// its own by a number from 1 to this.
pub const RUNS_MAX: u8 = 3;

/// A hash table from keys to values with an epoch per entry.
///
/// The epoch of an entry is the one in which it was last lent for changing; it is how a checkpoint
/// tells what is new. Epochs are below 2^56.
pub struct Table<K: Key, V> {
    lines: Lines,
    /// Entries in `lines`.
    live: usize,
    /// The table that `lines` replaces, while its entries are still being moved.
    old: Option<Box<Migration>>,
    /// As soon as so many lines are in use the table needs another one.
    full_at: usize,
    /// Whether the order of the lines is none in which entries were ever written.
    is_scattered: bool,
    slab: Slab<Pair<K, V>>,
    room: Rc<Room>,
    /// The table never shrinks below this many lines.
    lines_floor: usize,
    /// Whether the table empties and fills again in turns.
    in_turns: bool,
    /// Entries removed since next to nothing was left in the table.
    sparse_for: usize,
    heap_bytes: isize,
    /// What changed, for those who ask for it by epoch.
    journal: Option<Box<Journal<K, V>>>,
    owns: PhantomData<Pair<K, V>>,
}

impl<K: Key, V> Table<K, V> {
    /// Makes a table with room for `entry_count` entries before it grows for the first time.
    pub fn with_capacity(entry_count: usize) -> Self {
        let count = lines_at(entry_count, 4);
        Self {
            lines: Lines::new(count, SPREAD),
            live: 0,
            old: None,
            full_at: count / 2,
            is_scattered: false,
            slab: Slab::new(),
            room: Rc::default(),
            lines_floor: count,
            in_turns: false,
            sparse_for: 0,
            heap_bytes: 0,
            journal: None,
            owns: PhantomData,
        }
    }

    /// Gives an empty table an order of lines of its own: entries that come in the order of another
    /// table's lines would all begin at the front of a small one, where finding a free line takes
    /// as many steps as there are entries.
    ///
    /// # Panics
    /// If the table has entries.
    pub fn order_by(&mut self, seed: u64) {
        assert!(self.is_empty() && self.old.is_none(), "{} entries have an order", self.len());
        self.lines = Lines::new(self.lines.count(), spread_of(seed));
    }

    /// Bounds the growth of this table and of all others that share `room`.
    pub fn set_room(&mut self, room: Rc<Room>) {
        self.room = room;
    }

    /// Says that the table empties and fills again in turns, as windows do: it keeps its memory for
    /// a while when next to nothing is left, instead of growing anew each time.
    pub fn fills_in_turns(&mut self) {
        self.in_turns = true;
    }

    /// Number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.live + self.old.as_ref().map_or(0, |old| old.live)
    }

    /// Tells whether the table has no entries.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the table takes up: lines, slab, and what [`adjust_heap`](Self::adjust_heap) was
    /// told. While a rehash fills new lines front to back, those count that it has come to.
    pub fn bytes(&self) -> usize {
        let lines = match &self.old {
            None => self.lines.bytes(),
            Some(old) if self.lines.is_mapped() => {
                let parts = old.lines.count() / LINES_MIN;
                let filled = self.lines.bytes() / parts * (old.cursor / LINES_MIN).min(parts);
                old.lines.bytes() + filled
            }
            Some(old) => old.lines.bytes() + self.lines.bytes(),
        };
        (lines + self.slab.bytes()).saturating_add_signed(self.heap_bytes)
    }

    /// Accounts for memory that keys and values own, by the change since the last call.
    ///
    /// The table cannot see a value grow; whoever changes one reports the difference.
    #[inline]
    pub fn adjust_heap(&mut self, change: isize) {
        self.heap_bytes += change;
        debug_assert!(self.heap_bytes >= 0, "heap bytes fell to {}", self.heap_bytes);
    }

    /// Number of lines, counting those that growth has yet to empty.
    pub fn line_count(&self) -> usize {
        self.lines.count() + self.old.as_ref().map_or(0, |old| old.lines.count())
    }

    /// Tells whether entries are being moved into a larger or smaller table.
    #[inline]
    pub fn is_rehashing(&self) -> bool {
        self.old.is_some()
    }

    /// Asks for the home line of a key to be brought into the cache.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        match &self.old {
            Some(old) if old.lines.home(hash) >= old.cursor => old.lines.prefetch(hash),
            _ => self.lines.prefetch(hash),
        }
    }

    /// Asks for what lies behind the line of a key to be brought into the cache: its cell in the
    /// slab, or what a value in the line owns, for which `ask` is called.
    ///
    /// Called for keys that were [prefetched](Self::prefetch) some records earlier, as it reads
    /// their lines.
    #[inline]
    pub fn prefetch_entry(&self, hash: u64, ask: impl FnOnce(&V)) {
        if self.old.is_none() && (!Pair::<K, V>::INLINE || std::mem::needs_drop::<V>()) {
            self.prefetch_behind(hash, ask);
        }
    }

    /// The value of a key.
    #[inline]
    pub fn get(&self, key: KeyRef<'_>) -> Option<&V> {
        let place = self.find(key)?;
        Some(&self.pair(place).value)
    }

    /// The value of a key, to be changed in `epoch`.
    #[inline]
    pub fn get_mut(&mut self, key: KeyRef<'_>, epoch: u64) -> Option<&mut V> {
        self.rehash_some();
        let place = self.find(key)?;
        self.mark(place, epoch);
        Some(&mut self.pair_mut(place).value)
    }

    /// The value of a key, to be changed in `epoch`; made by `init` if the key is new.
    ///
    /// The key is decoded from its bytes only if it is new.
    ///
    /// # Panics
    ///
    /// If the key is new and its bytes are not an encoding of `K`.
    #[inline]
    pub fn get_or_insert_with(
        &mut self,
        key: KeyRef<'_>,
        epoch: u64,
        init: impl FnOnce() -> V,
    ) -> (&K, &mut V) {
        let slot = self.slot(key, epoch, init);
        (slot.key, slot.value)
    }

    /// Like [`get_or_insert_with`](Self::get_or_insert_with), and tells when the entry was last
    /// changed.
    #[inline(always)]
    pub fn slot(
        &mut self,
        key: KeyRef<'_>,
        epoch: u64,
        init: impl FnOnce() -> V,
    ) -> Slot<'_, K, V> {
        self.slot_with(key, epoch, || Made::New(init()))
    }

    /// Like [`slot`](Self::slot) for a table above a cold tier: `make` says where the value of a
    /// key that is not in the table comes from.
    #[inline(always)]
    pub fn slot_with(
        &mut self,
        key: KeyRef<'_>,
        epoch: u64,
        make: impl FnOnce() -> Made<V>,
    ) -> Slot<'_, K, V> {
        if self.old.is_none()
            && let Some(index) = self.probe(key)
        {
            let place = Place { index, in_old: false };
            let changed_in = Some(self.mark(place, epoch));
            let pair = self.pair_mut(place);
            return Slot { key: &pair.key, value: &mut pair.value, changed_in };
        }
        self.slot_anew(key.hash, key.bytes, epoch, make)
    }

    /// The part of [`slot_with`](Self::slot_with) that new keys and rehashes take; the key comes in
    /// pieces, which stay in registers.
    #[inline(never)]
    fn slot_anew(
        &mut self,
        hash: u64,
        bytes: &[u8],
        epoch: u64,
        make: impl FnOnce() -> Made<V>,
    ) -> Slot<'_, K, V> {
        let key = KeyRef { hash, bytes };
        self.rehash_some();
        let (place, changed_in) = match self.find(key) {
            Some(place) => (place, Some(self.mark(place, epoch))),
            None => self.insert_made(key, epoch, make),
        };
        let pair = self.pair_mut(place);
        Slot { key: &pair.key, value: &mut pair.value, changed_in }
    }

    /// The entry of a key, to look before changing it in `epoch`.
    #[inline]
    pub fn entry<'a>(&'a mut self, key: KeyRef<'a>, epoch: u64) -> Entry<'a, K, V> {
        self.rehash_some();
        match self.find(key) {
            Some(place) => Entry::Occupied(Occupied::new(self, place, epoch)),
            None => Entry::Vacant(Vacant::new(self, key, epoch)),
        }
    }

    /// Sets the value of a key in `epoch` and returns the one that it had.
    pub fn insert(&mut self, key: KeyRef<'_>, epoch: u64, value: V) -> Option<V> {
        match self.get_mut(key, epoch) {
            Some(present) => Some(std::mem::replace(present, value)),
            None => {
                self.insert_new(key, epoch, || value);
                None
            }
        }
    }

    /// Removes a key and returns its value.
    pub fn remove(&mut self, key: KeyRef<'_>) -> Option<V> {
        self.rehash_some();
        let place = self.find(key)?;
        let pair = self.remove_at(place);
        self.shrink_if_sparse();
        Some(pair.value)
    }
}

impl<K: Key, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

/// An odd number made of a seed.
fn spread_of(seed: u64) -> u64 {
    let seed = (seed ^ seed >> 32).wrapping_mul(SPREAD);
    (seed ^ seed >> 29) | 1
}

/// Lines that hold `entry_count` entries at a load of at most so many eighths.
fn lines_at(entry_count: usize, eighths: usize) -> usize {
    (entry_count.min(LINES_MAX / 8) * 8).div_ceil(eighths).max(LINES_MIN).next_power_of_two()
}
