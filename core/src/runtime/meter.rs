//! What a running job lets others see and do from outside: its counts, and a pause.
//!
//! For progress displays and for measurements that let two programs take turns on the same cores.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// Live counts of a run and its pause button. One relaxed store per core and turn.
#[derive(Debug)]
pub struct Meter {
    paused: AtomicBool,
    resting: AtomicUsize,
    cores: Vec<CoreMeter>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct CoreMeter {
    records_in: AtomicU64,
    records_out: AtomicU64,
}

impl Meter {
    /// A meter for a run on `parallelism` cores.
    pub fn new(parallelism: usize) -> Self {
        let cores = (0..parallelism).map(|_| CoreMeter::default()).collect();
        Self { paused: AtomicBool::new(false), resting: AtomicUsize::new(0), cores }
    }

    /// Asks all cores to rest between two turns, asleep. They see it within a millisecond.
    pub fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    /// Lets the cores go on.
    pub fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// How many cores rest.
    pub fn resting(&self) -> usize {
        self.resting.load(Ordering::SeqCst)
    }

    /// Records read by all sources so far.
    pub fn records_in(&self) -> u64 {
        self.cores.iter().map(|core| core.records_in.load(Ordering::Relaxed)).sum()
    }

    /// Records that have passed all sinks so far.
    pub fn records_out(&self) -> u64 {
        self.cores.iter().map(|core| core.records_out.load(Ordering::Relaxed)).sum()
    }

    #[inline]
    pub(crate) fn publish(&self, core: usize, records_in: u64, records_out: u64) {
        self.cores[core].records_in.store(records_in, Ordering::Relaxed);
        self.cores[core].records_out.store(records_out, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    pub(crate) fn rest(&self) {
        self.resting.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn wake(&self) {
        self.resting.fetch_sub(1, Ordering::SeqCst);
    }
}
