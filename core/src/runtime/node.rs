//! The node: one pinned thread per core, and the thread that watches over them.
//!
//! glommio pins each thread and runs its executor; the worker is one task on it that never awaits
//! on its own account. The second form of the rim is a plain pinned thread, for places that refuse
//! io_uring; it is chosen explicitly.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender, bounded};
use glommio::{LocalExecutorBuilder, Placement};

use super::drive::{Command, Driver, Outcome};
use super::mesh::{MeshNode, mesh};
use super::panics;
use super::preflight;
use super::pulse::{Pulse, Watchdog};
use super::scratch::Scratch;
use super::voice::{Ear, Event, Heard, Voice, ear};
use super::{Core, Meter, SideCpus, Summary, Totals};
use crate::config::{Cpus, Rim, RuntimeConfig};
use crate::dataflow::Environment;
use crate::error::Kind;
use crate::graph::JobGraph;
use crate::job::{Args, Job, Planned, build};
use crate::metrics::CoreReport;
use crate::time::{Clock, MachineClock};
use crate::{Error, Result};

/// How often the watching thread looks at its cores if they say nothing: each time it takes some
/// CPU away from one of them.
const WATCH: Duration = Duration::from_millis(250);

/// How often cores are asked for what they have counted, in nanoseconds.
const PROGRESS: u64 = 1_000_000_000;

/// How long a core may take to stop after the attempt has ended.
const STOP_BOUND: Duration = Duration::from_secs(10);

/// Shows the totals of a run so far.
pub type ShowTotals = Arc<dyn Fn(&Totals) + Send + Sync>;

/// How to run a job on this machine.
#[derive(Clone)]
pub struct RunOptions {
    /// How many cores; each is pinned to an allowed CPU.
    pub parallelism: usize,
    /// Buffers, parking, rim.
    pub runtime: RuntimeConfig,
    /// Set to a signal's number to stop the job in order.
    pub stop: Arc<AtomicI32>,
    /// Live counts and the pause button.
    pub meter: Arc<Meter>,
    /// Called about once a second with the totals so far.
    pub progress: Option<ShowTotals>,
    /// Names the job's own directory; `None`: it has one of its own for this run.
    pub job_id: Option<String>,
}

impl RunOptions {
    /// Runs on `parallelism` cores with the default configuration.
    pub fn new(parallelism: usize) -> Self {
        Self {
            parallelism,
            runtime: RuntimeConfig::default(),
            stop: Arc::default(),
            meter: Arc::new(Meter::new(parallelism)),
            progress: None,
            job_id: None,
        }
    }
}

/// Runs a job to its end, one pinned thread per core.
///
/// # Errors
/// Bad arguments, more cores than allowed CPUs, a refused io_uring, and whatever ends the job: an
/// error or a panic of user code names its operator and core.
pub fn run<J>(job: J, args: &Args, options: &RunOptions) -> Result<Summary>
where
    J: Job + Clone + Send + 'static,
{
    let (cpus, spare) = allowed_cpus(options.parallelism, &options.runtime.cpus)?;
    let graph = plan_with(&job, args, options)?.prepare()?;
    let side_cpus = match spare.is_empty() {
        true => SideCpus::floating(cpus.clone()),
        false => SideCpus::spare(spare),
    };
    announce(&graph, &side_cpus);
    if options.runtime.rim == Rim::Glommio {
        preflight::io_uring()?;
    }
    let clock = MachineClock::new();
    let nodes = mesh(options.parallelism, graph.channels(), &options.runtime.network)?;
    let scratch = Scratch::new(options);
    scratch.sweep();
    let (voices, ear) = ear();
    let mut cores = Vec::new();
    for ((index, node), cpu) in nodes.into_iter().enumerate().zip(cpus) {
        let (commands, from_master) = bounded(16);
        let doorbell = node.doorbell.clone();
        let pulse = Arc::new(Pulse::default());
        let seat = Seat {
            index,
            cpu,
            node,
            clock: clock.clone(),
            digest: graph.digest(),
            pulse: Arc::clone(&pulse),
            commands: from_master,
            voice: voices.of_core(index),
            options: options.clone(),
            side_cpus: side_cpus.clone(),
            scratch: scratch.clone(),
        };
        let thread = seat.start(job.clone(), args.clone())?;
        cores.push(Seated { commands, doorbell, pulse, thread: Some(thread) });
    }
    drop(voices);
    let summary = Watch { graph, clock, cores, ear, options }.run();
    scratch.remove();
    summary
}

/// Says at the start what the user should know of this run.
fn announce(graph: &JobGraph, side_cpus: &SideCpus) {
    for guarantee in &graph.guarantees {
        tracing::warn!("{guarantee}");
    }
    if side_cpus.is_floating() {
        tracing::info!(
            "every allowed CPU carries a core: side threads float over them, nice and in batches"
        );
    }
}

/// The graph of a job as it would run with these options; nothing is opened.
///
/// # Errors
/// Bad arguments, a graph that cannot run, fewer key groups than cores.
pub fn planned(job: &dyn Job, args: &Args, options: &RunOptions) -> Result<JobGraph> {
    plan_with(job, args, options).map(|planned| planned.graph)
}

fn plan_with(job: &dyn Job, args: &Args, options: &RunOptions) -> Result<Planned> {
    // A plan says nothing of too many cores: those of another machine may be asked about.
    if options.parallelism == 0 {
        return Err(Error::usage("cannot run on 0 cores").with_hint("use -p 1 or more"));
    }
    let mut planned = Planned::new(job, args, options.parallelism)?;
    if let Some(groups) = options.runtime.max_parallelism {
        if (groups as usize) < options.parallelism {
            let cores = options.parallelism;
            let text = format!("cannot share {groups} key groups among {cores} cores");
            return Err(Error::usage(text).with_hint("raise job.max-parallelism"));
        }
        planned.graph.max_parallelism = groups;
    }
    Ok(planned)
}

/// On how many cores a job runs that does not say it: all that it may use.
#[cfg(feature = "cli")]
pub(crate) fn default_parallelism(choice: &Cpus) -> Result<usize> {
    allowed(choice).map(|(cpus, _)| cpus.len().max(1))
}

/// The CPUs of the cores, and those that are left for side threads.
fn allowed_cpus(wanted: usize, choice: &Cpus) -> Result<(Vec<usize>, Vec<usize>)> {
    let (mut cpus, whose) = allowed(choice)?;
    let count = cpus.len();
    if wanted == 0 || wanted > count {
        let (plural, most) = (if count == 1 { "" } else { "s" }, count.max(1));
        let text = format!("cannot run on {wanted} cores: {whose} {count} CPU{plural}");
        let range = if most == 1 { "-p 1".into() } else { format!("-p 1 to -p {most}") };
        return Err(Error::usage(text).with_hint(format!("use {range}; a core is a pinned thread")));
    }
    let spare = cpus.split_off(wanted);
    Ok((cpus, spare))
}

/// The CPUs that the configuration leaves of those that this process may use, and who says so.
fn allowed(choice: &Cpus) -> Result<(Vec<usize>, &'static str)> {
    let set = rustix::thread::sched_getaffinity(None)
        .map_err(|error| Error::io("cannot read the allowed CPUs", error.into()))?;
    let cpus = (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu));
    // From the highest down: interrupts and other programs prefer the first CPU.
    let mut cpus: Vec<usize> = cpus.rev().collect();
    match choice {
        Cpus::All => Ok((cpus, "this process may use")),
        Cpus::Count(count) => {
            cpus.truncate(*count);
            Ok((cpus, "worker.cores and the process leave"))
        }
        Cpus::List(listed) => match listed.iter().find(|cpu| !cpus.contains(cpu)) {
            None => Ok((listed.clone(), "worker.cores lists")),
            Some(cpu) => {
                let text = format!("worker.cores lists CPU {cpu}, which this process may not use");
                Err(Error::usage(text).with_hint("`taskset -pc $$` lists those that it may"))
            }
        },
    }
}

/// What a core's thread starts with.
struct Seat {
    index: usize,
    cpu: usize,
    node: MeshNode,
    clock: MachineClock,
    digest: u64,
    pulse: Arc<Pulse>,
    commands: Receiver<Command>,
    voice: Voice,
    options: RunOptions,
    side_cpus: SideCpus,
    scratch: Scratch,
}

/// A core as the watching thread sees it.
struct Seated {
    commands: Sender<Command>,
    doorbell: thalweg_net::Doorbell,
    pulse: Arc<Pulse>,
    thread: Option<Thread>,
}

enum Thread {
    Glommio(glommio::ExecutorJoinHandle<()>),
    Plain(std::thread::JoinHandle<()>),
}

impl Seat {
    fn start<J: Job + Send + 'static>(self, job: J, args: Args) -> Result<Thread> {
        match self.options.runtime.rim {
            Rim::Glommio => self.start_glommio(job, args).map(Thread::Glommio),
            Rim::Thread => self.start_plain(job, args).map(Thread::Plain),
        }
    }

    fn start_glommio<J: Job + Send + 'static>(
        self,
        job: J,
        args: Args,
    ) -> Result<glommio::ExecutorJoinHandle<()>> {
        LocalExecutorBuilder::new(Placement::Fixed(self.cpu))
            .name(&format!("core-{}", self.index))
            .spawn(move || async move {
                // Should the executor park by mistake, this timer ends it after a millisecond.
                let ticker = glommio::spawn_local(async {
                    loop {
                        glommio::timer::sleep(Duration::from_millis(1)).await;
                    }
                });
                let mut ride = self.ride(&job, &args);
                while ride() {
                    glommio::executor().yield_task_queue_now().await;
                }
                drop(ride);
                ticker.cancel().await;
            })
            .map_err(|error| {
                preflight::cannot_start().with_source(std::io::Error::other(error.to_string()))
            })
    }

    #[allow(clippy::disallowed_methods, reason = "this is the rim")]
    fn start_plain<J: Job + Send + 'static>(
        self,
        job: J,
        args: Args,
    ) -> Result<std::thread::JoinHandle<()>> {
        let body = move || {
            let mut set = rustix::thread::CpuSet::new();
            set.set(self.cpu);
            let _ = rustix::thread::sched_setaffinity(None, &set);
            let mut ride = self.ride(&job, &args);
            while ride() {}
        };
        std::thread::Builder::new()
            .name("core".into())
            .spawn(body)
            .map_err(|error| Error::io("cannot start a thread for a core", error))
    }

    /// Builds the worker; each call of what is returned drives it for a while, true: call again.
    fn ride<'a>(self, job: &'a dyn Job, args: &'a Args) -> Box<dyn FnMut() -> bool + 'a> {
        panics::capture_in_this_thread();
        let Seat { index, node, clock, digest, pulse, commands, mut voice, options, .. } = self;
        let parallelism = options.parallelism;
        let clock: Rc<dyn Clock> = Rc::new(clock);
        let core = Core::new(index, parallelism, clock);
        let mut env = Environment::new(parallelism, options.runtime.network.clone());
        env.doorbell = Some(node.doorbell.clone());
        env.inline_io = false;
        env.max_parallelism = options.runtime.max_parallelism.unwrap_or(env.max_parallelism);
        env.memory = self.scratch.memory(&self.side_cpus, &node.doorbell);
        env.side_cpus = self.side_cpus;
        let driver = guarded(index, || {
            let (worker, graph) = build(job, args, Rc::clone(&core), env, node.links)?;
            if graph.digest() != digest {
                return Err(differs());
            }
            let meter = Arc::clone(&options.meter);
            Ok(Driver::new(worker, node.doorbell, pulse, commands, meter, &options.runtime))
        });
        let mut driver = match driver {
            Ok(driver) => driver,
            Err(error) => {
                voice.end(Event::Failed(error));
                return Box::new(|| false);
            }
        };
        Box::new(move || {
            let event = match guarded(index, || driver.run()) {
                Ok(Outcome::Yield) => return true,
                Ok(Outcome::Report) => {
                    voice.say(Event::Counts(core.metrics.snapshot(index)));
                    return true;
                }
                Ok(Outcome::Done) => Event::Done(Box::new(core.metrics.report(index))),
                Ok(Outcome::Aborted) => Event::Stopped,
                Err(error) => Event::Failed(error),
            };
            voice.end(event);
            false
        })
    }
}

/// Turns a panic into an error that names the operator it came from.
fn guarded<R>(core: usize, body: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|payload| Err(panics::caught(payload)))
        .map_err(|error| error.on_core(core))
}

#[cold]
fn differs() -> Error {
    Error::new(Kind::Graph, "the job builds another graph here than in its plan")
        .with_hint("a job function must be deterministic: no clock, no randomness, no effects")
}

/// The watching thread's part of a run.
struct Watch<'a> {
    graph: JobGraph,
    clock: MachineClock,
    cores: Vec<Seated>,
    ear: Ear,
    options: &'a RunOptions,
}

impl Watch<'_> {
    fn run(mut self) -> Result<Summary> {
        let started = self.clock.nanos();
        let mut watchdog = Watchdog::new(self.cores.len());
        let mut reports: Vec<Option<CoreReport>> = self.cores.iter().map(|_| None).collect();
        let mut left = self.cores.len();
        let mut failure = None;
        let mut stopping = 0;
        let (mut asked_at, mut shown) = (started, true);
        let mut totals = Totals::new(self.cores.len(), self.graph.expected());
        while left > 0 {
            match self.ear.listen(WATCH) {
                Heard::Event(Event::Done(report)) => {
                    left -= 1;
                    let core = report.core;
                    reports[core] = Some(*report);
                }
                Heard::Event(Event::Counts(counts)) => totals.add(counts),
                Heard::Event(Event::Stopped) => left -= 1,
                Heard::Event(Event::Failed(error)) => {
                    failure.get_or_insert(error);
                    self.command(&Command::Abort);
                    break;
                }
                Heard::Nothing | Heard::NobodyLeft => {}
            }
            let now = self.clock.nanos();
            watchdog.look(now, self.cores.iter().map(|core| &*core.pulse), &self.graph);
            let signal = self.options.stop.load(Ordering::Relaxed);
            if signal != 0 && stopping == 0 {
                stopping = signal;
                self.command(&Command::Stop);
            }
            if let Some(show) = &self.options.progress {
                if now - asked_at >= PROGRESS {
                    (asked_at, shown) = (now, false);
                    self.command(&Command::Report);
                } else if !shown && now - asked_at >= PROGRESS / 20 {
                    shown = true;
                    totals.nanos = now - started;
                    show(&totals);
                }
            }
        }
        let seconds = self.clock.nanos() - started;
        self.join(failure.is_some())?;
        match failure {
            Some(error) => Err(error),
            None => Ok(Summary::new(&reports, seconds).stopped_by(stopping)),
        }
    }

    fn command(&self, command: &Command) {
        for core in &self.cores {
            let _ = core.commands.try_send(command.clone());
            core.doorbell.ring();
        }
    }

    /// Waits for the threads; one that does not return within a bound is named and left behind.
    fn join(&mut self, failed: bool) -> Result<()> {
        let deadline = self.clock.nanos() + STOP_BOUND.as_nanos() as u64;
        if failed {
            loop {
                match self.ear.listen(WATCH) {
                    Heard::NobodyLeft => break,
                    _ if self.clock.nanos() > deadline => return Ok(()),
                    _ => {}
                }
            }
        }
        for core in &mut self.cores {
            match core.thread.take() {
                Some(Thread::Glommio(handle)) => drop(handle.join()),
                Some(Thread::Plain(handle)) => drop(handle.join()),
                None => {}
            }
        }
        Ok(())
    }
}
