//! A cold tier in memory, for tests and the simulator: deterministic, and slow on purpose.
//!
//! Work is done when the core polls, after a number of polls that the seed decides. A run may show
//! in fetches before it is answered and a fetch may be answered long after it has read, as with
//! threads: whoever relies on either order fails with some seed. Expired rows are dropped behind
//! some runs, as by a compaction.

use std::collections::{BTreeMap, VecDeque};

use super::{Answer, ColdError, ColdTier, ColumnId, Fetch, Rows, Run};
use crate::ttl::Ttl;

/// Polls that a piece of work may take at the most.
const POLLS_MAX: u64 = 4;

/// Expired rows are dropped behind each run whose number is a multiple of this.
const RUNS_PER_COMPACTION: u64 = 3;

/// Cold rows in memory.
#[derive(Debug)]
pub struct MemoryTier {
    columns: Vec<Column>,
    /// Each with the time at which it was given.
    runs: VecDeque<(Run, i64)>,
    fetches: VecDeque<Fetch>,
    /// What the first run and the first fetch still wait for.
    storing: Work<()>,
    reading: Work<Rows>,
    random: u64,
    fails: Option<ColdError>,
    failed: bool,
}

#[derive(Debug)]
struct Column {
    name: String,
    ttl: Option<Ttl>,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// A piece of work in two steps: it takes effect, then it is answered.
#[derive(Debug)]
struct Work<T> {
    /// Polls until its next step.
    polls: u64,
    done: Option<T>,
}

impl MemoryTier {
    /// A tier without rows, whose pace is decided by `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            columns: Vec::new(),
            runs: VecDeque::new(),
            fetches: VecDeque::new(),
            storing: Work { polls: 0, done: None },
            reading: Work { polls: 0, done: None },
            random: seed,
            fails: None,
            failed: false,
        }
    }

    /// Makes all that is outstanding or comes later fail, as a full disk does.
    pub fn fail(&mut self, error: ColdError) {
        self.runs.clear();
        self.fetches.clear();
        (self.fails, self.failed) = (Some(error), true);
    }

    /// How many keys have a row, in all columns.
    pub fn len(&self) -> usize {
        self.columns.iter().map(|column| column.rows.len()).sum()
    }

    /// Whether no key has a row.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rows(&self, column: ColumnId) -> &BTreeMap<Vec<u8>, Vec<u8>> {
        &self.columns[column.0 as usize].rows
    }

    /// Polls until the next step of a piece of work (splitmix64).
    fn delay(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % (POLLS_MAX + 1)
    }

    fn step_run(&mut self) -> Option<Answer> {
        let (run, now_ms) = self.runs.front()?;
        if let Some(polls) = self.storing.polls.checked_sub(1) {
            self.storing.polls = polls;
            return None;
        }
        let (id, column, now_ms) = (run.id, run.column, *now_ms);
        if self.storing.done.take().is_some() {
            self.runs.pop_front();
            self.storing.polls = self.delay();
            return Some(Answer::Stored { run: id });
        }
        let rows = &mut self.columns[column.0 as usize].rows;
        for (key, value) in run.rows() {
            match value {
                Some(value) => rows.insert(key.to_vec(), value.to_vec()),
                None => rows.remove(key),
            };
        }
        if id.is_multiple_of(RUNS_PER_COMPACTION) {
            self.compact(now_ms);
        }
        self.storing = Work { polls: self.delay(), done: Some(()) };
        None
    }

    /// Drops what has expired.
    fn compact(&mut self, now_ms: i64) {
        for Column { ttl, rows, .. } in &mut self.columns {
            if let Some(ttl) = ttl {
                rows.retain(|_, row| !ttl.is_over(row, now_ms));
            }
        }
    }

    fn step_fetch(&mut self) -> Option<Answer> {
        self.fetches.front()?;
        if let Some(polls) = self.reading.polls.checked_sub(1) {
            self.reading.polls = polls;
            return None;
        }
        if let Some(rows) = self.reading.done.take() {
            let fetch = self.fetches.pop_front()?;
            self.reading.polls = self.delay();
            return Some(Answer::Fetched { fetch, rows });
        }
        let fetch = self.fetches.front_mut()?;
        let mut rows = fetch.take_rows();
        let stored = &self.columns[fetch.column.0 as usize].rows;
        for (index, key) in fetch.keys().enumerate() {
            if let Some(value) = stored.get(key) {
                rows.set(index, value);
            }
        }
        self.reading = Work { polls: self.delay(), done: Some(rows) };
        None
    }
}

impl ColdTier for MemoryTier {
    fn column(&mut self, name: &str, ttl: Option<Ttl>) -> Result<ColumnId, ColdError> {
        let known = self.columns.iter().position(|column| column.name == name);
        let index = known.unwrap_or_else(|| {
            self.columns.push(Column { name: name.to_owned(), ttl, rows: BTreeMap::new() });
            self.columns.len() - 1
        });
        Ok(ColumnId(index as u32))
    }

    fn store(&mut self, run: Run, now_ms: i64) {
        assert!((run.column.0 as usize) < self.columns.len(), "no {:?}", run.column);
        match self.fails {
            None => self.runs.push_back((run, now_ms)),
            Some(_) => self.failed = true,
        }
    }

    fn fetch(&mut self, fetch: Fetch) {
        assert!((fetch.column.0 as usize) < self.columns.len(), "no {:?}", fetch.column);
        match self.fails {
            None => self.fetches.push_back(fetch),
            Some(_) => self.failed = true,
        }
    }

    fn poll(&mut self) -> Option<Answer> {
        if std::mem::take(&mut self.failed) {
            return self.fails.clone().map(Answer::Failed);
        }
        // Each has its own thread: neither side's work holds up the other's.
        if self.delay().is_multiple_of(2) {
            self.step_run().or_else(|| self.step_fetch())
        } else {
            self.step_fetch().or_else(|| self.step_run())
        }
    }

    fn busy(&self) -> bool {
        self.failed || !self.runs.is_empty() || !self.fetches.is_empty()
    }

    fn backlog_bytes(&self) -> usize {
        self.runs.iter().map(|(run, _)| run.bytes()).sum()
    }

    fn buffer_bytes(&self) -> usize {
        let runs = self.runs.iter().map(|(run, _)| run.capacity_bytes());
        runs.chain(self.fetches.iter().map(Fetch::capacity_bytes)).sum()
    }

    fn get(&mut self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        match &self.fails {
            None => Ok(self.rows(column).get(key).cloned()),
            Some(error) => Err(error.clone()),
        }
    }

    fn keys(&mut self, column: ColumnId, visit: &mut dyn FnMut(&[u8])) -> Result<(), ColdError> {
        match &self.fails {
            None => self.rows(column).keys().for_each(|key| visit(key)),
            Some(error) => return Err(error.clone()),
        }
        Ok(())
    }
}
