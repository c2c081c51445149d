//! Stands between the cores of an attempt and its coordinator.
//!
//! Reports of cores become events, orders become commands and work. What all cores have for a
//! checkpoint becomes one pack, what a core spills one of its own. A segment that could not be
//! stored, or whose checkpoint has failed, goes into the next pack: no later checkpoint is complete
//! without it.

use thalweg_checkpoint::coordinator::{Event, Failure, Order, Trigger};
use thalweg_checkpoint::manifest::{FileInfo, Kind};
use thalweg_checkpoint::paths::Pack;
use thalweg_checkpoint::{Coordinator, StoreError, fail_point};
use thalweg_net::Barrier;

use super::draining::{Answered, Draining};
use super::merge::Merge;
use super::work::{Done, Packing, Upload, Work};
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
    /// What [`Keeper::stop`] asked for failed, and why: the job goes on.
    NotKept(String),
    /// To who asked for a checkpoint: the one that is complete, or why there is none.
    Answer(u64, Result<u64, String>),
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
    /// Files that go into the next pack.
    waiting: Vec<Upload>,
    /// The cores that have handed over all that they have for [`Keeper::triggered`].
    delivered: Vec<bool>,
    /// Spilled segments that could not be stored, and when that is tried again.
    again: Vec<Upload>,
    again_at_ms: Option<u64>,
    /// How many packs there were.
    packs: u64,
    stopping: Stopping,
    committed: Vec<u64>,
    draining: Option<Draining>,
    /// The time of the call that is being answered.
    now_ms: u64,
}

/// How long it takes until a spilled segment that could not be stored is stored again.
const SPILL_RETRY_MS: u64 = 100;

/// The token of the keeper's own request.
const STOP: u64 = u64::MAX;

/// How far a stop has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stopping {
    No,
    /// The checkpoint was asked for.
    Asked {
        drain: bool,
    },
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
            waiting: Vec::new(),
            again: Vec::new(),
            again_at_ms: None,
            delivered: vec![false; cores],
            packs: 0,
            stopping: Stopping::No,
            committed: vec![0; cores],
            draining: None,
            now_ms: 0,
        }
    }

    /// The coordinator, to look at.
    pub fn coordinator(&self) -> &Coordinator {
        &self.coordinator
    }

    /// When [`Keeper::tick`] is due at the latest, in the time of the other calls.
    pub fn wake_at(&self) -> Option<u64> {
        let drained = self.draining.as_ref().and_then(|draining| draining.until_ms);
        let others = drained.into_iter().chain(self.again_at_ms);
        self.coordinator.wake_at().into_iter().chain(others).min()
    }

    /// A core is restored, and what was sealed before is visible.
    pub fn ready(&mut self, now_ms: u64, core: usize, highest_id: u64) -> Vec<Action> {
        self.event(now_ms, Event::Ready { core: core as u32, highest_id })
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: u64) -> Vec<Action> {
        let mut actions = self.event(now_ms, Event::Tick);
        if self.again_at_ms.take_if(|at| *at <= now_ms).is_some() {
            let again = std::mem::take(&mut self.again);
            actions.extend(self.spill(again));
        }
        let over = |draining: &mut Draining| draining.until_ms.is_some_and(|at| at <= now_ms);
        if let Some(draining) = self.draining.take_if(over) {
            self.cut(&draining.trigger, &mut actions);
        }
        actions
    }

    /// The job is to stop: a checkpoint is made, and when it is committed everywhere
    /// [`Action::Kept`] says so. With `drain` everything that was read is worked off before; should
    /// that fail, [`Action::NotKept`] says why and the job goes on. Without, the job ends all the
    /// same, and an older checkpoint has to do.
    pub fn stop(&mut self, now_ms: u64, drain: bool) -> Vec<Action> {
        self.stopping = Stopping::Asked { drain };
        let mut actions =
            self.event(now_ms, Event::TriggerNow { token: STOP, kind: Kind::Checkpoint });
        // Who asked to drain before, and waits for a sink that stands still, waits no longer.
        if let Some(draining) = self.draining.take_if(|draining| draining.keep && !drain) {
            self.cut(&draining.trigger, &mut actions);
        }
        actions
    }

    /// Somebody asks for a checkpoint; [`Action::Answer`] carries the token.
    pub fn trigger(&mut self, now_ms: u64, token: u64) -> Vec<Action> {
        self.event(now_ms, Event::TriggerNow { token, kind: Kind::Checkpoint })
    }

    /// A core has something to say.
    pub fn hear(&mut self, now_ms: u64, core: usize, report: CutReport) -> Vec<Action> {
        match report {
            CutReport::Store { number, content } => {
                self.waiting.push(Upload { core, number, content, is_spill: false });
                Vec::new()
            }
            CutReport::Spill { number, content } => {
                self.spill(vec![Upload { core, number, content, is_spill: true }])
            }
            CutReport::Quiet { round, sent, received } => self.quiet(core, round, (sent, received)),
            CutReport::Delivered(checkpoint) => {
                self.delivered[core] |= checkpoint == self.triggered;
                if self.delivered.contains(&false) { Vec::new() } else { self.pack() }
            }
            CutReport::Merge { segments, is_bottom } => {
                let pack = self.next_pack();
                let merge = Merge::new(&self.job, pack, core, segments, is_bottom);
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
            Done::Copied(_) | Done::Pruned(_) => Vec::new(),
            Done::Heard(event) => self.event(now_ms, event),
            Done::Merged(core, merged) => {
                let file = merged.ok().map(|merged| merged.file);
                vec![Action::Tell(core, CutCommand::Merged(file))]
            }
            Done::Packed(uploads, Ok(files)) => {
                let stored = uploads.into_iter().zip(files);
                stored.flat_map(|(upload, file)| stored_of(upload, file)).collect()
            }
            Done::Packed(uploads, Err(error)) => self.refused(now_ms, uploads, &error),
        }
    }

    /// All cores have delivered: makes it durable with one synchronisation.
    fn pack(&mut self) -> Vec<Action> {
        self.delivered.fill(false);
        let pack = self.next_pack();
        let packing = Packing::new(&self.job, pack, std::mem::take(&mut self.waiting));
        vec![Action::Do(Work::Pack(packing))]
    }

    fn next_pack(&mut self) -> Pack {
        let number = self.packs;
        self.packs += 1;
        Pack { attempt: self.attempt, node: 0, number }
    }

    /// What no checkpoint waits for has a pack of its own.
    fn spill(&mut self, uploads: Vec<Upload>) -> Vec<Action> {
        let pack = self.next_pack();
        vec![Action::Do(Work::Pack(Packing::new(&self.job, pack, uploads)))]
    }

    /// Segments wait for the next checkpoint: none is complete without them. What was spilled is
    /// tried again by and by, since a core that has no room waits for it.
    fn refused(&mut self, now_ms: u64, uploads: Vec<Upload>, error: &StoreError) -> Vec<Action> {
        if uploads.iter().all(|upload| upload.is_spill) {
            self.again.extend(uploads);
            self.again_at_ms = Some(now_ms + SPILL_RETRY_MS);
            return Vec::new();
        }
        let checkpoint = self.triggered;
        let core = uploads.first().map_or(0, |upload| upload.core as u32);
        let later = std::mem::take(&mut self.waiting);
        self.waiting.extend(uploads.into_iter().filter(Upload::outlasts_its_checkpoint));
        self.waiting.extend(later);
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
            Err(reason) if self.stopping == (Stopping::Asked { drain: true }) => {
                self.stopping = Stopping::No;
                self.draining = None;
                self.tell_all(&CutCommand::Resume, actions);
                actions.push(Action::NotKept(reason));
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

    /// A core has nothing to do at the moment.
    fn quiet(&mut self, core: usize, round: u64, counts: (u64, u64)) -> Vec<Action> {
        let mut actions = Vec::new();
        let Some(draining) = &mut self.draining else { return actions };
        match draining.answered(core, round, counts) {
            Answered::Waiting => {}
            Answered::Again(round) => {
                let keep = draining.keep;
                self.tell_all(&CutCommand::Drain { round, keep }, &mut actions);
            }
            Answered::Quiet => {
                let trigger = draining.trigger;
                self.draining = None;
                self.cut(&trigger, &mut actions);
            }
        }
        actions
    }

    /// The order to make a checkpoint: all that is on its way is worked off first, or recorded.
    fn triggered(&mut self, trigger: Trigger, actions: &mut Vec<Action>) {
        self.triggered = trigger.id;
        self.delivered.fill(false);
        self.waiting.retain(Upload::outlasts_its_checkpoint);
        let keep = self.stopping == (Stopping::Asked { drain: true });
        let until_ms = match trigger.aligned_timeout_ms {
            0 if !keep => return self.cut(&trigger, actions),
            0 | u64::MAX => None,
            timeout => Some(self.now_ms.saturating_add(timeout)).filter(|_| !keep),
        };
        // A core that waits for room until its segments are stored would never be quiet: what
        // earlier checkpoints have left does not wait for this one.
        if !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            actions.extend(self.spill(waiting));
        }
        self.draining = Some(Draining::new(trigger, self.ended.len(), until_ms, keep));
        self.tell_all(&CutCommand::Drain { round: 0, keep }, actions);
    }

    fn cut(&self, trigger: &Trigger, actions: &mut Vec<Action>) {
        self.tell_all(&CutCommand::Trigger(barrier(trigger)), actions);
        fail_point!("triggered");
    }

    fn tell_all(&self, command: &CutCommand, actions: &mut Vec<Action>) {
        let cores = 0..self.ended.len();
        actions.extend(cores.map(|core| Action::Tell(core, command.clone())));
    }

    fn event(&mut self, now_ms: u64, event: Event) -> Vec<Action> {
        self.now_ms = now_ms;
        let orders = self.coordinator.handle(now_ms, event);
        let mut actions = Vec::new();
        for order in orders {
            self.obey(order, &mut actions);
        }
        actions
    }

    fn obey(&mut self, order: Order, actions: &mut Vec<Action>) {
        match order {
            // The attempt ends with the checkpoint that its stop has asked for.
            Order::Trigger(_)
                if !matches!(self.stopping, Stopping::No | Stopping::Asked { .. }) => {}
            Order::Trigger(trigger) => self.triggered(trigger, actions),
            Order::Abort { id } => {
                if self.draining.take_if(|draining| draining.trigger.id <= id).is_some() {
                    self.tell_all(&CutCommand::Resume, actions);
                }
                self.tell_all(&CutCommand::Abort(id), actions);
            }
            Order::Commit { id } => self.tell_all(&CutCommand::Commit(id), actions),
            Order::Append { k, entry } => actions.push(Action::Do(Work::Append { k, entry })),
            Order::CopyManifest { manifest } => {
                actions.push(Action::Do(Work::CopyManifest(manifest)));
            }
            Order::Prune { first } => actions.push(Action::Do(Work::Prune { first })),
            Order::Delete { paths } => actions.push(Action::Do(Work::Delete(paths))),
            Order::Answer { token, result } if token == STOP => self.answered(result, actions),
            Order::Answer { token, result } => actions.push(Action::Answer(token, result)),
            Order::FailAttempt { reason } => {
                let is_final = matches!(reason, Failure::Superseded { .. });
                actions.push(Action::Fail { reason: reason.to_string(), is_final });
            }
            Order::Finished => actions.push(Action::Finished),
        }
    }
}

/// What a core hears of a file that is durable.
fn stored_of(upload: Upload, file: FileInfo) -> impl Iterator<Item = Action> {
    let Upload { core, number, content, .. } = upload;
    let spare = match content {
        Content::Segment { blocks, .. } => Some(CutCommand::Spare(blocks)),
        Content::Image(_) => None,
    };
    let commands = [CutCommand::Stored(number, file)].into_iter().chain(spare);
    commands.map(move |command| Action::Tell(core, command))
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

#[cfg(test)]
mod tests;
