//! One core of the baseline: its split of the source, its shard of the profiles, its turns.
//!
//! A turn reads one buffer of each input and generates one batch. It never blocks: while an
//! output has no room the core goes on reading its own inputs.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use xxhash_rust::xxh3::xxh3_64;

use super::control::{Command, Control};
use super::edge::{BUFFER_RECORDS, Receiver, Record, Sender};
use super::table::{Profile, Table};
use super::{Idle, Outcome, Pace};
use crate::digest::Digest;
use crate::machine::{self, Clock, Hiccups};
use crate::workload::{Assign, Event, HOUR_MS, Workload};

/// How many records ahead of its use a profile is prefetched.
pub const PREFETCH_AHEAD: usize = 16;

/// The longest sleep of a parked core.
const PARK_MAX: Duration = Duration::from_millis(1);

/// A core before it runs.
pub struct Worker {
    /// Its position among the cores.
    pub index: usize,
    /// What the cores share.
    pub control: Arc<Control>,
    /// The generating end.
    pub source: Source,
    /// The judging end.
    pub judge: Judge,
    /// An edge from each core, the own one included.
    pub inputs: Vec<Receiver>,
    /// Which input was read last.
    pub input: usize,
    /// Open loop, or none to go as fast as possible.
    pub pace: Option<Pace>,
}

/// The generating end of a core: one split.
pub struct Source {
    /// The stream.
    pub workload: Workload,
    /// Which events are this split's.
    pub assign: Assign,
    /// The next event's index.
    pub next: u64,
    /// Events from here on are not emitted.
    pub end: u64,
    /// This split among all.
    pub split: u64,
    /// How many splits there are.
    pub splits: u64,
    /// An edge to each core, the own one included.
    pub outputs: Vec<Sender>,
}

/// The judging end of a core: one shard of the users.
pub struct Judge {
    /// The profiles.
    pub table: Table,
    /// What was emitted.
    pub digest: Digest,
    /// Time from when a record was due to its verdict; filled if the run is paced.
    pub latency: Histogram<u64>,
    /// Records due before this do not count in the latency.
    pub measured_from_ns: u64,
}

impl Worker {
    /// Runs on the calling thread, pinned, until told to stop or until the stream has ended.
    pub fn run(self, clock: &Clock) -> Outcome {
        machine::pin(self.index).expect("a thread can be pinned to an allowed processor");
        machine::wake_on_time().expect("the timer slack can be set");
        self.control.arrive(self.index);
        match (self.pace.clone(), self.source.assign) {
            (None, Assign::Index) => self.turns::<false, false>(clock, None),
            (None, Assign::User) => self.turns::<false, true>(clock, None),
            (pace, Assign::Index) => self.turns::<true, false>(clock, pace),
            (pace, Assign::User) => self.turns::<true, true>(clock, pace),
        }
    }

    fn turns<const PACED: bool, const BY_USER: bool>(
        mut self,
        clock: &Clock,
        pace: Option<Pace>,
    ) -> Outcome {
        let pace = pace.unwrap_or_default();
        let mut hiccups = Hiccups::default();
        let mut idle_since = None;
        loop {
            match self.control.command() {
                Command::Run => {}
                Command::Pause => self.control.pause(self.index),
                Command::Stop => break,
            }
            let now = if PACED { clock.now() } else { 0 };
            let worked = if PACED {
                let has_read = self.read_inputs(clock);
                self.source.generate::<PACED, BY_USER>(now, &pace, |_| {}) | has_read
            } else {
                self.fused_turn::<BY_USER>(&pace)
            };
            if PACED && pace.idle == Idle::Park {
                self.wake_readers();
            }
            self.control.report(self.index, self.judge.digest.count);
            if worked {
                idle_since = None;
                continue;
            }
            if self.source.finish() && self.inputs.iter_mut().all(Receiver::is_done) {
                break;
            }
            if !PACED {
                continue;
            }
            if let Some(since) = idle_since {
                hiccups.observe(now - since);
            }
            idle_since = Some(now);
            if pace.idle == Idle::Park {
                self.park(clock, &pace);
                idle_since = None;
            }
        }
        self.outcome(hiccups)
    }

    /// Reads a buffer of each input.
    #[inline(always)]
    fn read_inputs(&mut self, clock: &Clock) -> bool {
        let mut worked = false;
        for input in &mut self.inputs {
            let Some(records) = input.peek() else {
                continue;
            };
            self.judge.judge(records);
            self.judge.measure(records, clock.now());
            input.give_back();
            worked = true;
        }
        worked
    }

    /// Reads a buffer of one input, whose profiles are loaded while a batch is generated:
    /// generating is all arithmetic, judging all memory.
    #[inline(always)]
    fn fused_turn<const BY_USER: bool>(&mut self, pace: &Pace) -> bool {
        let Self { inputs, judge, source, .. } = self;
        self.input = (self.input + 1) % inputs.len();
        let mut chosen = self.input;
        for offset in 0..inputs.len() {
            chosen = (self.input + offset) % inputs.len();
            if inputs[chosen].peek().is_some() {
                break;
            }
        }
        let records = inputs[chosen].peek().unwrap_or_default();
        let table = &judge.table;
        let ahead = |turn: usize| {
            if let Some(record) = records.get(turn) {
                table.prefetch_far(record.hash);
            }
        };
        let has_generated = source.generate::<false, BY_USER>(0, pace, ahead);
        let has_read = !records.is_empty();
        if has_read {
            judge.judge(records);
            inputs[chosen].give_back();
        }
        has_generated | has_read
    }

    /// Sleeps until the next record is due or another core has sent something.
    fn park(&mut self, clock: &Clock, pace: &Pace) {
        self.wake_readers();
        self.control.prepare_sleep(self.index);
        let is_empty = self.inputs.iter_mut().all(|input| input.peek().is_none());
        if is_empty {
            let due_ns = pace.due_ns(self.source.next);
            let left = Duration::from_nanos(due_ns.saturating_sub(clock.now()));
            let left = if self.source.is_exhausted() { PARK_MAX } else { left.min(PARK_MAX) };
            thread::park_timeout(left);
        }
        self.control.woke(self.index);
    }

    /// Wakes the cores that something was handed over to. A wake-up without news would be answered
    /// by another, and the cores would never sleep.
    fn wake_readers(&mut self) {
        for (core, output) in self.source.outputs.iter_mut().enumerate() {
            if output.has_news() && core != self.index {
                self.control.wake(core);
            }
        }
    }

    fn outcome(self, hiccups: Hiccups) -> Outcome {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Outcome {
            digest: self.judge.digest,
            latency: self.judge.latency,
            hiccups: hiccups.into_histogram(),
            users: self.judge.table.len() as u64,
            cpu_seconds: spent.tv_sec as f64 + spent.tv_nsec as f64 * 1e-9,
        }
    }
}

impl Source {
    /// Generates one batch, as far as there is room and records are due, and calls `between` before
    /// each record with its number in the batch. Returns whether it did.
    #[inline(always)]
    fn generate<const PACED: bool, const BY_USER: bool>(
        &mut self,
        now: u64,
        pace: &Pace,
        between: impl Fn(usize),
    ) -> bool {
        if self.is_exhausted() || (PACED && pace.due_ns(self.next) > now) {
            return false;
        }
        if !self.outputs.iter_mut().all(Sender::has_room) {
            return false;
        }
        let (first, step) = (self.next, if BY_USER { 1 } else { self.splits });
        let left = (self.end - first).div_ceil(step);
        let due = if PACED { pace.due_count(first, step, now) } else { u64::MAX };
        let count = left.min(due).min(BUFFER_RECORDS as u64);
        let workload = self.workload;
        let outputs = self.outputs.as_mut_slice();
        let cores = outputs.len() as u64;
        for turn in 0..count {
            between(turn as usize);
            let index = first + turn * step;
            let event = workload.event(index);
            if BY_USER && event.user % self.splits != self.split {
                continue;
            }
            let due_ns = if PACED { pace.due_ns(index) } else { 0 };
            let record = map(&event, due_ns);
            let owner = ((record.hash & 0xFFFF_FFFF) * cores) >> 32;
            outputs[owner as usize].push(record);
        }
        self.next = first + count * step;
        if PACED && count < BUFFER_RECORDS as u64 {
            self.flush();
        }
        true
    }

    fn is_exhausted(&self) -> bool {
        self.next >= self.end
    }

    fn flush(&mut self) {
        for output in &mut self.outputs {
            output.flush();
        }
    }

    /// Hands over what is left; closes the edges at the end of the stream. Returns whether
    /// it ended.
    fn finish(&mut self) -> bool {
        self.flush();
        let ended = self.is_exhausted() && self.outputs.iter().all(Sender::is_flushed);
        if ended {
            self.outputs.iter_mut().for_each(Sender::close);
        }
        ended
    }
}

/// The job's map, and the hash of the key, which is taken here and nowhere else.
#[inline(always)]
fn map(event: &Event, due_ns: u64) -> Record {
    Record {
        hash: xxh3_64(&event.user.to_be_bytes()),
        user: event.user,
        ts: event.ts,
        amount: event.amount,
        due_ns,
        card: event.card,
        dollars: event.amount as f64 / 100.0,
        merchant: event.merchant,
        hour: (event.ts as u64 / HOUR_MS as u64 % 24) as u8,
        category: (event.merchant & 31) as u8,
    }
}

impl Judge {
    #[inline(always)]
    fn judge(&mut self, records: &[Record]) {
        let mut digest = self.digest;
        for record in records.iter().take(PREFETCH_AHEAD) {
            self.table.prefetch(record.hash);
        }
        let ahead = records.get(PREFETCH_AHEAD..).unwrap_or_default();
        for (record, later) in records.iter().zip(ahead) {
            self.table.prefetch(later.hash);
            verdict(&mut self.table, &mut digest, record);
        }
        for record in &records[ahead.len()..] {
            verdict(&mut self.table, &mut digest, record);
        }
        self.digest = digest;
    }

    /// Takes the latency of records that were all judged by now.
    fn measure(&mut self, records: &[Record], now: u64) {
        for record in records.iter().filter(|record| record.due_ns >= self.measured_from_ns) {
            self.latency.saturating_record(now.saturating_sub(record.due_ns));
        }
    }
}

/// The fraud rule on one record, and the emission of its verdict.
#[inline(always)]
fn verdict(table: &mut Table, digest: &mut Digest, record: &Record) {
    let profile = table.profile(record.hash, record.user);
    let is_fraud = profile.judge(record.ts, record.amount);
    digest.fold(record.user, record.ts, record.amount, profile.tx_count_1h, is_fraud);
}

impl Profile {
    /// Counts a purchase in and says whether it is suspicious.
    #[inline(always)]
    pub fn judge(&mut self, ts: i64, amount: i64) -> bool {
        if ts >= self.hour_start + HOUR_MS {
            self.hour_start = ts - ts % HOUR_MS;
            self.tx_count_1h = 0;
            self.total_1h = 0;
        }
        self.tx_count_1h += 1;
        self.total_1h += amount;
        let cents = amount as f64;
        let is_fraud =
            (self.tx_count_1h > 5) | ((self.tx_total > 0) & (cents > self.avg_30d * 10.0));
        let moved = self.avg_30d + (cents - self.avg_30d) * 0.05;
        self.avg_30d = if self.tx_total == 0 { cents } else { moved };
        self.tx_total += 1;
        is_fraud
    }
}
