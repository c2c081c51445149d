//! A segment of a store, read block by block: what is held is one block.

use std::io::Read;

use thalweg_state::segment::{BlockReader, SegmentError, SegmentHead};

/// A segment that is being read.
pub(crate) struct SegmentStream<'a, R> {
    from: &'a mut R,
    head: SegmentHead,
    /// Bytes of blocks that were not read.
    left: u64,
    /// Blocks that were read, the last one included, and where that begins.
    read: u32,
    at: u64,
    /// The last block.
    block: &'a mut Vec<u8>,
}

impl<'a, R: Read> SegmentStream<'a, R> {
    /// Reads the head; blocks are put into `block` one after the other.
    ///
    /// # Errors
    /// What is wrong with it, or why it cannot be read.
    pub(crate) fn open(from: &'a mut R, block: &'a mut Vec<u8>) -> Result<Self, String> {
        let head: [u8; SegmentHead::BYTES] = exactly(from, "the head of a segment")?;
        let head = SegmentHead::read(&head).map_err(plain)?;
        let (left, at) = (head.body_bytes, SegmentHead::BYTES as u64);
        block.clear();
        Ok(Self { from, head, left, read: 0, at, block })
    }

    /// What stands in front of the blocks.
    pub(crate) fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// The next block; `None` behind the last one.
    ///
    /// # Errors
    /// What is wrong with it, and which it is.
    pub(crate) fn next(&mut self) -> Result<Option<BlockReader<'_>>, String> {
        if self.read == self.head.blocks {
            return match self.left {
                0 => Ok(None),
                left => Err(format!("{left} bytes behind the last block")),
            };
        }
        self.at += self.block.len() as u64;
        self.read += 1;
        if let Err(what) = self.fill() {
            return Err(self.of_block(&what));
        }
        match BlockReader::read(&mut &self.block[..]) {
            Ok(block) => Ok(Some(block)),
            Err(error) => Err(of_block((self.read, self.head.blocks, self.at), &plain(error))),
        }
    }

    /// Bytes of the last block.
    pub(crate) fn block_bytes(&self) -> u64 {
        self.block.len() as u64
    }

    /// Says which block something is wrong with: the last one.
    pub(crate) fn of_block(&self, what: &str) -> String {
        of_block((self.read, self.head.blocks, self.at), what)
    }

    fn fill(&mut self) -> Result<(), String> {
        let head: [u8; BlockReader::HEAD_BYTES] = exactly(self.from, "the head of a block")?;
        let (bytes, left) = (BlockReader::bytes_by(&head).map_err(plain)?, self.left);
        let rest = left.checked_sub(bytes);
        self.left = rest.ok_or_else(|| format!("it has {bytes} bytes, and {left} are left"))?;
        self.block.clear();
        self.block.extend_from_slice(&head);
        let missing = bytes - head.len() as u64;
        // Memory grows with what is there, not by what the head says.
        let read = self.from.by_ref().take(missing).read_to_end(self.block);
        match read.map_err(|error| unreadable(&error))? as u64 {
            read if read == missing => Ok(()),
            read => Err(format!("{} bytes of it are missing", missing - read)),
        }
    }
}

fn of_block((read, blocks, at): (u32, u32, u64), what: &str) -> String {
    format!("block {read} of {blocks} at byte {at}: {what}")
}

fn exactly<const N: usize>(from: &mut impl Read, what: &str) -> Result<[u8; N], String> {
    let mut bytes = Vec::with_capacity(N);
    let read = from.by_ref().take(N as u64).read_to_end(&mut bytes);
    read.map_err(|error| unreadable(&error))?;
    let count = bytes.len();
    bytes.try_into().map_err(|_| format!("{count} bytes are less than {what}"))
}

fn unreadable(error: &std::io::Error) -> String {
    format!("it cannot be read: {error}")
}

/// What was found, without its hint: here the whole file is in question.
fn plain(error: SegmentError) -> String {
    error.found
}
