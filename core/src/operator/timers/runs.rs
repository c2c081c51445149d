//! Timers of windows: cheap to register, popped in order.
//!
//! A window registers its timers once, so nothing has to be looked up: timers of one timestamp are
//! appended to short runs. A run that is full is sorted, and what is due is merged from the runs,
//! so neither step ever has much to do at once. A timer that was registered twice comes twice.

use std::collections::BTreeMap;

use thalweg_state::KeyRef;

use crate::time::Timestamp;

/// Timers of a run: sorting one takes some 20 µs.
const RUN_LENGTH: usize = 1024;

/// Longest key that lies in the entry itself.
const INLINE_MAX: usize = 8;

/// Timers in the order of timestamp, key bytes, namespace.
pub(crate) struct TimerRuns {
    buckets: BTreeMap<Timestamp, Bucket>,
    /// The bucket that was registered in last, outside of the tree.
    open: Option<(Timestamp, Bucket)>,
    next: Timestamp,
    count: usize,
    key_bytes: usize,
}

/// Timers of one timestamp.
#[derive(Default)]
struct Bucket {
    /// Unsorted, shorter than a run.
    tail: Vec<Entry>,
    /// Each sorted with its first timer last. While the bucket is due a heap by their first timers.
    runs: Vec<Vec<Entry>>,
    due: bool,
}

/// Ordered as the key's bytes, then by namespace.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// The key's first bytes as a number, which decides most comparisons.
    prefix: u64,
    rest: Option<Box<[u8]>>,
    length: u32,
    namespace: i64,
}

impl Entry {
    fn new(key: &[u8], namespace: i64) -> Self {
        let mut prefix = [0; INLINE_MAX];
        let head = key.len().min(INLINE_MAX);
        prefix[..head].copy_from_slice(&key[..head]);
        Self {
            prefix: u64::from_be_bytes(prefix),
            rest: key.get(INLINE_MAX..).filter(|rest| !rest.is_empty()).map(Box::from),
            length: key.len() as u32,
            namespace,
        }
    }

    fn write_key(&self, key: &mut Vec<u8>) {
        key.clear();
        let head = INLINE_MAX.min(self.length as usize);
        key.extend_from_slice(&self.prefix.to_be_bytes()[..head]);
        key.extend_from_slice(self.rest.as_deref().unwrap_or_default());
    }

    fn heap_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.len())
    }
}

impl TimerRuns {
    pub(crate) fn new() -> Self {
        Self { buckets: BTreeMap::new(), open: None, next: Timestamp::MAX, count: 0, key_bytes: 0 }
    }

    /// When the first timer fires; `Timestamp::MAX` if there is none.
    #[inline]
    pub(crate) fn next(&self) -> Timestamp {
        self.next
    }

    /// Whether a timer fires at `upto` or before.
    pub(crate) fn is_due(&self, upto: Timestamp) -> bool {
        self.count > 0 && self.next <= upto
    }

    #[inline]
    pub(crate) fn register(&mut self, key: KeyRef<'_>, namespace: i64, timestamp: Timestamp) {
        let entry = Entry::new(key.bytes, namespace);
        self.count += 1;
        self.key_bytes += entry.heap_bytes();
        self.next = self.next.min(timestamp);
        match &mut self.open {
            Some((open, bucket)) if *open == timestamp => bucket.push(entry),
            _ => self.open_bucket(timestamp).push(entry),
        }
    }

    /// Takes the first timer out if it fires at `upto` or before; its key's bytes go to `key`.
    pub(crate) fn pop(&mut self, upto: Timestamp, key: &mut Vec<u8>) -> Option<(Timestamp, i64)> {
        if self.next > upto || self.count == 0 {
            return None;
        }
        let timestamp = self.next;
        let bucket = match &mut self.open {
            Some((open, bucket)) if *open == timestamp => bucket,
            _ => self.open_bucket(timestamp),
        };
        let entry = bucket.pop();
        let empty = bucket.is_empty();
        let entry = entry.expect("the next timestamp has a timer");
        entry.write_key(key);
        self.count -= 1;
        self.key_bytes -= entry.heap_bytes();
        if empty {
            self.open = None;
            let first = self.buckets.first_key_value().map(|(timestamp, _)| *timestamp);
            self.next = first.unwrap_or(Timestamp::MAX);
        }
        Some((timestamp, entry.namespace))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.count * size_of::<Entry>() + self.key_bytes
    }

    #[cold]
    fn open_bucket(&mut self, timestamp: Timestamp) -> &mut Bucket {
        if let Some((before, bucket)) = self.open.take() {
            self.buckets.insert(before, bucket);
        }
        let bucket = self.buckets.remove(&timestamp).unwrap_or_default();
        &mut self.open.insert((timestamp, bucket)).1
    }
}

impl Bucket {
    fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.runs.is_empty()
    }

    #[inline]
    fn push(&mut self, entry: Entry) {
        self.tail.push(entry);
        if self.tail.len() == RUN_LENGTH {
            self.seal();
        }
    }

    /// Makes the tail a run.
    fn seal(&mut self) {
        let mut run = std::mem::take(&mut self.tail);
        run.sort_unstable_by(|a, b| b.cmp(a));
        self.runs.push(run);
        if self.due {
            self.rise(self.runs.len() - 1);
        }
    }

    fn pop(&mut self) -> Option<Entry> {
        if !self.tail.is_empty() {
            self.seal();
        }
        if !self.due {
            self.due = true;
            (0..self.runs.len() / 2).rev().for_each(|at| self.sink(at));
        }
        let entry = self.runs.first_mut()?.pop();
        if self.runs[0].is_empty() {
            self.runs.swap_remove(0);
        }
        self.sink(0);
        entry
    }

    /// Whether the run at `a` has an earlier timer than the one at `b`.
    fn earlier(&self, a: usize, b: usize) -> bool {
        self.runs[a].last() < self.runs[b].last()
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let mut child = 2 * at + 1;
            if child >= self.runs.len() {
                return;
            }
            if child + 1 < self.runs.len() && self.earlier(child + 1, child) {
                child += 1;
            }
            if !self.earlier(child, at) {
                return;
            }
            self.runs.swap(at, child);
            at = child;
        }
    }

    fn rise(&mut self, mut at: usize) {
        while at > 0 && self.earlier(at, (at - 1) / 2) {
            self.runs.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_by_time_then_key_then_namespace_whatever_the_order_of_registration() {
        let mut runs = TimerRuns::new();
        let mut expected = std::collections::BTreeSet::new();
        let mut seed = 1u64;
        let mut key = Vec::new();
        for round in 0..40_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
            let timestamp = (seed >> 60) as i64;
            let text = (seed >> 40 & 0xffff).to_string().repeat(1 + (seed >> 20 & 3) as usize);
            let namespace = (seed >> 30 & 3) as i64;
            runs.register(KeyRef::new(text.as_bytes()), namespace, timestamp);
            expected.insert((timestamp, text, namespace, round));
            if round % 5 == 0 {
                let (timestamp, text, namespace, _) = expected.pop_first().unwrap();
                assert_eq!(runs.next(), timestamp);
                assert_eq!(runs.pop(timestamp - 1, &mut key), None);
                assert_eq!(runs.pop(99, &mut key), Some((timestamp, namespace)));
                assert_eq!(key, text.as_bytes());
            }
        }
        for (timestamp, text, namespace, _) in expected {
            assert_eq!(runs.pop(timestamp, &mut key), Some((timestamp, namespace)));
            assert_eq!(key, text.as_bytes());
        }
        assert_eq!((runs.next(), runs.bytes()), (Timestamp::MAX, 0));
        assert_eq!(runs.pop(Timestamp::MAX, &mut key), None);
    }

    #[test]
    fn short_keys_with_trailing_zeros_keep_their_length_and_order() {
        let mut runs = TimerRuns::new();
        let keys: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0"];
        for key in keys.iter().rev() {
            runs.register(KeyRef::new(key), 0, 5);
        }
        let mut popped = Vec::new();
        for key in keys {
            assert_eq!(runs.pop(5, &mut popped), Some((5, 0)));
            assert_eq!(popped, key);
        }
    }
}
