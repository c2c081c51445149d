//! Drives a worker: turns, spinning, parking.
//!
//! A core that finds nothing to do spins for a while, then blocks its thread on its doorbell until
//! input, a timer or a command comes. It does one more turn after it has said that it sleeps, so
//! whatever was pushed without a ring is seen: a frame, a chunk that a side thread has read, room
//! in a sink.

use std::sync::Arc;
use std::time::Duration;

use crossbeam::channel::Receiver;
use thalweg_net::Doorbell;

use super::cut::CutCommand;
use super::keeping::ToKeeper;
use super::pulse::Pulse;
use super::voice::Line;
use super::{Meter, Worker};
use crate::Result;
use crate::config::{Idle, RuntimeConfig};

/// How long a core runs before its executor gets a turn, in engine nanoseconds.
const YIELD_AFTER: u64 = 100_000_000;

/// How long a core sleeps at the most.
const SLEEP_MOST: u64 = 1_000_000_000;

/// A sleeping core is woken this long before a scheduled time and spins the rest: a timer is late
/// by about as much as a halted CPU takes to wake.
const WAKE_EARLY: u64 = 80_000;

/// A core that waits for room at another one spins this many times longer than one without input:
/// the other core is at work and gives a buffer back soon, and a wake-up for each would cost both
/// more than what the buffer carries.
const SPIN_FOR_ROOM: u64 = 10;

/// After a turn of so many nanoseconds the system is asked whether it had its CPU all the time: a
/// call that only long turns can afford.
const LONG_TURN: u64 = 100_000;

/// Less is the difference between two clocks.
const LEAST_ABSENCE: u64 = 1_000;

/// What the watching thread asks of a core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// All cores stand: begin.
    Start,
    /// End the sources, then the job in order.
    Stop,
    /// End the attempt now.
    Abort,
    /// Send the metrics.
    Report,
}

/// Why a driver has returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The worker is restored, and what was sealed before is visible.
    Ready,
    /// The executor's turn.
    Yield,
    /// The metrics were asked for.
    Report,
    /// The job has ended here.
    Done,
    /// The attempt was ended.
    Aborted,
}

/// A core's line to the keeper of checkpoints.
pub(crate) struct CutLine {
    pub(crate) commands: Receiver<CutCommand>,
    pub(crate) reports: Line<ToKeeper>,
}

/// Whether a worker may be stepped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Output that was sealed before the restore is becoming visible.
    Settling,
    /// Other cores are not ready.
    Waiting,
    Running,
}

/// A worker and what wakes it.
pub(crate) struct Driver {
    worker: Worker,
    doorbell: Doorbell,
    pulse: Arc<Pulse>,
    commands: Receiver<Command>,
    meter: Arc<Meter>,
    idle: Idle,
    spin: u64,
    /// Until when, in engine nanoseconds, nothing is measured; 0: that is over.
    warm_until: u64,
    /// Engine time since which there was nothing to do.
    idle_since: Option<u64>,
    /// Start of the last turn, and whether it did something.
    last_turn: Option<(u64, bool)>,
    presence: Presence,
    cuts: Option<CutLine>,
    stage: Stage,
}

/// How long the core's thread was without a CPU, be it that it waited for one or that the host took
/// it away.
struct Presence {
    /// Engine time of the last look.
    at: u64,
    /// CPU time of the thread by then.
    used: u64,
}

impl Presence {
    fn new(now: u64) -> Self {
        Self { at: now, used: thread_time() }
    }

    /// Nanoseconds without a CPU since the last look.
    #[cold]
    fn absent(&mut self, now: u64) -> u64 {
        let before = std::mem::replace(self, Self::new(now));
        now.saturating_sub(before.at).saturating_sub(self.used.saturating_sub(before.used))
    }
}

/// CPU time of this thread in nanoseconds.
fn thread_time() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl Driver {
    pub(crate) fn new(
        mut worker: Worker,
        doorbell: Doorbell,
        pulse: Arc<Pulse>,
        commands: Receiver<Command>,
        meter: Arc<Meter>,
        config: &RuntimeConfig,
    ) -> Self {
        worker.set_pulse(Arc::clone(&pulse));
        let warm_up = config.warm_up.as_nanos() as u64;
        let now = worker.core().now();
        let warm_until = if warm_up > 0 { now + warm_up } else { 0 };
        Self {
            worker,
            doorbell,
            pulse,
            commands,
            meter,
            idle: config.idle,
            spin: config.spin.as_nanos() as u64,
            warm_until,
            idle_since: None,
            last_turn: None,
            presence: Presence::new(now),
            cuts: None,
            stage: Stage::Running,
        }
    }

    /// Connects the worker with the keeper of checkpoints; it is stepped once all cores are ready.
    pub(crate) fn with_cuts(self, cuts: CutLine) -> Self {
        Self { cuts: Some(cuts), stage: Stage::Settling, ..self }
    }

    /// The highest checkpoint that the worker has heard of.
    pub(crate) fn highest_checkpoint(&self) -> u64 {
        self.worker.highest_checkpoint()
    }

    /// Runs turns until there is a reason to return.
    pub(crate) fn run(&mut self) -> Result<Outcome> {
        let started = self.worker.core().now();
        loop {
            if let Ok(command) = self.commands.try_recv() {
                match command {
                    Command::Start => self.stage = Stage::Running,
                    Command::Stop => self.worker.stop_sources(),
                    Command::Abort => return Ok(Outcome::Aborted),
                    Command::Report => return Ok(Outcome::Report),
                }
            }
            if self.meter.is_paused() {
                self.pause()?;
                continue;
            }
            if self.stage != Stage::Running {
                if self.is_ready()? {
                    return Ok(Outcome::Ready);
                }
                continue;
            }
            self.hear_commands();
            let progress = self.worker.step()?;
            self.tell_reports();
            let now = self.worker.core().turn_started();
            self.measure(now, progress.worked);
            let core = self.worker.core();
            let metrics = &core.metrics;
            let counts = (metrics.records_in.value(), metrics.records_out.value());
            self.meter.publish(core.index(), counts.0, counts.1);
            if progress.done {
                self.finish_measure();
                return Ok(Outcome::Done);
            }
            if progress.worked {
                self.idle_since = None;
            } else {
                self.rest(now)?;
            }
            if now.saturating_sub(started) >= YIELD_AFTER {
                return Ok(Outcome::Yield);
            }
        }
    }

    /// Whether the worker has just become ready; waits a little for whatever is missing.
    fn is_ready(&mut self) -> Result<bool> {
        if self.stage == Stage::Settling && self.worker.is_settled()? {
            self.stage = Stage::Waiting;
            return Ok(true);
        }
        self.nap()?;
        Ok(false)
    }

    /// Waits for the doorbell, at most a millisecond.
    fn nap(&self) -> Result<()> {
        self.doorbell.prepare_sleep();
        let slept = self.doorbell.wait(Some(Duration::from_millis(1)));
        slept.map_err(|error| crate::Error::io("cannot wait on a core's doorbell", error))?;
        Ok(())
    }

    /// Hands commands of the keeper of checkpoints over.
    fn hear_commands(&mut self) {
        if let Some(cuts) = &self.cuts {
            while let Ok(command) = cuts.commands.try_recv() {
                self.worker.command(command);
            }
        }
    }

    /// Passes on what the worker has to say about checkpoints.
    fn tell_reports(&mut self) {
        let Some(cuts) = &self.cuts else { return };
        let core = self.worker.core().index();
        while let Some(report) = self.worker.report() {
            cuts.reports.say(ToKeeper::Report(core, report));
        }
    }

    /// Whether nobody has a command.
    fn nothing_said(&self) -> bool {
        self.commands.is_empty() && self.cuts.as_ref().is_none_or(|cuts| cuts.commands.is_empty())
    }

    /// Sleeps for as long as the meter says, apart from commands.
    fn pause(&mut self) -> Result<()> {
        self.meter.rest();
        self.pulse.park();
        while self.meter.is_paused() && self.commands.is_empty() {
            self.nap()?;
        }
        self.pulse.wake();
        self.meter.wake();
        self.last_turn = None;
        self.presence = Presence::new(self.worker.core().refresh_nanos());
        Ok(())
    }

    /// Accounts for the turn before this one, which lasted until `now`.
    fn measure(&mut self, now: u64, worked: bool) {
        let metrics = &self.worker.core().metrics;
        if self.warm_until != 0 && now >= self.warm_until {
            self.warm_until = 0;
            metrics.restart();
        }
        if let Some((start, did_work)) = self.last_turn.replace((now, worked)) {
            let gap = now.saturating_sub(start);
            let absent = if gap < LONG_TURN { 0 } else { self.presence.absent(now).min(gap) };
            if did_work {
                metrics.busy_nanos.add(gap);
                metrics.turns.record(gap - absent, 1);
                if absent >= LEAST_ABSENCE {
                    metrics.absences.record(absent, 1);
                }
            } else {
                metrics.record_idle(gap);
            }
        }
    }

    fn finish_measure(&mut self) {
        let now = self.worker.core().refresh_nanos();
        self.measure(now, false);
    }

    /// How long nothing is scheduled, in nanoseconds.
    fn sleep_for(&self, now: u64) -> u64 {
        let wake_at = self.worker.wake_at().unwrap_or(u64::MAX);
        wake_at.saturating_sub(now).saturating_sub(WAKE_EARLY).min(SLEEP_MOST)
    }

    /// Nothing to do: spins, or blocks the thread once it has spun long enough.
    fn rest(&mut self, now: u64) -> Result<()> {
        let since = *self.idle_since.get_or_insert(now);
        let room = self.worker.wants_room()?;
        let spin = if room { self.spin.saturating_mul(SPIN_FOR_ROOM) } else { self.spin };
        if self.idle == Idle::Spin || now.saturating_sub(since) < spin {
            std::hint::spin_loop();
            return Ok(());
        }
        if self.sleep_for(now) == 0 {
            return Ok(());
        }
        self.worker.wake_for_room(room);
        self.doorbell.prepare_sleep();
        let progress = self.worker.step()?;
        self.tell_reports();
        let room_unsaid = self.worker.wants_room()? && !room;
        let now = self.worker.core().turn_started();
        self.measure(now, progress.worked);
        let sleep = self.sleep_for(now);
        let awake = progress.worked || progress.done || room_unsaid;
        if awake || sleep == 0 || !self.nothing_said() {
            self.doorbell.cancel_sleep();
            self.idle_since = self.idle_since.filter(|_| !progress.worked);
            return Ok(());
        }
        self.pulse.park();
        let woken = self.doorbell.wait(Some(Duration::from_nanos(sleep)));
        self.pulse.wake();
        self.last_turn = None;
        self.presence = Presence::new(self.worker.core().refresh_nanos());
        // Woken for a scheduled time: what is left of it is spun.
        self.idle_since = None;
        woken.map(drop).map_err(|error| crate::Error::io("cannot wait on a core's doorbell", error))
    }
}
