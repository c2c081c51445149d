//! The timers of a keyed operator: event time and processing time.

mod due;
mod queue;

pub(crate) use due::DueTimers;
pub(crate) use queue::TimerQueue;

use thalweg_state::{Key, KeyRef, TimerRef, Timers};

use crate::time::Timestamp;

/// How many timers fire before other work gets its turn: some 50 µs of it.
pub(crate) const TIMERS_PER_TURN: usize = 256;

/// One set of timers that knows its next one without looking.
pub(crate) struct TimerSet<K: Key> {
    timers: Timers<K>,
    next: Timestamp,
}

impl<K: Key> TimerSet<K> {
    pub(crate) fn new() -> Self {
        Self { timers: Timers::new(), next: Timestamp::MAX }
    }

    /// When the first timer fires; `Timestamp::MAX` if there is none.
    #[inline]
    pub(crate) fn next(&self) -> Timestamp {
        self.next
    }

    pub(crate) fn register(&mut self, key: KeyRef<'_>, namespace: i64, timestamp: Timestamp) {
        let key = key.bytes;
        if self.timers.register(TimerRef { timestamp, key, namespace }) {
            self.next = self.next.min(timestamp);
        }
    }

    pub(crate) fn delete(&mut self, key: KeyRef<'_>, namespace: i64, timestamp: Timestamp) {
        let key = key.bytes;
        if self.timers.delete(TimerRef { timestamp, key, namespace }) {
            self.look();
        }
    }

    /// Takes the first timer out if it fires at `upto` or before; its key's bytes go to `key`.
    pub(crate) fn pop(&mut self, upto: Timestamp, key: &mut Vec<u8>) -> Option<(Timestamp, i64)> {
        let timer = self.timers.pop_due_into(upto, key);
        self.look();
        timer
    }

    /// The timers that fire in a turn at `upto`, as it is now.
    pub(crate) fn due(&self, upto: Timestamp) -> impl Iterator<Item = TimerRef<'_>> {
        let due = self.timers.iter().take_while(move |timer| timer.timestamp <= upto);
        due.take(TIMERS_PER_TURN)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.timers.bytes()
    }

    fn look(&mut self) {
        self.next = self.timers.next().unwrap_or(Timestamp::MAX);
    }
}
