//! Stands between the cores of an attempt and its coordinator.
//!
//! Reports of cores become events, orders become commands and work. A segment that could not be
//! stored is kept: no later checkpoint is complete without it, so it is tried again when the next
//! one is triggered.

use thalweg_checkpoint::coordinator::{Event, Failure, Order, Trigger};
use thalweg_checkpoint::manifest::{FileInfo, Kind};
use thalweg_checkpoint::{Coordinator, StoreError, fail_point};
use thalweg_net::Barrier;

use super::work::{Done, Merge, Upload, Work};
use crate::runtime::{Content, CutCommand, CutReport};

/// A barrier's kind that says: all sources have ended, and this is the job's last checkpoint.
pub(crate) const FINAL: u8 = 2;

/// What is to be done now.
#[derive(Debug)]
pub enum Action {
    /// Tell a core something.
    Tell(usize, CutCommand),
    /// Carry this out and say what came of it.
    Do(Work),
    /// The attempt is over, and why; `is_final`: another one has taken its place.
    Fail {
        /// Why.
        reason: String,
        /// Whether no attempt may follow in this process.
        is_final: bool,
    },
    /// What [`Keeper::stop`] asked for is committed: the attempt may end.
    Kept,
    /// The job has finished, durably.
    Finished,
}

/// The keeper of an attempt's checkpoints.
pub struct Keeper {
    job: String,
    attempt: u64,
    coordinator: Coordinator,
    ended: Vec<bool>,
    /// The checkpoint that was triggered last.
    triggered: u64,
    /// Segments that could not be stored.
    stuck: Vec<Upload>,
    stopping: Stopping,
    committed: Vec<u64>,
}

/// The token of the keeper's own request.
const STOP: u64 = u64::MAX;

/// How far a stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// The checkpoint was asked for.
    Asked,
    /// It is complete, and to be committed everywhere.
    Complete(u64),
    Kept,
}

impl Keeper {
    /// The keeper of an attempt on so many cores.
    pub fn new(job: &str, attempt: u64, coordinator: Coordinator, cores: usize) -> Self {
        Self {
            job: job.to_owned(),
            attempt,
            coordinator,
            ended: vec![false; cores],
            triggered: 0,
            stuck: Vec::new(),
            stopping: Stopping::No,
            committed: vec![0; cores],
        }
    }

    /// The coordinator, to look at.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// When [`Keeper::tick`] is due at the latest, in the time of the other calls.
    pub fn wake_at(&self) -> Option<u64> {
        self.coordinator.wake_at()
    }

    /// A core is restored, and what was sealed before is visible.
    pub fn ready(&mut self, now_ms: u64, core: usize, highest_id: u64) -> Vec<Action> {
        self.event(now_ms, Event::Ready { core: core as u32, highest_id })
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        self.event(now_ms, Event::Tick)
    }

    /// The job is to stop: a checkpoint is made, and when it is committed everywhere
    /// [`Action::Kept`] says so.
    pub fn stop(&mut self, now_ms: u64) -> Vec<Action> {
        self.stopping = Stopping::Asked;
        self.event(now_ms, Event::TriggerNow { token: STOP, kind: Kind::Checkpoint })
    }

    /// A core has something to say.
    pub fn hear(&mut self, now_ms: u64, core: usize, report: CutReport) -> Vec<Action> {
        match report {
            CutReport::Store { number, content } => {
                let upload = Upload::new(&self.job, self.attempt, core, number, content);
                vec![Action::Do(Work::Upload(Box::new(upload)))]
            }
            CutReport::Merge { number, segments } => {
                let merge = Merge::new(&self.job, self.attempt, core, number, segments);
                vec![Action::Do(Work::Merge(merge))]
            }
            CutReport::Acknowledged(part) => {
                self.event(now_ms, Event::Acknowledged(Box::new(part)))
            }
            CutReport::Committed(checkpoint) => {
                self.committed[core] = checkpoint;
                let mut actions =
                    self.event(now_ms, Event::Committed { core: core as u32, checkpoint });
                self.look_at_stop(&mut actions);
                actions
            }
            CutReport::Ended => {
                self.ended[core] = true;
                let all = self.ended.iter().all(|ended| *ended);
                if all { self.event(now_ms, Event::AllEnded) } else { Vec::new() }
            }
        }
    }

    /// Work is done.
    pub fn did(&mut self, now_ms: u64, done: Done) -> Vec<Action> {
        match done {
            Done::Nothing => Vec::new(),
            Done::Heard(event) => self.event(now_ms, event),
            Done::Merged(core, file) => {
                vec![Action::Tell(core, CutCommand::Merged(file.ok()))]
            }
            Done::Uploaded(upload, Ok(file)) => vec![stored(&upload, file)],
            Done::Uploaded(upload, Err(error)) => self.refused(now_ms, *upload, &error),
        }
    }

    fn refused(&mut self, now_ms: u64, upload: Upload, error: &StoreError) -> Vec<Action> {
        let (core, checkpoint) = (upload.core as u32, self.triggered);
        if matches!(upload.content, Content::Segment { .. }) {
            self.stuck.push(upload);
        }
        let reason = error.to_string();
        self.event(now_ms, Event::Declined { core, checkpoint, reason })
    }

    /// The checkpoint of a stop is complete, or failed: then an older one has to do, and what came
    /// behind it is read again.
    fn answered(&mut self, result: Result<u64, String>, actions: &mut Vec<Action>) {
        match result {
            Ok(checkpoint) => {
                self.stopping = Stopping::Complete(checkpoint);
                self.look_at_stop(actions);
            }
            Err(_) => {
                self.stopping = Stopping::Kept;
                actions.push(Action::Kept);
            }
        }
    }

    fn look_at_stop(&mut self, actions: &mut Vec<Action>) {
        if let Stopping::Complete(checkpoint) = self.stopping
            && self.committed.iter().all(|committed| *committed >= checkpoint)
        {
            self.stopping = Stopping::Kept;
            actions.push(Action::Kept);
        }
    }

    fn event(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        let orders = self.coordinator.handle(now_ms, event);
        let mut actions = Vec::new();
        for order in orders {
            self.obey(order, &mut actions);
        }
        actions
    }

    fn obey(&mut self, order: Order, actions: &mut Vec<Action>) {
        let mut tell_all = |command: CutCommand| {
            let cores = 0..self.ended.len();
            actions.extend(cores.map(|core| Action::Tell(core, command.clone())));
        };
        match order {
            // The attempt ends with the checkpoint that its stop has asked for.
            Order::Trigger(_) if !matches!(self.stopping, Stopping::No | Stopping::Asked) => {}
            Order::Trigger(trigger) => {
                tell_all(CutCommand::Trigger(barrier(&trigger)));
                fail_point!("triggered");
                self.triggered = trigger.id;
                let again =
                    self.stuck.drain(..).map(|upload| Action::Do(Work::Upload(Box::new(upload))));
                actions.extend(again);
            }
            Order::Abort { id } => tell_all(CutCommand::Abort(id)),
            Order::Commit { id } => tell_all(CutCommand::Commit(id)),
            Order::Append { k, entry } => actions.push(Action::Do(Work::Append { k, entry })),
            Order::CopyManifest { manifest } => {
                actions.push(Action::Do(Work::CopyManifest(manifest)));
            }
            Order::Delete { paths } => actions.push(Action::Do(Work::Delete(paths))),
            Order::Answer { token, result } if token == STOP => self.answered(result, actions),
            Order::Answer { .. } => {}
            Order::FailAttempt { reason } => {
                let is_final = matches!(reason, Failure::Superseded { .. });
                actions.push(Action::Fail { reason: reason.to_string(), is_final });
            }
            Order::Finished => actions.push(Action::Finished),
        }
    }
}

fn stored(upload: &Upload, file: FileInfo) -> Action {
    Action::Tell(upload.core, CutCommand::Stored(upload.number, file))
}

fn barrier(trigger: &Trigger) -> Barrier {
    let kind = match trigger.kind {
        Kind::Checkpoint => 0,
        Kind::Savepoint => 1,
        Kind::Final => FINAL,
    };
    let Trigger { term, id, started_ms, .. } = *trigger;
    Barrier { term, checkpoint: id, kind, started_ms }
}
