//! The RocksDB of one core: opened empty, written by one thread, read by another.
//!
//! Reads pin blocks while they are copied, so a fetch is read a part at a time: memory is bounded
//! however many keys it has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BoundColumnFamily, DBWithThreadMode, Env, Error, MultiThreaded, Options, ReadOptions,
    WriteBatch, WriteOptions,
};

use super::super::{ColdError, Fetch, Rows, Run, run::prefix};
use super::expiry::{RunClock, let_expire};
use super::fault::fault;
use super::options::{RocksOptions, RocksShared, column_options, database_options};
use crate::ttl::Ttl;

/// Keys that are read at once: each may pin a block.
const KEYS_MAX: usize = 256;

/// Bytes of rows that are written at once.
const BATCH_BYTES: usize = 256 << 10;

/// A database and its directory.
pub(super) struct Store {
    /// Dropped before the directory goes.
    database: DBWithThreadMode<MultiThreaded>,
    column: Options,
    scratch: Scratch,
}

impl Store {
    /// Empties the directory and opens a database in it.
    pub(super) fn open(
        path: &Path,
        shared: &RocksShared,
        options: &RocksOptions,
    ) -> Result<Self, ColdError> {
        fs::create_dir_all(path).map_err(|error| fault("make the directory", path, &error))?;
        // Refused while another one holds the lock.
        let empty = |error: Error| fault("empty the directory of cold state", path, &error);
        DBWithThreadMode::<MultiThreaded>::destroy(&Options::default(), path).map_err(empty)?;
        // It is this tier's from here on: what is made in it goes with it, also if no more comes.
        let scratch = Scratch(path.to_owned());
        fs::create_dir_all(path).map_err(|error| fault("make the directory", path, &error))?;
        let open = |error: Error| fault("open cold state in", path, &error);
        let env = Env::new().map_err(open)?;
        let opened = database_options(options, &env).and_then(|database| {
            DBWithThreadMode::open(&database, path).map(|database| Self {
                database,
                column: column_options(shared, options),
                scratch,
            })
        });
        opened.map_err(open)
    }

    /// Makes a column; `clock` says which of its rows have expired, if they can.
    pub(super) fn create_column(
        &self,
        family: &str,
        ttl: Option<Ttl>,
        clock: &Arc<RunClock>,
    ) -> Result<(), ColdError> {
        let mut column = self.column.clone();
        if let Some(ttl) = ttl {
            let_expire(&mut column, ttl, clock);
        }
        let failed = |error: Error| self.fault("make a column of cold state in", &error);
        self.database.create_cf(family, &column).map_err(failed)
    }

    /// Rewrites all files of a column.
    #[cfg(test)]
    pub(super) fn compact(&self, family: &str) {
        let column = self.family(family).expect("a column that was made");
        self.database.compact_range_cf(&column, None::<&[u8]>, None::<&[u8]>);
    }

    /// Reads one row.
    pub(super) fn get(&self, family: &str, key: &[u8]) -> Result<Option<Vec<u8>>, ColdError> {
        let failed = |error: Error| self.fault("read cold state from", &error);
        self.database.get_cf_opt(&self.family(family)?, key, &read_options()).map_err(failed)
    }

    /// Shows the keys of all rows, in their order.
    pub(super) fn keys(&self, family: &str, visit: &mut dyn FnMut(&[u8])) -> Result<(), ColdError> {
        let column = self.family(family)?;
        let mut rows = self.database.raw_iterator_cf_opt(&column, read_options());
        rows.seek_to_first();
        while let Some(key) = rows.key() {
            visit(key);
            rows.next();
        }
        let failed = |error: Error| self.fault("read cold state from", &error);
        rows.status().map_err(failed)
    }

    fn family(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>, ColdError> {
        let missing = || self.fault("read cold state from", &format!("no column {name}"));
        self.database.cf_handle(name).ok_or_else(missing)
    }

    #[cold]
    fn fault(&self, attempt: &str, cause: &dyn std::fmt::Display) -> ColdError {
        fault(attempt, &self.scratch.0, cause)
    }
}

/// A directory whose database goes with it.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be deleted now is deleted when the directory is used again.
        let _ = DBWithThreadMode::<MultiThreaded>::destroy(&Options::default(), &self.0);
        let _ = fs::remove_dir(&self.0);
    }
}

/// The writing end.
pub(super) struct Writer {
    store: Arc<Store>,
    options: WriteOptions,
}

impl Writer {
    pub(super) fn new(store: Arc<Store>) -> Self {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        Self { store, options }
    }

    /// Sorts a run and makes it readable.
    pub(super) fn write(&mut self, family: &str, run: &mut Run) -> Result<(), ColdError> {
        run.sort();
        let column = self.store.family(family)?;
        let mut batch = WriteBatch::with_capacity_bytes(run.bytes().min(BATCH_BYTES * 2));
        for (key, value) in run.rows() {
            match value {
                Some(value) => batch.put_cf(&column, key, value),
                None => batch.delete_cf(&column, key),
            }
            if batch.size_in_bytes() >= BATCH_BYTES {
                self.commit(std::mem::take(&mut batch))?;
            }
        }
        self.commit(batch)
    }

    fn commit(&self, batch: WriteBatch) -> Result<(), ColdError> {
        let written = self.store.database.write_opt(batch, &self.options);
        written.map_err(|error| self.store.fault("write cold state to", &error))
    }
}

/// The reading end.
pub(super) struct Reader {
    store: Arc<Store>,
    options: ReadOptions,
    /// The keys of a fetch in their order: their first bytes, and their place in the fetch.
    order: Vec<(u64, usize)>,
}

impl Reader {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self { store, options: read_options(), order: Vec::new() }
    }

    /// The rows of a fetch.
    pub(super) fn read(&mut self, family: &str, fetch: &mut Fetch) -> Result<Rows, ColdError> {
        let mut rows = fetch.take_rows();
        let fetch = &*fetch;
        self.order.clear();
        self.order.extend(fetch.keys().enumerate().map(|(index, key)| (prefix(key), index)));
        self.order.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| fetch.key(a.1).cmp(fetch.key(b.1)))
        });
        let (column, database) = (self.store.family(family)?, &self.store.database);
        for part in self.order.chunks(KEYS_MAX) {
            let keys = part.iter().map(|(_, index)| fetch.key(*index));
            let found = database.batched_multi_get_cf_opt(&column, keys, true, &self.options);
            for ((_, index), value) in part.iter().zip(found) {
                let failed = |error: Error| self.store.fault("read cold state from", &error);
                if let Some(value) = value.map_err(failed)? {
                    rows.set(*index, &value);
                }
            }
        }
        Ok(rows)
    }
}

/// How rows are read: see [`RocksShared`] for what the cache is for.
fn read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}
