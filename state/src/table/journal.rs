//! What changed in a table, epoch by epoch, as blocks of segments.
//!
//! An entry's first change in an epoch puts its hash on a list. When the epoch ends the list is set
//! aside, and a walk over it encodes the entries a few at a time while the table goes on changing.
//! One that is about to change, to be removed or to leave is encoded before it does: what a block
//! says is how things stood when its epoch ended. An encoded entry belongs to no epoch (0) until it
//! changes again; one that is in the table and in no block is on a list.

mod list;
mod sweep;

use self::list::{Changed, Soon, Spare};
use self::sweep::Sweep;
use super::Table;
use super::access::Place;
use super::pair::Pair;
use crate::codec::{CodecError, Encoder};
use crate::key::{Key, KeyRef};
use crate::segment::{Block, BlockWriter};

/// The hash of the stream's key, from a row's key and the row's own hash.
pub type StreamHash<K> = fn(&K, u64) -> u64;

/// Appends a value's bytes.
pub type EncodeValue<V> = fn(&V, &mut Encoder, &mut Vec<u8>) -> Result<(), CodecError>;

/// From one changed entry on so many lines it is cheaper to go by lines than by hashes.
const SWEEP_SHARE: usize = 5;

/// Chunks that are dropped at once.
const SHED_MAX: usize = 32;

/// What changed in a table.
pub struct Journal<K, V> {
    stream_hash: StreamHash<K>,
    encode: EncodeValue<V>,
    encoder: Encoder,
    changed: Changed,
    block: BlockWriter,
    closing: Option<Closing>,
    spare: Spare,
    /// The first value that could not be encoded.
    failure: Option<CodecError>,
}

/// An epoch that has ended and was not given away yet.
struct Closing {
    epoch: u64,
    changed: Changed,
    block: BlockWriter,
    /// Goes by lines instead of the list.
    sweep: Option<Sweep>,
    /// Entries when the epoch ended, and how many of them were encoded.
    entries: usize,
    encoded: usize,
}

impl Closing {
    /// Whether its blocks hold every entry that there was.
    fn holds_all(&self) -> bool {
        self.encoded == self.entries || self.sweep.is_some_and(|sweep| sweep.all)
    }
}

/// What a look at a line of a probe has come to.
#[derive(PartialEq, Eq)]
enum Probe {
    Encoded,
    /// No such entry is left.
    Ends,
    GoesOn,
}

impl<K: Key, V> Journal<K, V> {
    /// A journal of a table whose rows `block` takes.
    pub fn new(block: BlockWriter, stream_hash: StreamHash<K>, encode: EncodeValue<V>) -> Self {
        Self {
            stream_hash,
            encode,
            encoder: Encoder::new(),
            changed: Changed::default(),
            block,
            closing: None,
            spare: Spare::default(),
            failure: None,
        }
    }

    fn closes(&self, epoch: u64) -> bool {
        self.closing.as_ref().is_some_and(|closing| closing.epoch == epoch)
    }

    /// Encodes an entry of `epoch`, into the block of that epoch.
    fn put(&mut self, hash: u64, epoch: u64, pair: &Pair<K, V>) {
        let block = match &mut self.closing {
            Some(closing) if closing.epoch == epoch => {
                closing.encoded += 1;
                &mut closing.block
            }
            _ => &mut self.block,
        };
        let (stream, encoder) = ((self.stream_hash)(&pair.key, hash), &mut self.encoder);
        let put = pair.key.with_encoded(|key| {
            block.put(stream, key, |out| (self.encode)(&pair.value, encoder, out))
        });
        if let Err(error) = put {
            self.failure.get_or_insert(error);
        }
    }

    /// Drops some of the list after a sweep, which has encoded all that it names; true if none is
    /// left.
    fn shed_list(&mut self) -> bool {
        let Some(closing) = &mut self.closing else { return true };
        for _ in 0..SHED_MAX {
            closing.changed.shed(&mut self.spare);
        }
        closing.changed.is_empty()
    }

    /// Encodes an entry that no epoch has changed, into the block of the epoch that ended.
    fn put_unchanged(&mut self, hash: u64, pair: &Pair<K, V>) {
        if let Some(epoch) = self.closing.as_ref().map(|closing| closing.epoch) {
            self.put(hash, epoch, pair);
        }
    }

    fn bytes(&self) -> usize {
        let closing = self.closing.as_ref();
        let closing = closing.map_or(0, |closing| closing.changed.bytes() + closing.block.bytes());
        self.changed.bytes() + self.block.bytes() + closing + self.spare.bytes()
    }
}

impl<K: Key, V> Table<K, V> {
    /// Keeps a journal from now on; of an empty table.
    ///
    /// # Panics
    /// If the table has entries.
    pub fn keep_journal(&mut self, journal: Journal<K, V>) {
        assert!(self.is_empty(), "{} entries are in no journal", self.len());
        self.journal = Some(Box::new(journal));
    }

    /// Memory of the journal, in bytes; not part of [`Table::bytes`].
    pub fn journal_bytes(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| journal.bytes())
    }

    /// Ends `epoch`: later changes belong to a later one. Sets aside what changed, or `all`
    /// entries, changed or not: of a table without a cold tier only.
    ///
    /// # Panics
    /// If the blocks of the epoch before were not taken.
    pub fn end_epoch(&mut self, epoch: u64, all: bool) {
        let (entries, lines) = (self.len(), self.line_count());
        let Some(journal) = &mut self.journal else { return };
        if let Some(closing) = &journal.closing {
            panic!("epoch {epoch} ends, and the blocks of epoch {} were not taken", closing.epoch);
        }
        journal.block.note_rows(entries);
        let next = journal.block.successor();
        let block = std::mem::replace(&mut journal.block, next);
        let changed = std::mem::take(&mut journal.changed);
        journal.spare.keep_for(&changed);
        let sweeps = all || changed.len() >= lines / SWEEP_SHARE;
        let sweep = sweeps.then(|| Sweep::new(all));
        journal.closing = Some(Closing { epoch, changed, block, sweep, entries, encoded: 0 });
    }

    /// Encodes entries that changed in the epoch that ended, at most `rows`, by which that goes
    /// down; true if none is left.
    ///
    /// # Errors
    /// A value cannot be encoded, now or before.
    pub fn encode_ended(&mut self, rows: &mut usize) -> Result<bool, CodecError> {
        let Some(mut journal) = self.journal.take() else { return Ok(true) };
        let sweeps = journal.closing.as_ref().map(|closing| closing.sweep.is_some());
        let done = match sweeps {
            None => true,
            Some(false) => self.encode_listed(&mut journal, rows),
            Some(true) => self.sweep_ended(&mut journal, rows) && journal.shed_list(),
        };
        let failure = journal.failure.take();
        self.journal = Some(journal);
        failure.map_or(Ok(done), Err)
    }

    /// Encodes what the list names; true if none is left.
    fn encode_listed(&mut self, journal: &mut Journal<K, V>, rows: &mut usize) -> bool {
        while let Some(closing) = &mut journal.closing
            && *rows > 0
        {
            let Some((hash, soon)) = closing.changed.pop(&mut journal.spare) else { break };
            let epoch = closing.epoch;
            *rows -= 1;
            self.ask_for(soon);
            self.encode_one(hash, epoch, journal);
        }
        journal.closing.as_ref().is_none_or(|closing| closing.changed.is_empty())
    }

    /// Asks for the lines of hashes that come soon.
    #[inline]
    fn ask_for(&self, Soon { far, near }: Soon) {
        if self.old.is_some() {
            near.into_iter().for_each(|near| self.prefetch(near));
            return;
        }
        far.into_iter().for_each(|far| self.lines.prefetch_home(far));
        near.into_iter().for_each(|near| self.lines.prefetch_behind_home(near));
    }

    /// Encodes an entry with this hash that changed in `epoch`, if there is one left: each has put
    /// the hash on the list.
    fn encode_one(&mut self, hash: u64, epoch: u64, journal: &mut Journal<K, V>) {
        if let Some(old) = &self.old {
            let (cursor, count) = (old.cursor, old.lines.count());
            let mut index = old.lines.home(hash).max(cursor);
            for _ in cursor..count {
                match self.encode_at(Place { index, in_old: true }, hash, epoch, journal) {
                    Probe::Encoded => return,
                    Probe::Ends => break,
                    Probe::GoesOn => index = ((index + 1) & (count - 1)).max(cursor),
                }
            }
        }
        let mut index = self.lines.home(hash);
        let own = |index| Place { index, in_old: false };
        while self.encode_at(own(index), hash, epoch, journal) == Probe::GoesOn {
            index = self.lines.next(index);
        }
    }

    fn encode_at(
        &mut self,
        place: Place,
        hash: u64,
        epoch: u64,
        journal: &mut Journal<K, V>,
    ) -> Probe {
        let line = self.lines_of(place).line(place.index);
        if line.hash == hash && line.is_occupied() && line.epoch() == epoch {
            journal.put(hash, epoch, self.pair(place));
            self.line_mut(place).set_noted();
            return Probe::Encoded;
        }
        if line.is_empty() { Probe::Ends } else { Probe::GoesOn }
    }

    /// Memory of what was encoded in this epoch already: entries that left, and tombstones.
    pub fn encoded_bytes(&self) -> usize {
        self.journal.as_ref().map_or(0, |journal| journal.block.bytes())
    }

    /// Gives that away before the epoch ends. No epoch that has ended may wait to be encoded: what
    /// that says comes first.
    pub fn take_encoded(&mut self, out: &mut Vec<Block>) {
        if let Some(journal) = &mut self.journal {
            assert!(journal.closing.is_none(), "blocks of the epoch before were not taken");
            journal.block.finish(out);
        }
    }

    /// Gives the blocks of the epoch that ended away, in order; before that, everything is encoded.
    /// True if they hold every entry that there was then, so that older blocks say nothing more.
    ///
    /// # Panics
    /// If entries are left to be encoded.
    pub fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        let ended = self.journal.as_mut().and_then(|journal| journal.closing.take());
        if let Some(closing) = ended {
            let holds_all = closing.holds_all();
            let Closing { epoch, changed, mut block, .. } = closing;
            assert!(changed.is_empty(), "entries of epoch {epoch} are left to be encoded");
            block.finish(out);
            return holds_all;
        }
        self.is_empty()
    }

    /// Notes that an entry changes, after its line says so; `before` is the epoch that it said.
    #[cold]
    #[inline(never)]
    pub(super) fn note_change(&mut self, place: Place, before: u64) {
        let Some(mut journal) = self.journal.take() else { return };
        let hash = self.lines_of(place).line(place.index).hash;
        if journal.closes(before) {
            journal.put(hash, before, self.pair(place));
            self.line_mut(place).note();
        } else if before == 0 && journal.awaits_unchanged(place) {
            journal.put_unchanged(hash, self.pair(place));
        }
        journal.changed.push(hash, &mut journal.spare);
        self.journal = Some(journal);
    }

    /// Notes that there is an entry.
    #[inline]
    pub(super) fn note_new(&mut self, hash: u64) {
        if let Some(journal) = &mut self.journal {
            journal.changed.push(hash, &mut journal.spare);
        }
    }

    /// Notes that an entry is about to be removed for good.
    #[inline]
    pub(super) fn note_removal(&mut self, place: Place) {
        if self.journal.is_some() {
            self.bury(place);
        }
    }

    #[cold]
    #[inline(never)]
    fn bury(&mut self, place: Place) {
        let Some(mut journal) = self.journal.take() else { return };
        let line = self.lines_of(place).line(place.index);
        let pair = self.pair(place);
        let closes = journal.closes(line.epoch());
        if closes {
            journal.put(line.hash, line.epoch(), pair);
        } else if line.epoch() == 0 && journal.awaits_unchanged(place) {
            journal.put_unchanged(line.hash, pair);
        }
        // What no block holds is gone without a trace.
        if closes || line.is_noted() {
            let stream = (journal.stream_hash)(&pair.key, line.hash);
            pair.key.with_encoded(|key| journal.block.tombstone(stream, key));
        }
        self.journal = Some(journal);
    }

    /// Notes that an entry is about to go to the cold tier.
    #[inline]
    pub(super) fn note_leave(&mut self, place: Place) {
        if let Some(mut journal) = self.journal.take() {
            let line = self.lines_of(place).line(place.index);
            if line.epoch() != 0 {
                journal.put(line.hash, line.epoch(), self.pair(place));
            } else if journal.awaits_unchanged(place) {
                journal.put_unchanged(line.hash, self.pair(place));
            }
            self.journal = Some(journal);
        }
    }

    /// Notes that a key is removed for good that is in the cold tier, if anywhere.
    ///
    /// # Panics
    /// If the key's bytes are not an encoding of `K`.
    pub fn note_discarded(&mut self, key: KeyRef<'_>) {
        if let Some(journal) = &mut self.journal {
            let stream = (journal.stream_hash)(&super::access::decode(key.bytes), key.hash);
            journal.block.tombstone(stream, key.bytes);
        }
    }

    /// Sets a value as a segment has it and returns the one before: it counts as changed for the
    /// cold tier, which may hold an older one if `stored`, and is in no journal.
    ///
    /// # Panics
    /// If the bytes are not an encoding of `K`.
    pub fn replay(&mut self, key: KeyRef<'_>, value: V, stored: bool) -> Option<V> {
        self.rehash_some();
        let (place, before) = match self.find(key) {
            Some(place) => {
                let before = std::mem::replace(&mut self.pair_mut(place).value, value);
                (place, Some(before))
            }
            None => {
                let pair = Pair { key: super::access::decode(key.bytes), value };
                (self.insert_pair(key, 0, pair), None)
            }
        };
        self.line_mut(place).set_replayed(stored);
        before
    }

    /// Removes a key as a segment says; returns its value, and whether the cold tier may hold a row
    /// of it. It is in no journal.
    pub fn replay_removal(&mut self, key: KeyRef<'_>) -> Option<(V, bool)> {
        let journal = self.journal.take();
        let taken = self.take_out(key);
        self.journal = journal;
        taken
    }
}
