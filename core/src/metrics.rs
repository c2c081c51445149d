//! Counters and histograms of one core.
//!
//! Plain cells owned by the core, always on; other threads see copies that the worker makes between
//! turns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use hdrhistogram::Histogram;

/// Nanoseconds of idle time that count as one sample of the machine's hiccups.
const HICCUP_SAMPLE: u64 = 1_000;

/// A counter of one core.
#[derive(Debug, Default)]
pub struct Counter(Cell<u64>);

impl Counter {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.set(self.0.get() + n);
    }

    /// The count so far.
    #[inline]
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

/// A histogram of one core: three significant digits, values from 1 to 2^42.
#[derive(Debug)]
pub struct Distribution(RefCell<Histogram<u64>>);

impl Default for Distribution {
    fn default() -> Self {
        Self(RefCell::new(empty_histogram()))
    }
}

/// A histogram for nanoseconds: three significant digits up to more than an hour.
pub fn empty_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 1 << 42, 3).expect("constant bounds are valid")
}

impl Distribution {
    /// Records `value` `count` times; values above the bound count as the bound.
    #[inline]
    pub fn record(&self, value: u64, count: u64) {
        self.0.borrow_mut().saturating_record(value);
        if count > 1 {
            let _ = self.0.borrow_mut().record_n(value.min((1 << 42) - 1), count - 1);
        }
    }

    /// Forgets what was recorded.
    fn clear(&self) {
        self.0.borrow_mut().reset();
    }

    /// A copy of what was recorded so far.
    pub fn snapshot(&self) -> Histogram<u64> {
        self.0.borrow().clone()
    }
}

/// An order-independent digest of hashes, kept by a core.
#[derive(Debug, Default)]
pub struct Fingerprint {
    // In this order, as neighbouring sums would be added as a vector that has to be put together.
    sum: Cell<u64>,
    xor: Cell<u64>,
    count: Cell<u64>,
}

/// The value of a [`Fingerprint`]: equal for equal multisets of hashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FingerprintValue {
    /// How many hashes were folded.
    pub count: u64,
    /// Their wrapping sum.
    pub sum: u64,
    /// Their exclusive or.
    pub xor: u64,
}

impl Fingerprint {
    /// Takes a hash in.
    #[inline]
    pub fn fold(&self, hash: u64) {
        self.sum.set(self.sum.get().wrapping_add(hash));
        self.xor.set(self.xor.get() ^ hash);
        self.count.set(self.count.get() + 1);
    }

    /// The digest so far.
    pub fn value(&self) -> FingerprintValue {
        FingerprintValue { count: self.count.get(), sum: self.sum.get(), xor: self.xor.get() }
    }
}

impl FingerprintValue {
    /// Takes in what another core has folded.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.xor ^= other.xor;
    }
}

/// What a core counts about its state.
#[derive(Debug, Default)]
pub struct StateMetrics {
    /// Bytes that state took up when that was last looked at; only looked at where it is bounded.
    pub bytes: Cell<u64>,
    /// The most that it ever took up then.
    pub bytes_max: Cell<u64>,
    /// Rows that left their table for the cold tier.
    pub evicted: Counter,
    /// Keys that the cold tier was asked for ahead of their use.
    pub fetched: Counter,
    /// Rows that user code had to wait for.
    pub blocking_reads: Counter,
    /// Turns in which tasks with state did not run because the cold tier was behind.
    pub stalls: Counter,
}

/// What a core counts.
#[derive(Debug, Default)]
pub struct CoreMetrics {
    /// What it counts about its state.
    pub state: Rc<StateMetrics>,
    /// Records read by sources.
    pub records_in: Counter,
    /// Records handed to sinks.
    pub records_out: Counter,
    /// Records that came too late for a window or rule.
    pub late: Counter,
    /// Records that went to a dead letter output.
    pub dead_letters: Counter,
    /// Engine nanoseconds in turns that did something.
    pub busy_nanos: Counter,
    /// Nanoseconds from a record's scheduled time to its sink.
    pub latency: Distribution,
    /// Turns that did something, in nanoseconds of the CPU.
    pub turns: Distribution,
    /// Nanoseconds for which a turn was without its CPU: other threads ran, or the host took it.
    pub absences: Distribution,
    /// The machine's own hiccups, seen by turns that did no work: each microsecond of idle time is
    /// a sample, with the time until the core took its next turn, as a record that fell due in it
    /// would have felt it.
    pub hiccups: Distribution,
    /// Instants of cuts, in nanoseconds.
    pub instants: Distribution,
    /// Slices in which a cut was encoded, in nanoseconds.
    pub slices: Distribution,
    /// Idle time in gaps below a microsecond that is no sample yet.
    idle_nanos: Counter,
    user_counters: RefCell<BTreeMap<String, Rc<Counter>>>,
    user_histograms: RefCell<BTreeMap<String, Rc<Distribution>>>,
    fingerprints: RefCell<BTreeMap<String, Rc<Fingerprint>>>,
}

/// Everything that a core has measured, for the thread that adds it up.
#[derive(Debug, Clone)]
pub struct CoreReport {
    /// The core.
    pub core: usize,
    /// The counters.
    pub counts: CoreSnapshot,
    /// User fingerprints by name.
    pub fingerprints: BTreeMap<String, FingerprintValue>,
    /// User histograms by name.
    pub histograms: BTreeMap<String, Histogram<u64>>,
    /// See [`CoreMetrics::latency`].
    pub latency: Histogram<u64>,
    /// See [`CoreMetrics::turns`].
    pub turns: Histogram<u64>,
    /// See [`CoreMetrics::absences`].
    pub absences: Histogram<u64>,
    /// See [`CoreMetrics::hiccups`].
    pub hiccups: Histogram<u64>,
    /// See [`CoreMetrics::instants`].
    pub instants: Histogram<u64>,
    /// See [`CoreMetrics::slices`].
    pub slices: Histogram<u64>,
}

/// A copy of a core's metrics.
#[derive(Debug, Clone)]
pub struct CoreSnapshot {
    /// The core.
    pub core: usize,
    /// See [`CoreMetrics::records_in`].
    pub records_in: u64,
    /// See [`CoreMetrics::records_out`].
    pub records_out: u64,
    /// See [`CoreMetrics::late`].
    pub late: u64,
    /// See [`CoreMetrics::dead_letters`].
    pub dead_letters: u64,
    /// See [`CoreMetrics::busy_nanos`].
    pub busy_nanos: u64,
    /// What it counts about its state.
    pub state: StateCounts,
    /// User counters by name.
    pub counters: BTreeMap<String, u64>,
}

/// A copy of [`StateMetrics`]; they add up over cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StateCounts {
    /// See [`StateMetrics::bytes`].
    pub bytes: u64,
    /// See [`StateMetrics::bytes_max`].
    pub bytes_max: u64,
    /// See [`StateMetrics::evicted`].
    pub evicted: u64,
    /// See [`StateMetrics::fetched`].
    pub fetched: u64,
    /// See [`StateMetrics::blocking_reads`].
    pub blocking_reads: u64,
    /// See [`StateMetrics::stalls`].
    pub stalls: u64,
}

impl StateCounts {
    /// Takes in what another core has counted.
    pub fn merge(&mut self, other: &Self) {
        self.bytes += other.bytes;
        self.bytes_max += other.bytes_max;
        self.evicted += other.evicted;
        self.fetched += other.fetched;
        self.blocking_reads += other.blocking_reads;
        self.stalls += other.stalls;
    }
}

impl StateMetrics {
    /// Takes note of what state takes up now.
    #[inline]
    pub(crate) fn measure(&self, bytes: usize) {
        self.bytes.set(bytes as u64);
        self.bytes_max.set(self.bytes_max.get().max(bytes as u64));
    }

    /// A copy of the counts.
    pub fn snapshot(&self) -> StateCounts {
        StateCounts {
            bytes: self.bytes.get(),
            bytes_max: self.bytes_max.get(),
            evicted: self.evicted.value(),
            fetched: self.fetched.value(),
            blocking_reads: self.blocking_reads.value(),
            stalls: self.stalls.value(),
        }
    }
}

impl CoreMetrics {
    /// Begins to measure anew; counts stay.
    pub(crate) fn restart(&self) {
        let turns = [&self.latency, &self.turns, &self.absences, &self.hiccups];
        let all = turns.into_iter().chain([&self.instants, &self.slices]);
        all.for_each(Distribution::clear);
    }

    /// Takes the gap between the starts of two turns of which the first did no work.
    #[inline]
    pub(crate) fn record_idle(&self, gap: u64) {
        if gap < HICCUP_SAMPLE {
            self.idle_nanos.add(gap);
            if self.idle_nanos.value() >= HICCUP_SAMPLE {
                self.idle_nanos.0.set(self.idle_nanos.value() - HICCUP_SAMPLE);
                self.hiccups.record(gap, 1);
            }
            return;
        }
        // At most a thousand steps, however long the stall was.
        let step = HICCUP_SAMPLE.max(gap / 1000);
        let mut left = gap;
        while left >= step {
            self.hiccups.record(left, step / HICCUP_SAMPLE);
            left -= step;
        }
    }

    /// The user's counter `name`, made at its first use.
    pub fn counter(&self, name: &str) -> Rc<Counter> {
        let mut counters = self.user_counters.borrow_mut();
        if let Some(counter) = counters.get(name) {
            return Rc::clone(counter);
        }
        Rc::clone(counters.entry(name.to_owned()).or_default())
    }

    /// The user's histogram `name`, made at its first use.
    pub fn histogram(&self, name: &str) -> Rc<Distribution> {
        let mut histograms = self.user_histograms.borrow_mut();
        if let Some(histogram) = histograms.get(name) {
            return Rc::clone(histogram);
        }
        Rc::clone(histograms.entry(name.to_owned()).or_default())
    }

    /// The user's histograms by name.
    pub fn user_histograms(&self) -> BTreeMap<String, Histogram<u64>> {
        let histograms = self.user_histograms.borrow();
        histograms.iter().map(|(name, values)| (name.clone(), values.snapshot())).collect()
    }

    /// The user's fingerprint `name`, made at its first use.
    pub fn fingerprint(&self, name: &str) -> Rc<Fingerprint> {
        let mut fingerprints = self.fingerprints.borrow_mut();
        Rc::clone(fingerprints.entry(name.to_owned()).or_default())
    }

    /// A copy of everything: some 100 µs, most of it histograms.
    pub fn report(&self, core: usize) -> CoreReport {
        let fingerprints = self.fingerprints.borrow();
        CoreReport {
            core,
            counts: self.snapshot(core),
            fingerprints: fingerprints.iter().map(|(n, f)| (n.clone(), f.value())).collect(),
            histograms: self.user_histograms(),
            latency: self.latency.snapshot(),
            turns: self.turns.snapshot(),
            absences: self.absences.snapshot(),
            hiccups: self.hiccups.snapshot(),
            instants: self.instants.snapshot(),
            slices: self.slices.snapshot(),
        }
    }

    /// A copy of the counters: some 100 ns and one allocation per user counter.
    pub fn snapshot(&self, core: usize) -> CoreSnapshot {
        let counters = self.user_counters.borrow();
        CoreSnapshot {
            core,
            records_in: self.records_in.value(),
            records_out: self.records_out.value(),
            late: self.late.value(),
            dead_letters: self.dead_letters.value(),
            busy_nanos: self.busy_nanos.value(),
            state: self.state.snapshot(),
            counters: counters.iter().map(|(name, c)| (name.clone(), c.value())).collect(),
        }
    }
}
