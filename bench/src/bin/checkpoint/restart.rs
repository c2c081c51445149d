//! From SIGKILL to the first correct verdict of the same command line, started again.
//!
//! A [process](super::child) with a gigabyte of state is killed again and again. Detect: until
//! its parent has seen it end. Restore: from there until the sources of the new one are opened.
//! Replay: from there until what had come before the kill has come again. Catch-up: from there
//! until verdicts are in time, though purchases fell due all along. The first verdicts are compared
//! with a fold by hand over the whole stream.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{self, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::json;
use thalweg_bench::durable::Console;
use thalweg_bench::machine::{monotonic_nanos, sleep, wall_millis};
use thalweg_bench::report::{Bar, Quartiles, Report};

use super::child::{self, Told};
use super::{Context, Outcome};

const NAME: &str = "restart";

/// Users; fewer with --quick.
const USERS: (u64, u64) = (20_500_000, 200_000);

/// Purchases that fill the state, by user: 19 of 20 users have one then.
const LOAD_PER_USER: u64 = 3;

/// Purchases a second while the child is killed.
const RATE: f64 = 200_000.0;

/// Between two checkpoints; a fifth of it with --quick.
const INTERVAL_MS: u64 = 1_000;

const PATIENCE: Duration = Duration::from_secs(300);

/// A child that is not in time after so many seconds is given up.
const GIVEN_UP_SECONDS: i64 = 60;

const BAR: Bar = Bar::Most("ms from SIGKILL to the first verdict", 1_000.0);

/// Kills a child and starts it again, some times.
pub fn measure(context: &Context, report: &mut Report) -> Outcome {
    let place = context.scratch.place(NAME)?;
    let users = if context.options.quick { USERS.1 } else { USERS.0 };
    let filling = child::Arguments {
        place: place.clone(),
        parallelism: context.parallelism,
        users,
        load: users * LOAD_PER_USER,
        rate: RATE,
        epoch: None,
        interval: None,
    };
    fill(&filling, &place)?;
    // Purchases fall due from now on; the child first restores what was filled.
    let interval = if context.options.quick { INTERVAL_MS / 5 } else { INTERVAL_MS };
    let epoch = Some(monotonic_nanos());
    let arguments = child::Arguments { epoch, interval: Some(interval), ..filling };
    let mut running = Child::start(&arguments)?;
    if running.told(context.parallelism)?.is_none() {
        return give_up(report);
    }
    let mut runs = Vec::new();
    for round in 0..context.options.pairs() as u64 {
        let bytes = wait_for_checkpoint(&place, round * interval / 7 % interval)?;
        let (killed, killed_ms) = (monotonic_nanos(), wall_millis());
        running.kill()?;
        let detected = monotonic_nanos();
        running = Child::start(&arguments)?;
        let Some(told) = running.told(context.parallelism)? else { return give_up(report) };
        let run = Run::of(&arguments, &told, killed, detected)?;
        let (wrong, compared) = child::wrong(&arguments, &told);
        let visible_ms = visible(&place)?.saturating_sub(killed_ms);
        report.raw(&json!({ "case": NAME, "state bytes": bytes, "ms": run.pairs(),
            "wrong": wrong, "compared": compared, "next checkpoint ms": visible_ms }));
        if wrong > 0 || compared == 0 {
            report.void(format!("{NAME}: {wrong} of {compared} verdicts are wrong"));
        }
        runs.push((run, bytes as f64, visible_ms as f64));
    }
    tell(&runs, report);
    Ok(())
}

/// The child does not come back.
fn give_up(report: &mut Report) -> Outcome {
    report.void(format!("{NAME}: no verdicts in time within {GIVEN_UP_SECONDS} s of a start"));
    report.bar(NAME, &BAR, GIVEN_UP_SECONDS as f64 * 1e3);
    Ok(())
}

/// What the runs took.
fn tell(runs: &[(Run, f64, f64)], report: &mut Report) {
    let quartiles = |of: &dyn Fn(&(Run, f64, f64)) -> f64| {
        Quartiles::of(&runs.iter().map(of).collect::<Vec<_>>())
    };
    report.figure(&format!("{NAME} bytes of state"), quartiles(&|run| run.1));
    for (at, (phase, _)) in runs[0].0.pairs().iter().enumerate() {
        report.figure(&format!("{NAME} {phase} ms"), quartiles(&|run| run.0.pairs()[at].1));
    }
    report.figure(&format!("{NAME} next checkpoint complete ms"), quartiles(&|run| run.2));
    let first = quartiles(&|run| run.0.first);
    report.bar(NAME, &BAR, first.median);
}

/// Fills the state of a child and stops it.
fn fill(arguments: &child::Arguments, place: &Path) -> Outcome {
    let mut filling = Child::start(arguments)?;
    let console = Console::of(place)?;
    while console.status()?.records_out < arguments.load {
        sleep(Duration::from_millis(100));
    }
    console.stop(PATIENCE)?;
    let status = filling.process.wait()?;
    if status.success() { Ok(()) } else { Err(format!("the child ended with {status}").into()) }
}

/// Waits for the next two checkpoints and then some more; returns what the newest one holds.
fn wait_for_checkpoint(place: &Path, more_ms: u64) -> Result<u64, Box<dyn Error>> {
    let console = Console::of(place)?;
    let mut seen = None;
    loop {
        let checkpoints = console.status()?.checkpoints.unwrap_or_default();
        let first = *seen.get_or_insert(checkpoints.completed);
        if checkpoints.completed >= first + 2 {
            sleep(Duration::from_millis(more_ms));
            return Ok(checkpoints.newest.last().map_or(0, |newest| newest.bytes));
        }
        sleep(Duration::from_millis(5));
    }
}

/// When the first checkpoint of this process was complete, on the wall clock: what comes out of it
/// becomes visible then.
fn visible(place: &Path) -> Result<u64, Box<dyn Error>> {
    let console = Console::of(place)?;
    loop {
        let checkpoints = console.status()?.checkpoints.unwrap_or_default();
        if let Some(first) = checkpoints.newest.iter().find(|it| it.failure.is_none()) {
            return Ok(first.started_ms + first.duration_ms);
        }
        sleep(Duration::from_millis(5));
    }
}

/// A restart in milliseconds.
#[derive(Clone, Copy)]
struct Run {
    detect: f64,
    restore: f64,
    /// Of the restore, until the new process runs at all.
    start: f64,
    replay: f64,
    catch_up: f64,
    first: f64,
}

impl Run {
    fn of(
        arguments: &child::Arguments,
        told: &[Told],
        killed: u64,
        detected: u64,
    ) -> Result<Self, Box<dyn Error>> {
        let came_to = arguments.due_after(killed);
        let replayed = told.iter().map(|told| told.came_to(came_to)).max().flatten();
        let replayed = replayed.ok_or("a core never came to what was there before")?;
        let first = told.iter().map(|told| told.first).min().unwrap_or(0);
        let opened = told.iter().map(|told| told.opened).max().unwrap_or(0);
        let began = told.iter().map(|told| told.began).max().unwrap_or(0);
        let in_time = told.iter().map(|told| told.in_time).max().unwrap_or(0);
        let ms = |from: u64, to: u64| to.saturating_sub(from) as f64 / 1e6;
        Ok(Self {
            detect: ms(killed, detected),
            restore: ms(detected, opened),
            start: ms(detected, began),
            replay: ms(opened, replayed),
            catch_up: ms(replayed, in_time),
            first: ms(killed, first),
        })
    }

    fn pairs(&self) -> [(&'static str, f64); 6] {
        [
            ("detect", self.detect),
            ("restore", self.restore),
            ("start of the process, of it", self.start),
            ("replay", self.replay),
            ("catch-up", self.catch_up),
            ("first verdict", self.first),
        ]
    }
}

/// A process that is killed when this is dropped.
struct Child {
    process: process::Child,
    lines: BufReader<ChildStdout>,
}

impl Child {
    fn start(arguments: &child::Arguments) -> Result<Self, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments.words()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let lines = process.stdout.take().ok_or("the child has no output")?;
        Ok(Self { process, lines: BufReader::new(lines) })
    }

    /// What each core says once its verdicts are in time; `None`: one has said nothing for long.
    fn told(&mut self, cores: usize) -> Result<Option<Vec<Told>>, Box<dyn Error>> {
        let mut told = Vec::new();
        while told.len() < cores {
            if self.lines.buffer().is_empty() {
                let patience = Timespec { tv_sec: GIVEN_UP_SECONDS, tv_nsec: 0 };
                let pipe = PollFd::new(self.lines.get_ref(), PollFlags::IN);
                if poll(&mut [pipe], Some(&patience))? == 0 {
                    return Ok(None);
                }
            }
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Err("the child ended too early".into());
            }
            told.push(serde_json::from_str(&line)?);
        }
        Ok(Some(told))
    }

    /// SIGKILL, and waits until it is gone.
    fn kill(&mut self) -> std::io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
