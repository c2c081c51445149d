//! The hand-written pipeline that the engine is measured against.
//!
//! It does the same work as the job `fraud-p` with what one knows about just this job: pinned
//! cores, each with a split of the source, which maps, hashes the key once and writes the
//! record straight into the buffer of the core that owns the user; there it meets a prefetched
//! line of an open-addressing table, the rule, and a digest over every field of the verdict. No
//! checkpoints, no watermarks, no state but this. Both must give equal digests before their
//! rates mean anything.

pub mod control;
pub mod edge;
pub mod table;
pub mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;

use self::control::{Command, Control};
use self::edge::{BUFFERS_BETWEEN, BUFFERS_OWN, Receiver, Sender, edge};
use self::table::Table;
use self::worker::{Judge, Source, Worker};
use crate::digest::Digest;
use crate::machine::{self, Clock};
use crate::workload::{self, Assign, Workload};

/// What a paced run leaves for its threads to start.
const START_NS: u64 = 20_000_000;

/// The pipeline, apart from how long it runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// Pinned cores; also the number of splits.
    pub parallelism: usize,
    /// The stream.
    pub workload: workload::Options,
    /// How events are dealt out to the splits.
    pub assign: Assign,
    /// Whether the profiles ask for huge pages.
    pub huge_pages: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            parallelism: 2,
            workload: workload::Options::default(),
            assign: Assign::Index,
            huge_pages: true,
        }
    }
}

/// How long it runs, and at what rate.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The events `0 … records - 1` as fast as possible, then it ends: for digests.
    Fixed {
        /// How many events.
        records: u64,
    },
    /// As fast as possible: warm-up, then windows one after the other. See [`Session`] for
    /// windows that alternate with something else.
    Throughput {
        /// Time before the first window.
        warm: Duration,
        /// Length of a window.
        window: Duration,
        /// How many windows.
        windows: usize,
    },
    /// Open loop: event `i` is due `i / rate_total` after the start.
    Paced {
        /// Records a second, of all splits together.
        rate_total: f64,
        /// Time before records count in the latency.
        warm: Duration,
        /// Time in which records count.
        duration: Duration,
        /// What a core does when nothing is due.
        idle: Idle,
    },
}

/// What a core does when a turn has found nothing to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Idle {
    /// Takes the next turn.
    #[default]
    Spin,
    /// Sleeps until a record is due or another core wakes it.
    Park,
}

/// The schedule of a paced run.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    start_ns: u64,
    period_ns: f64,
    idle: Idle,
}

impl Pace {
    /// When an event is due, on the run's clock.
    #[inline]
    fn due_ns(&self, index: u64) -> u64 {
        self.start_ns + (index as f64 * self.period_ns) as u64
    }

    /// How many of the events `first, first + step, …` are due; a batch's worth at most matters.
    #[inline]
    fn due_count(&self, first: u64, step: u64, now: u64) -> u64 {
        let most = edge::BUFFER_RECORDS as u64;
        (0..most).take_while(|turn| self.due_ns(first + turn * step) <= now).count() as u64
    }
}

/// One measured window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Window {
    /// Verdicts of all cores in it.
    pub records: u64,
    /// Its length.
    pub seconds: f64,
}

impl Window {
    /// Verdicts a second, of all cores together.
    pub fn rate(&self) -> f64 {
        self.records as f64 / self.seconds
    }
}

/// What one core, or all of them together, have to say at the end.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Over all verdicts since the start.
    pub digest: Digest,
    /// From due to verdict in nanoseconds; empty unless paced.
    pub latency: Histogram<u64>,
    /// The machine's stalls in nanoseconds, taken in idle turns; empty unless paced and spinning.
    pub hiccups: Histogram<u64>,
    /// How many users were seen.
    pub users: u64,
    /// Processor time of the cores' threads, set-up not included.
    pub cpu_seconds: f64,
}

/// The result of [`run`].
#[derive(Clone, Debug)]
pub struct Report {
    /// Verdicts: all of a fixed or paced run, those of the windows otherwise.
    pub records: u64,
    /// The time that they took; for a paced run its whole length.
    pub seconds: f64,
    /// The windows of [`Mode::Throughput`].
    pub windows: Vec<Window>,
    /// Digest, latency and the rest, of all cores.
    pub outcome: Outcome,
}

/// Runs the pipeline once.
pub fn run(config: &Config, mode: &Mode) -> Report {
    match *mode {
        Mode::Fixed { records } => finite(Cores::spawn(config, records, None, Command::Pause)),
        Mode::Throughput { warm, window, windows } => {
            let session = Session::start(config);
            session.window(warm);
            let windows: Vec<Window> = (0..windows).map(|_| session.window(window)).collect();
            let records = windows.iter().map(|window| window.records).sum();
            let seconds = windows.iter().map(|window| window.seconds).sum();
            Report { records, seconds, windows, outcome: session.stop() }
        }
        Mode::Paced { rate_total, warm, duration, idle } => {
            let records = (rate_total * (warm + duration).as_secs_f64()) as u64;
            let schedule = Schedule { rate_total, warm, idle };
            finite(Cores::spawn(config, records, Some(schedule), Command::Pause))
        }
    }
}

/// Warm cores that run in windows and sleep between them, so that two contestants can alternate.
pub struct Session {
    cores: Cores,
}

impl Session {
    /// Makes the cores; they sleep until the first window, and know no user yet.
    pub fn start(config: &Config) -> Self {
        Self { cores: Cores::spawn(config, u64::MAX, None, Command::Pause) }
    }

    /// Runs for a short ramp and then for the window, whose verdicts are counted; sleeps again.
    pub fn window(&self, length: Duration) -> Window {
        self.cores.control.window(&self.cores.clock, length)
    }

    /// Ends the cores. What is on its way between them is dropped.
    pub fn stop(self) -> Outcome {
        self.cores.control.order(Command::Stop);
        self.cores.join()
    }
}

/// Rate and measure of a paced run.
struct Schedule {
    rate_total: f64,
    warm: Duration,
    idle: Idle,
}

/// Running threads.
struct Cores {
    control: Arc<Control>,
    clock: Clock,
    threads: Vec<JoinHandle<Outcome>>,
}

impl Cores {
    fn spawn(config: &Config, end: u64, schedule: Option<Schedule>, first: Command) -> Self {
        let parallelism = config.parallelism;
        assert!(parallelism > 0, "a pipeline without cores");
        let workload = Workload::new(&config.workload);
        let users_each = users_of_one_core(config);
        let control = Arc::new(Control::new(parallelism, first));
        let (outputs, inputs) = edges(parallelism);
        let tables: Vec<Table> =
            (0..parallelism).map(|_| Table::for_users(users_each, config.huge_pages)).collect();
        let clock = Clock::start();
        let measured_from_ns =
            schedule.as_ref().map_or(0, |schedule| START_NS + schedule.warm.as_nanos() as u64);
        let pace = schedule.map(|schedule| Pace {
            start_ns: START_NS,
            period_ns: 1e9 / schedule.rate_total,
            idle: schedule.idle,
        });
        let parts = outputs.into_iter().zip(inputs).zip(tables).enumerate();
        let workers = parts.map(|(index, ((outputs, inputs), table))| {
            let (split, splits) = (index as u64, parallelism as u64);
            let next = if config.assign == Assign::Index { split } else { 0 };
            let assign = config.assign;
            Worker {
                index,
                control: Arc::clone(&control),
                source: Source { workload, assign, next, end, split, splits, outputs },
                judge: Judge {
                    table,
                    digest: Digest::default(),
                    latency: machine::histogram(),
                    measured_from_ns,
                },
                inputs,
                input: 0,
                pace: pace.clone(),
            }
        });
        let threads = workers.map(|worker| start_thread(worker, clock.clone())).collect();
        control.wait_until_paused();
        Self { control, clock, threads }
    }

    fn join(self) -> Outcome {
        let mut outcomes = self.threads.into_iter().map(|thread| match thread.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let mut whole = outcomes.next().expect("there is at least one core");
        for outcome in outcomes {
            whole.digest.merge(&outcome.digest);
            whole.latency.add(outcome.latency).expect("the histograms have equal bounds");
            whole.hiccups.add(outcome.hiccups).expect("the histograms have equal bounds");
            whole.users += outcome.users;
            whole.cpu_seconds += outcome.cpu_seconds;
        }
        whole
    }
}

/// Releases cores that run to the end of their stream, and waits for it.
fn finite(cores: Cores) -> Report {
    let clock = cores.clock.clone();
    let start = clock.now();
    cores.control.order(Command::Run);
    let outcome = cores.join();
    let seconds = (clock.now() - start) as f64 * 1e-9;
    Report { records: outcome.digest.count, seconds, windows: Vec::new(), outcome }
}

fn start_thread(worker: Worker, clock: Clock) -> JoinHandle<Outcome> {
    std::thread::Builder::new()
        .name(format!("core-{}", worker.index))
        .spawn(move || worker.run(&clock))
        .expect("a thread can be started")
}

/// An upper bound of the users that hash to one core.
fn users_of_one_core(config: &Config) -> u64 {
    let users = config.workload.users;
    let even = users as f64 / config.parallelism as f64;
    (even + 6.0 * even.sqrt()).min(users as f64).ceil() as u64
}

/// The senders and the receivers of each core, own edges included, in order of the other core.
fn edges(parallelism: usize) -> (Vec<Vec<Sender>>, Vec<Vec<Receiver>>) {
    let mut outputs: Vec<Vec<Sender>> = (0..parallelism).map(|_| Vec::new()).collect();
    let mut inputs: Vec<Vec<Receiver>> = (0..parallelism).map(|_| Vec::new()).collect();
    for (from, outputs) in outputs.iter_mut().enumerate() {
        for (to, inputs) in inputs.iter_mut().enumerate() {
            let (sender, receiver) = edge(if from == to { BUFFERS_OWN } else { BUFFERS_BETWEEN });
            outputs.push(sender);
            inputs.push(receiver);
        }
    }
    (outputs, inputs)
}

#[cfg(test)]
mod tests;
