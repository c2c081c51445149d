//! What happened to timers in an epoch: registered, or gone (deleted or fired), in order.
//!
//! A timer that was taken out to fire soon is pending until it fires.

use thalweg_state::key;
use thalweg_state::segment::{Block, Column, ColumnKind};

use crate::runtime::Core;
use crate::state::ChangeLog;

/// The log of one set of timers, if logs are kept.
pub(super) struct TimerLog(ChangeLog);

impl TimerLog {
    /// The log of the timers `part` of an operator.
    pub(super) fn new(core: &Core, operator: &str, part: &str, kind: ColumnKind) -> Self {
        // Not in quotes, as a state's name is.
        let name = format!("{operator:?}/{part}").into();
        Self(ChangeLog::new(core, Column { name, kind, fingerprint: 1, hash_of_key: false }))
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        let column = Column {
            name: "".into(),
            kind: ColumnKind::TimerQueue,
            fingerprint: 1,
            hash_of_key: false,
        };
        Self(ChangeLog::none(column))
    }

    pub(super) fn column(&self) -> &Column {
        self.0.column()
    }

    /// Whether it is kept.
    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_kept()
    }

    /// Notes that there is a timer, under a key of two numbers and the rest.
    pub(super) fn put(&mut self, owner: &[u8], row: &[u8], value: &[u8]) {
        if self.is_kept() {
            self.0.put(key::hash(owner), row, value);
        }
    }

    /// Notes that there is none any more.
    pub(super) fn bury(&mut self, owner: &[u8], row: &[u8]) {
        if self.is_kept() {
            self.0.bury(key::hash(owner), row);
        }
    }

    /// Ends an epoch; `is_empty`: there is no timer.
    pub(super) fn end_segment(&mut self, is_empty: bool) {
        self.0.end_segment(is_empty);
    }

    /// Memory of what was noted in this epoch.
    pub(super) fn encoded_bytes(&self) -> usize {
        self.0.encoded_bytes()
    }

    /// Gives that away before the epoch ends.
    pub(super) fn take_encoded(&mut self, out: &mut Vec<Block>) {
        self.0.take_encoded(out);
    }

    /// True if older blocks say nothing more: there was no timer.
    pub(super) fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        self.0.take_blocks(out)
    }
}

/// Two numbers and some bytes, in an order that is theirs.
pub(super) fn row_of(first: i64, second: i64, rest: &[u8], out: &mut Vec<u8>) {
    out.clear();
    for number in [first, second] {
        out.extend_from_slice(&(number ^ i64::MIN).to_be_bytes());
    }
    out.extend_from_slice(rest);
}

/// The inverse of [`row_of`]; `None`: the bytes are too short.
pub(super) fn split_row(row: &[u8]) -> Option<(i64, i64, &[u8])> {
    let (first, row) = split_number(row)?;
    let (second, rest) = split_number(row)?;
    Some((first, second, rest))
}

/// A number and what stands behind it.
pub(super) fn split_number(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((i64::from_be_bytes(*number) ^ i64::MIN, rest))
}
