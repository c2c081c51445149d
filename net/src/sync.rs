//! The primitives that threads share, so that loom can stand in for them.
//!
//! Under `cfg(loom)` atomics, cells and the event are the model checker's; otherwise they are the
//! machine's and cost nothing.

#[cfg(not(loom))]
pub(crate) use self::machine::{Arc, AtomicBool, AtomicUsize, Event, Ordering, UnsafeCell, fence};
#[cfg(loom)]
pub(crate) use self::model::{Arc, AtomicBool, AtomicUsize, Event, Ordering, UnsafeCell, fence};

#[cfg(not(loom))]
mod machine {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
    use rustix::io::Errno;

    pub(crate) use std::sync::Arc;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    /// A cell that is accessed through closures, in the shape of loom's.
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
            access(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
            access(self.0.get())
        }
    }

    /// An event that stays set until someone waited for it.
    pub(crate) struct Event(OwnedFd);

    impl Event {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
        }

        pub(crate) fn fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        pub(crate) fn set(&self) {
            // A full counter is a set one; any other failure means that the descriptor is gone, a
            // broken invariant.
            match rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => panic!("cannot ring a doorbell: {error}"),
            }
        }

        /// Waits until the event is set or the time is over, and clears it; tells whether it was
        /// set.
        pub(crate) fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
            let timeout = timeout.map(|timeout| Timespec {
                tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: timeout.subsec_nanos().into(),
            });
            let mut set = [PollFd::new(&self.0, PollFlags::IN)];
            match poll(&mut set, timeout.as_ref()) {
                // A signal is a wake-up like any other: the caller looks at its inputs and sleeps
                // again.
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            self.clear()
        }

        fn clear(&self) -> io::Result<bool> {
            match rustix::io::read(&self.0, &mut [0_u8; 8]) {
                Ok(_) => Ok(true),
                Err(Errno::AGAIN) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }
    }
}

#[cfg(loom)]
mod model {
    use std::io;
    use std::time::Duration;

    use loom::sync::{Condvar, Mutex};

    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::Arc;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};

    /// The event, as a flag that one can wait for.
    pub(crate) struct Event {
        set: Mutex<bool>,
        changed: Condvar,
    }

    impl Event {
        pub(crate) fn new() -> io::Result<Self> {
            Ok(Self { set: Mutex::new(false), changed: Condvar::new() })
        }

        pub(crate) fn set(&self) {
            *self.set.lock().expect("no thread panics with the event") = true;
            self.changed.notify_all();
        }

        /// Waits without a bound, so that a lost wake-up is a deadlock, which the model checker
        /// reports.
        pub(crate) fn wait(&self, _timeout: Option<Duration>) -> io::Result<bool> {
            let mut set = self.set.lock().expect("no thread panics with the event");
            while !*set {
                set = self.changed.wait(set).expect("no thread panics with the event");
            }
            *set = false;
            Ok(true)
        }
    }
}
