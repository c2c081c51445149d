//! What happened to some rows in an epoch: set, or gone, in order.
//!
//! A log is complete at any moment, so an epoch that ends leaves nothing to encode. It says what
//! happened and not what there is: only where nothing is there it tells all.

use thalweg_state::segment::{Block, BlockWriter, Column};

use crate::runtime::Core;

/// The log of one column, if logs are kept.
pub(crate) struct ChangeLog {
    column: Column,
    kept: Option<Box<Kept>>,
}

struct Kept {
    block: BlockWriter,
    ended: Option<BlockWriter>,
    /// Whether there was no row when the last epoch ended.
    was_empty: bool,
}

impl ChangeLog {
    pub(crate) fn new(core: &Core, column: Column) -> Self {
        let kept = || Kept {
            block: BlockWriter::pooled(column.clone(), core.blocks.clone()),
            ended: None,
            was_empty: true,
        };
        let kept = core.journal.get().then(|| Box::new(kept()));
        Self { column, kept }
    }

    /// A log that is not kept.
    #[cfg(test)]
    pub(crate) fn none(column: Column) -> Self {
        Self { column, kept: None }
    }

    pub(crate) fn column(&self) -> &Column {
        &self.column
    }

    /// Whether it is kept.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        self.kept.is_some()
    }

    /// Notes that a row is there, with this value.
    pub(crate) fn put(&mut self, hash: u64, row: &[u8], value: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.block.put_bytes(hash, row, value);
        }
    }

    /// Notes that a row is there no more.
    pub(crate) fn bury(&mut self, hash: u64, row: &[u8]) {
        if let Some(kept) = &mut self.kept {
            kept.block.tombstone(hash, row);
        }
    }

    /// Ends an epoch; `is_empty`: there is no row.
    pub(crate) fn end_segment(&mut self, is_empty: bool) {
        let Some(kept) = &mut self.kept else { return };
        kept.was_empty = is_empty;
        let name = &self.column.name;
        assert!(kept.ended.is_none(), "an epoch ends, and the last one's log of {name} is here");
        let next = kept.block.successor();
        kept.ended = Some(std::mem::replace(&mut kept.block, next));
    }

    /// Memory of what was noted in this epoch.
    pub(crate) fn encoded_bytes(&self) -> usize {
        self.kept.as_ref().map_or(0, |kept| kept.block.bytes())
    }

    /// Gives that away before the epoch ends.
    pub(crate) fn take_encoded(&mut self, out: &mut Vec<Block>) {
        if let Some(kept) = &mut self.kept {
            kept.block.finish(out);
        }
    }

    /// Gives the blocks of the epoch that ended away. True if older ones say nothing more: there
    /// was no row.
    pub(crate) fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        let Some(kept) = &mut self.kept else { return true };
        if let Some(mut ended) = kept.ended.take() {
            ended.finish(out);
        }
        kept.was_empty
    }
}
