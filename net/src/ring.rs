//! A bounded queue between exactly two threads.
//!
//! Each side owns one index and keeps a copy of the other's, which it reads anew only when the
//! queue looks full or empty: a run of pushes or pops touches no shared line but the slots and its
//! own index.

use std::fmt;
use std::mem::MaybeUninit;

use crossbeam::utils::CachePadded;

use crate::sync::{Arc, AtomicUsize, Ordering, UnsafeCell};

/// Makes a queue for `capacity` items, rounded up to a power of two.
///
/// # Panics
/// If the capacity is zero.
pub fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring of {capacity} items carries nothing");
    let slots = capacity.next_power_of_two();
    let shared = Arc::new(Shared {
        head: CachePadded::new(AtomicUsize::new(0)),
        tail: CachePadded::new(AtomicUsize::new(0)),
        slots: (0..slots)
            .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
            .collect(),
    });
    let producer = Producer {
        shared: Arc::clone(&shared),
        tail: 0,
        head: 0,
    };
    (
        producer,
        Consumer {
            shared,
            head: 0,
            tail: 0,
        },
    )
}

/// The two indices count items ever popped and pushed, wrapping; an index's slot is its low bits.
struct Shared<T> {
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: items move from one thread to another, hence `T: Send`. A slot belongs to the producer
// until `tail` passes it and to the consumer until `head` does; both are published with release and
// read with acquire, and each side exists once.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & (self.slots.len() - 1)]
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let (mut head, tail) = (
            self.head.load(Ordering::Relaxed),
            self.tail.load(Ordering::Relaxed),
        );
        while head != tail {
            // SAFETY: both sides are gone; slots from head to tail hold items that nobody took.
            self.slot(head)
                .with_mut(|slot| unsafe { (*slot).assume_init_drop() });
            head = head.wrapping_add(1);
        }
    }
}

/// The pushing side.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// The consumer's index when it was last read.
    head: usize,
}

impl<T: Send> Producer<T> {
    /// Appends an item, or gives it back if the queue is full.
    #[inline]
    pub fn push(&mut self, item: T) -> Result<(), T> {
        if self.known_free() == 0 && self.free() == 0 {
            return Err(item);
        }
        // SAFETY: the slot at `tail` is free, as `head` has passed it, and only this side writes
        // slots.
        self.shared.slot(self.tail).with_mut(|slot| unsafe {
            (*slot).write(item);
        });
        self.tail = self.tail.wrapping_add(1);
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// Items that can be pushed now at least.
    #[inline]
    pub fn free(&mut self) -> usize {
        self.head = self.shared.head.load(Ordering::Acquire);
        self.known_free()
    }

    /// Items that the queue holds at most.
    pub fn capacity(&self) -> usize {
        self.shared.slots.len()
    }

    #[inline]
    fn known_free(&self) -> usize {
        self.shared.slots.len() - self.tail.wrapping_sub(self.head)
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("pushed", &self.tail)
            .finish_non_exhaustive()
    }
}

/// The popping side.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
    /// The producer's index when it was last read.
    tail: usize,
}

impl<T: Send> Consumer<T> {
    /// Takes the oldest item.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: `tail` has passed the slot at `head`, so it holds an item, which moves out once:
        // `head` passes it.
        let item = self
            .shared
            .slot(self.head)
            .with(|slot| unsafe { (*slot).assume_init_read() });
        self.head = self.head.wrapping_add(1);
        self.shared.head.store(self.head, Ordering::Release);
        Some(item)
    }

    /// Looks at the oldest item.
    #[inline]
    pub fn peek(&mut self) -> Option<&T> {
        if self.is_empty() {
            return None;
        }
        // SAFETY: the slot holds an item that stays there as long as the borrow of `self` keeps
        // `pop` away.
        Some(
            self.shared
                .slot(self.head)
                .with(|slot| unsafe { (*slot).assume_init_ref() }),
        )
    }

    /// Whether there is nothing to pop right now.
    #[inline]
    pub fn is_empty(&mut self) -> bool {
        self.head == self.tail && self.len() == 0
    }

    /// Items that can be popped now at least.
    #[inline]
    pub fn len(&mut self) -> usize {
        self.tail = self.shared.tail.load(Ordering::Acquire);
        self.tail.wrapping_sub(self.head)
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("popped", &self.head)
            .finish_non_exhaustive()
    }
}
