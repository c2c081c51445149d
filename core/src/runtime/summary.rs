//! What a run has done, over all cores.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::console::Checkpoints;
use crate::metrics::{CoreReport, CoreSnapshot, FingerprintValue, StateCounts, empty_histogram};

/// How a run was ended from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Everything was worked off, kept and committed: it can be gone on with.
    Stop,
    /// At once.
    Cancel,
}

/// Totals of a run.
#[derive(Debug, Clone)]
pub struct Summary {
    /// Wall time in nanoseconds.
    pub nanos: u64,
    /// Records read by sources.
    pub records_in: u64,
    /// Records handed to sinks.
    pub records_out: u64,
    /// Records that came too late.
    pub late: u64,
    /// Records that went to a dead letter output.
    pub dead_letters: u64,
    /// Records that failed so often that they were declared poison and set aside.
    pub poison: u64,
    /// State and its cold tier.
    pub state: StateCounts,
    /// User counters by name.
    pub counters: BTreeMap<String, u64>,
    /// User histograms by name.
    pub histograms: BTreeMap<String, Histogram<u64>>,
    /// User fingerprints by name.
    pub fingerprints: BTreeMap<String, FingerprintValue>,
    /// Share of the time that each core was busy, 0 to 1.
    pub busy: Vec<f64>,
    /// Nanoseconds from a record's scheduled time to its sink.
    pub latency: Histogram<u64>,
    /// Nanoseconds of turns that did something, while they had their CPU.
    pub turns: Histogram<u64>,
    /// Nanoseconds for which such a turn was without its CPU; asked of turns from 100 µs on.
    pub absences: Histogram<u64>,
    /// Nanoseconds of turns that did nothing: the machine's hiccups.
    pub hiccups: Histogram<u64>,
    /// Nanoseconds of the instants of cuts.
    pub instants: Histogram<u64>,
    /// Nanoseconds of the slices in which cuts were encoded.
    pub slices: Histogram<u64>,
    /// The signal that stopped the run; 0 if it ended by itself.
    pub signal: i32,
    /// Who has ended the run from outside.
    pub stopped: Option<Stopped>,
    /// Its checkpoints; empty if it made none.
    pub checkpoints: Checkpoints,
    /// Whether the job had finished before this run, which did nothing.
    pub already_finished: bool,
}

impl Summary {
    pub(crate) fn new(reports: &[Option<CoreReport>], nanos: u64) -> Self {
        let mut summary = Self {
            nanos,
            records_in: 0,
            records_out: 0,
            late: 0,
            dead_letters: 0,
            poison: 0,
            state: StateCounts::default(),
            counters: BTreeMap::new(),
            histograms: BTreeMap::new(),
            fingerprints: BTreeMap::new(),
            busy: Vec::new(),
            latency: empty_histogram(),
            turns: empty_histogram(),
            absences: empty_histogram(),
            hiccups: empty_histogram(),
            instants: empty_histogram(),
            slices: empty_histogram(),
            signal: 0,
            stopped: None,
            checkpoints: Checkpoints::default(),
            already_finished: false,
        };
        for report in reports.iter().flatten() {
            summary.add(report);
        }
        summary
    }

    /// The summary of a run that found the job finished.
    pub(crate) fn of_finished() -> Self {
        Self { already_finished: true, ..Self::new(&[], 0) }
    }

    fn add(&mut self, report: &CoreReport) {
        self.records_in += report.counts.records_in;
        self.records_out += report.counts.records_out;
        self.late += report.counts.late;
        self.dead_letters += report.counts.dead_letters;
        self.state.merge(&report.counts.state);
        self.busy.push(report.counts.busy_nanos as f64 / self.nanos.max(1) as f64);
        for (name, count) in &report.counts.counters {
            *self.counters.entry(name.clone()).or_default() += count;
        }
        for (name, value) in &report.fingerprints {
            self.fingerprints.entry(name.clone()).or_default().merge(*value);
        }
        for (name, own) in &report.histograms {
            let all = self.histograms.entry(name.clone()).or_insert_with(empty_histogram);
            let added = all.add(own);
            debug_assert!(added.is_ok(), "histograms of one shape add up");
        }
        let histograms = [
            (&mut self.latency, &report.latency),
            (&mut self.turns, &report.turns),
            (&mut self.absences, &report.absences),
            (&mut self.hiccups, &report.hiccups),
            (&mut self.instants, &report.instants),
            (&mut self.slices, &report.slices),
        ];
        for (all, own) in histograms {
            let added = all.add(own);
            debug_assert!(added.is_ok(), "histograms of one shape add up");
        }
    }

    pub(crate) fn stopped_by(mut self, signal: i32) -> Self {
        self.signal = signal;
        self
    }

    /// Wall time in seconds.
    pub fn seconds(&self) -> f64 {
        self.nanos as f64 / 1e9
    }
}

/// What a run has done so far: the light part, for showing progress.
#[derive(Debug, Clone)]
pub struct Totals {
    /// Wall time in nanoseconds.
    pub nanos: u64,
    /// How many records the sources will read, if all of them know.
    pub expected: Option<u64>,
    cores: Vec<Option<CoreSnapshot>>,
}

impl Totals {
    pub(crate) fn new(cores: usize, expected: Option<u64>) -> Self {
        Self { nanos: 0, expected, cores: vec![None; cores] }
    }

    /// Takes a core's latest counts.
    pub(crate) fn add(&mut self, counts: CoreSnapshot) {
        let core = counts.core;
        self.cores[core] = Some(counts);
    }

    /// Records read by sources.
    pub fn records_in(&self) -> u64 {
        self.cores.iter().flatten().map(|counts| counts.records_in).sum()
    }

    /// Records handed to sinks.
    pub fn records_out(&self) -> u64 {
        self.cores.iter().flatten().map(|counts| counts.records_out).sum()
    }
}
