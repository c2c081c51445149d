//! A segment that is merged: its columns in the order of their names, of each its operations in
//! order, each key once.
//!
//! A sorted segment has them so and is read block by block. Of another all operations are brought
//! into memory, with sixteen bytes beside each by which they are sorted.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::rc::Rc;

use super::MERGE;
use crate::segment::op::Split;
use crate::segment::{Column, ColumnKind, Op, SegmentError, SegmentStream, damaged};

/// A segment and where in it the merge is.
pub(super) struct Cursor<R> {
    source: Source<R>,
    column: Option<Found>,
    /// The operation of the column whose turn it is.
    at: Place,
}

/// A column of a segment.
#[derive(Clone)]
struct Found {
    column: Column,
    /// How many rows it has by then.
    rows: usize,
}

/// Where an operation stands.
#[derive(Clone, Default)]
struct Place {
    rank: u64,
    key_hash: u64,
    /// Its block, of those that are in memory.
    block: u32,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

enum Source<R> {
    Streamed(Streamed<R>),
    Sorted(Sorted),
}

impl<R: Read> Cursor<R> {
    /// Begins with a segment whose head was read: with its first column.
    pub(super) fn new(stream: SegmentStream<R>) -> Result<Self, SegmentError> {
        let source = match stream.head().is_sorted {
            true => Source::Streamed(Streamed { stream, unread: 0..0, waiting: None }),
            false => Source::Sorted(Sorted::new(stream)?),
        };
        let mut cursor = Self { source, column: None, at: Place::default() };
        cursor.next_column()?;
        Ok(cursor)
    }

    /// The column that it is in; `None` behind the last one.
    pub(super) fn column(&self) -> Option<&Column> {
        self.column.as_ref().map(|found| &found.column)
    }

    /// How many rows that has by then.
    pub(super) fn rows(&self) -> usize {
        self.column.as_ref().map_or(0, |found| found.rows)
    }

    /// Goes to the next column, in front of its first operation; all of this one were read.
    pub(super) fn next_column(&mut self) -> Result<(), SegmentError> {
        self.column = match &mut self.source {
            Source::Streamed(streamed) => streamed.next_column()?,
            Source::Sorted(sorted) => sorted.next_column(),
        };
        Ok(())
    }

    /// Goes to the next operation of the column; false: there is none.
    pub(super) fn next_op(&mut self) -> Result<bool, SegmentError> {
        let Some(Found { column, .. }) = &self.column else { return Ok(false) };
        let place = match &mut self.source {
            Source::Streamed(streamed) => streamed.next_op(column)?,
            Source::Sorted(sorted) => sorted.next_op(column),
        };
        let has_more = place.is_some();
        self.at = place.unwrap_or_default();
        Ok(has_more)
    }

    /// What operations of a column are ordered by first, before their keys.
    pub(super) fn rank(&self) -> u64 {
        self.at.rank
    }

    /// The operation.
    pub(super) fn op(&self) -> Op<'_> {
        let (bytes, at) = (self.bytes(), &self.at);
        let value = at.value.clone().map(|value| &bytes[value]);
        Op { key_hash: at.key_hash, key: &bytes[at.key.clone()], value }
    }

    /// Whether its operation comes before or behind another's of the same column.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.at.rank.cmp(&other.at.rank).then_with(|| self.key().cmp(other.key()))
    }

    /// The operation does not come behind the one before it.
    #[cold]
    pub(super) fn unsorted(&self, name: &str) -> SegmentError {
        match &self.source {
            Source::Streamed(streamed) => streamed.not_sorted(name),
            Source::Sorted(_) => damaged(MERGE, format!("column {name} was not sorted")),
        }
    }

    fn key(&self) -> &[u8] {
        &self.bytes()[self.at.key.clone()]
    }

    fn bytes(&self) -> &[u8] {
        match &self.source {
            Source::Streamed(streamed) => streamed.stream.block(),
            Source::Sorted(sorted) => {
                sorted.blocks.get(self.at.block as usize).map_or(&[], |block| block)
            }
        }
    }
}

/// A sorted segment, of which one block is there.
struct Streamed<R> {
    stream: SegmentStream<R>,
    /// Operations of the block that were not read.
    unread: Range<usize>,
    /// The column that the block begins, if the merge is not there yet.
    waiting: Option<Found>,
}

impl<R: Read> Streamed<R> {
    fn next_column(&mut self) -> Result<Option<Found>, SegmentError> {
        if self.waiting.is_some() {
            return Ok(self.waiting.take());
        }
        let Some(block) = self.stream.next_block()? else { return Ok(None) };
        self.unread = block.op_range();
        Ok(Some(Found { column: block.column(), rows: block.rows() }))
    }

    fn next_op(&mut self, column: &Column) -> Result<Option<Place>, SegmentError> {
        while self.waiting.is_none() {
            if !self.unread.is_empty() {
                let place = Place::read(self.stream.block(), &mut self.unread, 0, column);
                return place.map(Some).ok_or_else(|| self.not_sorted(&column.name));
            }
            let Some(block) = self.stream.next_block()? else { return Ok(None) };
            let order = block.name().cmp(&column.name);
            let is_like = block.is_like(column);
            self.unread = block.op_range();
            if order == Ordering::Greater {
                self.waiting = Some(Found { column: block.column(), rows: block.rows() });
            } else if order == Ordering::Less || !is_like {
                return Err(self.not_sorted(&column.name));
            }
        }
        Ok(None)
    }

    #[cold]
    fn not_sorted(&self, name: &str) -> SegmentError {
        let what = format!("it is not sorted, in or behind column {name}, and its head says so");
        damaged(MERGE, self.stream.of_block(&what))
    }
}

/// A segment that was brought into memory and sorted there.
struct Sorted {
    /// The operations of each block.
    blocks: Vec<Box<[u8]>>,
    columns: std::vec::IntoIter<(Found, Vec<Entry>)>,
    entries: std::vec::IntoIter<Entry>,
}

/// Where an operation begins.
#[derive(Clone, Copy)]
struct Entry {
    rank: u64,
    block: u32,
    at: u32,
}

/// A column whose blocks are being brought into memory.
struct Loading {
    found: Found,
    blocks: Vec<u32>,
    ops: usize,
}

impl Sorted {
    fn new<R: Read>(mut stream: SegmentStream<R>) -> Result<Self, SegmentError> {
        let (mut blocks, mut columns) = (Vec::new(), BTreeMap::<Rc<str>, Loading>::new());
        while let Some(block) = stream.next_block()? {
            let number = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
            let (ops, rows, range) = (block.len(), block.rows(), block.op_range());
            if let Some(loading) = columns.get_mut(block.name()) {
                if !block.is_like(&loading.found.column) {
                    let found = format!("column {} changes its kind or shape", block.name());
                    return Err(damaged(MERGE, stream.of_block(&found)));
                }
                loading.found.rows = rows;
                loading.ops += ops;
                loading.blocks.push(number);
            } else {
                let found = Found { column: block.column(), rows };
                let name = Rc::clone(&found.column.name);
                columns.insert(name, Loading { found, blocks: vec![number], ops });
            }
            blocks.push(Box::from(&stream.block()[range]));
        }
        let sort = |loading: Loading| loading.sort(&blocks);
        let columns: Vec<_> = columns.into_values().map(sort).collect();
        Ok(Self { blocks, columns: columns.into_iter(), entries: Vec::new().into_iter() })
    }

    fn next_column(&mut self) -> Option<Found> {
        let (found, entries) = self.columns.next()?;
        self.entries = entries.into_iter();
        Some(found)
    }

    fn next_op(&mut self, column: &Column) -> Option<Place> {
        let Entry { block, at, .. } = self.entries.next()?;
        let ops = self.blocks.get(block as usize)?;
        Place::read(ops, &mut (at as usize..ops.len()), block, column)
    }
}

impl Loading {
    /// Sorts the operations; of one key the last is left.
    fn sort(self, blocks: &[Box<[u8]>]) -> (Found, Vec<Entry>) {
        let Column { kind, hash_of_key, .. } = self.found.column;
        let mut entries = Vec::with_capacity(self.ops);
        for block in self.blocks {
            let mut rest = &blocks[block as usize][..];
            let bytes = rest.len();
            loop {
                let at = (bytes - rest.len()) as u32;
                let Some(split) = Split::off(&mut rest, hash_of_key) else { break };
                let op = split.op();
                entries.push(Entry { rank: rank(kind, op.key_hash, op.key), block, at });
            }
        }
        let key = |entry: &Entry| {
            let mut op = &blocks[entry.block as usize][entry.at as usize..];
            Split::off(&mut op, hash_of_key).map_or(&[][..], |op| op.key)
        };
        let newer = |a: &Entry, b: &Entry| (b.block, b.at).cmp(&(a.block, a.at));
        entries.sort_unstable_by(|a, b| {
            a.rank.cmp(&b.rank).then_with(|| key(a).cmp(key(b))).then_with(|| newer(a, b))
        });
        entries.dedup_by(|later, first| later.rank == first.rank && key(later) == key(first));
        (self.found, entries)
    }
}

impl Place {
    /// Takes the first operation out of a range of a block.
    fn read(bytes: &[u8], unread: &mut Range<usize>, block: u32, column: &Column) -> Option<Self> {
        let mut rest = bytes.get(unread.clone())?;
        let op = Split::off(&mut rest, column.hash_of_key)?.op();
        let place = |part: &[u8]| {
            let from = part.as_ptr().addr() - bytes.as_ptr().addr();
            from..from + part.len()
        };
        let (key, value) = (place(op.key), op.value.map(place));
        unread.start = unread.end - rest.len();
        let rank = rank(column.kind, op.key_hash, op.key);
        Some(Self { rank, key_hash: op.key_hash, block, key, value })
    }
}

/// What operations are ordered by before their keys are compared: rows by the hash of the stream's
/// key, timers by the beginning of their keys.
fn rank(kind: ColumnKind, key_hash: u64, key: &[u8]) -> u64 {
    if kind == ColumnKind::Rows {
        return key_hash;
    }
    let mut first = [0; 8];
    let length = key.len().min(8);
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}
