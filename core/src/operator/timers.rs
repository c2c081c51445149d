//! The timers of a keyed operator: event time and processing time.

mod due;
mod log;
#[cfg(test)]
mod model;
mod queue;

pub(crate) use due::DueTimers;
pub(crate) use queue::TimerQueue;

use thalweg_state::segment::{Block, BlockReader, ColumnKind};
use thalweg_state::{Key, KeyRef, TimerRef, Timers};

use self::log::{TimerLog, row_of, split_row};
use crate::error::Kind;
use crate::runtime::Core;
use crate::state::{Journalled, is_of};
use crate::time::Timestamp;
use crate::{Error, Result};

/// How many timers fire before other work gets its turn: some 50 µs of it.
pub(crate) const TIMERS_PER_TURN: usize = 256;

/// One set of timers that knows its next one without looking.
pub(crate) struct TimerSet<K: Key> {
    timers: Timers<K>,
    next: Timestamp,
    log: TimerLog,
    row: Vec<u8>,
}

impl<K: Key> TimerSet<K> {
    /// The timers `part` of an operator.
    pub(crate) fn new(core: &Core, operator: &str, part: &str) -> Self {
        let log = TimerLog::new(core, operator, part, ColumnKind::TimerSet);
        Self { timers: Timers::new(), next: Timestamp::MAX, log, row: Vec::new() }
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
            if self.log.is_kept() {
                row_of(timestamp, namespace, key, &mut self.row);
                self.log.put(key, &self.row, &[]);
            }
        }
    }

    pub(crate) fn delete(&mut self, key: KeyRef<'_>, namespace: i64, timestamp: Timestamp) {
        let key = key.bytes;
        if self.timers.delete(TimerRef { timestamp, key, namespace }) {
            self.bury(key, namespace, timestamp);
            self.look();
        }
    }

    /// Takes the first timer out if it fires at `upto` or before; its key's bytes go to `key`. The
    /// caller fires it at once.
    pub(crate) fn pop(&mut self, upto: Timestamp, key: &mut Vec<u8>) -> Option<(Timestamp, i64)> {
        let timer = self.timers.pop_due_into(upto, key);
        if let Some((timestamp, namespace)) = timer {
            self.bury(key, namespace, timestamp);
        }
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

    fn bury(&mut self, key: &[u8], namespace: i64, timestamp: Timestamp) {
        if self.log.is_kept() {
            row_of(timestamp, namespace, key, &mut self.row);
            self.log.bury(key, &self.row);
        }
    }

    fn look(&mut self) {
        self.next = self.timers.next().unwrap_or(Timestamp::MAX);
    }
}

impl<K: Key> Journalled for TimerSet<K> {
    /// A log says what happened, not what there is.
    fn can_tell_all(&self) -> bool {
        self.timers.is_empty()
    }

    fn end_segment(&mut self, _all: bool) {
        self.log.end_segment(self.timers.is_empty());
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
        for op in block.ops() {
            let (timestamp, namespace, key) =
                split_row(op.key).ok_or_else(|| no_timer(block.name()))?;
            K::decode(key)?;
            let timer = TimerRef { timestamp, key, namespace };
            if op.value.is_some() {
                self.timers.register(timer);
            } else {
                self.timers.delete(timer);
            }
        }
        Ok(true)
    }

    fn end_restore(&mut self) -> Result<()> {
        self.look();
        Ok(())
    }
}

#[cold]
fn no_timer(name: &str) -> Error {
    let what = format!("cannot restore the timers {name}: a row is not that of a timer");
    Error::new(Kind::State, what).with_hint("restore from an older checkpoint")
}
