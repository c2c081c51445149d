//! What the cores of the baseline share: the command, their progress, and who sleeps.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::thread::{self, Thread};
use std::time::Duration;

use super::Window;
use crate::machine::{self, Clock};

/// How long the cores run before a window begins, so that the caches are theirs again.
const RAMP: Duration = Duration::from_millis(200);

/// What the coordinator wants of all cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Command {
    /// Leave everything where it is and sleep.
    Pause,
    /// Take turns.
    Run,
    /// End without draining.
    Stop,
}

/// One core's share, on lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Core {
    thread: OnceLock<Thread>,
    is_paused: AtomicBool,
    is_asleep: AtomicBool,
    judged: AtomicU64,
}

/// The shared block of one run.
pub struct Control {
    command: AtomicU32,
    cores: Box<[Core]>,
}

impl Control {
    /// Shared state for so many cores, which start with the given command.
    pub fn new(parallelism: usize, command: Command) -> Self {
        let cores = (0..parallelism).map(|_| Core::default()).collect();
        Self { command: AtomicU32::new(command as u32), cores }
    }

    /// The command in force.
    #[inline(always)]
    pub fn command(&self) -> Command {
        match self.command.load(Ordering::Relaxed) {
            0 => Command::Pause,
            1 => Command::Run,
            _ => Command::Stop,
        }
    }

    /// Gives a command to all cores.
    pub fn order(&self, command: Command) {
        self.command.store(command as u32, Ordering::SeqCst);
        for thread in self.cores.iter().filter_map(|core| core.thread.get()) {
            thread.unpark();
        }
    }

    /// Waits until every core has come to rest after [`Command::Pause`].
    pub fn wait_until_paused(&self) {
        while !self.cores.iter().all(|core| core.is_paused.load(Ordering::SeqCst)) {
            machine::sleep(Duration::from_micros(100));
        }
    }

    /// Runs for a ramp and then for the window, whose records are counted; waits until all
    /// rest again.
    pub fn window(&self, clock: &Clock, length: Duration) -> Window {
        self.order(Command::Run);
        machine::sleep(RAMP);
        let before = (clock.now(), self.judged());
        machine::sleep(length);
        let after = (clock.now(), self.judged());
        self.order(Command::Pause);
        self.wait_until_paused();
        Window { records: after.1 - before.1, seconds: (after.0 - before.0) as f64 * 1e-9 }
    }

    /// Records judged by all cores so far, each as of the end of its last turn.
    pub fn judged(&self) -> u64 {
        self.cores.iter().map(|core| core.judged.load(Ordering::Relaxed)).sum()
    }

    /// A core's thread introduces itself before its first turn.
    pub fn arrive(&self, index: usize) {
        let fresh = self.cores[index].thread.set(thread::current());
        assert!(fresh.is_ok(), "two threads claim to be core {index}");
    }

    /// Rests until the command is no longer [`Command::Pause`].
    pub fn pause(&self, index: usize) {
        self.cores[index].is_paused.store(true, Ordering::SeqCst);
        while self.command.load(Ordering::SeqCst) == Command::Pause as u32 {
            thread::park();
        }
        self.cores[index].is_paused.store(false, Ordering::SeqCst);
    }

    /// Publishes how many records a core has judged.
    #[inline(always)]
    pub fn report(&self, index: usize, judged: u64) {
        self.cores[index].judged.store(judged, Ordering::Relaxed);
    }

    /// A core announces that it is about to sleep; it looks at its inputs once more after this.
    pub fn prepare_sleep(&self, index: usize) {
        self.cores[index].is_asleep.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// A core is awake again.
    pub fn woke(&self, index: usize) {
        self.cores[index].is_asleep.store(false, Ordering::SeqCst);
    }

    /// Wakes a core if it sleeps, after something was handed over to it.
    pub fn wake(&self, index: usize) {
        let core = &self.cores[index];
        fence(Ordering::SeqCst);
        if core.is_asleep.load(Ordering::Relaxed) && core.is_asleep.swap(false, Ordering::SeqCst) {
            core.thread.get().expect("a core that sleeps has arrived").unpark();
        }
    }
}
