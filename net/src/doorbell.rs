//! Waking a core that sleeps, at the price of a fence for one that does not.
//!
//! The sleeper announces itself, looks at all its inputs once more, and only then blocks. The waker
//! makes its work visible, and only then looks for a sleeper. Each has a full fence in between, so
//! at least one of them sees the other: a wake-up is never lost. It may be superfluous.
//!
//! ```text
//! sleeper: sleeping = true; fence; look at the inputs; block; sleeping = false
//! waker:   push to an input; fence; if sleeping.swap(false) { write the eventfd }
//! ```

use std::fmt;
use std::io;
#[cfg(not(loom))]
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicBool, Event, Ordering, fence};

/// The doorbell of one core. Everybody who feeds the core holds a clone.
#[derive(Clone)]
pub struct Doorbell {
    shared: Arc<Shared>,
}

struct Shared {
    sleeping: CachePadded<AtomicBool>,
    event: Event,
}

impl Doorbell {
    /// Makes a doorbell, which takes a file descriptor.
    pub fn new() -> io::Result<Self> {
        let sleeping = CachePadded::new(AtomicBool::new(false));
        Ok(Self { shared: Arc::new(Shared { sleeping, event: Event::new()? }) })
    }

    /// Wakes the core if it sleeps. Call it after the work was made visible, once for a whole step.
    #[inline]
    pub fn ring(&self) {
        fence(Ordering::SeqCst);
        // The load keeps the line shared while nobody sleeps; the swap lets one of several wakers
        // write.
        if self.shared.sleeping.load(Ordering::Relaxed)
            && self.shared.sleeping.swap(false, Ordering::AcqRel)
        {
            self.shared.event.set();
        }
    }

    /// Announces that the core is about to sleep. Look at every input after this, then
    /// [`wait`](Self::wait) or [`cancel_sleep`](Self::cancel_sleep).
    pub fn prepare_sleep(&self) {
        self.shared.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Stays awake after all. A ring that came in between leaves the eventfd set: the next wait
    /// returns at once.
    pub fn cancel_sleep(&self) {
        self.shared.sleeping.store(false, Ordering::Relaxed);
    }

    /// Blocks the thread until the doorbell is rung or the time is over, and tells whether it was
    /// rung.
    ///
    /// Without a timeout it waits as long as it takes. It may return early: look at the inputs
    /// again.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        let rung = self.shared.event.wait(timeout);
        self.cancel_sleep();
        rung
    }

    /// The eventfd, for a poll of several descriptors. Once it was readable, a [`wait`](Self::wait)
    /// of zero length drains it.
    #[cfg(not(loom))]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.shared.event.fd()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_ring_while_awake_writes_nothing() {
        let bell = Doorbell::new().unwrap();
        bell.ring();
        assert!(!bell.wait(Some(Duration::ZERO)).unwrap());
    }

    #[test]
    fn a_ring_after_the_announcement_ends_the_wait_at_once() {
        let bell = Doorbell::new().unwrap();
        bell.prepare_sleep();
        bell.ring();
        assert!(bell.wait(None).unwrap());
        assert!(!bell.wait(Some(Duration::ZERO)).unwrap(), "the eventfd was drained");
    }

    #[test]
    fn several_rings_are_one_wake_up() {
        let bell = Doorbell::new().unwrap();
        bell.prepare_sleep();
        bell.ring();
        bell.clone().ring();
        assert!(bell.wait(None).unwrap());
        bell.prepare_sleep();
        assert!(!bell.wait(Some(Duration::from_millis(1))).unwrap());
    }

    #[test]
    fn after_a_cancelled_sleep_rings_are_free_again() {
        let bell = Doorbell::new().unwrap();
        bell.prepare_sleep();
        bell.cancel_sleep();
        bell.ring();
        assert!(!bell.wait(Some(Duration::ZERO)).unwrap());
    }

    #[test]
    fn a_ring_from_another_thread_wakes_the_sleeper() {
        let bell = Doorbell::new().unwrap();
        let ringer = bell.clone();
        bell.prepare_sleep();
        std::thread::scope(|scope| {
            scope.spawn(move || ringer.ring());
            assert!(bell.wait(Some(Duration::from_secs(60))).unwrap());
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;
    use crate::ring::ring;

    fn sleep_until(bell: &Doorbell, mut done: impl FnMut() -> bool) {
        while !done() {
            bell.prepare_sleep();
            if done() {
                bell.cancel_sleep();
                return;
            }
            bell.wait(None).expect("the model never fails");
        }
    }

    #[test]
    fn loom_no_wake_up_is_lost() {
        loom::model(|| {
            let bell = Doorbell::new().unwrap();
            let (mut producer, mut consumer) = ring(1);
            let ringer = bell.clone();
            let waker = thread::spawn(move || {
                producer.push(7).unwrap();
                ringer.ring();
            });
            sleep_until(&bell, || !consumer.is_empty());
            assert_eq!(consumer.pop(), Some(7));
            waker.join().unwrap();
        });
    }

    #[test]
    fn loom_two_wakers_are_both_heard() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let bell = Doorbell::new().unwrap();
            let work = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let wakers = [0, 1].map(|waker| {
                let (ringer, work) = (bell.clone(), Arc::clone(&work));
                thread::spawn(move || {
                    work[waker].store(true, Ordering::Release);
                    ringer.ring();
                })
            });
            sleep_until(&bell, || work.iter().all(|done| done.load(Ordering::Acquire)));
            for waker in wakers {
                waker.join().unwrap();
            }
        });
    }
}
