//! One core's thread: glommio's executor or a plain pinned thread, and the worker on it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::{Receiver, Sender};
use glommio::{LocalExecutorBuilder, Placement};
use thalweg_checkpoint::Store;

use super::RunOptions;
use crate::config::Rim;
use crate::dataflow::Environment;
use crate::error::Kind;
use crate::job::{Args, Job, build};
use crate::runtime::drive::{Command, CutLine, Driver, Outcome};
use crate::runtime::mesh::MeshNode;
use crate::runtime::poison::Ledger;
use crate::runtime::pulse::Pulse;
use crate::runtime::scratch::Scratch;
use crate::runtime::voice::{Event, Voice};
use crate::runtime::{Core, Restore, SideCpus, panics, preflight};
use crate::time::{Clock, MachineClock};
use crate::{Error, Result};

/// What a core's thread starts with.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) cpu: usize,
    pub(super) node: MeshNode,
    pub(super) clock: MachineClock,
    pub(super) digest: u64,
    pub(super) pulse: Arc<Pulse>,
    pub(super) commands: Receiver<Command>,
    pub(super) voice: Voice,
    pub(super) options: RunOptions,
    pub(super) side_cpus: SideCpus,
    pub(super) scratch: Scratch,
    /// The line to the keeper of checkpoints; `None`: there are none.
    pub(super) cuts: Option<CutLine>,
    pub(super) attempt: u64,
    pub(super) restore: Option<(Restore, Arc<dyn Store + Sync>)>,
    /// What is known of records that fail; none unless they are to be set aside.
    pub(super) poison: Option<Arc<Ledger>>,
}

/// A core as the watching thread sees it.
pub(super) struct Seated {
    pub(super) commands: Sender<Command>,
    pub(super) doorbell: thalweg_net::Doorbell,
    pub(super) pulse: Arc<Pulse>,
    pub(super) thread: Option<Thread>,
}

pub(super) enum Thread {
    Glommio(glommio::ExecutorJoinHandle<()>),
    Plain(std::thread::JoinHandle<()>),
}

impl Seat {
    pub(super) fn start<J: Job + Send + 'static>(self, job: J, args: Args) -> Result<Thread> {
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
        let side_cpus = self.side_cpus;
        env.side_cpus = side_cpus.clone();
        let (cuts, restore) = (self.cuts, self.restore);
        let restore = restore.map(|(restore, store)| (Rc::new(restore), store));
        env.checkpoints = cuts.is_some();
        let durable = options.checkpoints.as_ref();
        env.write_through = durable.is_some_and(|it| it.at_least_once);
        env.attempt = self.attempt;
        env.poison = self.poison;
        env.restore = restore.as_ref().map(|(restore, _)| Rc::clone(restore));
        let driver = guarded(index, || {
            let (mut worker, graph) = build(job, args, Rc::clone(&core), env, node.links)?;
            if graph.digest() != digest {
                return Err(differs());
            }
            if let Some((restore, store)) = restore {
                let from = core.refresh_nanos();
                worker.restore_ahead(&restore, &*store, &side_cpus)?;
                let (ms, bytes) = ((core.refresh_nanos() - from) / 1_000_000, restore.bytes());
                tracing::debug!(core = index, ms, bytes, "restored");
            }
            let meter = Arc::clone(&options.meter);
            let driver =
                Driver::new(worker, node.doorbell, pulse, commands, meter, &options.runtime);
            Ok(match cuts {
                Some(cuts) => driver.with_cuts(cuts),
                None => driver,
            })
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
                Ok(Outcome::Ready) => {
                    voice.say(Event::Ready(index, driver.highest_checkpoint()));
                    return true;
                }
                Ok(Outcome::Report) => {
                    voice.say(Event::Counts(core.metrics.snapshot(index)));
                    return true;
                }
                Ok(Outcome::Done) => Event::Done(Box::new(core.metrics.report(index))),
                Ok(Outcome::Aborted) => Event::Stopped(Box::new(core.metrics.report(index))),
                Err(error) => {
                    core.warden().into_iter().for_each(|warden| warden.failed(&error));
                    Event::Failed(error)
                }
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
