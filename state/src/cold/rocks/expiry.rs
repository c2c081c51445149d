//! Rows that have expired leave the disk when RocksDB rewrites the files that they are in.
//!
//! A filter goes by the time of the newest stored run. RocksDB writes a tombstone in place of a row
//! that a filter removes, unless no older file has the key: an older value does not come back.

use std::ffi::CStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};
use rocksdb::{CompactionDecision, Options};

use crate::ttl::Ttl;

/// The name of the filter and of what makes it.
const NAME: &CStr = c"time-to-live";

/// Files are rewritten at least so often, and need not be more often, in seconds.
const PERIOD_MIN: u64 = 600;
const PERIOD_MAX: u64 = 30 * 24 * 3600;

/// The time of the newest run that was stored, in milliseconds; before the first nothing expires.
pub(super) struct RunClock(AtomicI64);

impl RunClock {
    pub(super) fn new() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    /// Runs are stored one after the other; where the core's clock is set back, so is this one.
    pub(super) fn set(&self, now_ms: i64) {
        // Nothing else is read by it: a filter that sees an older time keeps more.
        self.0.store(now_ms, Ordering::Relaxed);
    }

    fn now(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lets the expired rows of a column go.
///
/// Files that no merge of runs comes to are rewritten once they are as old as a row may become. A
/// row that stays that long is written again about as often by its core, so this at most doubles
/// what is written, and expired rows take no more room than live ones do.
pub(super) fn let_expire(column: &mut Options, ttl: Ttl, clock: &Arc<RunClock>) {
    column.set_compaction_filter_factory(Filters { ttl, clock: Arc::clone(clock) });
    column.set_periodic_compaction_seconds(period_seconds(ttl));
}

pub(super) fn period_seconds(ttl: Ttl) -> u64 {
    (ttl.after_ms as u64 / 1000).clamp(PERIOD_MIN, PERIOD_MAX)
}

/// Makes the filter of each compaction; several may do so at once, so it has nothing to change.
struct Filters {
    ttl: Ttl,
    clock: Arc<RunClock>,
}

impl CompactionFilterFactory for Filters {
    type Filter = Filter;

    fn create(&mut self, _context: CompactionFilterContext) -> Filter {
        Filter { ttl: self.ttl, now_ms: self.clock.now() }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

/// Goes by the time at which its compaction began.
struct Filter {
    ttl: Ttl,
    now_ms: i64,
}

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, _key: &[u8], row: &[u8]) -> CompactionDecision {
        if self.ttl.is_over(row, self.now_ms) {
            CompactionDecision::Remove
        } else {
            CompactionDecision::Keep
        }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}
