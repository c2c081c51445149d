//! Segments: what changed in the state of a core in one epoch, or in several, as bytes.
//!
//! A segment is a header and *blocks*; a block belongs to one column (a declared state, or a set of
//! timers) and lists operations in order: of two with the same key the later one counts, within a
//! block, from block to block, and from segment to segment. Whoever replays all segments of a core
//! from the first on has its state at the end of the last one. Pure bytes: no files, no clock.
//!
//! Numbers are little-endian. Segment: `TWSG`, version u16, 0u16, core u32, blocks u32, number u64,
//! epoch u64, bytes of all blocks u64, XXH3 of what stands before u64. Block: `TWBK`, version u16,
//! kind u8, rows u8, bytes of the name u32, bytes of the operations u32, puts u32, tombstones u32,
//! fingerprint u64, name, operations, XXH3 of what stands before u64. Rows: those that there are by
//! then in quarters of octaves, rounded up, a hint: q + 4 o for (4 + q) × 2^o / 4; and 128 if the
//! hash of each operation is that of its key, and is not written. Operation: twice the bytes of the
//! key, and 1 more for a put, as LEB128; hash of the stream's key u64, unless it is not written;
//! key; for a put the bytes of the value as LEB128, and the value.

mod census;
mod merge;
mod op;
mod pool;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::rc::Rc;

pub use census::{Census, ColumnCensus, GroupCensus};
pub use merge::{MergeError, Merged, merge, merge_in_memory};
pub use op::{Op, Ops};
pub use pool::BlockPool;
pub use reader::{BlockReader, Blocks, Extent, SegmentHead, SegmentReader};
pub use stream::SegmentStream;
pub use writer::{Block, BlockWriter, SegmentHeader};

/// The version of both formats.
const VERSION: u16 = 3;

const SEGMENT_MAGIC: [u8; 4] = *b"TWSG";
const BLOCK_MAGIC: [u8; 4] = *b"TWBK";

/// The flag of a sorted segment.
const SORTED: u16 = 1;

/// Blocks and bytes of a segment that goes on until its file ends.
const UNTIL_END: (u32, u64) = (u32::MAX, u64::MAX);

/// Bytes of a segment in front of its blocks.
const SEGMENT_HEAD: usize = 48;

/// Bytes of a block in front of its column's name.
const BLOCK_HEAD: usize = 32;

/// The flag beside the rows of a block: hashes are those of keys.
const HASH_OF_KEY: u8 = 128;

/// The largest number of rows that a head can say, coded.
const ROWS_CODE_MAX: u8 = HASH_OF_KEY - 1;

/// The rows that a code stands for; less than 2^32.
fn rows_of_code(code: u8) -> usize {
    (4 + usize::from(code % 4)) << (code / 4) >> 2
}

/// The least code that stands for so many rows or more, as far as there is one.
fn code_of_rows(rows: usize) -> u8 {
    (0..ROWS_CODE_MAX).find(|&code| rows_of_code(code) >= rows).unwrap_or(ROWS_CODE_MAX)
}

/// Bytes of a checksum.
const CHECKSUM: usize = 8;

/// What the rows of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ColumnKind {
    /// Rows of a table: a row's key and its value.
    Rows,
    /// Timers of a set: the timer is the key, there is no value.
    TimerSet,
    /// Timers in the order of registration: timestamp and number, then whose timer it is.
    TimerQueue,
    /// Entries of broadcast state: every core has all of them.
    Broadcast,
    /// Elements of an operator's list: number and element, each on one core.
    List,
    /// As [`ColumnKind::List`]; a restore gives every core those of all cores.
    UnionList,
}

impl ColumnKind {
    /// Whether its keys are timers, which begin with their timestamps.
    pub fn is_timers(self) -> bool {
        matches!(self, Self::TimerSet | Self::TimerQueue)
    }

    fn byte(self) -> u8 {
        match self {
            Self::Rows => 1,
            Self::TimerSet => 2,
            Self::TimerQueue => 3,
            Self::Broadcast => 4,
            Self::List => 5,
            Self::UnionList => 6,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Rows),
            2 => Some(Self::TimerSet),
            3 => Some(Self::TimerQueue),
            4 => Some(Self::Broadcast),
            5 => Some(Self::List),
            6 => Some(Self::UnionList),
            _ => None,
        }
    }
}

/// What the operations of a block belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unique on a core.
    pub name: Rc<str>,
    /// What its rows are.
    pub kind: ColumnKind,
    /// The shape of keys and values; bytes of another shape are not read.
    pub fingerprint: u64,
    /// Whether the stream's key is the whole of each key: its hash is computed, and not stored.
    pub hash_of_key: bool,
}

/// Why bytes are not a segment, or segments do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {attempted}: {found}\nhint: {hint}")]
pub struct SegmentError {
    /// What was attempted.
    pub attempted: &'static str,
    /// What was found.
    pub found: String,
    /// What can be done.
    pub hint: &'static str,
}

const DAMAGED: &str = "the file is damaged or was cut short: restore from an older checkpoint";

#[cold]
fn damaged(attempted: &'static str, found: String) -> SegmentError {
    SegmentError { attempted, found, hint: DAMAGED }
}
