//! Runs a job on real cores without ever hanging a test.

use std::sync::mpsc::channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thalweg::config::Rim;
use thalweg::error::Kind;
use thalweg::time::{Clock, MachineClock};
use thalweg::{Args, Job, Result, RunOptions, Summary};

/// Both forms of a core's thread.
pub const RIMS: [Rim; 2] = [Rim::Glommio, Rim::Thread];

/// Tests that pin cores take turns.
pub fn cores() -> MutexGuard<'static, ()> {
    static CORES: Mutex<()> = Mutex::new(());
    CORES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a job in a thread of its own and waits for it, `patience` at the most; gives back how long
/// it took. `None` where the machine refuses io_uring.
///
/// # Panics
/// If the job does not end in time.
pub fn attempt<J>(job: J, options: RunOptions, patience: Duration) -> Option<Attempt>
where
    J: Job + Clone + Send + 'static,
{
    let clock = MachineClock::new();
    let (result, ended) = channel();
    let rim = options.runtime.rim;
    let body = move || drop(result.send(thalweg::run(job, &Args::default(), &options)));
    let thread = std::thread::Builder::new().name("attempt".into()).spawn(body);
    thread.expect("a thread for the attempt");
    let Ok(result) = ended.recv_timeout(patience) else {
        panic!("the attempt hangs ({rim:?}): no end in {patience:?}");
    };
    if let Err(error) = &result
        && error.kind() == Kind::Preflight
    {
        println!("skipped: {}", error.report());
        return None;
    }
    Some(Attempt { result, took: Duration::from_nanos(clock.nanos()) })
}

/// An attempt that has ended.
#[derive(Debug)]
pub struct Attempt {
    /// How.
    pub result: Result<Summary>,
    /// After what time.
    pub took: Duration,
}

/// Polls a condition until it holds.
///
/// # Panics
/// If it does not hold in time.
#[allow(clippy::disallowed_methods, reason = "polls from outside the engine")]
pub fn wait_until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let clock = MachineClock::new();
    while !holds() {
        assert!(clock.nanos() < patience.as_nanos() as u64, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
