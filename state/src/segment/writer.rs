//! Writing: operations into blocks, blocks into a segment.
//!
//! Blocks are closed at a size that keeps the copying of growing memory and the checksum of a block
//! within what a core can do between two batches.

use std::io::{self, Write};

use xxhash_rust::xxh3::xxh3_64;

use super::op::{length, put_head, put_value};
use super::pool::BlockPool;
use super::{
    BLOCK_HEAD, BLOCK_MAGIC, BlockReader, CHECKSUM, Column, HASH_OF_KEY, SEGMENT_HEAD,
    SEGMENT_MAGIC, SORTED, UNTIL_END, VERSION, code_of_rows,
};
use crate::{CodecError, key};

/// A block is closed when it has so many bytes; its last operation may lead beyond.
const BLOCK_BYTES: usize = 128 << 10;

/// What a full block takes up, unless its last operation is large.
pub(super) const BLOCK_CAPACITY: usize = BLOCK_BYTES + (4 << 10);

/// What a block takes up that stays small.
const BLOCK_SMALL: usize = BLOCK_BYTES / 8;

/// A closed block: a column's operations, with head and checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block(Vec<u8>);

impl Block {
    /// Its bytes, as they stand in a segment.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// One that was read, its bytes checked.
    pub(super) fn checked(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// What is in it; its bytes are not checked again.
    pub fn reader(&self) -> BlockReader<'_> {
        match BlockReader::split(&self.0) {
            Ok(block) => block,
            Err(error) => panic!("a closed block is none: {error}"),
        }
    }

    /// Gives its memory away.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Takes the operations of one column in order.
#[derive(Debug)]
pub struct BlockWriter {
    column: Column,
    open: Vec<u8>,
    puts: u32,
    tombstones: u32,
    /// The rows that there are, as a head says it.
    rows_code: u8,
    closed: Vec<Block>,
    closed_bytes: usize,
    pool: BlockPool,
}

impl BlockWriter {
    /// A writer without operations.
    ///
    /// # Panics
    /// If the name has 4 GiB or more.
    pub fn new(column: Column) -> Self {
        Self::pooled(column, BlockPool::default())
    }

    /// A writer without operations that takes the memory of its blocks from `pool`.
    ///
    /// # Panics
    /// As [`BlockWriter::new`].
    pub fn pooled(column: Column, pool: BlockPool) -> Self {
        assert!(u32::try_from(column.name.len()).is_ok(), "a name of {} bytes", column.name.len());
        let (open, closed) = (Vec::new(), Vec::new());
        let (puts, tombstones, rows_code, closed_bytes) = (0, 0, 0, 0);
        Self { column, open, puts, tombstones, rows_code, closed, closed_bytes, pool }
    }

    /// A writer without operations for the same column, from the same pool.
    #[must_use]
    pub fn successor(&self) -> Self {
        Self::pooled(self.column.clone(), self.pool.clone())
    }

    /// Says how many rows there are, for who makes room before it reads them.
    pub fn note_rows(&mut self, rows: usize) {
        self.rows_code = code_of_rows(rows);
    }

    /// What it writes for.
    pub fn column(&self) -> &Column {
        &self.column
    }

    /// Sets the value of a key; `value` appends its bytes.
    ///
    /// # Errors
    /// Those of `value`; nothing is written then.
    pub fn put(
        &mut self,
        key_hash: u64,
        key: &[u8],
        value: impl FnOnce(&mut Vec<u8>) -> Result<(), CodecError>,
    ) -> Result<(), CodecError> {
        self.prepare();
        let start = self.open.len();
        let hash = self.stored(key_hash, key);
        put_head(&mut self.open, true, hash, key);
        if let Err(error) = put_value(&mut self.open, value) {
            self.open.truncate(start);
            return Err(error);
        }
        self.puts += 1;
        self.close_if_full();
        Ok(())
    }

    /// Sets the value of a key whose bytes are there.
    pub fn put_bytes(&mut self, key_hash: u64, key: &[u8], value: &[u8]) {
        let put = self.put(key_hash, key, |out| {
            out.extend_from_slice(value);
            Ok(())
        });
        debug_assert!(put.is_ok(), "{put:?}");
    }

    /// Removes a key.
    pub fn tombstone(&mut self, key_hash: u64, key: &[u8]) {
        self.prepare();
        let hash = self.stored(key_hash, key);
        put_head(&mut self.open, false, hash, key);
        self.tombstones += 1;
        self.close_if_full();
    }

    /// The hash of an operation as it is written.
    #[inline]
    fn stored(&self, key_hash: u64, key: &[u8]) -> Option<u64> {
        if self.column.hash_of_key {
            debug_assert_eq!(key_hash, key::hash(key), "the hash of key {key:02x?}");
            return None;
        }
        Some(key_hash)
    }

    /// Begins a block where none is open; one that grows is given its whole memory.
    #[inline]
    fn prepare(&mut self) {
        if self.open.is_empty() {
            self.open = self.pool.take();
            self.open.reserve_exact(BLOCK_SMALL);
            self.open.resize(BLOCK_HEAD, 0);
            self.open.extend_from_slice(self.column.name.as_bytes());
        } else if self.open.len() > BLOCK_SMALL / 2 && self.open.capacity() < BLOCK_CAPACITY {
            self.open.reserve_exact(BLOCK_CAPACITY - self.open.len());
        }
    }

    #[inline]
    fn close_if_full(&mut self) {
        if self.open.len() >= BLOCK_BYTES {
            self.close();
        }
    }

    /// Closes the open block.
    fn close(&mut self) {
        if self.puts + self.tombstones == 0 {
            self.open.clear();
            return;
        }
        let mut bytes = std::mem::take(&mut self.open);
        let name = self.column.name.len();
        let body = length(bytes.len() - BLOCK_HEAD - name);
        let mut head = [0; BLOCK_HEAD];
        head[..4].copy_from_slice(&BLOCK_MAGIC);
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        let hashes = if self.column.hash_of_key { HASH_OF_KEY } else { 0 };
        (head[6], head[7]) = (self.column.kind.byte(), self.rows_code | hashes);
        head[8..12].copy_from_slice(&length(name).to_le_bytes());
        head[12..16].copy_from_slice(&body.to_le_bytes());
        head[16..20].copy_from_slice(&self.puts.to_le_bytes());
        head[20..24].copy_from_slice(&self.tombstones.to_le_bytes());
        head[24..].copy_from_slice(&self.column.fingerprint.to_le_bytes());
        bytes[..BLOCK_HEAD].copy_from_slice(&head);
        let checksum = xxh3_64(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        self.closed_bytes += bytes.capacity();
        self.closed.push(Block(bytes));
        (self.puts, self.tombstones) = (0, 0);
    }

    /// Closes the last block and gives all of them away, in order.
    pub fn finish(&mut self, out: &mut Vec<Block>) {
        self.close();
        self.closed_bytes = 0;
        out.append(&mut self.closed);
    }

    /// Writes the blocks that are closed and takes their memory back.
    pub(super) fn write_closed(&mut self, out: &mut dyn Write) -> io::Result<()> {
        for block in self.closed.drain(..) {
            out.write_all(block.bytes())?;
            self.pool.give(block);
        }
        Ok(())
    }

    /// Closes the last block and writes it.
    pub(super) fn write_last(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.close();
        self.write_closed(out)
    }

    /// Memory of what was written, in bytes.
    pub fn bytes(&self) -> usize {
        self.open.capacity() + self.closed_bytes
    }
}

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The core whose state it is.
    pub core: u32,
    /// Its number in the core's chain, from 1.
    pub number: u64,
    /// The epoch that it ended.
    pub epoch: u64,
}

impl SegmentHeader {
    /// The bytes in front of these blocks.
    ///
    /// # Panics
    /// If there are 4 Gi blocks or more.
    pub fn head(&self, blocks: &[Block]) -> [u8; SEGMENT_HEAD] {
        let bytes: usize = blocks.iter().map(|block| block.0.len()).sum();
        self.head_of(0, (length(blocks.len()), bytes as u64))
    }

    /// The bytes in front of blocks that are sorted and go on until the end of the file.
    pub fn sorted_head(&self) -> [u8; SEGMENT_HEAD] {
        self.head_of(SORTED, UNTIL_END)
    }

    fn head_of(&self, flags: u16, (count, bytes): (u32, u64)) -> [u8; SEGMENT_HEAD] {
        let mut head = [0; SEGMENT_HEAD];
        head[..4].copy_from_slice(&SEGMENT_MAGIC);
        head[4..6].copy_from_slice(&VERSION.to_le_bytes());
        head[6..8].copy_from_slice(&flags.to_le_bytes());
        head[8..12].copy_from_slice(&self.core.to_le_bytes());
        head[12..16].copy_from_slice(&count.to_le_bytes());
        head[16..24].copy_from_slice(&self.number.to_le_bytes());
        head[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        head[32..40].copy_from_slice(&bytes.to_le_bytes());
        let checksum = xxh3_64(&head[..40]);
        head[40..].copy_from_slice(&checksum.to_le_bytes());
        head
    }

    /// The whole segment.
    pub fn segment(&self, blocks: &[Block]) -> Vec<u8> {
        let bytes: usize = blocks.iter().map(|block| block.0.len()).sum();
        let mut out = Vec::with_capacity(SEGMENT_HEAD + bytes);
        out.extend_from_slice(&self.head(blocks));
        blocks.iter().for_each(|block| out.extend_from_slice(&block.0));
        out
    }
}

const _: () = assert!(BLOCK_HEAD + CHECKSUM < BLOCK_BYTES);
