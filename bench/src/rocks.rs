//! RocksDB by hand: the baseline of everything that keeps rows on disk.
//!
//! One thread reads a batch of uniform keys and writes them back, with the options that RocksDB
//! comes with, except for lz4, bloom filters, a block cache of the given size and no write-ahead
//! log.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Error, Options, ReadOptions, WriteBatch,
    WriteOptions,
};

use crate::machine::Clock;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 48;

/// Rows that are written at once while a database is filled.
const LOAD_ROWS: u64 = 16_384;

/// How many keys there are and how they are used.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Load {
    /// Different keys, of 8 bytes each.
    pub keys: u64,
    /// Keys that are read at once, and written back.
    pub batch: usize,
}

impl Load {
    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.keys * (8 + VALUE_BYTES as u64)
    }

    /// Key number `index` in the order of the bytes.
    pub fn key(&self, index: u64) -> [u8; 8] {
        (index * (u64::MAX / self.keys)).to_be_bytes()
    }

    /// The value that key number `index` has at first; its bytes do not compress.
    pub fn value(&self, index: u64) -> [u8; VALUE_BYTES] {
        let mut random = Random(index);
        std::array::from_fn(|_| random.next() as u8)
    }

    /// A key drawn at random.
    pub fn draw(&self, random: &mut Random) -> [u8; 8] {
        self.key(((u128::from(random.next()) * u128::from(self.keys)) >> 64) as u64)
    }
}

/// The splitmix64 sequence from a seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A database that is read and written in a loop.
pub struct BareLoop {
    load: Load,
    /// Closed before its files are removed.
    database: Option<DB>,
    directory: PathBuf,
    random: Random,
}

impl BareLoop {
    /// Fills a database in `directory`, which must not be there.
    ///
    /// # Errors
    /// RocksDB refuses.
    pub fn open(directory: &Path, load: Load, cache_bytes: usize) -> Result<Self, Error> {
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(cache_bytes));
        blocks.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_error_if_exists(true);
        options.set_block_based_table_factory(&blocks);
        options.set_compression_type(DBCompressionType::Lz4);
        // Flush and compact at the same time, as any user on two cores would ask for.
        options.set_max_background_jobs(2);
        let column = options.clone();
        let database = DB::open_cf_with_opts(&options, directory, [("default", column)])?;
        for first in (0..load.keys).step_by(LOAD_ROWS as usize) {
            let rows = first..(first + LOAD_ROWS).min(load.keys);
            let mut batch = WriteBatch::default();
            rows.for_each(|index| batch.put(load.key(index), load.value(index)));
            database.write_opt(batch, &write_options())?;
        }
        let directory = directory.to_owned();
        Ok(Self { load, database: Some(database), directory, random: Random(1) })
    }

    /// How many keys were read and written in at least `length`, and in what time.
    ///
    /// # Errors
    /// RocksDB refuses.
    pub fn window(&mut self, length: Duration) -> Result<(usize, Duration), Error> {
        let database = self.database.as_ref().expect("it is open until it is dropped");
        let column = database.cf_handle("default").expect("it was opened with it");
        let (options, clock, mut done) = (ReadOptions::default(), Clock::start(), 0);
        while clock.now() < length.as_nanos() as u64 {
            let mut keys: Vec<_> =
                (0..self.load.batch).map(|_| self.load.draw(&mut self.random)).collect();
            keys.sort_unstable();
            let slices = keys.iter().map(|key| &key[..]);
            let found = database.batched_multi_get_cf_opt(column, slices, true, &options);
            let mut batch = WriteBatch::default();
            for (key, value) in keys.iter().zip(found) {
                let value = value?.expect("every key has a row");
                batch.put(key, changed(&value));
            }
            database.write_opt(batch, &write_options())?;
            done += keys.len();
        }
        Ok((done, Duration::from_nanos(clock.now())))
    }
}

impl Drop for BareLoop {
    fn drop(&mut self) {
        self.database = None;
        let _ = DB::destroy(&Options::default(), &self.directory);
        let _ = std::fs::remove_dir(&self.directory);
    }
}

/// The value that is written for one that was read.
pub fn changed(value: &[u8]) -> [u8; VALUE_BYTES] {
    let mut value: [u8; VALUE_BYTES] = value.try_into().expect("values have their size");
    value[0] = value[0].wrapping_add(1);
    value
}

fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}
