//! `run --supervise`: a parent process that starts the job again when its process dies.
//!
//! What the job itself can repeat, an error or a panic, it repeats in its own process. The parent
//! is there for what ends a process: SIGKILL, no memory, a crash in foreign code. The child is the
//! same command line; it goes on from the newest complete checkpoint.

use rustix::fd::OwnedFd;
use rustix::process::{
    Pid, PidfdFlags, Signal, getppid, pidfd_open, pidfd_send_signal,
    set_parent_process_death_signal,
};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use thalweg_checkpoint::restart::{Decision, Restarts, Strategy};

use crate::time::{Clock, MachineClock, pause_until};
use crate::{Error, Result};

/// What tells a child that it is one: the job's id, whether it goes on with what an earlier child
/// has begun, and its parent.
const VARIABLE: &str = "THALWEG_SUPERVISED";

/// What a supervised process knows.
pub(super) struct Supervised {
    pub(super) job_id: String,
    /// Whether an earlier child ran before.
    pub(super) again: bool,
    parent: i32,
}

impl Supervised {
    /// Reads it; `None`: this process is nobody's child.
    pub(super) fn look() -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let mut words = text.split(' ');
        let (job_id, word, parent) = (words.next()?, words.next()?, words.next()?);
        // Without its parent nobody would start it again, nor stop it with the parent.
        let _ = set_parent_process_death_signal(Some(Signal::TERM));
        let parent = parent.parse().ok()?;
        Some(Self { job_id: job_id.to_owned(), again: word == "again", parent })
    }

    /// Whether the parent has died before it could be watched.
    pub(super) fn is_orphan(&self) -> bool {
        getppid().is_none_or(|parent| parent.as_raw_pid() != self.parent)
    }
}

/// The child that runs, for the signals that the parent gets.
#[derive(Clone, Default)]
struct Child {
    process: Arc<Mutex<Option<OwnedFd>>>,
    stopping: Arc<AtomicBool>,
}

impl Child {
    fn process(&self) -> MutexGuard<'_, Option<OwnedFd>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands SIGINT and SIGTERM on; from the first of them on no child is started.
    fn forward_signals(&self) -> Result<()> {
        let failed = |error| Error::io("cannot listen to signals", error);
        let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
        let child = self.clone();
        let listen = move || {
            for signal in signals.forever() {
                let process = child.process();
                child.stopping.store(true, Ordering::SeqCst);
                let signal = if signal == SIGINT { Signal::INT } else { Signal::TERM };
                if let Some(process) = &*process {
                    let _ = pidfd_send_signal(process, signal);
                }
            }
        };
        std::thread::Builder::new().name("signals".into()).spawn(listen).map(drop).map_err(failed)
    }

    /// Runs a child to its end.
    fn run(&self, job_id: &str, again: bool) -> Result<ExitStatus> {
        let failed = |error| Error::io("cannot start the supervised process", error);
        let program = std::env::current_exe().map_err(failed)?;
        let mut command = Command::new(program);
        let word = if again { "again" } else { "first" };
        let told = format!("{job_id} {word} {}", std::process::id());
        command.args(std::env::args_os().skip(1)).env(VARIABLE, told);
        // A terminal's signals come from here alone: a second one would end the child at once.
        let mut child = command.process_group(0).spawn().map_err(failed)?;
        let process = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let process = process.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        {
            // A signal came before, or finds the process: the child gets one, not two.
            let mut known = self.process();
            *known = process;
            if let Some(process) = known.as_ref().filter(|_| self.is_stopping()) {
                let _ = pidfd_send_signal(process, Signal::TERM);
            }
        }
        let status = child.wait().map_err(failed);
        *self.process() = None;
        status
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Runs the job in a child process, and again whenever that was killed, as often as the restart
/// strategy allows; returns the last exit code.
pub(super) fn supervise(job_id: &str, strategy: Strategy) -> Result<i32> {
    let clock = MachineClock::new();
    let mut restarts = Restarts::new(strategy);
    let child = Child::default();
    child.forward_signals()?;
    let mut again = false;
    loop {
        let status = child.run(job_id, again)?;
        again = true;
        let Some(signal) = status.signal() else { return Ok(status.code().unwrap_or(1)) };
        let nanos = clock.nanos();
        match restarts.failed(nanos / 1_000_000, (nanos % 1000) as f64 / 1000.0) {
            Decision::RestartAfter(delay_ms) if !child.is_stopping() => {
                tracing::warn!(delay_ms, "signal {signal} has ended the job: it is started again");
                if pause_until(delay_ms, || child.is_stopping()) {
                    return Ok(128 + signal);
                }
            }
            _ => return Ok(128 + signal),
        }
    }
}
