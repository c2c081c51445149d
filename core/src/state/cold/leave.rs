//! How rows leave: the clock's hand over the table, runs on their way, and their arrival.

use thalweg_state::cold::Run;
use thalweg_state::table::{Candidate, Fate, RUNS_MAX};
use thalweg_state::{Encoder, Key, Table};

use super::{Cold, Ghost};
use crate::Result;
use crate::state::encoding::Row;
use crate::state::{Budget, Held};

/// Lines that the hand passes in a turn.
const LINES_PER_TURN: usize = 2048;

/// Rows that a turn encodes at most: some 50 µs.
const ROWS_PER_TURN: usize = 512;

/// Rows that a turn adds to a table, more or less.
const ROWS_ADDED: usize = 1024;

/// Rows of a run, at most.
pub(super) const RUN_ROWS: usize = 4096;

/// Ghosts that are kept in any case.
const GHOSTS_MIN: usize = 256;

/// How many hashes ahead of its use a line is asked for.
const AHEAD: usize = 8;

/// A run that is being put together.
pub(super) struct Filling {
    /// The number that its rows know it by.
    number: u8,
    run: Run,
    hashes: Vec<u64>,
    /// How many of its rows are in the table; the others are ghosts.
    rows: usize,
    bytes_max: usize,
}

/// A run that is on its way, or has arrived.
pub(super) struct Sent {
    id: u64,
    hashes: Vec<u64>,
    /// Hashes behind this one have been seen to.
    left: usize,
    rows: usize,
}

/// What a pass of the hand did.
#[derive(Default)]
struct Passed {
    /// Rows that left at once, and what they owned.
    left: usize,
    heap: usize,
    /// Rows that are on their way now.
    sent: usize,
    /// Rows that count as not used from now on.
    aged: usize,
}

impl Filling {
    /// Memory that it holds.
    pub(super) fn bytes(&self) -> usize {
        self.run.capacity_bytes() + hash_bytes(&self.hashes)
    }

    fn is_full(&self) -> bool {
        self.run.len() >= RUN_ROWS || self.run.bytes() >= self.bytes_max
    }

    /// Adds a row of the table.
    fn push<K: Key, R: Row>(
        &mut self,
        row: &Candidate<'_, K, R>,
        encoder: &mut Encoder,
        value: &mut Vec<u8>,
    ) -> Result<Fate> {
        value.clear();
        row.value.encode(encoder, value)?;
        row.key.with_encoded(|key| self.run.push(key, Some(value)));
        self.hashes.push(row.hash);
        self.rows += 1;
        Ok(Fate::Send(self.number))
    }

    /// Adds the tombstone of a row that was removed.
    fn bury<K: Key>(&mut self, key: &K, hash: u64) -> Fate {
        key.with_encoded(|key| self.run.push(key, None));
        self.hashes.push(hash);
        Fate::Send(self.number)
    }
}

impl Sent {
    /// Memory that it holds; the run itself is the cold tier's.
    pub(super) fn bytes(&self) -> usize {
        hash_bytes(&self.hashes)
    }
}

impl<K: Key> Cold<K> {
    /// Whether the table is so full that its operator had better wait for runs on their way.
    pub(crate) fn is_choked<R>(&self, table: &Table<K, R>) -> bool {
        let most = table.entries_max(self.core.budget.room().bytes());
        // A load of three quarters is the most; up to seven eighths there must be room for a turn.
        let full = (most / 6).saturating_mul(7).saturating_sub(2 * ROWS_ADDED);
        table.len() > most.max(full)
    }

    /// Whether [`Cold::evict`] has something to do.
    pub(crate) fn has_leavers<R>(&self, table: &Table<K, R>) -> bool {
        let (leaving, evicting) = (self.leaving, self.evicting);
        !self.arrived.is_empty()
            || self.filling.as_ref().is_some_and(|filling| !filling.run.is_empty())
            || self.is_haunted(table)
            || wanted(&self.core.budget, table, leaving, evicting) > 0
    }

    fn is_haunted<R>(&self, table: &Table<K, R>) -> bool {
        let most = if self.core.budget.is_eager() { 0 } else { GHOSTS_MIN + table.len() / 8 };
        self.ghosts.len() > most
    }

    /// Lets some rows leave if there are too many; true if it made progress and is not done.
    pub(crate) fn evict<R: Row>(&mut self, table: &mut Table<K, R>, held: &Held) -> Result<bool> {
        let mut more = self.let_go(table);
        let wanted = wanted(&self.core.budget, table, self.leaving, self.evicting);
        self.evicting = wanted > 0;
        let eager = self.core.budget.is_eager();
        let haunted = self.is_haunted(table);
        if wanted == 0 && !haunted {
            self.send();
            return Ok(more);
        }
        while eager && table.is_rehashing() {
            table.rehash_step();
        }
        if self.filling.is_none() {
            self.filling = self.open();
        }
        let passed = self.pass(table, wanted, held)?;
        let mut progress = passed.left + passed.sent + passed.aged;
        if passed.left > 0 {
            table.adjust_heap(-(passed.heap as isize));
            self.core.budget.depart(passed.left);
            self.has_left = true;
        }
        self.leaving += passed.sent;
        if haunted {
            progress += self.pass_ghosts(held);
        }
        let done = passed.left + passed.sent >= wanted;
        if eager || done || self.filling.as_ref().is_some_and(Filling::is_full) {
            self.send();
        }
        if self.core.budget.excess() > 0 {
            table.shrink_if_roomy();
        }
        more |= progress > 0 && !done;
        Ok(more)
    }

    /// Starts a run if not too many are on their way.
    fn open(&self) -> Option<Filling> {
        let number = (1..=RUNS_MAX).find(|number| self.sent[usize::from(*number) - 1].is_none())?;
        let run = self.core.budget.run(self.column);
        let bytes_max = self.core.budget.run_bytes_max();
        Some(Filling { number, run, hashes: Vec::new(), rows: 0, bytes_max })
    }

    fn pass<R: Row>(
        &mut self,
        table: &mut Table<K, R>,
        wanted: usize,
        held: &Held,
    ) -> Result<Passed> {
        let eager = self.core.budget.is_eager();
        let (lines, rows) =
            if eager { (usize::MAX, usize::MAX) } else { (LINES_PER_TURN, ROWS_PER_TURN) };
        let mut passed = Passed::default();
        let mut failure = Ok(());
        let Self { filling, encoder, value, cursor, .. } = self;
        table.pass(cursor, lines, |row| {
            let taken = passed.left + passed.sent;
            if taken >= wanted || row.is_sent || failure.is_err() || held.holds(row.hash) {
                return Fate::Stay;
            }
            if row.is_referenced && !eager {
                passed.aged += 1;
                return Fate::Age;
            }
            if !row.is_dirty {
                passed.left += 1;
                passed.heap += row.key.heap_bytes() + row.value.heap_bytes();
                return Fate::Leave;
            }
            let Some(filling) = filling.as_mut().filter(|filling| !filling.is_full()) else {
                return Fate::Stay;
            };
            if passed.sent >= rows {
                return Fate::Stay;
            }
            match filling.push(&row, encoder, value) {
                Ok(fate) => {
                    passed.sent += 1;
                    fate
                }
                Err(error) => {
                    failure = Err(error);
                    Fate::Stay
                }
            }
        });
        failure.map(|()| passed)
    }

    /// Forgets ghosts that nobody asks for, and tells the cold tier of removed rows.
    fn pass_ghosts(&mut self, held: &Held) -> usize {
        let eager = self.core.budget.is_eager();
        let lines = if eager { usize::MAX } else { LINES_PER_TURN };
        let (mut passed, mut heap) = (0, 0);
        let Self { filling, ghosts, ghost_cursor, .. } = self;
        while eager && ghosts.is_rehashing() {
            ghosts.rehash_step();
        }
        ghosts.pass(ghost_cursor, lines, |ghost| {
            let pending = matches!(ghost.value, Ghost::Pending(_));
            if pending || ghost.is_sent || held.holds(ghost.hash) {
                return Fate::Stay;
            }
            if ghost.is_referenced && !eager {
                passed += 1;
                return Fate::Age;
            }
            if *ghost.value == Ghost::Gone && ghost.is_dirty {
                return match filling.as_mut().filter(|filling| !filling.is_full()) {
                    None => Fate::Stay,
                    Some(filling) => {
                        passed += 1;
                        filling.bury(ghost.key, ghost.hash)
                    }
                };
            }
            passed += 1;
            heap += ghost.key.heap_bytes();
            Fate::Leave
        });
        self.ghosts.adjust_heap(-(heap as isize));
        passed
    }

    /// Hands the run over that was put together.
    fn send(&mut self) {
        let Some(filling) = self.filling.take_if(|filling| !filling.run.is_empty()) else {
            return;
        };
        let Filling { number, run, hashes, rows, .. } = filling;
        let sent = Sent { id: run.id, left: hashes.len(), hashes, rows };
        let before = self.sent[usize::from(number) - 1].replace(sent);
        debug_assert!(before.is_none(), "run {number} was under way");
        self.core.budget.store(run, self.core.wall_millis());
    }

    /// A run has arrived: its rows may leave.
    pub(super) fn arrive(&mut self, id: u64) {
        let mut numbers = 1..=RUNS_MAX;
        let number = numbers.find(|number| {
            self.sent[usize::from(*number) - 1].as_ref().is_some_and(|sent| sent.id == id)
        });
        self.arrived.push_back(number.expect("a run that is stored was sent"));
    }

    /// Lets rows leave whose run has arrived, unless they changed or were used; true if there are
    /// more of them.
    fn let_go<R: Row>(&mut self, table: &mut Table<K, R>) -> bool {
        let Some(&number) = self.arrived.front() else {
            return false;
        };
        let slot = usize::from(number) - 1;
        let mut sent = self.sent[slot].take().expect("a run that has arrived was sent");
        let eager = self.core.budget.is_eager();
        let until = if eager { 0 } else { sent.left.saturating_sub(ROWS_PER_TURN) };
        let (mut left, mut heap, mut ghost_heap) = (0, 0, 0);
        while sent.left > until {
            sent.left -= 1;
            if let Some(ahead) = sent.left.checked_sub(AHEAD) {
                table.prefetch(sent.hashes[ahead]);
            }
            let hash = sent.hashes[sent.left];
            table.arrived(hash, number, |row| {
                let leaves = !row.is_dirty && !row.is_referenced;
                if leaves {
                    left += 1;
                    heap += row.key.heap_bytes() + row.value.heap_bytes();
                }
                leaves
            });
            self.ghosts.arrived(hash, number, |ghost| {
                let leaves = !ghost.is_dirty && !ghost.is_referenced;
                ghost_heap += if leaves { ghost.key.heap_bytes() } else { 0 };
                leaves
            });
        }
        table.adjust_heap(-(heap as isize));
        self.ghosts.adjust_heap(-(ghost_heap as isize));
        self.core.budget.depart(left);
        self.has_left |= left > 0;
        if sent.left > 0 {
            self.sent[slot] = Some(sent);
            return true;
        }
        self.leaving -= sent.rows;
        self.arrived.pop_front();
        !self.arrived.is_empty()
    }
}

/// Memory of hashes.
pub(super) fn hash_bytes(hashes: &Vec<u64>) -> usize {
    hashes.capacity() * size_of::<u64>()
}

/// How many rows of a table are to leave, when `leaving` of them are on their way out already. Once
/// some are, a few more are than need be, so that the hand does not start for every single row.
pub(crate) fn wanted<K: Key, R>(
    budget: &Budget,
    table: &Table<K, R>,
    leaving: usize,
    evicting: bool,
) -> usize {
    let live = table.len().saturating_sub(leaving);
    if budget.is_eager() {
        return live;
    }
    let mut most = table.entries_max(budget.room().bytes());
    let excess = budget.excess();
    if excess > 0 {
        let share = live as u128 * excess as u128 / budget.used().max(1) as u128;
        most = most.min(live.saturating_sub(share as usize + 1));
    }
    let least = most - most / 16;
    if live > if evicting { least } else { most } { live - least } else { 0 }
}
