//! State that says what changed in an epoch, and is rebuilt from that.

use thalweg_state::segment::{Block, BlockReader, Column};

use crate::error::Kind;
use crate::{Error, Result};

/// A state or a set of timers with a journal, as its consumer sees it between two runs.
///
/// While the job runs: `end_segment`, `advance_segment` until it is done, `take_blocks`, and that
/// again. In a restore, before the first record: `restore_block` with every block of every segment
/// in order, then `end_restore`.
pub trait Journalled {
    /// Whether a segment may hold all of it, changed or not.
    fn can_tell_all(&self) -> bool;
    /// Ends the core's epoch: what changes later belongs to the next one. The segment will hold
    /// what has changed, or `all` there is. Moves no row.
    fn end_segment(&mut self, all: bool);
    /// Encodes rows for the epoch that ended, at most `rows`, by which that goes down;
    /// true if none is left.
    fn advance_segment(&mut self, rows: &mut usize) -> Result<bool>;
    /// Gives the blocks of the epoch that ended away, in order; none if nothing changed. True if
    /// they hold all that there was then, so that older segments say nothing more.
    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool;
    /// Memory of what was encoded in this epoch already, in bytes.
    fn encoded_bytes(&self) -> usize;
    /// Gives that away before the epoch ends; after `take_blocks` of the one before.
    fn take_encoded(&mut self, out: &mut Vec<Block>);
    /// Takes a block in, if it is one of its column.
    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool>;
    /// The last block was taken in; may wait for the cold tier.
    fn end_restore(&mut self) -> Result<()>;
}

/// Whether a block is one of a column.
///
/// # Errors
/// It is one of a column with that name and another kind or shape.
pub(crate) fn is_of(block: &BlockReader<'_>, column: &Column) -> Result<bool> {
    if block.name() != &*column.name {
        return Ok(false);
    }
    if (block.kind(), block.fingerprint()) == (column.kind, column.fingerprint) {
        return Ok(true);
    }
    let what = format!(
        "cannot restore state {}: it was stored as {:?} of shape {:016x}, and is now {:?} of shape \
         {:016x}",
        column.name,
        block.kind(),
        block.fingerprint(),
        column.kind,
        column.fingerprint
    );
    let hint = "the types of its keys or values, or whether it has a time to live, have changed: \
                give a changed state a new name";
    Err(Error::new(Kind::State, what).with_hint(hint))
}
