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
        slots: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { shared: Arc::clone(&shared), tail: 0, head: 0 };
    (producer, Consumer { shared, head: 0, tail: 0 })
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
        let (mut head, tail) =
            (self.head.load(Ordering::Relaxed), self.tail.load(Ordering::Relaxed));
        while head != tail {
            // SAFETY: both sides are gone; slots from head to tail hold items that nobody took.
            self.slot(head).with_mut(|slot| unsafe { (*slot).assume_init_drop() });
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
        f.debug_struct("Producer").field("pushed", &self.tail).finish_non_exhaustive()
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
        let item = self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_read() });
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
        Some(self.shared.slot(self.head).with(|slot| unsafe { (*slot).assume_init_ref() }))
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
        f.debug_struct("Consumer").field("popped", &self.head).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn items_come_out_in_the_order_they_went_in() {
        let (mut producer, mut consumer) = ring(4);
        let mut next = 0;
        for round in 0..100_u32 {
            for item in 0..=round % 4 {
                producer.push((round, item)).unwrap();
            }
            for item in 0..=round % 4 {
                assert_eq!(consumer.pop(), Some((round, item)));
                next += 1;
            }
        }
        assert_eq!(next, 250);
        assert_eq!(consumer.pop(), None);
    }

    #[test]
    fn a_full_ring_gives_the_item_back() {
        let (mut producer, mut consumer) = ring(3);
        assert_eq!(producer.capacity(), 4);
        for item in 0..4 {
            assert_eq!(producer.free(), 4 - item);
            producer.push(item).unwrap();
        }
        assert_eq!(producer.push(4), Err(4));
        assert_eq!((consumer.len(), consumer.pop()), (4, Some(0)));
        assert_eq!(producer.push(4), Ok(()));
    }

    #[test]
    fn peeking_takes_nothing() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!(consumer.peek(), None);
        producer.push(7).unwrap();
        assert_eq!(consumer.peek(), Some(&7));
        assert_eq!(consumer.pop(), Some(7));
        assert!(consumer.is_empty());
    }

    #[test]
    fn what_nobody_took_is_dropped_once() {
        let item = Arc::new(());
        let (mut producer, mut consumer) = ring(4);
        for _ in 0..3 {
            producer.push(Arc::clone(&item)).unwrap();
        }
        drop(consumer.pop());
        assert_eq!(Arc::strong_count(&item), 3);
        drop(producer);
        drop(consumer);
        assert_eq!(Arc::strong_count(&item), 1);
    }

    #[test]
    fn two_threads_see_every_item_once() {
        const ITEMS: u64 = 200_000;
        let (mut producer, mut consumer) = ring(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for item in 0..ITEMS {
                    let mut item = Box::new(item);
                    while let Err(back) = producer.push(item) {
                        item = back;
                        std::thread::yield_now();
                    }
                }
            });
            for expected in 0..ITEMS {
                let item = loop {
                    match consumer.pop() {
                        Some(item) => break item,
                        None => std::thread::yield_now(),
                    }
                };
                assert_eq!(*item, expected);
            }
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn loom_every_item_arrives_once_and_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(2);
            let pusher = thread::spawn(move || {
                for item in 0..3 {
                    let mut item = Box::new(item);
                    while let Err(back) = producer.push(item) {
                        item = back;
                        thread::yield_now();
                    }
                }
            });
            for expected in 0..3 {
                let item = loop {
                    match consumer.pop() {
                        Some(item) => break item,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(*item, expected);
            }
            assert!(consumer.is_empty());
            pusher.join().unwrap();
        });
    }

    #[test]
    fn loom_items_left_behind_are_dropped_by_the_last_side() {
        loom::model(|| {
            let item = Arc::new(());
            let (mut producer, mut consumer) = ring(2);
            let pushed = Arc::clone(&item);
            let pusher = thread::spawn(move || {
                producer.push(Arc::clone(&pushed)).unwrap();
                producer.push(pushed).unwrap();
            });
            drop(consumer.pop());
            drop(consumer);
            pusher.join().unwrap();
            assert_eq!(Arc::strong_count(&item), 1);
        });
    }

    #[test]
    fn loom_a_peeked_item_is_the_one_that_is_popped() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring(1);
            let pusher = thread::spawn(move || {
                producer.push(Box::new(1)).unwrap();
                producer.push(Box::new(2)).is_ok()
            });
            if let Some(first) = consumer.peek().map(|item| **item) {
                assert_eq!(consumer.pop().map(|item| *item), Some(first));
            }
            pusher.join().unwrap();
        });
    }
}
