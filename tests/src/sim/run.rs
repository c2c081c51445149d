//! One seed from beginning to end.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use thalweg::Result;
use thalweg::config::NetworkConfig;
use thalweg::runtime::Progress;
use thalweg::testing::{Cluster, ClusterOptions};
use thalweg::time::ManualClock;

use super::jobs::{CASES, Case, Instance};
use super::oracle::difference;
use super::probe::Rows;
use super::schedule::{Decision, Schedule, Shape};
use super::trace::Trace;
use super::world::World;
use super::{Random, marks};
use crate::seen;

/// Rounds in which a kind simulator steps every core before it says that there is no progress.
const ROUNDS_MAX: u64 = 200_000;

/// Rounds in a row in which nothing happens before it says so.
const QUIET_ROUNDS_MAX: u64 = 5_000;

/// What a seed has done.
#[derive(Debug, Clone)]
pub struct Report {
    /// The job.
    pub job: &'static str,
    /// Hash of all decisions and outputs.
    pub hash: u64,
    /// Steps of all workers.
    pub steps: u64,
    /// Records that reached a sink.
    pub records: u64,
    /// Interesting situations.
    pub marks: BTreeMap<&'static str, u64>,
}

/// A seed that has found something.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The job.
    pub job: &'static str,
    /// What was wrong, with the step.
    pub what: String,
}

impl Failure {
    /// The command that does it again.
    pub fn command(&self) -> String {
        format!("cargo sim --seed {} --trace sim-{}.trace", self.seed, self.seed)
    }
}

/// The job that a seed simulates.
pub fn case_of(seed: u64) -> &'static Case {
    &CASES[(seed % CASES.len() as u64) as usize]
}

/// Simulates a seed; with `text` a trace that a person can read comes back, too.
pub fn run_seed(seed: u64, text: bool) -> (Result<Report, Failure>, Vec<String>) {
    run_case(case_of(seed), seed, text)
}

/// As [`run_seed`] with another job than the seed's own: what a seed has found is kept with its
/// job, whatever jobs come later.
pub fn run_case(
    case: &'static Case,
    seed: u64,
    text: bool,
) -> (Result<Report, Failure>, Vec<String>) {
    let mut run = Run { seed, case, trace: Trace::new(text), steps: 0 };
    marks::take();
    let outcome = quietly(|| run.simulate());
    let (steps, hash) = (run.steps, run.trace.hash());
    let trace = run.trace.into_lines();
    let marks = marks::take();
    let outcome = match outcome {
        Ok(records) => Ok(Report { job: case.name, hash, steps, records, marks }),
        Err(what) => {
            let what = format!("{what}; step {steps}");
            Err(Failure { seed, job: case.name, what })
        }
    };
    (outcome, trace)
}

/// Turns a panic into its text.
fn quietly<R>(body: impl FnOnce() -> Result<R, String>) -> Result<R, String> {
    panics::listen();
    let outcome = catch_unwind(AssertUnwindSafe(body));
    let panicked = panics::heard();
    outcome.unwrap_or_else(|_| Err(panicked.unwrap_or_else(|| "a panic".to_owned())))
}

struct Run {
    seed: u64,
    case: &'static Case,
    trace: Trace,
    steps: u64,
}

impl Run {
    fn simulate(&mut self) -> Result<u64, String> {
        let random = Random::new(self.seed);
        let shape = Shape::draw(&mut random.fork("shape"));
        let case = self.case;
        self.trace.line(format_args!("seed {} job {} {shape:?}", self.seed, case.name));
        let expected = self.reference(&random)?;
        let instance = (case.make)(&random.fork("job"));
        let clock = ManualClock::new(1_700_000_000_000);
        let options = ClusterOptions {
            network: shape.network.clone(),
            clock: clock.clone(),
            max_parallelism: shape.max_parallelism,
            state: shape.state,
            ..ClusterOptions::new(shape.parallelism)
        };
        let mut world = World::new(&instance, options, random.fork("world"))?;
        let schedule = Schedule::draw(random.fork("schedule"), shape.parallelism);
        self.trace.line(format_args!("{schedule:?}"));
        if !self.unkind(&mut world, schedule, &clock)? {
            seen!("faults ended before the job did");
            self.kind(&mut world, &clock)?;
        }
        world.heal();
        self.settle(&mut world, &clock)?;
        world.check_end();
        self.judge(&world, &instance, &expected)
    }

    /// One core, large buffers, whole budgets.
    fn reference(&mut self, random: &Random) -> Result<Expected, String> {
        let instance = (self.case.make)(&random.fork("job"));
        let mut options = ClusterOptions::new(1);
        options.network = NetworkConfig::default();
        let mut cluster = Cluster::new(&*instance.job, &instance.args, &options)
            .map_err(|error| error.report())?;
        let mut quiet = 0;
        while quiet < QUIET_ROUNDS_MAX {
            options.clock.advance(patience(quiet));
            let progress = cluster.workers[0].step().map_err(|error| error.report())?;
            if progress.done {
                return Ok(Expected { rows: instance.outputs.take(), totals: totals(&cluster) });
            }
            quiet = if progress.worked { 0 } else { quiet + 1 };
        }
        Err("no progress on one core".to_owned())
    }

    /// Steps as the schedule says; true if the job ends before the schedule does.
    fn unkind(
        &mut self,
        world: &mut World<'_>,
        mut schedule: Schedule,
        clock: &ManualClock,
    ) -> Result<bool, String> {
        let mut done = vec![false; world.cluster.workers.len()];
        while let Some(decision) = schedule.decide() {
            clock.advance(decision.advance);
            seen!("the clock jumped", if decision.advance > 1_000_000_000);
            if world.may_crash(&mut self.trace)? {
                done.fill(false);
            }
            if world.is_over() {
                return Ok(true);
            }
            done[decision.worker] = self.step(world, decision)?.done;
            if done.iter().all(|done| *done) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// No more unkindness: now the job must come to its end.
    fn kind(&mut self, world: &mut World<'_>, clock: &ManualClock) -> Result<(), String> {
        world.heal();
        // The last step may have been the end of an attempt.
        world.may_crash(&mut self.trace)?;
        if world.is_over() {
            return Ok(());
        }
        let mut quiet = 0;
        for _ in 0..ROUNDS_MAX {
            clock.advance(patience(quiet));
            let (done, worked) = self.round(world)?;
            if done {
                return Ok(());
            }
            quiet = if worked { 0 } else { quiet + 1 };
            if quiet > QUIET_ROUNDS_MAX {
                return Err(format!("no progress; {}", world.plight()));
            }
        }
        Err(format!("no end in {ROUNDS_MAX} rounds; {}", world.plight()))
    }

    /// Rounds more, in which the last buffers come home: two quiet ones in a row, since a buffer
    /// that waited for room on its way home moves on without anybody having done anything.
    fn settle(&mut self, world: &mut World<'_>, clock: &ManualClock) -> Result<(), String> {
        let mut quiet = 0;
        for _ in 0..if world.is_over() { 0 } else { ROUNDS_MAX } {
            clock.advance(1_000_000);
            let (_, worked) = self.round(world)?;
            quiet = if worked || world.is_busy() { 0 } else { quiet + 1 };
            if quiet == 2 {
                return Ok(());
            }
        }
        if world.is_over() { Ok(()) } else { Err(format!("never quiet; {}", world.plight())) }
    }

    /// Steps every core once: whether all are done, and whether one did something.
    fn round(&mut self, world: &mut World<'_>) -> Result<(bool, bool), String> {
        let (mut done, mut worked) = (true, false);
        for worker in 0..world.cluster.workers.len() {
            let budget = 1024;
            let decision = Decision { advance: 0, worker, budget, frames: usize::MAX };
            let progress = self.step(world, decision)?;
            done &= progress.done;
            worked |= progress.worked;
        }
        Ok((done, worked))
    }

    fn step(&mut self, world: &mut World<'_>, decision: Decision) -> Result<Progress, String> {
        self.steps += 1;
        let Decision { advance, worker: core, budget, frames } = decision;
        for number in [advance, core as u64, budget as u64, frames as u64] {
            self.trace.number(number);
        }
        let progress = world.step(decision, &mut self.trace)?;
        self.trace.number(u64::from(progress.worked) | u64::from(progress.done) << 1);
        let (step, done, worked) = (self.steps, progress.done, progress.worked);
        self.trace.line(format_args!(
            "{step}: +{advance} ns, core {core}, budget {budget}, frames {frames}: \
             worked {worked}, done {done}"
        ));
        Ok(progress)
    }

    fn judge(
        &mut self,
        world: &World<'_>,
        instance: &Instance,
        expected: &Expected,
    ) -> Result<u64, String> {
        let found = instance.outputs.take();
        for (sink, rows) in &found {
            self.trace.bytes(sink.as_bytes());
            for row in rows {
                self.trace.number(row.key);
                self.trace.bytes(row.text.as_bytes());
                self.trace.line(format_args!("{sink}: {} {}", row.key, row.text));
            }
        }
        if let Some(fold) = &instance.fold {
            let wrong = difference(instance.equality, fold, &expected.rows);
            wrong.map_or(Ok(()), |what| Err(format!("one core differs from the fold: {what}")))?;
        }
        let wrong = match instance.judge {
            Some(judge) => judge(&expected.rows, &found),
            None => difference(instance.equality, &expected.rows, &found),
        };
        wrong.map_or(Ok(()), |what| Err(format!("output differs from one core's: {what}")))?;
        let totals = totals(&world.cluster);
        // An attempt counts for itself.
        if !world.has_crashed() && totals != expected.totals {
            let one = expected.totals;
            return Err(format!("read, written, refused: {totals:?} instead of {one:?}"));
        }
        Ok(found.values().map(|rows| rows.len() as u64).sum())
    }
}

/// How far a kind simulator moves the clock: further the longer nothing has happened.
fn patience(quiet: u64) -> u64 {
    1_000_000 << quiet.min(10)
}

/// What one core without unkindness has done.
struct Expected {
    rows: Rows,
    totals: [u64; 3],
}

/// Records read, handed to sinks and refused, over all cores.
fn totals(cluster: &Cluster) -> [u64; 3] {
    let mut totals = [0; 3];
    for worker in &cluster.workers {
        let metrics = &worker.core().metrics;
        let counts = [&metrics.records_in, &metrics.records_out, &metrics.dead_letters];
        for (total, count) in totals.iter_mut().zip(counts) {
            *total += count.value();
        }
    }
    totals
}

/// Keeps the text of a thread's panics instead of printing it, while it listens.
mod panics {
    use std::cell::{Cell, RefCell};
    use std::sync::Once;

    thread_local! {
        static LISTENING: Cell<bool> = const { Cell::new(false) };
        static HEARD: RefCell<Option<String>> = const { RefCell::new(None) };
    }

    pub(super) fn listen() {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let others = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                if !LISTENING.with(Cell::get) {
                    return others(info);
                }
                let first = |heard: &RefCell<Option<String>>| {
                    heard.borrow_mut().get_or_insert_with(|| info.to_string());
                };
                HEARD.with(first);
            }));
        });
        LISTENING.with(|listening| listening.set(true));
    }

    pub(super) fn heard() -> Option<String> {
        LISTENING.with(|listening| listening.set(false));
        HEARD.with(|heard| heard.borrow_mut().take())
    }
}
