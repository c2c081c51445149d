//! Segments that come from a reader, block by block: what is held is one block.

use std::io::{self, Read};

use super::reader::{BLOCK, SEGMENT};
use super::{
    BLOCK_HEAD, Block, BlockReader, Extent, SEGMENT_HEAD, SegmentError, SegmentHead, damaged,
};

/// A segment that is being read.
#[derive(Debug)]
pub struct SegmentStream<R> {
    from: R,
    head: SegmentHead,
    /// Bytes of blocks that were not read, as far as the head says.
    left: u64,
    /// Blocks that were read, the last one included, and where that begins.
    read: u64,
    at: u64,
    /// The last block.
    block: Vec<u8>,
}

impl<R: Read> SegmentStream<R> {
    /// Reads the head; blocks are put into `block` one after the other.
    ///
    /// # Errors
    /// What is wrong with it, or why it cannot be read.
    pub fn open(mut from: R, mut block: Vec<u8>) -> Result<Self, SegmentError> {
        block.clear();
        let there = read_on(&mut from, SEGMENT_HEAD as u64, &mut block)
            .map_err(|error| damaged(SEGMENT, unreadable(&error)))?;
        let Some((head, _)) = block.split_first_chunk() else {
            let found = format!("{there} bytes are less than the head of a segment");
            return Err(damaged(SEGMENT, found));
        };
        let head = SegmentHead::read(head)?;
        let left = match head.extent {
            Extent::Counted { bytes, .. } => bytes,
            Extent::UntilEnd => u64::MAX,
        };
        Ok(Self { from, head, left, read: 0, at: 0, block })
    }

    /// What stands in front of the blocks.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// The next block; `None` behind the last one. What comes behind an error means nothing.
    ///
    /// # Errors
    /// What is wrong with it, and which it is.
    pub fn next_block(&mut self) -> Result<Option<BlockReader<'_>>, SegmentError> {
        if !self.fill()? {
            return Ok(None);
        }
        let read = BlockReader::read(&mut &self.block[..]);
        let of_block = |mut error: SegmentError| {
            error.found = name_block(self.head.extent, self.read, self.at, &error.found);
            error
        };
        read.map(Some).map_err(of_block)
    }

    /// As [`SegmentStream::next_block`], and gives the block away; `memory` takes the next one.
    ///
    /// # Errors
    /// As [`SegmentStream::next_block`].
    pub fn take_block(&mut self, memory: Vec<u8>) -> Result<Option<Block>, SegmentError> {
        if self.next_block()?.is_none() {
            return Ok(None);
        }
        self.at += self.block.len() as u64;
        let bytes = std::mem::replace(&mut self.block, memory);
        self.block.clear();
        Ok(Some(Block::checked(bytes)))
    }

    /// The bytes of the last block.
    pub fn block(&self) -> &[u8] {
        &self.block
    }

    /// Says which block something is wrong with: the last one.
    pub fn of_block(&self, what: &str) -> String {
        name_block(self.head.extent, self.read, self.at, what)
    }

    /// Gives the memory of blocks away.
    pub fn into_block(self) -> Vec<u8> {
        self.block
    }

    /// Reads the bytes of the next block; false: there is none.
    fn fill(&mut self) -> Result<bool, SegmentError> {
        self.at += self.block.len() as u64;
        self.block.clear();
        if let Extent::Counted { blocks, .. } = self.head.extent
            && self.read == u64::from(blocks)
        {
            return match self.left {
                0 => Ok(false),
                left => Err(damaged(SEGMENT, format!("{left} bytes behind the last block"))),
            };
        }
        let there = read_on(&mut self.from, BLOCK_HEAD as u64, &mut self.block);
        if self.head.extent == Extent::UntilEnd && there.as_ref().is_ok_and(|there| *there == 0) {
            return Ok(false);
        }
        self.read += 1;
        let filled = there.map_err(|error| unreadable(&error)).and_then(|_| self.fill_rest());
        filled.map(|()| true).map_err(|what| damaged(BLOCK, self.of_block(&what)))
    }

    /// Reads what stands behind the head of a block.
    fn fill_rest(&mut self) -> Result<(), String> {
        let Some((head, _)) = self.block.split_first_chunk() else {
            return Err(format!("{} bytes are less than the head of a block", self.block.len()));
        };
        let bytes = BlockReader::bytes_by(head).map_err(|error| error.found)?;
        let (left, missing) = (self.left, bytes - BLOCK_HEAD as u64);
        let rest = left.checked_sub(bytes);
        self.left = rest.ok_or_else(|| format!("it has {bytes} bytes, and {left} are left"))?;
        match read_on(&mut self.from, missing, &mut self.block) {
            Ok(read) if read == missing => Ok(()),
            Ok(read) => Err(format!("{} bytes of it are missing", missing - read)),
            Err(error) => Err(unreadable(&error)),
        }
    }
}

/// Appends so many bytes, or fewer at the end. Memory grows with what is there, not by what a head
/// says.
fn read_on(from: &mut impl Read, bytes: u64, to: &mut Vec<u8>) -> io::Result<u64> {
    from.take(bytes).read_to_end(to).map(|read| read as u64)
}

fn name_block(extent: Extent, read: u64, at: u64, what: &str) -> String {
    match extent {
        Extent::Counted { blocks, .. } => format!("block {read} of {blocks} at byte {at}: {what}"),
        Extent::UntilEnd => format!("block {read} at byte {at}: {what}"),
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("it cannot be read: {error}")
}
