//! The thread for work on the store that no checkpoint waits for: merges, copies, deletions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};
use thalweg_checkpoint::Store;

use crate::control::{Done, Work};
use crate::runtime::SideCpus;
use crate::{Error, Result};

/// The way to the thread; dropping it ends the thread behind what it does at the moment, which is
/// not long: a merge is given up.
pub(super) struct Later {
    work: Option<Sender<Work>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// Whether the attempt is over: nobody will read what is merged now.
    over: Arc<AtomicBool>,
}

impl Later {
    /// Starts the thread; it wakes the one that calls this when something is done.
    #[allow(clippy::disallowed_methods, reason = "this is the rim")]
    pub(super) fn start(store: Arc<dyn Store + Sync>, job: &str, cpus: SideCpus) -> Result<Self> {
        let (work, orders) = unbounded();
        let (answers, done) = unbounded();
        let (job, caller) = (job.to_owned(), std::thread::current());
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let body = move || {
            cpus.settle();
            while let Ok(work) = orders.recv() {
                let goes_on = || !stop.load(Ordering::Relaxed);
                if matches!(work, Work::Merge(_)) && !goes_on() {
                    continue;
                }
                let _ = answers.send(work.carry_out_while(&*store, &job, &goes_on));
                caller.unpark();
            }
        };
        let thread = std::thread::Builder::new().name("checkpoint-tidy".into()).spawn(body);
        let thread = thread
            .map_err(|error| Error::io("cannot start the thread that tidies checkpoints", error))?;
        Ok(Self { work: Some(work), done, thread: Some(thread), over })
    }

    /// Hands work over.
    pub(super) fn order(&self, work: Work) {
        if let Some(sender) = &self.work {
            let _ = sender.send(work);
        }
    }

    /// What is done by now.
    pub(super) fn done(&self) -> Option<Done> {
        self.done.try_recv().ok()
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
