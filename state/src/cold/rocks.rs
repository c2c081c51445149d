//! A cold tier on disk: one RocksDB for one core, a column family for each state.
//!
//! A thread of its own sorts and writes runs, another one reads; neither holds up the other, and
//! both wake the core when an answer is ready. The directory is scratch: it is emptied when the
//! tier is opened and removed when it is dropped, so nothing in it has to survive a crash and
//! nothing is written twice. It belongs to one tier at a time, which RocksDB's lock sees to.

mod expiry;
mod fault;
mod options;
mod side;
mod store;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crossbeam::channel::{Receiver, TryRecvError, bounded, unbounded};

pub use options::{RocksOptions, RocksShared};

use super::{Answer, ColdError, ColdTier, ColumnId, Fetch, Rows, Run};
use crate::ttl::Ttl;
use expiry::RunClock;
use side::{Manner, Side};
use store::{Reader, Store, Writer};

/// What wakes the core when an answer is ready; called by the tier's threads.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Runs of more memory than this are not kept to be filled again, in bytes.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// Cold rows on disk.
pub struct RocksTier {
    store: Arc<Store>,
    /// The column families, by the number of their column.
    columns: Vec<Arc<str>>,
    clock: Arc<RunClock>,
    writer: Side<(Arc<str>, Run, i64)>,
    reader: Side<(Arc<str>, Fetch)>,
    done: Receiver<Done>,
    outstanding: usize,
    backlog_bytes: usize,
    /// Memory of runs and fetches that are under way, as it was when they were given.
    given_bytes: usize,
    /// A stored run, to be filled again.
    spare: Option<Run>,
    failed: Option<ColdError>,
    /// Whether the error is still to be answered.
    unanswered: bool,
}

/// How far the writer and RocksDB's own threads stand back behind cores and readers, which are
/// waited for. A core that waits without sleeping leaves more to the reader so (0.9 of the bare
/// loop's rate without, 1.1 with); with 19 the writer gets nowhere beside cores that never sleep.
const WRITER_NICE: i32 = 10;

/// What the threads send back.
enum Done {
    Stored { id: u64, bytes: usize, run: Run },
    Fetched { fetch: Fetch, rows: Rows, given_bytes: usize },
    Failed(ColdError),
}

impl RocksTier {
    /// Opens an empty tier in `directory`, which is made if it is not there, and starts its two
    /// threads. RocksDB's files in it, if any, are deleted; other files are left alone.
    ///
    /// # Errors
    /// The directory cannot be made or written, or another tier uses it.
    pub fn open(
        directory: &Path,
        shared: &RocksShared,
        options: &RocksOptions,
        wake: Wake,
    ) -> Result<Self, ColdError> {
        let (answers, done) = unbounded();
        let (opened, store) = bounded(1);
        let (path, cache) = (directory.to_owned(), shared.clone());
        let (tuning, clock) = (options.clone(), Arc::new(RunClock::new()));
        let moved = Arc::clone(&clock);
        // Opened by the writer's own thread: RocksDB's threads inherit where and how that one runs,
        // and the core's thread is pinned.
        let start = move || {
            let store = Store::open(&path, &cache, &tuning).map(Arc::new);
            let writer = store.as_ref().ok().map(|store| Writer::new(Arc::clone(store)));
            let _ = opened.send(store);
            let mut writer = writer?;
            Some(move |(column, mut run, now_ms): (Arc<str>, Run, i64)| {
                let (id, bytes) = (run.id, run.bytes());
                writer.write(&column, &mut run)?;
                moved.set(now_ms);
                Ok(Done::Stored { id, bytes, run })
            })
        };
        let manner = |work: &str, nice: i32| Manner {
            name: format!("cold-{work}-{}", options.core),
            cpus: options.cpus.clone(),
            nice,
        };
        let place = manner("write", WRITER_NICE);
        let writer = Side::start(place, start, answers.clone(), Arc::clone(&wake))?;
        let store =
            store.recv().map_err(|_| ColdError::new("the cold tier's thread has gone"))??;
        let mut reader = Reader::new(Arc::clone(&store));
        let start = move || {
            Some(move |(column, mut fetch): (Arc<str>, Fetch)| {
                let given_bytes = fetch.capacity_bytes();
                let rows = reader.read(&column, &mut fetch)?;
                Ok(Done::Fetched { fetch, rows, given_bytes })
            })
        };
        let reader = Side::start(manner("read", 0), start, answers, wake)?;
        Ok(Self {
            store,
            columns: Vec::new(),
            clock,
            writer,
            reader,
            done,
            outstanding: 0,
            backlog_bytes: 0,
            given_bytes: 0,
            spare: None,
            failed: None,
            unanswered: false,
        })
    }

    /// Rewrites all files of a column, as RocksDB does by and by.
    #[cfg(test)]
    fn compact(&self, column: ColumnId) {
        self.store.compact(&self.columns[column.0 as usize]);
    }

    fn fail(&mut self, error: ColdError) -> Answer {
        (self.outstanding, self.backlog_bytes, self.given_bytes) = (0, 0, 0);
        self.spare = None;
        self.failed = Some(error.clone());
        Answer::Failed(error)
    }

    fn answer(&mut self, done: Done) -> Answer {
        self.outstanding = self.outstanding.saturating_sub(1);
        match done {
            Done::Stored { id, bytes, run } => {
                self.backlog_bytes -= bytes;
                self.given_bytes -= run.capacity_bytes();
                self.spare = Some(run).filter(|run| run.capacity_bytes() <= SPARE_BYTES_MAX);
                Answer::Stored { run: id }
            }
            Done::Fetched { fetch, rows, given_bytes } => {
                self.given_bytes -= given_bytes;
                Answer::Fetched { fetch, rows }
            }
            Done::Failed(error) => self.fail(error),
        }
    }

    /// The column family of a column, unless the tier has failed.
    fn admit(&mut self, column: ColumnId) -> Option<Arc<str>> {
        let name = Arc::clone(&self.columns[column.0 as usize]);
        self.unanswered |= self.failed.is_some();
        self.failed.is_none().then_some(name)
    }
}

impl ColdTier for RocksTier {
    fn column(&mut self, name: &str, ttl: Option<Ttl>) -> Result<ColumnId, ColdError> {
        // A name of RocksDB's own must not be hit.
        let family = format!("state {name}");
        if let Some(index) = self.columns.iter().position(|column| **column == *family) {
            return Ok(ColumnId(index as u32));
        }
        self.store.create_column(&family, ttl, &self.clock)?;
        self.columns.push(family.into());
        Ok(ColumnId(self.columns.len() as u32 - 1))
    }

    fn run(&mut self, id: u64, column: ColumnId) -> Run {
        match self.spare.take() {
            None => Run::new(id, column),
            Some(mut run) => {
                run.reset(id, column);
                run
            }
        }
    }

    fn store(&mut self, run: Run, now_ms: i64) {
        if let Some(column) = self.admit(run.column) {
            self.outstanding += 1;
            self.backlog_bytes += run.bytes();
            self.given_bytes += run.capacity_bytes();
            self.writer.order((column, run, now_ms));
        }
    }

    fn fetch(&mut self, fetch: Fetch) {
        if let Some(column) = self.admit(fetch.column) {
            self.outstanding += 1;
            self.given_bytes += fetch.capacity_bytes();
            self.reader.order((column, fetch));
        }
    }

    fn poll(&mut self) -> Option<Answer> {
        if self.failed.is_some() {
            let answer = std::mem::take(&mut self.unanswered);
            return self.failed.clone().filter(|_| answer).map(Answer::Failed);
        }
        match self.done.try_recv() {
            Ok(done) => Some(self.answer(done)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(self.fail(ColdError::new("the cold tier's threads have gone")))
            }
        }
    }

    fn wait(&mut self) -> Option<Answer> {
        if self.failed.is_some() || self.outstanding == 0 {
            return self.poll();
        }
        Some(match self.done.recv() {
            Ok(done) => self.answer(done),
            Err(_) => self.fail(ColdError::new("the cold tier's threads have gone")),
        })
    }

    fn busy(&self) -> bool {
        self.outstanding > 0 || self.unanswered
    }

    fn backlog_bytes(&self) -> usize {
        self.backlog_bytes
    }

    fn buffer_bytes(&self) -> usize {
        self.given_bytes + self.spare.as_ref().map_or(0, Run::capacity_bytes)
    }

    fn get(&mut self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        match &self.failed {
            None => self.store.get(&self.columns[column.0 as usize], key),
            Some(error) => Err(error.clone()),
        }
    }

    fn keys(&mut self, column: ColumnId, visit: &mut dyn FnMut(&[u8])) -> Result<(), ColdError> {
        match &self.failed {
            None => self.store.keys(&self.columns[column.0 as usize], visit),
            Some(error) => Err(error.clone()),
        }
    }
}
