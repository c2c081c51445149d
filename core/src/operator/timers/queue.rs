//! Timers of windows: cheap to register, popped in order of time.
//!
//! A window registers its timers once, so nothing has to be looked up: timers of one timestamp are
//! a queue of short chunks, and fire in the order in which they were registered. A timer that was
//! registered twice comes twice. Those that come soon are told ahead, so that their rows can be
//! asked for before they fire.

use std::collections::{BTreeMap, VecDeque};

use thalweg_state::KeyRef;
use thalweg_state::segment::{Block, BlockReader, ColumnKind};

use super::log::{TimerLog, row_of, split_number, split_row};
use super::no_timer;
use crate::Result;
use crate::runtime::Core;
use crate::state::{Journalled, is_of};
use crate::time::Timestamp;

/// Timers of a chunk.
const CHUNK_LENGTH: usize = 1024;

/// How far ahead of its turn a timer is told.
const AHEAD: usize = 16;

/// Empty chunks that are kept for the timers to come: 10 MB.
const SPARE_MAX: usize = 256;

/// Longest key that lies in the entry itself.
const INLINE_MAX: usize = 8;

/// Bits of a timer's number: at ten million a second they last for two hundred years.
const NUMBER_BITS: u32 = 56;

/// Timers in the order of their timestamps, then of registration.
pub(crate) struct TimerQueue {
    buckets: BTreeMap<Timestamp, Bucket>,
    /// The bucket that was registered in last, outside of the tree.
    open: Option<(Timestamp, Bucket)>,
    spare: Vec<Vec<Entry>>,
    key: Vec<u8>,
    next: Timestamp,
    count: usize,
    key_bytes: usize,
    /// The number of the timer that is registered next.
    number: u64,
    log: TimerLog,
    row: Vec<u8>,
    value: Vec<u8>,
    /// In a restore: the timers by timestamp and number, each with namespace and key.
    restored: BTreeMap<(Timestamp, u64), (i64, Vec<u8>)>,
}

/// Timers of one timestamp.
#[derive(Default)]
struct Bucket {
    chunks: VecDeque<Vec<Entry>>,
    /// Entries of the first chunk that have fired.
    fired: usize,
}

struct Entry {
    /// The key's first bytes.
    head: [u8; INLINE_MAX],
    rest: Option<Box<[u8]>>,
    /// The timer's number, by which its log knows it, and in the low byte how long `head` is.
    tag: u64,
    namespace: i64,
}

impl Entry {
    fn new(key: &[u8], namespace: i64, number: u64) -> Self {
        let mut head = [0; INLINE_MAX];
        let inline = key.len().min(INLINE_MAX);
        head[..inline].copy_from_slice(&key[..inline]);
        Self {
            head,
            rest: key.get(INLINE_MAX..).filter(|rest| !rest.is_empty()).map(Box::from),
            tag: number << 8 | inline as u64,
            namespace,
        }
    }

    fn write_key(&self, key: &mut Vec<u8>) {
        key.clear();
        key.extend_from_slice(&self.head[..(self.tag & 0xff) as usize]);
        key.extend_from_slice(self.rest.as_deref().unwrap_or_default());
    }

    fn number(&self) -> u64 {
        self.tag >> 8
    }

    fn heap_bytes(&self) -> usize {
        self.rest.as_ref().map_or(0, |rest| rest.len())
    }
}

impl TimerQueue {
    /// The timers of an operator.
    pub(crate) fn new(core: &Core, operator: &str) -> Self {
        Self::with_log(TimerLog::new(core, operator, "timers", ColumnKind::TimerQueue))
    }

    #[cfg(test)]
    pub(super) fn without_log() -> Self {
        Self::with_log(TimerLog::none())
    }

    fn with_log(log: TimerLog) -> Self {
        Self {
            buckets: BTreeMap::new(),
            open: None,
            spare: Vec::new(),
            key: Vec::new(),
            next: Timestamp::MAX,
            count: 0,
            key_bytes: 0,
            number: 0,
            log,
            row: Vec::new(),
            value: Vec::new(),
            restored: BTreeMap::new(),
        }
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
        let number = self.note_registered(key.bytes, namespace, timestamp);
        self.add(Entry::new(key.bytes, namespace, number), timestamp);
    }

    /// Gives a new timer its number and logs it; whoever calls this keeps the timer.
    #[inline]
    pub(super) fn note_registered(
        &mut self,
        key: &[u8],
        namespace: i64,
        timestamp: Timestamp,
    ) -> u64 {
        let number = self.number;
        self.number += 1;
        if self.log.is_kept() {
            self.value.clear();
            self.value.extend_from_slice(&(namespace ^ i64::MIN).to_be_bytes());
            self.value.extend_from_slice(key);
            row_of(timestamp, number as i64, &[], &mut self.row);
            self.log.put(key, &self.row, &self.value);
        }
        number
    }

    /// Notes that a timer fires that was taken out before.
    pub(crate) fn note_fired(&mut self, key: &[u8], timestamp: Timestamp, number: u64) {
        if self.log.is_kept() {
            row_of(timestamp, number as i64, &[], &mut self.row);
            self.log.bury(key, &self.row);
        }
    }

    #[inline]
    fn add(&mut self, entry: Entry, timestamp: Timestamp) {
        self.count += 1;
        self.key_bytes += entry.heap_bytes();
        self.next = self.next.min(timestamp);
        self.open_bucket(timestamp);
        if let Some((_, bucket)) = &mut self.open {
            bucket.push(entry, &mut self.spare);
        }
    }

    /// Takes the first timer out if it fires at `upto` or before; its key's bytes go to `key`.
    /// Tells `coming` about one that fires soon: key and namespace. The caller fires it at once.
    pub(crate) fn pop(
        &mut self,
        upto: Timestamp,
        key: &mut Vec<u8>,
        coming: impl FnOnce(&[u8], i64),
    ) -> Option<(Timestamp, i64)> {
        let (timestamp, namespace, number) = self.take(upto, key, coming)?;
        self.note_fired(key, timestamp, number);
        Some((timestamp, namespace))
    }

    /// As [`TimerQueue::pop`] for a timer that fires later, and returns its number as well: until
    /// [`TimerQueue::note_fired`] it is pending.
    #[inline]
    pub(super) fn take(
        &mut self,
        upto: Timestamp,
        key: &mut Vec<u8>,
        coming: impl FnOnce(&[u8], i64),
    ) -> Option<(Timestamp, i64, u64)> {
        if self.next > upto || self.count == 0 {
            return None;
        }
        let timestamp = self.next;
        self.open_bucket(timestamp);
        let (_, bucket) = self.open.as_mut()?;
        if let Some(soon) = bucket.soon() {
            soon.write_key(&mut self.key);
            coming(&self.key, soon.namespace);
        }
        let entry = bucket.first().expect("the next timestamp has a timer");
        entry.write_key(key);
        self.count -= 1;
        self.key_bytes -= entry.heap_bytes();
        let (namespace, number) = (entry.namespace, entry.number());
        if bucket.drop_first(&mut self.spare) {
            self.open = None;
            let first = self.buckets.first_key_value().map(|(timestamp, _)| *timestamp);
            self.next = first.unwrap_or(Timestamp::MAX);
        }
        Some((timestamp, namespace, number))
    }

    pub(crate) fn bytes(&self) -> usize {
        let spare = self.spare.len() * CHUNK_LENGTH;
        (self.count + spare) * size_of::<Entry>() + self.key_bytes
    }

    #[inline]
    fn open_bucket(&mut self, timestamp: Timestamp) {
        if !matches!(&self.open, Some((open, _)) if *open == timestamp) {
            self.change_bucket(timestamp);
        }
    }

    #[cold]
    fn change_bucket(&mut self, timestamp: Timestamp) {
        if let Some((before, bucket)) = self.open.take() {
            self.buckets.insert(before, bucket);
        }
        let bucket = self.buckets.remove(&timestamp).unwrap_or_default();
        self.open = Some((timestamp, bucket));
    }
}

impl Journalled for TimerQueue {
    /// A log says what happened, not what there is.
    fn can_tell_all(&self) -> bool {
        self.count == 0
    }

    fn end_segment(&mut self, _all: bool) {
        self.log.end_segment(self.count == 0);
    }

    fn advance_segment(&mut self, _rows: &mut usize) -> Result<bool> {
        Ok(true)
    }

    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        self.log.take_blocks(out)
    }

    fn encoded_bytes(&self) -> usize {
        self.log.encoded_bytes()
    }

    fn take_encoded(&mut self, out: &mut Vec<Block>) {
        self.log.take_encoded(out);
    }

    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool> {
        if !is_of(block, self.log.column())? {
            return Ok(false);
        }
        let wrong = || no_timer(block.name());
        for op in block.ops() {
            let (timestamp, number, _) = split_row(op.key).ok_or_else(wrong)?;
            let number = u64::try_from(number).map_err(|_| wrong())?;
            if number >> NUMBER_BITS != 0 {
                return Err(wrong());
            }
            let timer = (timestamp, number);
            if let Some(value) = op.value {
                let (namespace, key) = split_number(value).ok_or_else(wrong)?;
                self.restored.insert(timer, (namespace, key.to_vec()));
            } else {
                self.restored.remove(&timer);
            }
            self.number = self.number.max(number + 1);
        }
        Ok(true)
    }

    fn end_restore(&mut self) -> Result<()> {
        for ((timestamp, number), (namespace, key)) in std::mem::take(&mut self.restored) {
            self.add(Entry::new(&key, namespace, number), timestamp);
        }
        Ok(())
    }
}

impl Bucket {
    #[inline]
    fn push(&mut self, entry: Entry, spare: &mut Vec<Vec<Entry>>) {
        match self.chunks.back_mut() {
            Some(chunk) if chunk.len() < CHUNK_LENGTH => chunk.push(entry),
            last => {
                // A bucket that stays small takes little; the second chunk is a whole one.
                let first = last.is_none();
                let mut chunk = spare.pop().unwrap_or_default();
                if !first {
                    chunk.reserve_exact(CHUNK_LENGTH);
                }
                chunk.push(entry);
                self.chunks.push_back(chunk);
            }
        }
    }

    fn first(&self) -> Option<&Entry> {
        self.chunks.front()?.get(self.fired)
    }

    /// The timer that fires [`AHEAD`] timers behind the first one.
    fn soon(&self) -> Option<&Entry> {
        let at = self.fired + AHEAD;
        self.chunks.get(at / CHUNK_LENGTH)?.get(at % CHUNK_LENGTH)
    }

    /// Lets go of the first timer; true if it was the last one.
    fn drop_first(&mut self, spare: &mut Vec<Vec<Entry>>) -> bool {
        self.fired += 1;
        let Some(chunk) = self.chunks.front_mut().filter(|chunk| chunk.len() == self.fired) else {
            return false;
        };
        self.fired = 0;
        chunk.clear();
        let chunk = self.chunks.pop_front().filter(|chunk| chunk.capacity() >= CHUNK_LENGTH);
        spare.extend(chunk.filter(|_| spare.len() < SPARE_MAX));
        self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_by_time_then_in_the_order_of_registration() {
        let mut queue = TimerQueue::without_log();
        let mut expected = std::collections::BTreeMap::new();
        let mut seed = 1u64;
        let (mut key, mut told) = (Vec::new(), 0);
        for round in 0..40_000u64 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(round | 1);
            let timestamp = (seed >> 60) as i64;
            let text = (seed >> 40 & 0xffff).to_string().repeat(1 + (seed >> 20 & 3) as usize);
            let namespace = (seed >> 30 & 3) as i64;
            queue.register(KeyRef::new(text.as_bytes()), namespace, timestamp);
            expected.insert((timestamp, round), (text, namespace));
            if round % 5 == 0 {
                let ((timestamp, _), (text, namespace)) = expected.pop_first().unwrap();
                assert_eq!(queue.next(), timestamp);
                assert_eq!(queue.pop(timestamp - 1, &mut key, |_, _| {}), None);
                let popped = queue.pop(99, &mut key, |_, _| told += 1);
                assert_eq!(popped, Some((timestamp, namespace)));
                assert_eq!(key, text.as_bytes());
            }
        }
        for ((timestamp, _), (text, namespace)) in expected {
            let popped = queue.pop(timestamp, &mut key, |_, _| told += 1);
            assert_eq!(popped, Some((timestamp, namespace)));
            assert_eq!(key, text.as_bytes());
        }
        assert!(told > 30_000, "{told} timers were told ahead");
        assert_eq!((queue.next(), queue.count), (Timestamp::MAX, 0));
        assert_eq!(queue.bytes(), queue.spare.len() * CHUNK_LENGTH * size_of::<Entry>());
        assert_eq!(queue.pop(Timestamp::MAX, &mut key, |_, _| {}), None);
    }

    #[test]
    fn what_is_told_ahead_fires_sixteen_timers_later() {
        let mut queue = TimerQueue::without_log();
        (0..3_000u64).for_each(|n| queue.register(KeyRef::new(&n.to_be_bytes()), 7, 5));
        let mut key = Vec::new();
        for n in 0..3_000u64 {
            let mut soon = None;
            queue.pop(5, &mut key, |key, namespace| soon = Some((key.to_vec(), namespace)));
            assert_eq!(key, n.to_be_bytes());
            let later = n + AHEAD as u64;
            let expected = (later < 3_000).then(|| (later.to_be_bytes().to_vec(), 7));
            assert_eq!(soon, expected);
        }
    }

    #[test]
    fn short_keys_with_trailing_zeros_keep_their_length() {
        let mut queue = TimerQueue::without_log();
        let keys: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"\0\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0"];
        for key in keys {
            queue.register(KeyRef::new(key), 0, 5);
        }
        let mut popped = Vec::new();
        for key in keys {
            assert_eq!(queue.pop(5, &mut popped, |_, _| {}), Some((5, 0)));
            assert_eq!(popped, key);
        }
    }
}
