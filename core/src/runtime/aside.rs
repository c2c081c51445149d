//! Side threads: where a core's blocking work is done.
//!
//! A core hands orders over through a bounded queue and takes outcomes back; neither call blocks.
//! The thread rings the core's doorbell after each outcome. Inline, an order is carried out where
//! it is given: for tests and the simulator. After the first error nothing more is carried out: a
//! half-written part must not become visible because a later order happened to succeed.

use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, unbounded};
use thalweg_net::Doorbell;
use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};

use crate::error::Kind;
use crate::{Error, Result};

/// Orders that wait for the thread before the core has to.
const ORDERS_MAX: usize = 8;

/// The most that a thread can step back by being nice.
const NICEST: i32 = 19;

/// Blocking work. Dropped at the end on the thread that did it.
pub(crate) trait Chore: Send + 'static {
    /// What is asked.
    type Order: Send + 'static;
    /// What came of it: one for each order, in order.
    type Outcome: Send + 'static;
    /// The thread's name, to which the core's number is added; 15 bytes in all are shown by the
    /// system.
    const NAME: &'static str;
    /// Whether the core's end waits for the thread's: not where an order may block for ever.
    const JOIN: bool;
    /// Whether checkpoints wait for it: then the thread does not step back behind the cores.
    const URGENT: bool = false;

    /// Carries an order out; may block.
    fn carry_out(&mut self, order: Self::Order) -> Result<Self::Outcome>;
}

/// Which CPUs side threads run on.
#[derive(Debug, Clone, Default)]
pub(crate) struct SideCpus {
    cpus: Arc<[usize]>,
    floating: bool,
}

impl SideCpus {
    /// The CPUs that carry no core.
    pub(crate) fn spare(cpus: Vec<usize>) -> Self {
        Self { cpus: cpus.into(), floating: false }
    }

    /// All CPUs carry a core: side threads float over these, behind the cores.
    pub(crate) fn floating(cpus: Vec<usize>) -> Self {
        Self { cpus: cpus.into(), floating: true }
    }

    /// Whether side threads share the CPUs of cores.
    pub(crate) fn is_floating(&self) -> bool {
        self.floating
    }

    /// Their numbers.
    #[cfg(feature = "rocksdb")]
    pub(crate) fn list(&self) -> &[usize] {
        &self.cpus
    }

    /// A core's thread is pinned and its children would be, too.
    pub(crate) fn settle(&self) {
        self.spread();
        if self.floating {
            let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
            let thread = thread_native_id();
            // Neither is ever refused: both only step back.
            let _ = set_thread_priority_and_policy(thread, ThreadPriority::Min, batch);
            let _ = rustix::process::setpriority_process(None, NICEST);
        }
    }

    /// As [`SideCpus::settle`], for a thread that sleeps most of the time and is waited for: it
    /// does not step back.
    pub(crate) fn spread(&self) {
        let mut set = rustix::thread::CpuSet::new();
        self.cpus.iter().for_each(|cpu| set.set(*cpu));
        if !self.cpus.is_empty() {
            // Refused at the worst: then the thread shares its core's CPU, slower but right.
            let _ = rustix::thread::sched_setaffinity(None, &set);
        }
    }
}

/// Where side threads run and whom they wake; without it work is done inline.
#[derive(Debug, Clone)]
pub(crate) struct Aside {
    pub(crate) cpus: SideCpus,
    pub(crate) doorbell: Option<Doorbell>,
    pub(crate) core: usize,
}

/// A chore and the way to it.
pub(crate) struct SideThread<C: Chore> {
    place: Place<C>,
    /// Orders for which the queue had no room.
    backlog: VecDeque<C::Order>,
    outstanding: usize,
}

enum Place<C: Chore> {
    Inline { chore: Option<C>, outcomes: VecDeque<Result<C::Outcome>> },
    Thread(Thread<C>),
}

struct Thread<C: Chore> {
    orders: Option<Sender<C::Order>>,
    outcomes: Receiver<Result<C::Outcome>>,
    handle: Option<JoinHandle<()>>,
}

impl<C: Chore> SideThread<C> {
    /// Gives the chore a thread of its own, or does it inline.
    pub(crate) fn start(chore: C, aside: Option<Aside>) -> Result<Self> {
        let place = match aside {
            None => Place::Inline { chore: Some(chore), outcomes: VecDeque::new() },
            Some(aside) => Place::Thread(Thread::start(chore, aside)?),
        };
        Ok(Self { place, backlog: VecDeque::new(), outstanding: 0 })
    }

    /// Hands an order over; where there is no room it waits here.
    pub(crate) fn order(&mut self, order: C::Order) {
        self.outstanding += 1;
        self.backlog.push_back(order);
        self.has_room();
    }

    /// Whether every order is with the chore, so that another one would be taken.
    pub(crate) fn has_room(&mut self) -> bool {
        while let Some(order) = self.backlog.pop_front() {
            match &mut self.place {
                Place::Inline { chore, outcomes } => {
                    let Some(doing) = chore else { continue };
                    let outcome = doing.carry_out(order);
                    if outcome.is_err() {
                        *chore = None;
                    }
                    outcomes.push_back(outcome);
                }
                Place::Thread(thread) => {
                    if let Some(order) = thread.send(order) {
                        self.backlog.push_front(order);
                        return false;
                    }
                }
            }
        }
        true
    }

    /// The next outcome, if there is one.
    ///
    /// # Errors
    /// The order's, or that the thread has gone without an answer.
    pub(crate) fn outcome(&mut self) -> Result<Option<C::Outcome>> {
        let outcome = match &mut self.place {
            Place::Inline { chore, outcomes } => match outcomes.pop_front() {
                None if chore.is_none() && self.outstanding > 0 => Some(Err(gone(C::NAME))),
                outcome => outcome,
            },
            Place::Thread(thread) => match thread.outcomes.try_recv() {
                Ok(outcome) => Some(outcome),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) if self.outstanding == 0 => None,
                Err(TryRecvError::Disconnected) => Some(Err(gone(C::NAME))),
            },
        };
        self.outstanding -= usize::from(outcome.is_some());
        outcome.transpose()
    }

    /// Orders without an outcome taken so far.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }
}

impl<C: Chore> Thread<C> {
    fn start(chore: C, aside: Aside) -> Result<Self> {
        let (orders, todo) = bounded::<C::Order>(ORDERS_MAX);
        // Bounded by the orders that are out.
        let (done, outcomes) = unbounded();
        let name = format!("{}-{}", C::NAME, aside.core);
        let body = move || {
            if C::URGENT {
                aside.cpus.spread();
            } else {
                aside.cpus.settle();
            }
            let _bell = RingAtEnd(aside.doorbell.clone());
            // Gone before the bell rings: the core must find the way back closed.
            let (mut chore, done) = (chore, done);
            for order in todo {
                let outcome = chore.carry_out(order);
                let failed = outcome.is_err();
                let _ = done.send(outcome);
                if let Some(doorbell) = &aside.doorbell {
                    doorbell.ring();
                }
                if failed {
                    break;
                }
            }
        };
        let handle = std::thread::Builder::new()
            .name(name)
            .spawn(body)
            .map_err(|error| Error::io("cannot start a side thread", error))?;
        Ok(Self { orders: Some(orders), outcomes, handle: Some(handle) })
    }

    /// Gives the order back if there is no room. A thread that has gone has left its error behind.
    fn send(&self, order: C::Order) -> Option<C::Order> {
        match self.orders.as_ref()?.try_send(order) {
            Err(TrySendError::Full(order)) => Some(order),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }
}

impl<C: Chore> Drop for Thread<C> {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(handle) = self.handle.take().filter(|_| C::JOIN) {
            // A panic of the thread was reported as its missing outcome.
            let _ = handle.join();
        }
    }
}

/// Wakes the core when the thread goes, also by a panic: an outcome that never comes must not be
/// waited for.
struct RingAtEnd(Option<Doorbell>);

impl Drop for RingAtEnd {
    fn drop(&mut self) {
        if let Some(doorbell) = &self.0 {
            doorbell.ring();
        }
    }
}

#[cold]
fn gone(name: &str) -> Error {
    Error::new(Kind::Invariant, format!("the side thread \"{name}\" has ended without an answer"))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Doubling;

    impl Chore for Doubling {
        type Order = u64;
        type Outcome = u64;
        const NAME: &'static str = "doubling";
        const JOIN: bool = true;

        fn carry_out(&mut self, order: u64) -> Result<u64> {
            assert!(order != 13, "thirteen");
            if order == 7 { Err(Error::usage("seven")) } else { Ok(order * 2) }
        }
    }

    fn places() -> [Option<Aside>; 2] {
        let doorbell = Some(Doorbell::new().unwrap());
        [None, Some(Aside { cpus: SideCpus::default(), doorbell, core: 3 })]
    }

    fn wait(side: &mut SideThread<Doubling>) -> Result<u64> {
        loop {
            side.has_room();
            if let Some(outcome) = side.outcome()? {
                return Ok(outcome);
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn outcomes_come_in_the_order_of_the_orders_however_many_there_are() {
        for place in places() {
            let mut side = SideThread::start(Doubling, place).unwrap();
            (100..200).for_each(|order| side.order(order));
            assert_eq!(side.outstanding(), 100);
            let outcomes: Vec<u64> = (0..100).map(|_| wait(&mut side).unwrap()).collect();
            assert_eq!(outcomes, (100..200).map(|order| order * 2).collect::<Vec<_>>());
            assert_eq!((side.outstanding(), side.outcome().unwrap()), (0, None));
        }
    }

    #[test]
    fn nothing_is_carried_out_after_an_error() {
        for place in places() {
            let mut side = SideThread::start(Doubling, place).unwrap();
            [1, 7, 2].into_iter().for_each(|order| side.order(order));
            assert_eq!(wait(&mut side).unwrap(), 2);
            assert_eq!(wait(&mut side).unwrap_err().kind(), Kind::Usage);
            assert!(side.has_room());
            assert!(!matches!(side.outcome(), Ok(Some(_))));
        }
    }

    #[test]
    fn a_thread_that_panics_is_an_error_and_rings() {
        let doorbell = Doorbell::new().unwrap();
        let cpus = SideCpus::default();
        let aside = Aside { cpus, doorbell: Some(doorbell.clone()), core: 0 };
        let mut side = SideThread::start(Doubling, Some(aside)).unwrap();
        doorbell.prepare_sleep();
        side.order(13);
        assert!(doorbell.wait(None).unwrap());
        assert_eq!(wait(&mut side).unwrap_err().kind(), Kind::Invariant);
    }
}
