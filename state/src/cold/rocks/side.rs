//! A thread of the cold tier: takes orders one by one and sends what came of each.
//!
//! After the first error or panic nothing more is carried out: a run must not become visible
//! because a later one happened to succeed. A thread that is no longer wanted ends after the order
//! that it is at, and whoever drops its handle waits for that.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, unbounded};

use super::super::ColdError;
use super::{Done, Wake};

/// How a thread differs from the one that starts it.
pub(super) struct Manner {
    /// Its name; the system shows 15 bytes.
    pub(super) name: String,
    /// The CPUs that it may run on; none: those of its parent.
    pub(super) cpus: Vec<usize>,
    /// How far it stands back behind others (added to its nice value).
    pub(super) nice: i32,
}

/// The way to a thread.
pub(super) struct Side<T> {
    /// Bounded by the caller, who knows what is outstanding.
    orders: Option<Sender<T>>,
    unwanted: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Send + 'static> Side<T> {
    /// Starts a thread. `start` runs on it first and gives back how an order is carried out, or
    /// nothing if it cannot begin.
    pub(super) fn start<W>(
        manner: Manner,
        start: impl FnOnce() -> Option<W> + Send + 'static,
        done: Sender<Done>,
        wake: Wake,
    ) -> Result<Self, ColdError>
    where
        W: FnMut(T) -> Result<Done, ColdError>,
    {
        let (orders, todo) = unbounded();
        let unwanted = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&unwanted);
        let name = manner.name.clone();
        let body = move || {
            manner.settle();
            let worked = catch_unwind(AssertUnwindSafe(|| match start() {
                Some(work) => carry_out(work, &todo, &stop, &done, &wake),
                None => Ok(()),
            }));
            let failure = worked.unwrap_or_else(|panic| Err(ColdError::new(said(&*panic))));
            if let Err(error) = failure {
                let _ = done.send(Done::Failed(error));
                wake();
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.clone())
            .spawn(body)
            .map_err(|error| ColdError::new(format!("cannot start thread {name}: {error}")))?;
        Ok(Self { orders: Some(orders), unwanted, thread: Some(thread) })
    }

    /// Hands an order over. A thread that has gone has left its error behind.
    pub(super) fn order(&self, order: T) {
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }
}

impl<T> Drop for Side<T> {
    fn drop(&mut self) {
        self.unwanted.store(true, Ordering::Relaxed);
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Its panic was sent as an answer.
            let _ = thread.join();
        }
    }
}

fn carry_out<T>(
    mut work: impl FnMut(T) -> Result<Done, ColdError>,
    todo: &Receiver<T>,
    unwanted: &AtomicBool,
    done: &Sender<Done>,
    wake: &Wake,
) -> Result<(), ColdError> {
    for order in todo {
        if unwanted.load(Ordering::Relaxed) {
            break;
        }
        let _ = done.send(work(order)?);
        wake();
    }
    Ok(())
}

impl Manner {
    /// A core's thread is pinned and its children would be, too.
    fn settle(&self) {
        let mut set = rustix::thread::CpuSet::new();
        self.cpus.iter().for_each(|cpu| set.set(*cpu));
        // Refused at the worst: then the thread shares its core's CPU, slower but right.
        if !self.cpus.is_empty() {
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
        if self.nice != 0 {
            let _ = rustix::process::nice(self.nice);
        }
    }
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("a thread of the cold tier panicked: {}", text.as_deref().unwrap_or("no message"))
}
