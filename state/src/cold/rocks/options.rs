//! What RocksDB is told, and what was measured to choose it.
//!
//! Measured on 2 cores with 4 M keys, 48 bytes of value each, in a loop that reads 256 uniform keys
//! and writes them back; the bare loop does so with RocksDB's defaults, lz4 and the same cache.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompactionStyle, DBCompressionType, Env,
    Error, LogLevel, Options, UniversalCompactOptions,
};

/// What the tiers of all cores share: one for a process.
///
/// The cache holds what is needed to find rows (filters and indexes), not the rows: those that are
/// read often stay in the core's table, and the others are in the system's page cache. A fifth less
/// work per key than with the rows in it. It wants 2 % of the cold rows' size; with less it is
/// slower, never larger.
#[derive(Clone)]
pub struct RocksShared {
    cache: Cache,
}

impl RocksShared {
    /// A cache of this many bytes.
    pub fn new(cache_bytes: usize) -> Self {
        Self { cache: Cache::new_hyper_clock_cache(cache_bytes, 0) }
    }

    /// Memory that the cache uses now, in bytes.
    pub fn cache_bytes(&self) -> usize {
        self.cache.get_usage()
    }
}

/// What one core's tier is told.
#[derive(Clone, Debug)]
pub struct RocksOptions {
    /// The core's number, for the names of its threads.
    pub core: usize,
    /// The CPUs that its threads may run on; none: those of the thread that opens it.
    pub cpus: Vec<usize>,
    /// Memory for rows that are in no file yet, of all its columns together, in bytes. Half as
    /// much again is in use while it is written to a file.
    pub memtable_bytes: usize,
    /// How many compactions may run at once in the whole process; the largest number of all tiers
    /// counts.
    pub compactions: usize,
}

impl Default for RocksOptions {
    fn default() -> Self {
        Self { core: 0, cpus: Vec::new(), memtable_bytes: 16 << 20, compactions: 1 }
    }
}

/// Options of a core's database.
pub(super) fn database_options(options: &RocksOptions, env: &Env) -> Result<Options, Error> {
    // Rows in memory when the tier is dropped need not be written.
    let mut database =
        Options::default().get_options_from_string("avoid_flush_during_shutdown=true")?;
    database.create_if_missing(true);
    database.set_env(env);
    // A quarter of the jobs, at least one, are flushes.
    database.set_max_background_jobs(1 + options.compactions.clamp(1, 3) as i32);
    database.set_db_write_buffer_size(options.memtable_bytes);
    database.set_stats_dump_period_sec(0);
    database.set_stats_persist_period_sec(0);
    database.set_log_level(LogLevel::Error);
    database.set_keep_log_file_num(1);
    Ok(database)
}

/// Options of a column.
pub(super) fn column_options(shared: &RocksShared, options: &RocksOptions) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&shared.cache);
    // In the cache and in parts, so that memory is bounded: with room for all of it a key costs
    // 14 % more than with whole filters; with too little room a whole filter of 1 MB would be read
    // for a few keys.
    blocks.set_bloom_filter(10.0, false);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(16 << 10);
    blocks.set_pin_top_level_index_and_filter(true);
    // Uniform keys make every run span all of the column. Merging runs of like size costs 12.5 us
    // of CPU per key read and written, levels 14.9 us, and more so the larger the state is.
    let mut universal = UniversalCompactOptions::default();
    universal.set_max_size_amplification_percent(100);
    let mut column = Options::default();
    column.set_block_based_table_factory(&blocks);
    column.set_compaction_style(DBCompactionStyle::Universal);
    column.set_universal_compaction_options(&universal);
    // While a long compaction runs, files of runs pile up; one more costs a look into its filter.
    column.set_level_zero_slowdown_writes_trigger(40);
    column.set_level_zero_stop_writes_trigger(60);
    // The last level has most of the rows; lz4 on all levels costs 5 % of the rate.
    column.set_compression_type(DBCompressionType::None);
    column.set_bottommost_compression_type(DBCompressionType::Lz4);
    column.set_write_buffer_size(options.memtable_bytes);
    column
}
