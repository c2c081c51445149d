//! What happened to timers in an epoch: registered, or gone (deleted or fired), in order.
//!
//! A log is complete at any moment, so an epoch that ends leaves nothing to encode. A timer that
//! was taken out to fire soon is pending until it fires.

use thalweg_state::key;
use thalweg_state::segment::{Block, BlockWriter, Column, ColumnKind};

use crate::runtime::Core;

/// The log of one set of timers, if logs are kept.
pub(super) struct TimerLog {
    column: Column,
    kept: Option<Box<Kept>>,
}

struct Kept {
    block: BlockWriter,
    ended: Option<BlockWriter>,
    /// Whether there was no timer when the last epoch ended.
    was_empty: bool,
}

impl TimerLog {
    /// The log of the timers `part` of an operator.
    pub(super) fn new(core: &Core, operator: &str, part: &str, kind: ColumnKind) -> Self {
        // Not in quotes, as a state's name is.
        let name = format!("{operator:?}/{part}").into();
        let column = Column { name, kind, fingerprint: 1 };
        let kept = || Kept {
            block: BlockWriter::pooled(column.clone(), core.blocks.clone()),
            ended: None,
            was_empty: true,
        };
        let kept = core.journal.get().then(|| Box::new(kept()));
        Self { column, kept }
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        let column = Column { name: "".into(), kind: ColumnKind::TimerQueue, fingerprint: 1 };
        Self { column, kept: None }
    }

    pub(super) fn column(&self) -> &Column {
        &self.column
    }

    /// Whether it is kept.
    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Notes that there is a timer, under a key of two numbers and the rest.
    pub(super) fn put(&mut self, owner: &[u8], row: &[u8], value: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.block.put_bytes(key::hash(owner), row, value);
        }
    }

    /// Notes that there is none any more.
    pub(super) fn bury(&mut self, owner: &[u8], row: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.block.tombstone(key::hash(owner), row);
        }
    }

    /// Ends an epoch; `is_empty`: there is no timer.
    pub(super) fn end_segment(&mut self, is_empty: bool) {
        let Some(kept) = &mut self.kept else { return };
        kept.was_empty = is_empty;
        assert!(kept.ended.is_none(), "an epoch ends, and the timers of the last were not taken");
        let next = kept.block.successor();
        kept.ended = Some(std::mem::replace(&mut kept.block, next));
    }

    /// Memory of what was noted in this epoch.
    pub(super) fn encoded_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.block.bytes())
    }

    /// Gives that away before the epoch ends.
    pub(super) fn take_encoded(&mut self, out: &mut Vec<Block>) {
        if let Some(kept) = &mut self.kept {
            kept.block.finish(out);
        }
    }

    /// True if older blocks say nothing more: there was no timer.
    pub(super) fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        let Some(kept) = &mut self.kept else { return true };
        if let Some(mut ended) = kept.ended.take() {
            ended.finish(out);
        }
        kept.was_empty
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
