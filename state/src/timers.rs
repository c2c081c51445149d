//! Timers of one operator on one core, in the order in which they fire.
//!
//! A timer is unique per key, namespace and timestamp: registering it again changes nothing. Timers
//! fire by timestamp, then by the key's bytes, then by namespace, so that a replay fires them in
//! the same order.

use std::collections::BTreeSet;
use std::marker::PhantomData;
use std::ops::Deref;

use crate::key::Key;

/// Longest key that is kept inside a tree entry.
const INLINE_MAX: usize = 22;

/// A timer that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timer<K> {
    /// When it fires.
    pub timestamp: i64,
    /// Whose timer it is.
    pub key: K,
    /// What it is for: a window's end, or 0.
    pub namespace: i64,
}

/// A timer by its key's canonical bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerRef<'a> {
    /// When it fires.
    pub timestamp: i64,
    /// The canonical encoding of the key whose timer it is.
    pub key: &'a [u8],
    /// What it is for: a window's end, or 0.
    pub namespace: i64,
}

/// The set of pending timers.
pub struct Timers<K: Key> {
    pending: BTreeSet<Entry>,
    heap_bytes: usize,
    key: PhantomData<fn() -> K>,
}

impl<K: Key> Timers<K> {
    /// Makes an empty set.
    pub fn new() -> Self {
        Self { pending: BTreeSet::new(), heap_bytes: 0, key: PhantomData }
    }

    /// Adds a timer; `false` if it is pending already.
    pub fn register(&mut self, timer: TimerRef<'_>) -> bool {
        let entry = Entry::new(timer);
        let heap_bytes = entry.key.heap_bytes();
        let added = self.pending.insert(entry);
        if added {
            self.heap_bytes += heap_bytes;
        }
        added
    }

    /// Takes a timer back; `false` if it is not pending.
    pub fn delete(&mut self, timer: TimerRef<'_>) -> bool {
        let Some(entry) = self.pending.take(&Entry::new(timer)) else {
            return false;
        };
        self.heap_bytes -= entry.key.heap_bytes();
        true
    }

    /// When the first timer fires.
    #[inline]
    pub fn next(&self) -> Option<i64> {
        self.pending.first().map(|entry| entry.timestamp)
    }

    /// Removes and returns the first timer if it fires at `upto` or before.
    ///
    /// Called in a loop; what the caller registers in between takes its place in the order.
    pub fn pop_due(&mut self, upto: i64) -> Option<Timer<K>> {
        let entry = self.pop_entry(upto)?;
        let key = match K::decode(&entry.key) {
            Ok(key) => key,
            Err(error) => panic!("timer with key {:02x?}: {error}", &*entry.key),
        };
        Some(Timer { timestamp: entry.timestamp, key, namespace: entry.namespace })
    }

    /// Like [`pop_due`](Self::pop_due), with the key's canonical bytes left in `key`: returns the
    /// timestamp and the namespace.
    pub fn pop_due_into(&mut self, upto: i64, key: &mut Vec<u8>) -> Option<(i64, i64)> {
        let entry = self.pop_entry(upto)?;
        key.clear();
        key.extend_from_slice(&entry.key);
        Some((entry.timestamp, entry.namespace))
    }

    fn pop_entry(&mut self, upto: i64) -> Option<Entry> {
        if self.next()? > upto {
            return None;
        }
        let entry = self.pending.pop_first()?;
        self.heap_bytes -= entry.key.heap_bytes();
        Some(entry)
    }

    /// The pending timers in the order in which they fire.
    pub fn iter(&self) -> impl Iterator<Item = TimerRef<'_>> {
        self.pending.iter().map(Entry::lend)
    }

    /// The pending timers behind `last` in the order in which they fire, for a snapshot in slices.
    pub fn iter_after(&self, last: TimerRef<'_>) -> impl Iterator<Item = TimerRef<'_>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.pending.range((Excluded(Entry::new(last)), Unbounded)).map(Entry::lend)
    }

    /// Number of pending timers.
    #[inline]
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Tells whether no timer is pending.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Memory that the timers take up, approximately.
    #[inline]
    pub fn bytes(&self) -> usize {
        tree_bytes(self.pending.len(), size_of::<Entry>()) + self.heap_bytes
    }
}

impl<K: Key> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// Memory of the nodes of a B-tree, approximately: nodes of eleven entries, two thirds of them in
/// use on average, but a single one whatever it holds.
pub(crate) fn tree_bytes(entries: usize, entry_bytes: usize) -> usize {
    match entries {
        0 => 0,
        1..=11 => 11 * entry_bytes + 12,
        _ => entries * (entry_bytes * 13 / 9 + 5),
    }
}

/// The order of the fields is the order of the timers.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    timestamp: i64,
    key: KeyBytes,
    namespace: i64,
}

impl Entry {
    fn new(timer: TimerRef<'_>) -> Self {
        let TimerRef { timestamp, key, namespace } = timer;
        Self { timestamp, key: KeyBytes::new(key), namespace }
    }

    fn lend(&self) -> TimerRef<'_> {
        TimerRef { timestamp: self.timestamp, key: &self.key, namespace: self.namespace }
    }
}

/// A key's bytes, in place if they are short.
enum KeyBytes {
    Inline { length: u8, bytes: [u8; INLINE_MAX] },
    Heap(Box<[u8]>),
}

impl KeyBytes {
    fn new(key: &[u8]) -> Self {
        if key.len() > INLINE_MAX {
            return Self::Heap(key.into());
        }
        let mut bytes = [0; INLINE_MAX];
        bytes[..key.len()].copy_from_slice(key);
        Self::Inline { length: key.len() as u8, bytes }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Inline { .. } => 0,
            Self::Heap(bytes) => bytes.len(),
        }
    }
}

impl Deref for KeyBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Self::Heap(bytes) => bytes,
        }
    }
}

impl PartialEq for KeyBytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for KeyBytes {}

impl PartialOrd for KeyBytes {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyBytes {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (**self).cmp(&**other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timer(timestamp: i64, key: &[u8], namespace: i64) -> TimerRef<'_> {
        TimerRef { timestamp, key, namespace }
    }

    #[test]
    fn a_timer_is_unique_per_key_namespace_and_timestamp() {
        let mut timers = Timers::<u8>::new();
        assert!(timers.register(timer(10, &[1], 0)));
        assert!(!timers.register(timer(10, &[1], 0)));
        assert!(timers.register(timer(10, &[1], 1)));
        assert!(timers.register(timer(10, &[2], 0)));
        assert!(timers.register(timer(11, &[1], 0)));
        assert_eq!(timers.len(), 4);
        assert!(timers.delete(timer(10, &[1], 1)));
        assert!(!timers.delete(timer(10, &[1], 1)));
        assert_eq!(timers.len(), 3);
    }

    #[test]
    fn timers_fire_by_time_then_key_then_namespace_and_never_early() {
        let mut timers = Timers::<String>::default();
        let long = "a key that does not fit into an entry of the tree";
        for (timestamp, key, namespace) in
            [(5, "b", 0), (5, "a", 2), (5, "a", -1), (-3, "z", 0), (5, long, 0), (9, "a", 0)]
        {
            assert!(timers.register(timer(timestamp, key.as_bytes(), namespace)));
        }
        assert_eq!(timers.next(), Some(-3));
        let order: Vec<_> = timers.iter().map(|timer| (timer.timestamp, timer.namespace)).collect();
        assert_eq!(order, [(-3, 0), (5, -1), (5, 2), (5, 0), (5, 0), (9, 0)]);
        let behind = timers.iter_after(timer(5, b"a", 2)).count();
        assert_eq!(behind, 3);
        let mut fired = Vec::new();
        while let Some(timer) = timers.pop_due(5) {
            fired.push((timer.timestamp, timer.key, timer.namespace));
        }
        let expected = [(-3, "z", 0), (5, "a", -1), (5, "a", 2), (5, long, 0), (5, "b", 0)];
        assert_eq!(fired, expected.map(|(at, key, namespace)| (at, key.to_owned(), namespace)));
        assert_eq!(timers.pop_due(8), None);
        assert_eq!(timers.next(), Some(9));
    }

    #[test]
    fn bytes_follow_the_timers() {
        let mut timers = Timers::<Vec<u8>>::new();
        assert_eq!(timers.bytes(), 0);
        timers.register(timer(1, &[0; 22], 0));
        let inline = timers.bytes();
        timers.register(timer(1, &[0; 100], 0));
        assert_eq!(timers.bytes(), inline + 100, "both lie in one node");
        timers.register(timer(1, &[0; 100], 0));
        assert_eq!(timers.bytes(), inline + 100, "a timer that is there costs nothing");
        let mut key = Vec::new();
        assert_eq!(timers.pop_due_into(0, &mut key), None);
        assert_eq!(timers.pop_due_into(1, &mut key), Some((1, 0)));
        assert_eq!(key, [0; 22]);
        while timers.pop_due(1).is_some() {}
        assert_eq!(timers.bytes(), 0);
        assert!(timers.is_empty());
    }
}
