//! The engine's side of a comparison: a job as `thalweg run` runs it, to its end or in windows.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use thalweg::config::Idle;
use thalweg::{Args, Meter, Result, RunOptions, Summary};
use thalweg_jobs::fraud::fraud;
use thalweg_jobs::fraud_p::fraud_p;

use crate::digest::Digest;
use crate::handwritten::Window;
use crate::machine::{Clock, sleep};
use crate::workload;

/// Which job runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Job {
    /// The one of fixed size, which is written by hand as well.
    #[default]
    FraudP,
    /// Daily buckets and an hourly aggregate.
    Fraud,
}

/// What the job gets beside its output.
#[derive(Debug, Clone)]
pub struct Config {
    /// The job.
    pub job: Job,
    /// Pinned cores.
    pub parallelism: usize,
    /// How users are drawn.
    pub workload: workload::Options,
    /// Records to generate; without it the stream has no end.
    pub records: Option<u64>,
    /// Records a second; as fast as possible without it.
    pub rate: Option<f64>,
    /// What an idle core does.
    pub idle: Idle,
    /// Time before anything counts in a latency.
    pub warm_up: Duration,
}

impl Config {
    fn args(&self) -> Args {
        let mut words = vec![
            "--users".to_owned(),
            self.workload.users.to_string(),
            "--seed".to_owned(),
            self.workload.seed.to_string(),
            "--output".to_owned(),
            "blackhole".to_owned(),
        ];
        let options = [
            ("--zipf", self.workload.zipf.map(|theta| theta.to_string())),
            ("--generate", self.records().map(|records| records.to_string())),
            ("--rate", self.rate.map(|rate| rate.to_string())),
        ];
        for (flag, value) in options {
            words.extend(value.map(|value| [flag.to_owned(), value]).into_iter().flatten());
        }
        Args::new(words)
    }

    /// Only `fraud-p` has a stream without an end.
    fn records(&self) -> Option<u64> {
        let endless = (self.job == Job::Fraud).then_some(1 << 48);
        self.records.or(endless)
    }

    /// Runs the job with these options.
    ///
    /// # Errors
    /// Whatever ends the job.
    pub fn run(&self, options: &RunOptions) -> Result<Summary> {
        match self.job {
            Job::FraudP => thalweg::run(fraud_p, &self.args(), options),
            Job::Fraud => thalweg::run(fraud, &self.args(), options),
        }
    }

    /// The options that the configuration means.
    pub fn options(&self) -> RunOptions {
        let mut options = RunOptions::new(self.parallelism);
        options.runtime.idle = self.idle;
        options.runtime.warm_up = self.warm_up;
        options
    }
}

/// Runs the job to its end.
///
/// # Errors
/// Whatever ends the job.
pub fn run(config: &Config) -> Result<Summary> {
    config.run(&config.options())
}

/// The digest of what a run has emitted.
pub fn digest(summary: &Summary) -> Digest {
    let all = summary.fingerprints.get("verdicts").copied().unwrap_or_default();
    let unordered = summary.fingerprints.get("unordered").copied().unwrap_or_default();
    Digest { count: all.count, sum: all.sum, xor: all.xor, unordered: unordered.sum }
}

/// A job that runs in windows and rests, its state warm, between them.
pub struct Session {
    meter: Arc<Meter>,
    stop: Arc<std::sync::atomic::AtomicI32>,
    thread: JoinHandle<Result<Summary>>,
    clock: Clock,
    parallelism: usize,
}

/// Time for which a window runs before it is measured.
const RAMP: Duration = Duration::from_millis(200);

impl Session {
    /// Starts the job and lets it rest.
    pub fn start(config: &Config) -> Self {
        let (options, config) = (config.options(), config.clone());
        Self::launch(options, move |options| config.run(options))
    }

    /// Starts what `run` runs with these options, and lets it rest.
    #[allow(clippy::disallowed_methods, reason = "a bench has threads of its own")]
    pub fn launch<R>(options: RunOptions, run: R) -> Self
    where
        R: FnOnce(&RunOptions) -> Result<Summary> + Send + 'static,
    {
        let (meter, stop) = (Arc::clone(&options.meter), Arc::clone(&options.stop));
        meter.pause();
        let (clock, parallelism) = (Clock::start(), options.parallelism);
        let thread = std::thread::spawn(move || run(&options));
        Self { meter, stop, thread, clock, parallelism }
    }

    /// Lets the job run until its sources have read so many records since its start, or it ends.
    pub fn run_until(&self, records: u64) {
        self.run_while(|| {
            while self.meter.records_in() < records && !self.thread.is_finished() {
                sleep(Duration::from_millis(10));
            }
        });
    }

    /// Lets the job run while something is done.
    pub fn run_while<R>(&self, body: impl FnOnce() -> R) -> R {
        self.meter.resume();
        let result = body();
        self.rest();
        result
    }

    /// Live counts of the job.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Whether the job has ended by itself.
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }

    fn rest(&self) {
        self.meter.pause();
        while self.meter.resting() < self.parallelism && !self.thread.is_finished() {
            sleep(Duration::from_millis(1));
        }
    }

    /// Lets the job run for a ramp and a window, and counts what its sources have read in the
    /// window.
    pub fn window(&self, length: Duration) -> Window {
        self.meter.resume();
        sleep(RAMP);
        let (start, before) = (self.clock.now(), self.meter.records_in());
        sleep(length);
        let (end, after) = (self.clock.now(), self.meter.records_in());
        self.rest();
        Window { records: after - before, seconds: (end - start) as f64 / 1e9 }
    }

    /// Ends the job.
    ///
    /// # Errors
    /// Whatever ended it before.
    pub fn stop(self) -> Result<Summary> {
        self.stop.store(15, Ordering::SeqCst);
        self.meter.resume();
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
