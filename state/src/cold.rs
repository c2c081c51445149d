//! The cold tier of one core: rows that have left the table, sorted by key.
//!
//! A core hands over whole runs of rows and whole batches of keys, and takes answers back when it
//! polls; neither blocks. A run is readable from the moment its [`Answer::Stored`] is given back.
//! Until then whoever evicted its rows keeps them: an answer to a fetch may or may not show a run
//! that is still on its way. Runs take effect in the order in which they are given, so the later
//! of two wins, and a tombstone wins over whatever was there.
//!
//! Rows of a column with a time to live begin with their stamp. The tier may drop those that have
//! expired, by the time that the core gave with the newest run that can be read and by no clock of
//! its own: no reader is behind that time, so each would have found the row expired.

mod error;
mod fetch;
mod memory;
#[cfg(test)]
mod model;
#[cfg(feature = "rocksdb")]
mod rocks;
mod run;

pub use error::ColdError;
pub use fetch::{Fetch, Rows};
pub use memory::MemoryTier;
#[cfg(feature = "rocksdb")]
pub use rocks::{RocksOptions, RocksShared, RocksTier, Wake};
pub use run::{Row, Run};

use crate::ttl::Ttl;

/// A state's column on one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ColumnId(pub u32);

/// What became of a run or a fetch.
#[derive(Debug)]
pub enum Answer {
    /// The run can be read: every fetch and every [`ColdTier::get`] from now on sees it.
    Stored {
        /// The run's number.
        run: u64,
    },
    /// The rows of a fetch, in the order in which its keys were added.
    Fetched {
        /// The fetch as it was given.
        fetch: Fetch,
        /// One row for each of its keys.
        rows: Rows,
    },
    /// The tier is of no use any more (a full disk, a damaged file): the attempt ends with this.
    Failed(ColdError),
}

/// The cold rows of one core.
///
/// Only the core's own thread calls these, and only [`ColdTier::get`], [`ColdTier::keys`],
/// [`ColdTier::wait`] and [`ColdTier::column`] may block. Columns come first, then rows. Runs are
/// answered in the order in which they were given, and so are fetches, but neither waits for the
/// other. After [`Answer::Failed`] nothing that was outstanding is answered any more, and whatever
/// is given later fails with the same error.
pub trait ColdTier {
    /// The column of the state of this name, made if it is new. Comes before its first row. With
    /// `ttl` each of its rows begins with a [stamp](crate::ttl::put_stamp), and goes by itself some
    /// time after it has expired.
    ///
    /// # Errors
    /// The column cannot be made.
    fn column(&mut self, name: &str, ttl: Option<Ttl>) -> Result<ColumnId, ColdError>;

    /// An empty run; with the memory of one that was stored, where there is one.
    fn run(&mut self, id: u64, column: ColumnId) -> Run {
        Run::new(id, column)
    }

    /// Hands a run over; it is sorted off the core. `now_ms` is the core's time: once the run can
    /// be read, rows of all columns that have expired by then may go.
    fn store(&mut self, run: Run, now_ms: i64);

    /// Asks for the rows of some keys.
    fn fetch(&mut self, fetch: Fetch);

    /// The next answer, if there is one; never blocks.
    fn poll(&mut self) -> Option<Answer>;

    /// Waits for the next answer; `None`: none is to come. For who has nothing else to do.
    fn wait(&mut self) -> Option<Answer> {
        loop {
            let answer = self.poll();
            if answer.is_some() || !self.busy() {
                return answer;
            }
        }
    }

    /// Whether an answer is still to come.
    fn busy(&self) -> bool;

    /// Memory of the runs that were given and whose [`Answer::Stored`] was not yet taken, in bytes.
    fn backlog_bytes(&self) -> usize;

    /// Memory of all runs and fetches that it has, be they under way or kept to be filled again, in
    /// bytes; without that of the stored rows and of what finds them.
    fn buffer_bytes(&self) -> usize;

    /// Reads one row and waits for it: a miss that nobody foresaw.
    ///
    /// # Errors
    /// The row cannot be read.
    fn get(&mut self, column: ColumnId, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError>;

    /// Shows `visit` the keys of all rows of a column, in their order, and waits for them: of the
    /// runs that are on their way each may or may not be among them.
    ///
    /// # Errors
    /// The rows cannot be read.
    fn keys(&mut self, column: ColumnId, visit: &mut dyn FnMut(&[u8])) -> Result<(), ColdError>;
}
