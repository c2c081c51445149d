//! Merging: several segments into one that says the same, and is sorted.
//!
//! Sorted segments are read side by side, one block of each at a time; those that are not are
//! brought into memory and sorted there. The result is written as it comes. So memory is bounded by
//! the number of sorted segments and the size of the others, whatever the size of the whole.

mod cursor;
mod queue;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use self::cursor::Cursor;
use self::queue::Queue;
use super::writer::SegmentHeader;
use super::{BlockPool, BlockWriter, Column, SegmentError, SegmentStream, damaged};

const MERGE: &str = "merge segments";

/// What was made of several segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What it says of itself.
    pub header: SegmentHeader,
    /// How many segments were read as they came: they were sorted.
    pub streamed: usize,
    /// How many were sorted in memory.
    pub sorted: usize,
}

/// Why segments cannot be merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One of them is no segment, or cannot be read.
    #[error("{error}")]
    Input {
        /// Its place among them.
        place: usize,
        /// What is wrong with it.
        error: SegmentError,
    },
    /// They do not go together.
    #[error("{0}")]
    Apart(SegmentError),
    /// What was made of them cannot be written.
    #[error("cannot write what segments are merged into: {0}")]
    Output(#[from] io::Error),
}

/// Merges segments of one core, oldest first, into one with the number and epoch of the last.
///
/// Of each key the last operation stays: those of rows by the hash of the stream's key, which is
/// quicker to sort by, all others in the order of keys, which is that of registration for timers.
/// `is_bottom` says that nothing lies below the oldest: tombstones are dropped then. Each input
/// ends where its segment does; behind it nothing is read.
///
/// # Errors
/// Some are no segments, of several cores, not in the order of their numbers, not sorted where they
/// say so, or two have columns of one name and different kinds or shapes. What was written by then
/// is to be thrown away.
pub fn merge<R: Read>(
    inputs: impl IntoIterator<Item = R>,
    is_bottom: bool,
    out: &mut dyn Write,
) -> Result<Merged, MergeError> {
    let open = |(place, input)| {
        SegmentStream::open(input, Vec::new()).map_err(|error| MergeError::Input { place, error })
    };
    let streams = inputs.into_iter().enumerate().map(open).collect::<Result<Vec<_>, _>>()?;
    let header = chain(&streams)?;
    let streamed = streams.iter().filter(|stream| stream.head().is_sorted).count();
    let sorted = streams.len() - streamed;
    let mut cursors = Vec::with_capacity(streams.len());
    for (place, stream) in streams.into_iter().enumerate() {
        cursors.push(Cursor::new(stream).map_err(|error| MergeError::Input { place, error })?);
    }
    out.write_all(&header.sorted_head())?;
    let (pool, last) = (BlockPool::default(), Vec::new());
    let mut merging = Merging { cursors, is_bottom, out, pool, last };
    while merging.next_column()? {}
    Ok(Merged { header, streamed, sorted })
}

/// As [`merge`], of segments that are in memory, into memory.
///
/// # Errors
/// As [`merge`], or there are bytes behind a segment.
pub fn merge_in_memory(segments: &[&[u8]], is_bottom: bool) -> Result<Vec<u8>, SegmentError> {
    let (mut inputs, mut merged) = (segments.to_vec(), Vec::new());
    match merge(inputs.iter_mut(), is_bottom, &mut merged) {
        Ok(_) => {}
        Err(MergeError::Input { error, .. } | MergeError::Apart(error)) => return Err(error),
        Err(MergeError::Output(error)) => return Err(damaged(MERGE, error.to_string())),
    }
    match inputs.iter().find(|rest| !rest.is_empty()) {
        Some(rest) => Err(damaged(MERGE, format!("{} bytes behind the last block", rest.len()))),
        None => Ok(merged),
    }
}

/// What the merged segment says of itself.
fn chain<R: Read>(streams: &[SegmentStream<R>]) -> Result<SegmentHeader, MergeError> {
    let mut headers = streams.iter().map(|stream| stream.head().header);
    let Some(mut last) = headers.next() else {
        let (found, hint) = ("there are none".to_owned(), "name at least one");
        return Err(MergeError::Apart(SegmentError { attempted: MERGE, found, hint }));
    };
    for next in headers {
        if last.core != next.core || last.number >= next.number {
            return Err(apart(last, next));
        }
        last = next;
    }
    Ok(last)
}

struct Merging<'a, R> {
    /// The segments, oldest first.
    cursors: Vec<Cursor<R>>,
    is_bottom: bool,
    out: &'a mut dyn Write,
    pool: BlockPool,
    /// The last key.
    last: Vec<u8>,
}

impl<R: Read> Merging<'_, R> {
    /// Merges what the segments have of the next column; false: there is none.
    fn next_column(&mut self) -> Result<bool, MergeError> {
        let columns = || self.cursors.iter().filter_map(Cursor::column);
        let Some(first) = columns().map(|column| &column.name).min() else { return Ok(false) };
        let name = first.clone();
        let is_in = |cursor: &Cursor<R>| cursor.column().is_some_and(|it| it.name == name);
        let members: Vec<usize> =
            (0..self.cursors.len()).filter(|place| is_in(&self.cursors[*place])).collect();
        let mut found: Option<(Column, usize)> = None;
        for place in &members {
            let cursor = &self.cursors[*place];
            let Some(column) = cursor.column() else { continue };
            if found.as_ref().is_some_and(|(before, _)| before != column) {
                return Err(changed(&name));
            }
            // The newest one knows best how many rows there are.
            found = Some((column.clone(), cursor.rows()));
        }
        if let Some((column, rows)) = found {
            let mut writer = BlockWriter::pooled(column, self.pool.clone());
            writer.note_rows(rows);
            self.merge_column(&members, &mut writer)?;
        }
        for place in members {
            let next = self.cursors[place].next_column();
            next.map_err(|error| MergeError::Input { place, error })?;
        }
        Ok(true)
    }

    /// Merges a column of the segments that have it.
    fn merge_column(
        &mut self,
        members: &[usize],
        writer: &mut BlockWriter,
    ) -> Result<(), MergeError> {
        let mut waiting = Vec::with_capacity(members.len());
        for place in members {
            if self.step(*place)? {
                waiting.push(*place);
            }
        }
        let mut queue = Queue::new(waiting, is_before(&self.cursors));
        let mut before: Option<(u64, usize)> = None;
        while let Some(place) = queue.first() {
            self.take(place, &mut before, writer)?;
            writer.write_closed(self.out)?;
            let has_more = self.step(place)?;
            queue.settle(has_more, is_before(&self.cursors));
        }
        Ok(writer.write_last(self.out)?)
    }

    fn step(&mut self, place: usize) -> Result<bool, MergeError> {
        self.cursors[place].next_op().map_err(|error| MergeError::Input { place, error })
    }

    /// Writes a segment's operation, unless a newer segment had one of the same key. `before`: rank
    /// of the last key, and the segment that had it.
    fn take(
        &mut self,
        place: usize,
        before: &mut Option<(u64, usize)>,
        writer: &mut BlockWriter,
    ) -> Result<(), MergeError> {
        let cursor = &self.cursors[place];
        let (rank, op) = (cursor.rank(), cursor.op());
        let order = before.map_or(Ordering::Greater, |(last, _)| {
            rank.cmp(&last).then_with(|| op.key.cmp(&self.last))
        });
        match (order, before.replace((rank, place))) {
            // Of one key the newest segment comes first.
            (Ordering::Equal, Some((_, by))) if place < by => return Ok(()),
            (Ordering::Less | Ordering::Equal, _) => {
                let error = cursor.unsorted(&writer.column().name);
                return Err(MergeError::Input { place, error });
            }
            (Ordering::Greater, _) => {}
        }
        match op.value {
            Some(value) => writer.put_bytes(op.key_hash, op.key, value),
            None if self.is_bottom => {}
            None => writer.tombstone(op.key_hash, op.key),
        }
        self.last.clear();
        self.last.extend_from_slice(op.key);
        Ok(())
    }
}

/// Whether an operation comes before another: of one key that of the newer segment does.
fn is_before<R: Read>(cursors: &[Cursor<R>]) -> impl Fn(usize, usize) -> bool {
    |a, b| cursors[a].compare(&cursors[b]).then_with(|| b.cmp(&a)).is_lt()
}

#[cold]
fn apart(last: SegmentHeader, next: SegmentHeader) -> MergeError {
    let found = format!(
        "segment {} of core {} comes behind segment {} of core {}",
        next.number, next.core, last.number, last.core
    );
    let hint = "give those of one core, oldest first";
    MergeError::Apart(SegmentError { attempted: MERGE, found, hint })
}

#[cold]
fn changed(name: &str) -> MergeError {
    let found = format!("column {name} has changed its kind or shape between two of them");
    let hint = "segments of one chain are written by one version of a job";
    MergeError::Apart(SegmentError { attempted: MERGE, found, hint })
}
