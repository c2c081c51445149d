//! Who decides when a job is cut, and when a cut is a checkpoint: one attempt's coordinator.
//!
//! A state machine without I/O: it hears events, with the time, and gives orders. One checkpoint
//! is open at a time. It exists when its log entry is ours, not before; while that is not known it
//! is neither aborted nor followed by another. Commits follow the entry, and are repeated until
//! every core has confirmed.

mod commit;
mod complete;
mod message;
mod open;
mod statistics;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroU32;

use crate::log::{Completed, Entry};
use crate::manifest::{JobIdentity, Kind, Manifest, Split};
use crate::retention::Retention;

use commit::Commits;
use open::Open;

pub use message::{Acknowledgement, ChannelCounts, Event, Failure, Mode, Order, Phases, Trigger};
pub use statistics::{STATISTICS_MAX, Statistic, Statistics};

/// How many requests may wait; further ones are refused.
pub const REQUESTS_MAX: usize = 64;

/// When checkpoints are made and how many are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// From one trigger to the next; `None`: on request only.
    pub interval_ms: Option<u64>,
    /// How long the cores may take.
    pub timeout_ms: u64,
    /// From the end of one checkpoint to the next trigger, requests aside.
    pub min_pause_ms: u64,
    /// How many may fail in a row; savepoints and final checkpoints do not count.
    pub tolerable_failed: u32,
    /// How many complete ones are kept.
    pub retained: NonZeroU32,
    /// How many entries of the log stay at the least: twice as many at the most, beside what
    /// retained checkpoints and attempts need.
    pub log_entries: NonZeroU32,
    /// Passed on in the trigger.
    pub mode: Mode,
    /// Passed on in the trigger.
    pub aligned_timeout_ms: u64,
    /// The pause before what had no effect is sent again: entries, commits, the final checkpoint.
    pub retry_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interval_ms: None,
            timeout_ms: 600_000,
            min_pause_ms: 0,
            tolerable_failed: 0,
            retained: const { NonZeroU32::new(2).unwrap() },
            log_entries: const { NonZeroU32::new(32).unwrap() },
            mode: Mode::ExactlyOnce,
            aligned_timeout_ms: 0,
            retry_ms: 1_000,
        }
    }
}

/// What a coordinator begins with: its attempt's entry is in the log already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The job.
    pub job: JobIdentity,
    /// Each core's first key group and count of groups.
    pub key_groups: Vec<(u32, u32)>,
    /// The attempt.
    pub attempt: u64,
    /// The coordinator's term.
    pub term: u64,
    /// The coordinator's random number.
    pub nonce: u64,
    /// The next entry of the log.
    pub next_k: u64,
    /// The first entry of the log that stays.
    pub first_k: u64,
    /// The live checkpoints up to the restore point, with their entries, oldest first.
    pub live: Vec<Completed>,
    /// An id above every one in the log.
    pub next_id: u64,
    /// The restore point, whose commit is sent again.
    pub newest: Option<u64>,
    /// Manifests of [`History::retained`](crate::History::retained).
    pub retained: Vec<Manifest>,
    /// What a list of the job's objects shows.
    pub found: Vec<String>,
    /// Whether the attempt had another coordinator before: its open cut is aborted.
    pub took_over: bool,
    /// The wall clock at time 0 of the events, in milliseconds since 1970.
    pub epoch_ms: u64,
}

/// The coordinator of one attempt.
#[derive(Debug, Clone)]
pub struct Coordinator {
    config: Config,
    job: JobIdentity,
    key_groups: Vec<(u32, u32)>,
    attempt: u64,
    term: u64,
    nonce: u64,
    epoch_ms: u64,
    took_over: bool,
    state: State,
    ready: BTreeSet<u32>,
    next_k: u64,
    first_k: u64,
    /// Live checkpoints with their entries, from `first_k` on.
    live: VecDeque<Completed>,
    next_id: u64,
    newest: Option<u64>,
    /// When the interval is over; `None` without an interval.
    interval_at_ms: Option<u64>,
    /// Until when no checkpoint is made without request.
    pause_until_ms: u64,
    requests: VecDeque<(u64, Kind)>,
    failed_in_row: u32,
    ending: bool,
    final_complete: bool,
    commits: Commits,
    splits: BTreeMap<(String, u32), Vec<u8>>,
    retention: Retention,
    statistics: Statistics,
}

#[derive(Debug, Clone)]
enum State {
    /// Not all cores are ready.
    Waiting,
    /// No checkpoint is open.
    Idle,
    /// The cores cut.
    Open(Open),
    /// All have acknowledged; the log decides.
    Writing(Box<Writing>, Open),
    /// The job's end is being written.
    Finishing(Box<Writing>),
    /// Finished or failed.
    Over,
}

/// An entry on its way into the log.
#[derive(Debug, Clone)]
struct Writing {
    entry: Entry,
    began_ms: u64,
    /// When to send it again; `None` while an answer is awaited.
    again_at_ms: Option<u64>,
    /// Whether an earlier sending may yet land.
    in_doubt: bool,
}

impl Coordinator {
    /// A coordinator that waits for its cores.
    ///
    /// # Panics
    /// If there are not as many ranges of key groups as cores, or if the restore point's manifest
    /// is not among the retained ones.
    pub fn new(config: Config, start: Start) -> Self {
        let Start { job, key_groups, attempt, term, nonce, next_k, next_id, .. } = start;
        let cores = key_groups.len();
        assert!(cores == job.parallelism as usize, "{cores} ranges for {} cores", job.parallelism);
        let mut retention = Retention::new(&job.id, config.retained.get());
        for manifest in &start.retained {
            retention.complete(manifest);
        }
        retention.found(attempt, &start.found);
        let newest = start.retained.iter().find(|it| Some(it.checkpoint) == start.newest);
        assert!(newest.is_some() == start.newest.is_some(), "no manifest of {:?}", start.newest);
        let final_complete = newest.is_some_and(|it| it.kind == Kind::Final);
        let splits = newest.map_or(&[][..], |it| &it.splits).iter();
        let splits = splits.map(|it| ((it.source.clone(), it.number), it.start.clone())).collect();
        Self {
            config,
            job,
            key_groups,
            attempt,
            term,
            nonce,
            epoch_ms: start.epoch_ms,
            took_over: start.took_over,
            state: State::Waiting,
            ready: BTreeSet::new(),
            next_k,
            first_k: start.first_k,
            live: start.live.into(),
            next_id: next_id.max(start.newest.map_or(1, |newest| newest + 1)),
            newest: start.newest,
            interval_at_ms: None,
            pause_until_ms: 0,
            requests: VecDeque::new(),
            failed_in_row: 0,
            ending: final_complete,
            final_complete,
            commits: Commits::default(),
            splits,
            retention,
            statistics: Statistics::default(),
        }
    }

    /// Takes an event at `now_ms`, and says what is to be done, in order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Order> {
        let mut orders = Vec::new();
        // What is too late by now stays so, also if the acknowledgement was read before the clock.
        self.expire(now_ms, &mut orders);
        if !self.is_over() {
            self.take(now_ms, event, &mut orders);
            self.advance(now_ms, &mut orders);
        }
        orders
    }

    /// When to send [`Event::Tick`] at the latest.
    pub fn wake_at(&self) -> Option<u64> {
        let own = match &self.state {
            State::Waiting | State::Over => return None,
            State::Idle => self.due_at(),
            State::Open(open) => Some(open.deadline_ms),
            State::Writing(writing, _) | State::Finishing(writing) => writing.again_at_ms,
        };
        own.into_iter().chain(self.commits.wake_at()).min()
    }

    /// Whether the attempt has failed or the job has finished: no order follows.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// The newest complete checkpoint.
    pub fn newest(&self) -> Option<u64> {
        self.newest
    }

    /// What became of the newest checkpoints.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    fn core_count(&self) -> u32 {
        self.job.parallelism
    }

    fn take(&mut self, now_ms: u64, event: Event, orders: &mut Vec<Order>) {
        match event {
            Event::Ready { core, highest_id } => {
                self.next_id = self.next_id.max(highest_id.saturating_add(1));
                if core < self.core_count() {
                    self.ready.insert(core);
                }
            }
            Event::Tick => {}
            Event::TriggerNow { token, kind } => self.request(token, kind, orders),
            Event::Acknowledged(it) => self.acknowledged(now_ms, *it, orders),
            Event::Declined { core, checkpoint, reason } => {
                if matches!(&self.state, State::Open(open) if open.id == checkpoint) {
                    self.fail_open(now_ms, format!("core {core} declined: {reason}"), orders);
                }
            }
            Event::LogAnswer { k, verdict } if k == self.next_k => {
                self.log_answered(now_ms, verdict, orders);
            }
            Event::LogAnswer { .. } => {}
            Event::Committed { core, checkpoint } => {
                self.commits.confirmed(core, checkpoint);
                if let Some((checkpoint, ms)) = self.commits.done(now_ms) {
                    self.statistics.committed(checkpoint, ms);
                }
            }
            Event::AllEnded => self.ending = true,
            Event::Deleted { paths } => self.retention.deleted(&paths),
            Event::SplitFound(Split { source, number, start }) => {
                self.splits.entry((source, number)).or_insert(start);
            }
        }
    }

    /// Does what time and state allow.
    fn advance(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        if matches!(self.state, State::Waiting) && self.ready.len() == self.key_groups.len() {
            self.begin(now_ms, orders);
        }
        if self.is_over() || matches!(self.state, State::Waiting) {
            return;
        }
        if let Some(id) = self.commits.due(now_ms, self.config.retry_ms) {
            orders.push(Order::Commit { id });
        }
        self.send_again(now_ms, orders);
        if !matches!(self.state, State::Idle) {
            return;
        }
        if self.final_complete && self.commits.all_confirmed() {
            self.finish(now_ms, orders);
        } else if self.due_at().is_some_and(|at| at <= now_ms) {
            self.trigger(now_ms, orders);
        }
    }

    /// All cores are ready.
    fn begin(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        self.state = State::Idle;
        self.interval_at_ms = self.config.interval_ms.map(|it| now_ms.saturating_add(it));
        let above = self.newest.unwrap_or(0);
        if self.took_over && self.next_id > above + 1 {
            orders.push(Order::Abort { id: self.next_id - 1 });
        }
        if let Some(id) = self.newest {
            self.commits.begin(id, self.core_count(), now_ms, now_ms);
        }
        self.delete(above, orders);
        // What another attempt should have deleted.
        if self.first_k > 0 {
            orders.push(Order::Prune { first: self.first_k });
        }
    }

    /// When the next checkpoint is due, if none is open.
    fn due_at(&self) -> Option<u64> {
        if self.final_complete {
            None
        } else if !self.requests.is_empty() {
            Some(0)
        } else if self.ending {
            Some(self.pause_until_ms)
        } else {
            self.interval_at_ms.map(|at| at.max(self.pause_until_ms))
        }
    }

    fn trigger(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        // A final checkpoint answers whoever asked for a checkpoint; a savepoint comes before it.
        let savepoint = self.requests.iter().any(|(_, kind)| *kind == Kind::Savepoint);
        let kind = match (savepoint, self.ending) {
            (true, _) => Kind::Savepoint,
            (false, true) => Kind::Final,
            (false, false) => Kind::Checkpoint,
        };
        let asked = |it: Kind| (it == Kind::Savepoint) == (kind == Kind::Savepoint);
        let (now, later) = self.requests.drain(..).partition(|(_, it)| asked(*it));
        self.requests = later;
        let now: VecDeque<(u64, Kind)> = now;
        let tokens = now.into_iter().map(|(token, _)| token).collect();
        let id = self.next_id;
        self.next_id += 1;
        self.interval_at_ms = self.config.interval_ms.map(|it| now_ms.saturating_add(it));
        self.state = State::Open(Open::new(id, kind, now_ms, self.config.timeout_ms, tokens));
        let Config { mode, aligned_timeout_ms, .. } = self.config;
        let started_ms = self.epoch_ms.saturating_add(now_ms);
        let term = self.term;
        let trigger = Trigger { term, id, kind, mode, aligned_timeout_ms, started_ms };
        orders.push(Order::Trigger(trigger));
    }

    fn request(&mut self, token: u64, kind: Kind, orders: &mut Vec<Order>) {
        let why = if kind == Kind::Final {
            "the final checkpoint is nobody's to ask for"
        } else if self.final_complete {
            "the job has ended"
        } else if self.requests.len() == REQUESTS_MAX {
            "too many requests wait"
        } else {
            self.requests.push_back((token, kind));
            return;
        };
        orders.push(Order::Answer { token, result: Err(why.to_owned()) });
    }

    fn expire(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        let State::Open(open) = &self.state else { return };
        if now_ms >= open.deadline_ms {
            let (limit, missing) = (self.config.timeout_ms, open.missing(self.core_count()));
            let why = format!("no answer within {limit} ms from core {missing}");
            self.fail_open(now_ms, why, orders);
        }
    }
}

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
