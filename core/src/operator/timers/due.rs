//! Timers that were taken out of their queue to fire next, while rows of their keys are fetched.

use std::collections::VecDeque;

use thalweg_state::KeyRef;

use super::TimerQueue;
use crate::time::Timestamp;

/// A timer that fires soon.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) timestamp: Timestamp,
    /// The key's canonical bytes.
    pub(crate) key: Vec<u8>,
    pub(crate) namespace: i64,
    /// By which the queue knows it.
    number: u64,
}

/// The timers that fire next, in order.
pub(crate) struct DueTimers(VecDeque<Due>);

impl DueTimers {
    pub(crate) fn new() -> Self {
        Self(VecDeque::new())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Due> {
        self.0.iter()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|due| size_of::<Due>() + due.key.capacity()).sum()
    }

    /// Takes up to `count` timers that are due at `upto`.
    pub(crate) fn take_from(&mut self, timers: &mut TimerQueue, upto: Timestamp, count: usize) {
        let mut key = Vec::new();
        while self.0.len() < count
            && let Some((timestamp, namespace, number)) = timers.take(upto, &mut key, |_, _| {})
        {
            self.0.push_back(Due { timestamp, key: key.clone(), namespace, number });
        }
    }

    /// Takes the first timer of all out, of which the queue is `timers`: the caller fires it.
    pub(crate) fn pop(&mut self, timers: &mut TimerQueue) -> Option<Due> {
        let due = self.0.pop_front()?;
        timers.note_fired(&due.key, due.timestamp, due.number);
        Some(due)
    }

    /// Takes a new timer in if it fires before the last one that is here; false: it belongs behind
    /// the others, in the queue.
    pub(crate) fn insert(
        &mut self,
        timers: &mut TimerQueue,
        key: KeyRef<'_>,
        namespace: i64,
        timestamp: Timestamp,
    ) -> bool {
        if self.0.back().is_none_or(|last| last.timestamp <= timestamp) {
            return false;
        }
        let at = self.0.partition_point(|due| due.timestamp <= timestamp);
        let number = timers.note_registered(key.bytes, namespace, timestamp);
        self.0.insert(at, Due { timestamp, key: key.bytes.to_vec(), namespace, number });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_that_comes_late_takes_its_place_in_the_order() {
        let mut queue = TimerQueue::without_log();
        for (timestamp, key) in [(3, b"b"), (1, b"c"), (5, b"a"), (3, b"a"), (5, b"b")] {
            queue.register(KeyRef::new(key), 0, timestamp);
        }
        let mut due = DueTimers::new();
        let insert = |due: &mut DueTimers, queue: &mut TimerQueue, at, key: &[u8], namespace| {
            due.insert(queue, KeyRef::new(key), namespace, at)
        };
        assert!(!insert(&mut due, &mut queue, 1, b"z", 0), "nothing is due yet");
        due.take_from(&mut queue, 9, 4);
        assert!(!insert(&mut due, &mut queue, 5, b"c", 0));
        assert!(!insert(&mut due, &mut queue, 6, b"a", 0));
        assert!(insert(&mut due, &mut queue, 3, b"a", 7));
        assert!(insert(&mut due, &mut queue, 2, b"z", 0));
        let fired: Vec<_> = std::iter::from_fn(|| due.pop(&mut queue))
            .map(|due| (due.timestamp, due.key[0], due.namespace))
            .collect();
        let expected =
            [(1, b'c', 0), (2, b'z', 0), (3, b'b', 0), (3, b'a', 0), (3, b'a', 7), (5, b'a', 0)];
        assert_eq!(fired, expected);
        assert_eq!((due.is_empty(), due.bytes(), queue.next()), (true, 0, 5));
    }
}
