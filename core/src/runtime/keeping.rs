//! The thread that keeps the checkpoints of an attempt: the keeper, the store, and the lines
//! between them and the cores.

mod later;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam::channel::{Sender, bounded};
use thalweg_checkpoint::Store;
use thalweg_net::Doorbell;

use self::later::Later;
use super::SideCpus;
use super::cut::{CutCommand, CutReport};
use super::voice::{Ear, Event, Heard, Line, line};
use crate::console::{Board, Checkpoints};
use crate::control::{Action, Done, Keeper};
use crate::error::Kind;
use crate::time::{Clock, MachineClock};
use crate::{Error, Result};

/// How long the thread sleeps at the most.
const SLEEP_MOST: Duration = Duration::from_millis(500);

/// What the keeper's thread is told.
pub(crate) enum ToKeeper {
    /// A core is ready; with the highest checkpoint that it has heard of.
    Ready(usize, u64),
    /// A core says something.
    Report(usize, CutReport),
    /// The job is to stop once a checkpoint of now is committed; `drain`: and all that was read is
    /// worked off.
    Stop { drain: bool },
    /// Somebody asks for a checkpoint.
    Trigger(Sender<Result<u64, String>>),
    /// The attempt is over.
    End,
}

/// The way to a core.
pub(super) struct ToCore {
    pub(super) commands: Sender<CutCommand>,
    pub(super) doorbell: Doorbell,
}

/// The thread, for who started it.
pub(super) struct Keeping {
    pub(super) line: Line<ToKeeper>,
    thread: JoinHandle<Result<Checkpoints>>,
}

impl Keeping {
    /// Starts the thread; `say` tells the watching thread what it has to know. Returns the way to
    /// it, and where the ways to the cores go once they are known.
    #[allow(clippy::disallowed_methods, reason = "this is the rim")]
    pub(super) fn start(
        keeper: Keeper,
        store: Arc<dyn Store + Sync>,
        job: &str,
        cpus: SideCpus,
        clock: MachineClock,
        say: Line<Event>,
        board: Option<Board>,
    ) -> Result<(Self, Sender<Vec<ToCore>>)> {
        let (tell_line, hear_line) = bounded(1);
        let (give_cores, take_cores) = bounded(1);
        let job = job.to_owned();
        let body = move || {
            cpus.spread();
            let (line, ear) = line();
            let _ = tell_line.send(line);
            let Ok(cores) = take_cores.recv() else { return Ok(Checkpoints::default()) };
            let later = Later::start(Arc::clone(&store), &job, cpus)?;
            let (finished, failure, logged, asked, shown) = (false, None, 0, 0, 0);
            let askers = BTreeMap::new();
            let thread = Keepers {
                keeper,
                store,
                later,
                job,
                clock,
                say,
                cores,
                finished,
                failure,
                logged,
                askers,
                asked,
                board,
                shown,
            };
            thread.run(&ear)
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(body);
        let thread = thread
            .map_err(|error| Error::io("cannot start the thread that keeps checkpoints", error))?;
        let line = hear_line.recv().map_err(|_| died())?;
        Ok((Self { line, thread }, give_cores))
    }

    /// Ends the thread.
    pub(super) fn end(self) -> Result<Checkpoints> {
        self.line.say(ToKeeper::End);
        self.finish()
    }

    /// Waits until the log says that the job has finished.
    pub(super) fn finish(self) -> Result<Checkpoints> {
        self.thread.join().map_err(|_| died())?
    }
}

#[cold]
fn died() -> Error {
    Error::new(Kind::Invariant, "the thread that keeps checkpoints has died")
}

struct Keepers {
    keeper: Keeper,
    store: Arc<dyn Store + Sync>,
    later: Later,
    job: String,
    clock: MachineClock,
    say: Line<Event>,
    cores: Vec<ToCore>,
    finished: bool,
    /// Why it can keep nothing any more.
    failure: Option<String>,
    /// How many checkpoints were spoken of.
    logged: u64,
    /// Who has asked for checkpoints, by token, and how many have.
    askers: BTreeMap<u64, Sender<Result<u64, String>>>,
    asked: u64,
    board: Option<Board>,
    /// What the board shows, by the `changes` of the coordinator's statistics.
    shown: u64,
}

impl Keepers {
    fn run(mut self, ear: &Ear<ToKeeper>) -> Result<Checkpoints> {
        loop {
            let now = self.now_ms();
            let wait = self.keeper.wake_at().map_or(SLEEP_MOST, |at| {
                Duration::from_millis(at.saturating_sub(now)).min(SLEEP_MOST)
            });
            let heard = ear.listen(wait);
            let now = self.now_ms();
            let actions = match heard {
                Heard::Event(ToKeeper::Ready(core, highest)) => {
                    self.keeper.ready(now, core, highest)
                }
                Heard::Event(ToKeeper::Report(core, report)) => self.keeper.hear(now, core, report),
                Heard::Event(ToKeeper::Stop { drain }) => self.keeper.stop(now, drain),
                Heard::Event(ToKeeper::Trigger(asker)) => {
                    self.asked += 1;
                    self.askers.insert(self.asked, asker);
                    self.keeper.trigger(now, self.asked)
                }
                Heard::Event(ToKeeper::End) | Heard::NobodyLeft => return Ok(self.checkpoints()),
                Heard::Nothing => self.keeper.tick(now),
            };
            self.act(actions);
            while let Some(done) = self.later.done() {
                self.heed(done);
            }
            self.log_newest();
            if let Some(reason) = self.failure {
                return Err(lost(&reason));
            }
            if self.finished {
                return Ok(self.checkpoints());
            }
        }
    }

    /// What was made of them.
    fn checkpoints(&self) -> Checkpoints {
        let mut checkpoints = Checkpoints::default();
        checkpoints.update(self.keeper.coordinator().statistics());
        checkpoints
    }

    fn now_ms(&self) -> u64 {
        self.clock.nanos() / 1_000_000
    }

    /// Says what became of the last checkpoint.
    fn log_newest(&mut self) {
        let statistics = self.keeper.coordinator().statistics();
        let changes = statistics.changes();
        if let Some(board) = self.board.as_ref().filter(|_| changes != self.shown) {
            board.show(|checkpoints| checkpoints.update(statistics));
            self.shown = changes;
        }
        let count = statistics.completed_count() + statistics.failed_count();
        if count == self.logged {
            return;
        }
        self.logged = count;
        let Some(newest) = statistics.list().last() else { return };
        let (checkpoint, ms, bytes) = (newest.id, newest.duration_ms, newest.bytes);
        match &newest.failure {
            None => {
                let phases = newest.phases;
                let (new_bytes, in_flight) = (newest.new_bytes, newest.in_flight);
                tracing::debug!(
                    checkpoint,
                    ms,
                    bytes,
                    new_bytes,
                    in_flight,
                    cut_us = phases.cut_us,
                    encode_us = phases.encode_us,
                    recording_us = phases.recording_us,
                    write_us = phases.upload_us,
                    pause_us = phases.pause_us,
                    log_ms = newest.log_ms,
                    "checkpoint complete"
                );
            }
            Some(why) => tracing::warn!(checkpoint, ms, "checkpoint failed: {why}"),
        }
    }

    fn heed(&mut self, done: Done) {
        let actions = self.did(done);
        self.act(actions);
    }

    fn did(&mut self, done: Done) -> Vec<Action> {
        if let Some(trouble) = done.trouble() {
            tracing::warn!("{trouble}");
        }
        let now = self.now_ms();
        self.keeper.did(now, done)
    }

    fn act(&mut self, actions: Vec<Action>) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Tell(core, command) => {
                    let core = &self.cores[core];
                    let _ = core.commands.send(command);
                    core.doorbell.ring();
                }
                Action::Do(work) if work.can_wait() => self.later.order(work),
                Action::Do(work) => {
                    let done = work.carry_out(&*self.store, &self.job);
                    actions.extend(self.did(done));
                }
                Action::Fail { reason, is_final } => {
                    let error = lost(&reason);
                    self.say.say(if is_final {
                        Event::Superseded(error)
                    } else {
                        Event::Failed(error)
                    });
                    self.failure = Some(reason);
                }
                Action::Kept => self.say.say(Event::Kept),
                Action::NotKept(reason) => self.say.say(Event::NotKept(reason)),
                Action::Answer(token, result) => {
                    if let Some(asker) = self.askers.remove(&token) {
                        let _ = asker.send(result);
                    }
                }
                Action::Finished => self.finished = true,
            }
        }
    }
}

#[cold]
fn lost(reason: &str) -> Error {
    Error::new(Kind::Io, format!("cannot keep checkpoints: {reason}"))
}
