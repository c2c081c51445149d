//! The memory budget of one core's state, and the way to its cold tier.
//!
//! The tables of a core share one [`Room`]; what does not fit goes to the cold tier, which is
//! opened when that first happens. Answers of the tier are sorted by column here, and each store
//! takes its own.

use std::cell::{Cell, RefCell};
use std::panic::panic_any;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use thalweg_state::cold::{Answer, ColdError, ColdTier, ColumnId, Fetch, MemoryTier, Rows, Run};
use thalweg_state::{Room, Ttl};

use crate::error::Kind;
use crate::metrics::StateMetrics;
use crate::{Error, Result};

/// Opens the cold tier of the core with this number.
pub(crate) type OpenTier = Rc<dyn Fn(usize) -> Result<Box<dyn ColdTier>, ColdError>>;

/// Answers that a turn takes at most.
const ANSWERS_PER_TURN: usize = 8;

/// Bytes of a run, at most, where the budget is small and where it is large.
const RUN_BYTES_MIN: usize = 16 << 10;
const RUN_BYTES_MAX: usize = 1 << 20;

/// Bytes that may be encoded before a segment is made of them, where the budget is small and where
/// it is large, and where all rows leave at once: for tests.
const ENCODED_BYTES_MIN: usize = 256 << 10;
const ENCODED_BYTES_MAX: usize = 64 << 20;
const ENCODED_BYTES_EAGER: usize = 2 << 10;

/// Bytes of a table's line.
const LINE_BYTES: usize = 64;

/// Answered fetches whose memory is kept.
const SPARE_MAX: usize = 8;

/// What a core's state may take, and where the rest goes.
#[derive(Clone, Default)]
pub(crate) struct StateMemory {
    /// Bytes of one core; `None`: as much as it likes.
    pub(crate) limit: Option<usize>,
    /// Whether every row leaves the table as soon as it may: for tests.
    pub(crate) eager: bool,
    /// Opens the cold tier; `None`: there is none.
    pub(crate) tier: Option<OpenTier>,
    /// What is said once when there is none and the budget is exceeded.
    pub(crate) hint: &'static str,
    /// Whether it was said: by one core for all of them.
    pub(crate) warned: Arc<AtomicBool>,
}

impl StateMemory {
    /// So many bytes per core above a cold tier in memory, whose pace is decided by `seed`.
    pub(crate) fn above_memory(bytes: usize, seed: u64) -> Self {
        let open = move |core: usize| -> Result<Box<dyn ColdTier>, ColdError> {
            Ok(Box::new(MemoryTier::new(seed.wrapping_add(core as u64))))
        };
        Self { limit: Some(bytes), tier: Some(Rc::new(open)), ..Self::default() }
    }

    /// Every row leaves as soon as nobody needs it.
    pub(crate) fn forced_cold(seed: u64) -> Self {
        Self { limit: None, eager: true, ..Self::above_memory(0, seed) }
    }
}

/// The budget of one core.
pub(crate) struct Budget {
    memory: RefCell<StateMemory>,
    limit: Cell<usize>,
    eager: Cell<bool>,
    room: Rc<Room>,
    used: Cell<usize>,
    tier: RefCell<Option<Box<dyn ColdTier>>>,
    cold: Cell<bool>,
    columns: RefCell<Vec<Column>>,
    /// Runs that were given and not yet answered.
    runs: RefCell<Vec<(u64, ColumnId)>>,
    spare: RefCell<Vec<(Fetch, Rows)>>,
    next_id: Cell<u64>,
    answers: Cell<u64>,
    departures: Cell<u64>,
    waits: Cell<bool>,
    /// Memory of a row as they come from the cold tier, on average.
    row_bytes: Cell<usize>,
    /// What has happened so far.
    pub(crate) counts: Rc<StateMetrics>,
}

/// What is waiting for the store of a column.
struct Column {
    id: ColumnId,
    inbox: Vec<Answer>,
}

impl Budget {
    /// A budget without a bound.
    pub(crate) fn new(counts: Rc<StateMetrics>) -> Self {
        Self {
            memory: RefCell::default(),
            limit: Cell::new(usize::MAX),
            eager: Cell::new(false),
            room: Rc::default(),
            used: Cell::new(0),
            tier: RefCell::new(None),
            cold: Cell::new(false),
            columns: RefCell::default(),
            runs: RefCell::default(),
            spare: RefCell::default(),
            next_id: Cell::new(0),
            answers: Cell::new(0),
            departures: Cell::new(0),
            waits: Cell::new(false),
            row_bytes: Cell::new(LINE_BYTES),
            counts,
        }
    }

    /// Sets the bound; before the first table is made.
    pub(crate) fn bound(&self, memory: &StateMemory) {
        self.limit.set(memory.limit.unwrap_or(usize::MAX));
        self.eager.set(memory.eager);
        if memory.tier.is_some() {
            self.room.set(self.limit.get());
        }
        *self.memory.borrow_mut() = memory.clone();
    }

    /// Whether there is a bound at all.
    #[inline]
    pub(crate) fn is_bounded(&self) -> bool {
        self.limit.get() != usize::MAX || self.eager.get()
    }

    /// Whether every row leaves the table as soon as it may.
    #[inline]
    pub(crate) fn is_eager(&self) -> bool {
        self.eager.get()
    }

    /// What the core's tables share.
    pub(crate) fn room(&self) -> &Rc<Room> {
        &self.room
    }

    /// Bytes in use as of the last turn.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// Bytes as of the last turn that had better leave: it takes turns until the first ones do, so
    /// that begins a little below the bound.
    pub(crate) fn excess(&self) -> usize {
        let limit = self.limit.get();
        self.used.get().saturating_sub(limit - limit / 16)
    }

    /// How many rows may be asked for ahead of the page that is being read: few of those that fit.
    pub(crate) fn rows_ahead_max(&self) -> usize {
        let rows = self.limit.get() / (32 * self.row_bytes.get());
        if self.excess() > 0 { 0 } else { rows }
    }

    /// Notes how much memory the rows of a fetch have turned out to take.
    pub(crate) fn restored(&self, rows: usize, heap_bytes: usize) {
        let found = LINE_BYTES + heap_bytes / rows.max(1);
        self.row_bytes.set((3 * self.row_bytes.get() + found) / 4);
    }

    /// Whether more is in use than even a turn may add.
    pub(crate) fn is_overdrawn(&self) -> bool {
        let limit = self.limit.get();
        self.used.get() > limit.saturating_add(limit / 16)
    }

    /// Takes note of what tables use; with what is on its way between them and the cold tier that
    /// is what is in use. True if rows may have to leave.
    pub(crate) fn measure(&self, tables: usize) -> bool {
        let used = tables + self.buffer_bytes();
        self.used.set(used);
        self.counts.measure(used);
        let limit = self.limit.get();
        if self.memory.borrow().tier.is_none() {
            if used > limit {
                self.warn();
            }
            return false;
        }
        self.room.set(limit.saturating_sub(used));
        // Below a third each table can still double.
        self.eager.get() || used > limit / 3
    }

    /// Memory of runs and fetches that the cold tier has, and of those that are kept for it.
    fn buffer_bytes(&self) -> usize {
        let Some(tier) = &*self.tier.borrow() else { return 0 };
        let spare = self.spare.borrow();
        let spare =
            spare.iter().map(|(fetch, rows)| fetch.capacity_bytes() + rows.capacity_bytes());
        tier.buffer_bytes() + spare.sum::<usize>()
    }

    /// Bytes that may be encoded before a segment is made of them.
    pub(crate) fn encoded_bytes_max(&self) -> usize {
        match self.eager.get() {
            true => ENCODED_BYTES_EAGER,
            false => (self.limit.get() / 16).clamp(ENCODED_BYTES_MIN, ENCODED_BYTES_MAX),
        }
    }

    /// Bytes of a run, at most, but for its last row: three of a state may be on their way.
    pub(crate) fn run_bytes_max(&self) -> usize {
        (self.limit.get() / 32).clamp(RUN_BYTES_MIN, RUN_BYTES_MAX)
    }

    #[cold]
    fn warn(&self) {
        let (limit, memory) = (self.limit.get(), self.memory.borrow());
        let hint = memory.hint;
        if memory.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        tracing::warn!(
            bytes = self.used.get(),
            "state takes more memory than state.memory leaves each core ({limit} bytes): {hint}"
        );
    }

    /// The column of a state, by a name that is unique on the core; opens the cold tier if it is
    /// the first. With `ttl` its rows begin with a stamp and expire by themselves.
    pub(crate) fn column(&self, core: usize, name: &str, ttl: Option<Ttl>) -> Result<ColumnId> {
        let mut tier = self.tier.borrow_mut();
        if tier.is_none() {
            let open = self.memory.borrow().tier.clone();
            let open = open.expect("rows leave only where there is a cold tier");
            *tier = Some(open(core).map_err(failed)?);
            self.cold.set(true);
        }
        let tier = tier.as_mut().expect("the cold tier is open");
        let id = tier.column(name, ttl).map_err(failed)?;
        let mut columns = self.columns.borrow_mut();
        assert!(columns.iter().all(|column| column.id != id), "two states are named {name}");
        columns.push(Column { id, inbox: Vec::new() });
        Ok(id)
    }

    fn tier<R>(&self, use_it: impl FnOnce(&mut dyn ColdTier) -> R) -> R {
        let mut tier = self.tier.borrow_mut();
        use_it(tier.as_deref_mut().expect("a column is of an open tier"))
    }

    fn next_id(&self) -> u64 {
        let id = self.next_id.get() + 1;
        self.next_id.set(id);
        id
    }

    /// An empty run.
    pub(crate) fn run(&self, column: ColumnId) -> Run {
        let id = self.next_id();
        self.tier(|tier| tier.run(id, column))
    }

    /// Hands a run over at the core's time `now_ms`.
    pub(crate) fn store(&self, run: Run, now_ms: i64) {
        self.runs.borrow_mut().push((run.id, run.column));
        self.tier(|tier| tier.store(run, now_ms));
    }

    /// A fetch without keys.
    pub(crate) fn new_fetch(&self, column: ColumnId) -> Fetch {
        let id = self.next_id();
        match self.spare.borrow_mut().pop() {
            Some((mut fetch, rows)) => {
                fetch.reset(id, column, rows);
                fetch
            }
            None => Fetch::new(id, column),
        }
    }

    /// Asks for the rows of some keys.
    pub(crate) fn fetch(&self, fetch: Fetch) {
        self.counts.fetched.add(fetch.len() as u64);
        self.tier(|tier| tier.fetch(fetch));
    }

    /// Takes an answered fetch back, for its memory, where there is room for it.
    pub(crate) fn recycle(&self, fetch: Fetch, rows: Rows) {
        let mut spare = self.spare.borrow_mut();
        if spare.len() < SPARE_MAX && self.excess() == 0 {
            spare.push((fetch, rows));
        }
    }

    /// Reads a row that user code waits for.
    ///
    /// # Panics
    /// If it cannot be read, with the error: user code must not go on with a state that it does not
    /// have.
    #[cold]
    pub(crate) fn get(&self, column: ColumnId, key: &[u8]) -> Option<Vec<u8>> {
        self.counts.blocking_reads.add(1);
        let row = self.tier(|tier| tier.get(column, key));
        row.unwrap_or_else(|error| panic_any(failed(error)))
    }

    /// Shows `visit` the keys of all rows that a column has in the cold tier. Blocks.
    #[cold]
    pub(crate) fn keys(&self, column: ColumnId, visit: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.tier(|tier| tier.keys(column, visit)).map_err(failed)
    }

    /// Takes what the cold tier has answered; true if there is something for a store.
    pub(crate) fn poll(&self) -> Result<bool> {
        let mut tier = self.tier.borrow_mut();
        let Some(tier) = tier.as_mut() else {
            return Ok(false);
        };
        let mut found = false;
        for _ in 0..ANSWERS_PER_TURN {
            let Some(answer) = tier.poll() else { break };
            found = true;
            self.deliver(answer)?;
        }
        Ok(found)
    }

    /// Waits for an answer, if one is to come; for a restore.
    pub(crate) fn wait(&self) -> Result<()> {
        let answer = self.tier(|tier| tier.wait());
        answer.map_or(Ok(()), |answer| self.deliver(answer))
    }

    fn deliver(&self, answer: Answer) -> Result<()> {
        self.answers.set(self.answers.get() + 1);
        let column = match &answer {
            Answer::Failed(error) => return Err(failed(error.clone())),
            Answer::Fetched { fetch, .. } => fetch.column,
            Answer::Stored { run } => self.stored(*run),
        };
        let mut columns = self.columns.borrow_mut();
        let to = columns.iter_mut().find(|known| known.id == column);
        to.expect("an answer is for a column that was made").inbox.push(answer);
        Ok(())
    }

    fn stored(&self, id: u64) -> ColumnId {
        let mut runs = self.runs.borrow_mut();
        let at = runs.iter().position(|(run, _)| *run == id);
        runs.remove(at.expect("a run that is stored was given")).1
    }

    /// The answers for a column, oldest first.
    pub(crate) fn answers_for(&self, column: ColumnId) -> Vec<Answer> {
        let mut columns = self.columns.borrow_mut();
        let from = columns.iter_mut().find(|known| known.id == column);
        from.map_or_else(Vec::new, |column| std::mem::take(&mut column.inbox))
    }

    /// Whether the cold tier was opened: before that nothing is cold.
    #[inline]
    pub(crate) fn is_cold(&self) -> bool {
        self.cold.get()
    }

    /// Whether the tier has yet to answer something.
    pub(crate) fn is_busy(&self) -> bool {
        self.tier.borrow().as_ref().is_some_and(|tier| tier.busy())
    }

    /// Whether runs are on their way.
    pub(crate) fn is_storing(&self) -> bool {
        !self.runs.borrow().is_empty()
    }

    /// How many runs are on their way.
    pub(crate) fn runs_under_way(&self) -> usize {
        self.runs.borrow().len()
    }

    /// Whether rows that are restored had better go to the cold tier.
    pub(crate) fn overflows(&self) -> bool {
        let limit = self.limit.get();
        let has_tier = self.memory.borrow().tier.is_some();
        has_tier && (self.eager.get() || self.used.get() > limit - limit / 4)
    }

    /// Counts answers: who waits for rows looks again when it has moved.
    #[inline]
    pub(crate) fn answers(&self) -> u64 {
        self.answers.get()
    }

    /// Counts slices in which rows left: who has made sure of its rows does so again then.
    #[inline]
    pub(crate) fn departures(&self) -> u64 {
        self.departures.get()
    }

    /// Notes that rows have left the table.
    pub(crate) fn depart(&self, rows: usize) {
        if rows == 0 {
            return;
        }
        self.counts.evicted.add(rows as u64);
        self.departures.set(self.departures.get() + 1);
    }

    /// Notes that a task waits for cold rows.
    pub(crate) fn note_wait(&self) {
        self.waits.set(true);
    }

    /// Whether a task has waited for cold rows since this was last asked.
    pub(crate) fn take_waits(&self) -> bool {
        self.waits.replace(false)
    }
}

/// What the cold tier cannot do ends the attempt.
#[cold]
pub(crate) fn failed(error: ColdError) -> Error {
    let ColdError { what, hint } = error;
    let error = Error::new(Kind::Io, what);
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}
