//! The attempts of a job: one, or with checkpoints as many as its restart strategy allows.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam::channel::{Sender, bounded, unbounded};
use thalweg_checkpoint::coordinator::Config;
use thalweg_checkpoint::restart::{Decision, Restarts, Strategy};
use thalweg_checkpoint::{LocalStore, Store, fail_point};

use super::seat::{Seat, Seated};
use super::watch::{Beginning, Outcome, Watch};
use super::{RunOptions, announce};
use crate::config::{PoisonConfig, Rim};
use crate::console::Console;
use crate::control::{Attempt, Begun, JobDescription, Manner, RestartFrom, begin};
use crate::error::Kind;
use crate::job::{Args, Job, Planned};
use crate::runtime::drive::CutLine;
use crate::runtime::keeping::{Keeping, ToCore};
use crate::runtime::mesh::mesh;
use crate::runtime::poison::{self, Ledger};
use crate::runtime::pulse::Pulse;
use crate::runtime::scratch::Scratch;
use crate::runtime::voice::{Event, Line, ear};
use crate::runtime::{Restore, SideCpus, Stopped, Summary, preflight};
use crate::time::{Clock, MachineClock, pause_until};
use crate::{Error, Result};

/// Where checkpoints go, and when they are made.
#[derive(Debug, Clone)]
pub struct CheckpointOptions {
    /// The directory that holds the checkpoints of jobs, each below its id.
    pub directory: PathBuf,
    /// The job's name.
    pub job_name: String,
    /// Names the job below the directory: who runs it again with this id goes on with it.
    pub job_id: String,
    /// When checkpoints are made and how many are kept.
    pub coordinator: Config,
    /// What follows an attempt that has failed.
    pub restarts: Strategy,
    /// Whether a record that fails again and again is set aside; `None`: it is not.
    pub poison: Option<PoisonConfig>,
    /// From where the first attempt begins; those that follow it go on from its newest checkpoint.
    pub from: RestartFrom,
    /// Whether they stay when the job is cancelled.
    pub retain_on_cancel: bool,
    /// Whether output does not wait for them, and may be there twice: at least once.
    pub at_least_once: bool,
    /// Whether a job may go back behind a damaged checkpoint though some sink cannot take back what
    /// it has committed since.
    pub allow_output_replay: bool,
}

/// A job on this machine.
pub(super) struct House<'a, J> {
    pub(super) job: J,
    pub(super) args: &'a Args,
    pub(super) options: &'a RunOptions,
    pub(super) planned: Planned,
    pub(super) cpus: Vec<usize>,
    pub(super) side_cpus: SideCpus,
    /// Where others ask; `None`: nowhere.
    pub(super) console: Option<Console>,
}

/// An attempt with checkpoints, and where they go.
struct Durable {
    attempt: Attempt,
    store: Arc<dyn Store + Sync>,
    job_id: String,
    clock: MachineClock,
    poison: Option<Arc<Ledger>>,
}

/// A keeper, and who is told where the cores are.
type Kept = (Keeping, Sender<Vec<ToCore>>);

/// What a core is restored from, and where its segments are.
type Restored = (Restore, Arc<dyn Store + Sync>);

impl<J: Job + Clone + Send + 'static> House<'_, J> {
    /// Runs the job without checkpoints.
    pub(super) fn run_once(self) -> Result<Summary> {
        self.planned.prepare()?;
        announce(&self.planned.graph, &self.side_cpus);
        match self.attempt(None)? {
            Outcome::Ended { summary, asker } => {
                tell(asker);
                Ok(*summary)
            }
            Outcome::Failed { error, .. } => Err(error),
        }
    }

    /// Runs the job until it has finished, was stopped, or has failed too often.
    pub(super) fn run_durably(mut self, checkpoints: &CheckpointOptions) -> Result<Summary> {
        let poison = self.watch_for_poison(checkpoints)?;
        let store = Arc::new(LocalStore::open(&checkpoints.directory).map_err(refused)?);
        let clock = MachineClock::new();
        let mut restarts = Restarts::new(checkpoints.restarts);
        announce(&self.planned.graph, &self.side_cpus);
        if checkpoints.at_least_once {
            tracing::warn!(
                "checkpoint.mode=at-least-once: what is written behind the newest checkpoint is \
                 visible at once, and is there twice after a failure"
            );
        }
        let mut from = checkpoints.from;
        let poison_count = || poison.as_ref().map_or(0, |ledger| ledger.poison_count());
        let mut given_up = BTreeSet::new();
        loop {
            let Some(attempt) = self.begin(&store, checkpoints, (from, &given_up), &clock)? else {
                tracing::info!("the job has finished: its log in the checkpoints says so");
                return Ok(Summary::of_finished());
            };
            from = RestartFrom::Newest;
            let restored = attempt.from;
            let local = &store;
            let (store, job_id) = (Arc::clone(&store) as Arc<_>, checkpoints.job_id.clone());
            let (time, poison) = (clock.clone(), poison.clone());
            let durable = Durable { attempt, store, job_id, clock: time, poison };
            let (error, is_final) = match self.attempt(Some(durable))? {
                Outcome::Ended { mut summary, asker } => {
                    summary.poison = poison_count();
                    self.settle(local, checkpoints, &summary, asker)?;
                    return Ok(*summary);
                }
                Outcome::Failed { error, is_final } => (error, is_final),
            };
            if let Some(damaged) = restored.filter(|_| error.kind() == Kind::Damaged)
                && given_up.insert(damaged)
            {
                tracing::warn!(checkpoint = damaged, "a checkpoint is damaged: {error}");
                continue;
            }
            let now_ms = clock.nanos() / 1_000_000;
            match restarts.failed(now_ms, random()? as f64 / u64::MAX as f64) {
                Decision::RestartAfter(delay_ms) if !is_final && self.may_restart(&error) => {
                    tracing::warn!(delay_ms, "the attempt has failed and is repeated: {error}");
                    if pause_until(delay_ms, || self.is_wanted_to_end()) {
                        let ended = self.end_between(local, checkpoints)?;
                        return Ok(Summary { poison: poison_count(), ..ended });
                    }
                }
                _ => return Err(error),
            }
        }
    }

    /// What the attempts will know of records that fail, if any of them are to be set aside.
    fn watch_for_poison(&mut self, checkpoints: &CheckpointOptions) -> Result<Option<Arc<Ledger>>> {
        let Some(config) = &checkpoints.poison else { return Ok(None) };
        config.check(checkpoints.restarts)?;
        self.planned.add_place(poison::place(config))?;
        Ok(Some(Arc::new(Ledger::new(config.clone()))))
    }

    fn is_wanted_to_end(&self) -> bool {
        let asked = self.console.as_ref().is_some_and(Console::is_waited_on);
        asked || self.options.stop.load(Ordering::Relaxed) != 0
    }

    /// Ends a job of which no attempt runs: its newest checkpoint is all that there is to keep.
    fn end_between(&self, store: &LocalStore, checkpoints: &CheckpointOptions) -> Result<Summary> {
        let signal = self.options.stop.load(Ordering::Relaxed);
        let waiting = self.console.as_ref().and_then(Console::take_waiting);
        let mut summary = Summary::new(&[], 0).stopped_by(signal);
        summary.stopped = waiting.as_ref().map(|(how, _)| *how);
        self.settle(store, checkpoints, &summary, waiting.map(|(_, asker)| asker))?;
        Ok(summary)
    }

    /// The job has ended: removes what a cancelled one has left, and says so to who asked for it.
    fn settle(
        &self,
        store: &LocalStore,
        checkpoints: &CheckpointOptions,
        summary: &Summary,
        asker: Option<Sender<Result<(), String>>>,
    ) -> Result<()> {
        if summary.stopped == Some(Stopped::Cancel) && !checkpoints.retain_on_cancel {
            // A later run with this id begins at the beginning.
            if let Err(error) = store.discard(&checkpoints.job_id) {
                tracing::warn!("checkpoints of the cancelled job stay: {error}");
            }
            // What was sealed for them is nobody's now.
            self.planned.resume(u64::MAX, u64::MAX)?;
        }
        tell(asker);
        Ok(())
    }

    /// Whether another attempt may fare better.
    fn may_restart(&self, error: &Error) -> bool {
        let hopeless =
            matches!(error.kind(), Kind::Usage | Kind::Graph | Kind::Help | Kind::Damaged);
        !hopeless && self.options.stop.load(Ordering::Relaxed) == 0
    }

    /// Owns the next attempt; `None` if the job has finished.
    fn begin(
        &self,
        store: &LocalStore,
        checkpoints: &CheckpointOptions,
        (from, given_up): (RestartFrom, &BTreeSet<u64>),
        clock: &MachineClock,
    ) -> Result<Option<Attempt>> {
        let job = JobDescription {
            name: checkpoints.job_name.clone(),
            id: checkpoints.job_id.clone(),
            graph: self.planned.graph.clone(),
            parallelism: self.options.parallelism,
        };
        let wall = clock.wall_millis().max(0) as u64;
        let epoch_ms = wall.saturating_sub(clock.nanos() / 1_000_000);
        let prepare = || self.planned.prepare();
        let nonce = random()?;
        let keeps_output = self.planned.keeps_output();
        let manner = Manner {
            config: checkpoints.coordinator,
            from,
            given_up,
            keeps_output: keeps_output.filter(|_| !checkpoints.allow_output_replay),
        };
        let begun = begin(store, &job, manner, nonce, epoch_ms, &prepare)?;
        let Begun::Attempt(attempt) = begun else { return Ok(None) };
        let number = attempt.number;
        // Older attempts are fenced: what they had not finished to write is nobody's.
        let _ = store.sweep(&format!("{}/", checkpoints.job_id));
        fail_point!("leftovers-swept");
        match attempt.from {
            Some(checkpoint) => {
                tracing::info!(attempt = number, checkpoint, "going on from a checkpoint");
            }
            None if attempt.is_resumed => {
                tracing::info!(attempt = number, "no checkpoint was complete: from the beginning");
            }
            None => {}
        }
        Ok(Some(*attempt))
    }

    fn beginning(&self, durable: Option<&Durable>) -> Beginning {
        let Some(Durable { attempt, .. }) = durable else {
            return Beginning { attempt: 1, is_resumed: false, from: u64::MAX };
        };
        let checkpoints = self.options.checkpoints.as_ref();
        let from = match checkpoints.is_some_and(|it| it.at_least_once) {
            // Nothing says what of the output is void.
            true => u64::MAX,
            false => attempt.from.unwrap_or(0),
        };
        Beginning { attempt: attempt.number, is_resumed: attempt.is_resumed, from }
    }

    /// Starts the keeper of an attempt's checkpoints; returns it with what cores are restored from.
    fn keep(&self, durable: Durable, say: Line<Event>) -> Result<(Kept, Vec<Restored>)> {
        let Durable { attempt, store, job_id, clock, .. } = durable;
        let from = attempt.cores.into_iter();
        let restores = from.map(|restore| (restore, Arc::clone(&store))).collect();
        let (cpus, board) = (self.side_cpus.clone(), self.console.as_ref().map(Console::board));
        let keeping = Keeping::start(attempt.keeper, store, &job_id, cpus, clock, say, board)?;
        Ok((keeping, restores))
    }

    /// Runs one attempt to its end.
    fn attempt(&self, durable: Option<Durable>) -> Result<Outcome> {
        let options = self.options;
        if options.runtime.rim == Rim::Glommio {
            preflight::io_uring()?;
        }
        let clock = durable.as_ref().map_or_else(MachineClock::new, |it| it.clock.clone());
        let graph = &self.planned.graph;
        let nodes = mesh(options.parallelism, graph.channels(), &options.runtime.network)?;
        let scratch = Scratch::new(options);
        scratch.sweep();
        let (voices, ear) = ear();
        let (mut cores, mut to_cores) = (Vec::new(), Vec::new());
        let poison = durable.as_ref().and_then(|it| it.poison.clone());
        let beginning = self.beginning(durable.as_ref());
        let (keeping, mut restores) = match durable {
            None => (None, Vec::new().into_iter()),
            Some(durable) => {
                let (keeping, restores) = self.keep(durable, voices.line())?;
                (Some(keeping), restores.into_iter())
            }
        };
        for ((index, node), cpu) in nodes.into_iter().enumerate().zip(&self.cpus) {
            let (commands, from_master) = bounded(16);
            let doorbell = node.doorbell.clone();
            let pulse = Arc::new(Pulse::default());
            let cuts = keeping.as_ref().map(|(keeping, _)| {
                let (commands, from_keeper) = unbounded();
                to_cores.push(ToCore { commands, doorbell: doorbell.clone() });
                CutLine { commands: from_keeper, reports: keeping.line.clone() }
            });
            let seat = Seat {
                index,
                cpu: *cpu,
                node,
                clock: clock.clone(),
                digest: graph.digest(),
                pulse: Arc::clone(&pulse),
                commands: from_master,
                voice: voices.of_core(index),
                options: options.clone(),
                side_cpus: self.side_cpus.clone(),
                scratch: scratch.clone(),
                cuts,
                attempt: beginning.attempt,
                restore: restores.next(),
                poison: poison.clone(),
            };
            let thread = seat.start(self.job.clone(), self.args.clone())?;
            cores.push(Seated { commands, doorbell, pulse, thread: Some(thread) });
        }
        if let Some(console) = &self.console {
            console.attach(beginning.attempt, voices.watch_line());
        }
        drop(voices);
        let keeping = keeping.map(|(keeping, give_cores)| {
            let _ = give_cores.send(to_cores);
            keeping
        });
        let (planned, console) = (&self.planned, self.console.as_ref());
        let watch = Watch { planned, clock, cores, ear, options, keeping, beginning, console };
        let outcome = watch.run();
        scratch.remove();
        Ok(outcome)
    }
}

/// Says that the job has ended to who asked for that.
fn tell(asker: Option<Sender<Result<(), String>>>) {
    if let Some(asker) = asker {
        let _ = asker.send(Ok(()));
    }
}

/// 64 random bits.
fn random() -> Result<u64> {
    let mut bits = [0; 8];
    let file = std::fs::File::open("/dev/urandom");
    let read = file.and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bits));
    read.map_err(|error| Error::io("cannot draw a random number", error))?;
    Ok(u64::from_le_bytes(bits))
}

#[cold]
fn refused(error: thalweg_checkpoint::StoreError) -> Error {
    let told = Error::new(Kind::Io, error.what);
    if error.hint.is_empty() { told } else { told.with_hint(error.hint) }
}
