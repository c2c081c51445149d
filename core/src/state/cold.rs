//! The cold side of a store: which rows are not in its table, and how they get there and away.
//!
//! A key that is not in the table may have a *ghost*: it is known to have no row, its row was
//! removed and the cold tier has yet to be told, or its row is on its way here. Without a ghost
//! nothing is known, and the tier has to be asked. Whoever finds that a row is on its way waits for
//! it; an answer whose ghost is gone is dropped.

mod leave;
mod replay;

use std::collections::VecDeque;
use std::rc::Rc;

use thalweg_state::cold::{Answer, ColumnId, Fetch, Rows, Run};
use thalweg_state::table::{Made, RUNS_MAX};
use thalweg_state::{Encoder, Key, KeyRef, Room, Table, Ttl};

use super::encoding::Row;
use crate::Result;
use crate::runtime::Core;

pub(crate) use leave::wanted;
use leave::{Filling, Sent, hash_bytes};

/// A key that is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ghost {
    /// It was asked for with the fetch of this number.
    Pending(u64),
    /// It has no row.
    Absent,
    /// Its row was removed; while the ghost is dirty, the cold tier may still have it.
    Gone,
}

/// The cold side of a store of which at least one row was sent to the cold tier.
pub(crate) struct Cold<K: Key> {
    core: Rc<Core>,
    column: ColumnId,
    /// Whether a row has ever left the table: before that there is none that is not in it.
    has_left: bool,
    ghosts: Table<K, Ghost>,
    /// The fetch that is being put together, and the hashes of its keys.
    asking: Option<(Fetch, Vec<u64>)>,
    /// Number and hashes of each fetch that is on its way, oldest first.
    asked: VecDeque<(u64, Vec<u64>)>,
    /// The run that is being put together.
    filling: Option<Filling>,
    /// The run that rows of segments go into.
    replaying: Option<Run>,
    /// The runs that are on their way, by the number that their rows know.
    sent: [Option<Sent>; RUNS_MAX as usize],
    /// Runs that have arrived and whose rows have yet to leave.
    arrived: VecDeque<u8>,
    /// Rows that are on their way and leave when they arrive, unless they change.
    leaving: usize,
    /// Whether rows leave until there is some room again.
    evicting: bool,
    cursor: usize,
    ghost_cursor: usize,
    encoder: Encoder,
    value: Vec<u8>,
}

impl<K: Key> Cold<K> {
    /// The cold side of the state `name`, a name of its own on this core; opens the cold tier if it
    /// is the first, which drops rows that have expired by `ttl`.
    pub(crate) fn new(core: &Rc<Core>, name: &str, ttl: Option<Ttl>) -> Result<Self> {
        let column = core.budget.column(core.index(), name, ttl)?;
        // There are never many, and they had better not take the memory of rows.
        let mut ghosts = Table::default();
        ghosts.order_by(!KeyRef::new(name.as_bytes()).hash);
        ghosts.set_room(Rc::new(Room::none()));
        Ok(Self {
            core: Rc::clone(core),
            column,
            has_left: false,
            ghosts,
            asking: None,
            asked: VecDeque::new(),
            filling: None,
            replaying: None,
            sent: Default::default(),
            arrived: VecDeque::new(),
            leaving: 0,
            evicting: false,
            cursor: 0,
            ghost_cursor: 0,
            encoder: Encoder::new(),
            value: Vec::new(),
        })
    }

    /// Whether some rows may be cold.
    #[inline]
    pub(crate) fn has_left(&self) -> bool {
        self.has_left
    }

    /// Memory of the ghosts, and of what is put together for the cold tier or awaited from it.
    pub(crate) fn bytes(&self) -> usize {
        let asking = self.asking.as_ref();
        let asking =
            asking.map_or(0, |(fetch, hashes)| fetch.capacity_bytes() + hash_bytes(hashes));
        let asked = self.asked.iter().map(|(_, hashes)| hash_bytes(hashes)).sum::<usize>();
        let filling = self.filling.as_ref().map_or(0, Filling::bytes);
        let sent = self.sent.iter().flatten().map(Sent::bytes).sum::<usize>();
        self.ghosts.bytes() + asking + asked + filling + sent + self.value.capacity()
    }

    /// Whether a row can be used without waiting, be it that there is none; asks for it otherwise.
    #[inline]
    pub(crate) fn ready<R>(&mut self, table: &mut Table<K, R>, key: KeyRef<'_>) -> bool {
        table.touch(key) || !self.has_left || self.ready_as_ghost(key)
    }

    fn ready_as_ghost(&mut self, key: KeyRef<'_>) -> bool {
        match self.ghosts.get(key) {
            Some(Ghost::Pending(_)) => false,
            Some(Ghost::Absent | Ghost::Gone) => self.ghosts.touch(key),
            None => {
                let (column, budget) = (self.column, &self.core.budget);
                let made = || (budget.new_fetch(column), Vec::new());
                let (fetch, hashes) = self.asking.get_or_insert_with(made);
                fetch.push(key.bytes);
                hashes.push(key.hash);
                let ghost = Ghost::Pending(fetch.id);
                self.haunt(key, ghost);
                false
            }
        }
    }

    /// Sends the fetch that [`Cold::ready`] has put together.
    pub(crate) fn ask(&mut self) {
        if let Some((fetch, hashes)) = self.asking.take() {
            self.asked.push_back((fetch.id, hashes));
            self.core.budget.fetch(fetch);
        }
    }

    /// Adds the keys of all rows that the cold tier has and that count: some may be in the table as
    /// well. Blocks.
    pub(crate) fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        if !self.has_left {
            return Ok(());
        }
        self.core.budget.keys(self.column, &mut |bytes| {
            let ghost = self.ghosts.get(KeyRef::new(bytes));
            if !matches!(ghost, Some(Ghost::Absent | Ghost::Gone)) {
                out.push(bytes.to_vec());
            }
        })
    }

    /// Makes sure that a row is in the table if there is one: may block.
    #[inline]
    pub(crate) fn bring<R: Row>(&mut self, table: &mut Table<K, R>, key: KeyRef<'_>) {
        if !table.touch(key) && self.unknown(key) {
            self.read(table, key);
        }
    }

    fn unknown(&self, key: KeyRef<'_>) -> bool {
        self.has_left && !matches!(self.ghosts.get(key), Some(Ghost::Absent | Ghost::Gone))
    }

    #[cold]
    fn read<R: Row>(&mut self, table: &mut Table<K, R>, key: KeyRef<'_>) {
        match self.core.budget.get(self.column, key.bytes) {
            Some(bytes) => {
                self.lay(key);
                let row = decoded::<R>(&bytes);
                let heap = row.heap_bytes();
                table.restore(key, row, heap);
            }
            None => self.haunt(key, Ghost::Absent),
        }
    }

    /// Where the value of a key comes from that is not in the table: may block.
    #[cold]
    pub(crate) fn make<R: Row>(&mut self, key: KeyRef<'_>, init: impl FnOnce() -> R) -> Made<R> {
        match self.lay(key) {
            Some(Ghost::Gone) => return Made::Anew(init()),
            Some(Ghost::Absent) => return Made::New(init()),
            None if !self.has_left => return Made::New(init()),
            Some(Ghost::Pending(_)) | None => {}
        }
        match self.core.budget.get(self.column, key.bytes) {
            None => Made::New(init()),
            Some(bytes) => {
                let row = decoded::<R>(&bytes);
                let heap = row.heap_bytes();
                Made::Restored(row, heap)
            }
        }
    }

    /// Notes that a row has gone from the table for good; `stored`: the cold tier may have one.
    pub(crate) fn removed(&mut self, key: KeyRef<'_>, stored: bool) {
        if stored {
            self.haunt(key, Ghost::Gone);
        } else if self.has_left {
            self.haunt(key, Ghost::Absent);
        }
    }

    /// Notes that a key which is not in the table has no row.
    pub(crate) fn know_absent(&mut self, key: KeyRef<'_>) {
        if self.unknown(key) {
            self.haunt(key, Ghost::Absent);
        }
    }

    /// Removes a row that is not in the table, without reading it; false: there is none.
    pub(crate) fn discard(&mut self, key: KeyRef<'_>) -> bool {
        let unknown = self.unknown(key);
        if unknown {
            self.haunt(key, Ghost::Gone);
        }
        unknown
    }

    /// Notes that a row comes from a segment, and tells whether the cold tier may have an older
    /// one, should the row not be in the table.
    pub(crate) fn replayed(&mut self, key: KeyRef<'_>) -> bool {
        let ghost = self.lay(key);
        self.has_left || ghost == Some(Ghost::Gone)
    }

    /// Sets the ghost of a key that is not in the table.
    fn haunt(&mut self, key: KeyRef<'_>, ghost: Ghost) {
        self.lay(key);
        match ghost {
            Ghost::Absent => self.ghosts.restore(key, ghost, 0),
            Ghost::Gone | Ghost::Pending(_) => {
                self.ghosts.insert(key, 0, ghost);
                self.ghosts.adjust_heap(key_bytes::<K>(key) as isize);
            }
        }
    }

    /// Takes the ghost of a key away.
    fn lay(&mut self, key: KeyRef<'_>) -> Option<Ghost> {
        let ghost = self.ghosts.remove(key)?;
        self.ghosts.adjust_heap(-(key_bytes::<K>(key) as isize));
        Some(ghost)
    }

    /// Takes in what the cold tier has answered.
    pub(crate) fn settle<R: Row>(&mut self, table: &mut Table<K, R>) -> Result<()> {
        for answer in self.core.budget.answers_for(self.column) {
            match answer {
                Answer::Fetched { fetch, rows } => self.take_in(table, fetch, rows)?,
                Answer::Stored { run } => self.arrive(run),
                Answer::Failed(error) => return Err(super::budget::failed(error)),
            }
        }
        Ok(())
    }

    fn take_in<R: Row>(&mut self, table: &mut Table<K, R>, fetch: Fetch, rows: Rows) -> Result<()> {
        let asked = self.asked.iter().position(|(id, _)| *id == fetch.id);
        let asked = asked.and_then(|at| self.asked.remove(at));
        let (_, hashes) = asked.expect("an answered fetch was asked for");
        assert_eq!(hashes.len(), rows.len(), "rows of fetch {}", fetch.id);
        let (mut found, mut found_heap) = (0, 0);
        for (index, hash) in hashes.into_iter().enumerate() {
            let key = KeyRef { hash, bytes: fetch.key(index) };
            if self.ghosts.get(key) != Some(&Ghost::Pending(fetch.id)) {
                continue;
            }
            match rows.get(index) {
                None => self.haunt(key, Ghost::Absent),
                Some(bytes) => {
                    let row = R::decode(bytes)?;
                    let heap = row.heap_bytes();
                    self.lay(key);
                    table.restore(key, row, heap);
                    (found, found_heap) = (found + 1, found_heap + heap);
                }
            }
        }
        self.core.budget.restored(found, found_heap);
        self.core.budget.recycle(fetch, rows);
        Ok(())
    }
}

/// A row that user code waits for; bytes that are none end the attempt.
fn decoded<R: Row>(bytes: &[u8]) -> R {
    R::decode(bytes).unwrap_or_else(|error| std::panic::panic_any(error))
}

/// Memory that the key with these bytes owns in a table.
#[inline]
pub(crate) fn key_bytes<K: Key>(key: KeyRef<'_>) -> usize {
    if std::mem::needs_drop::<K>() {
        K::decode(key.bytes).map_or(0, |key| key.heap_bytes())
    } else {
        0
    }
}
