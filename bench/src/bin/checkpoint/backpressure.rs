//! Checkpoints of a job whose sink takes 1,000 records a second, and of one whose sink takes none.
//!
//! All queues are full, so a checkpoint has to overtake what waits in them. The baseline writes the
//! same number of bytes into a new file and synchronises it, in turn with the checkpoints. How
//! often files and directories are synchronised is counted where that is done, in
//! `thalweg_checkpoint::disk`.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;
use thalweg::prelude::*;
use thalweg::sink::{Sink, SinkContext, SinkWriter};
use thalweg::time::Stamp;
use thalweg_bench::durable::{self, Console};
use thalweg_bench::engine::Session;
use thalweg_bench::machine::{Clock, histogram, sleep};
use thalweg_bench::report::{Bar, Quantiles, Quartiles, Report};
use thalweg_checkpoint::disk;
use thalweg_jobs::fraud_p::{Options, Verdict, verdicts_into};
use thalweg_net::Doorbell;

use super::{Context, Outcome};

const NAME: &str = "backpressure";

/// Records a second, over all cores, that the sink takes.
const RATE: u64 = 1_000;

/// How often the sink takes some.
const TICK: Duration = Duration::from_millis(10);

/// Checkpoints that are timed; fewer with --quick.
const CHECKPOINTS: (usize, usize) = (300, 10);

/// The pause between two of them: the sink takes some records meanwhile.
const PAUSE: Duration = Duration::from_millis(50);

/// A checkpoint that takes longer does not complete.
const PATIENCE: Duration = Duration::from_secs(30);

/// Times the checkpoints of a job under backpressure.
pub fn measure(context: &Context, report: &mut Report) -> Outcome {
    let place = context.scratch.place(NAME)?;
    let valve = Arc::new(Valve::new(context.parallelism));
    let session = start(context, &place, &valve);
    let tap = Tap::start(Arc::clone(&valve));
    let console = Console::of(&place)?;
    session.run_while(|| -> Outcome {
        wait_until_full(&session)?;
        let (clock, before) = (Clock::start(), session.meter().records_out());
        timed(context, &console, &place, report)?;
        let (taken, took) = (session.meter().records_out() - before, clock.now());
        report.figure(&format!("{NAME} records/s out"), taken as f64 / (took as f64 / 1e9));
        valve.shut.store(true, Ordering::SeqCst);
        let records = session.meter().records_out();
        let clock = Clock::start();
        console.checkpoint(PATIENCE).map_err(|error| format!("with the sink stopped: {error}"))?;
        let took_ms = clock.now() as f64 / 1e6;
        let taken = session.meter().records_out() - records;
        report.figure(&format!("{NAME} records taken by the stopped sink"), taken);
        report.bar(NAME, &Bar::Most("ms with the sink stopped", 30_000.0), took_ms);
        Ok(())
    })?;
    drop(tap);
    let summary = session.stop()?;
    if summary.checkpoints.failed > 0 {
        report.void(format!("{NAME}: {} checkpoints failed", summary.checkpoints.failed));
    }
    Ok(())
}

/// The job `fraud-p` in front of a sink with a valve.
fn start(context: &Context, place: &Path, valve: &Arc<Valve>) -> Session {
    let config = context.fraud_p(None);
    let options = durable::keep(config.options(), place, None);
    let sink = Slow(Arc::clone(valve));
    let job = move |flow: &Dataflow, args: &Args| {
        verdicts_into(flow, &args.parse::<Options>()?, sink.clone())
    };
    let args = Args::new(["--output", "valve"]);
    Session::launch(options, move |options| thalweg::run(job, &args, options))
}

/// Waits until the sources read no faster than the sink takes.
fn wait_until_full(session: &Session) -> Outcome {
    const TRIES: usize = 30;
    const WINDOW: Duration = Duration::from_millis(500);
    let mut rate = f64::MAX;
    for _ in 0..TRIES {
        let before = session.meter().records_in();
        sleep(WINDOW);
        rate = (session.meter().records_in() - before) as f64 / WINDOW.as_secs_f64();
        // A core reads a whole buffer once there is room for it.
        if before > 0 && rate <= 10.0 * RATE as f64 {
            return Ok(());
        }
    }
    Err(format!("the queues never fill: sources read {rate} records/s").into())
}

/// Times checkpoints in turn with writing as many bytes by hand.
fn timed(context: &Context, console: &Console, place: &Path, report: &mut Report) -> Outcome {
    let (many, few) = CHECKPOINTS;
    let count = if context.options.quick { few } else { many };
    let (mut ours, mut bare) = (histogram(), histogram());
    let (mut synchronised, mut bytes, mut in_flight) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=count {
        let (clock, before) = (Clock::start(), disk::synchronised_count());
        console.checkpoint(PATIENCE)?;
        let took = clock.now();
        let after = disk::synchronised_count();
        let status = console.status()?.checkpoints.unwrap_or_default();
        let made = status.newest.last().ok_or("the checkpoint is not listed")?;
        let base = write_bare(&place.join("bare"), made.new_bytes)?;
        report.raw(&json!({ "case": NAME, "checkpoint": made, "ns": took, "bare ns": base,
            "synchronised": after - before }));
        // The first one makes the directories.
        if round > 0 {
            ours.saturating_record(took);
            bare.saturating_record(base);
            synchronised.push((after - before) as f64 / context.parallelism as f64);
            bytes.push(made.new_bytes as f64);
            in_flight.push(made.in_flight as f64);
        }
        sleep(PAUSE);
    }
    let in_flight = Quartiles::of(&in_flight);
    if in_flight.min < 1_000.0 {
        report.void(format!("{NAME}: only {} records were in flight", in_flight.min));
    }
    let (ours, bare) = (Quantiles::of(&ours), Quantiles::of(&bare));
    report.figure(&format!("{NAME} trigger to complete"), ours);
    report.figure(&format!("{NAME} bare write and fsync"), bare);
    report.figure(&format!("{NAME} new bytes"), Quartiles::of(&bytes));
    report.figure(&format!("{NAME} in flight"), in_flight);
    let synchronised = Quartiles::of(&synchronised);
    report.figure(&format!("{NAME} fsyncs a checkpoint and core"), synchronised);
    report.bar(NAME, &Bar::Most("p99 ms from trigger to complete", 50.0), ours.p99_us / 1e3);
    report.bar(NAME, &Bar::Most("fsyncs a checkpoint and core", 2.0), synchronised.max);
    Ok(())
}

/// Nanoseconds to write a file of so many bytes and to make them durable.
fn write_bare(path: &Path, bytes: u64) -> io::Result<u64> {
    let content = vec![0x5A; bytes as usize];
    let clock = Clock::start();
    let mut file = File::create_new(path)?;
    file.write_all(&content)?;
    file.sync_all()?;
    let took = clock.now();
    drop(file);
    std::fs::remove_file(path)?;
    Ok(took)
}

/// How many records the sink of each core may have taken so far.
struct Valve {
    allowed: AtomicU64,
    shut: AtomicBool,
    cores: u64,
    doorbells: Mutex<Vec<Doorbell>>,
}

impl Valve {
    fn new(cores: usize) -> Self {
        let (allowed, shut) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { allowed, shut, cores: cores as u64, doorbells: Mutex::default() }
    }

    /// A tick has passed.
    fn tick(&self) {
        if self.shut.load(Ordering::SeqCst) {
            return;
        }
        let more = RATE * TICK.as_millis() as u64 / 1_000 / self.cores;
        self.allowed.fetch_add(more, Ordering::SeqCst);
        let doorbells = self.doorbells.lock().unwrap_or_else(PoisonError::into_inner);
        doorbells.iter().for_each(Doorbell::ring);
    }
}

/// The thread that opens the valve, until this is dropped.
struct Tap {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    #[allow(clippy::disallowed_methods, reason = "a bench has threads of its own")]
    fn start(valve: Arc<Valve>) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                sleep(TICK);
                valve.tick();
            }
        });
        Self { over, thread: Some(thread) }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A sink that takes no more than its valve lets through. One turn's records may run ahead; the
/// next ones wait for as long as those were too early.
#[derive(Clone)]
struct Slow(Arc<Valve>);

impl Sink<Verdict> for Slow {
    type Writer = SlowWriter;

    fn kind(&self) -> &'static str {
        "valve"
    }
    fn writer(self, cx: SinkContext) -> thalweg::Result<SlowWriter> {
        let mut doorbells = self.0.doorbells.lock().unwrap_or_else(PoisonError::into_inner);
        doorbells.extend(cx.doorbell);
        drop(doorbells);
        Ok(SlowWriter { valve: self.0, taken: 0 })
    }
}

struct SlowWriter {
    valve: Arc<Valve>,
    taken: u64,
}

impl SinkWriter<Verdict> for SlowWriter {
    type Committable = ();

    fn ready(&mut self) -> thalweg::Result<bool> {
        Ok(self.taken < self.valve.allowed.load(Ordering::SeqCst))
    }
    fn write(&mut self, _record: Verdict, _stamp: Stamp) -> thalweg::Result<()> {
        self.taken += 1;
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> thalweg::Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> thalweg::Result<()> {
        Ok(())
    }
}
