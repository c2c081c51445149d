//! Reading: bytes are validated as a whole before any operation is handed out.
//!
//! Nothing is allocated by what a length says, and no bytes make it panic.

use std::ops::Range;

use xxhash_rust::xxh3::xxh3_64;

use super::op::Split;
use super::{
    BLOCK_HEAD, BLOCK_MAGIC, CHECKSUM, Column, ColumnKind, HASH_OF_KEY, Ops, SEGMENT_HEAD,
    SEGMENT_MAGIC, SORTED, SegmentError, SegmentHeader, UNTIL_END, VERSION, damaged, rows_of_code,
};

pub(super) const SEGMENT: &str = "read a segment";
pub(super) const BLOCK: &str = "read a block of a segment";

const OTHER_VERSION: &str = "use the version of Thalweg that wrote it";

/// How far a segment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Its head says how many blocks follow, and how many bytes they have together.
    Counted {
        /// Blocks.
        blocks: u32,
        /// Their bytes.
        bytes: u64,
    },
    /// To the end of the file: whoever wrote the head did not know how much would follow.
    UntilEnd,
}

/// The head of a segment: what stands in front of its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHead {
    /// What the segment says of itself.
    pub header: SegmentHeader,
    /// Whether it is sorted: columns in the order of their names, the blocks of each next to each
    /// other, and each key once, rows by hash and key, timers by key.
    pub is_sorted: bool,
    /// How far it goes.
    pub extent: Extent,
}

impl SegmentHead {
    /// Bytes of a head.
    pub const BYTES: usize = SEGMENT_HEAD;

    /// Reads a head.
    ///
    /// # Errors
    /// The bytes are none, or of another version.
    pub fn read(head: &[u8; SEGMENT_HEAD]) -> Result<Self, SegmentError> {
        magic(SEGMENT, head, SEGMENT_MAGIC)?;
        checksum(SEGMENT, head)?;
        version(SEGMENT, head)?;
        let flags = u16::from_le_bytes([head[6], head[7]]);
        if flags & !SORTED != 0 {
            let found = format!("it has flags {flags:#06x} that this version does not know");
            return Err(SegmentError { attempted: SEGMENT, found, hint: OTHER_VERSION });
        }
        let header = SegmentHeader {
            core: u32_at(head, 8),
            number: u64_at(head, 16),
            epoch: u64_at(head, 24),
        };
        let extent = match (u32_at(head, 12), u64_at(head, 32)) {
            UNTIL_END => Extent::UntilEnd,
            (blocks, bytes) => Extent::Counted { blocks, bytes },
        };
        Ok(Self { header, is_sorted: flags & SORTED != 0, extent })
    }
}

/// A segment whose head is right and whose length is the one that the head says.
#[derive(Clone, Copy, Debug)]
pub struct SegmentReader<'a> {
    head: SegmentHead,
    body: &'a [u8],
}

impl<'a> SegmentReader<'a> {
    /// Reads the head of a segment that takes up all of `bytes`.
    ///
    /// # Errors
    /// They are none, or of another version.
    pub fn new(bytes: &'a [u8]) -> Result<Self, SegmentError> {
        let Some((head, body)) = bytes.split_first_chunk() else {
            return Err(damaged(SEGMENT, format!("{} bytes are less than a head", bytes.len())));
        };
        let head = SegmentHead::read(head)?;
        if let Extent::Counted { bytes, .. } = head.extent
            && bytes != body.len() as u64
        {
            let found = format!("{} bytes of blocks where the head says {bytes}", body.len());
            return Err(damaged(SEGMENT, found));
        }
        Ok(Self { head, body })
    }

    /// What stands in front of its blocks.
    pub fn head(&self) -> &SegmentHead {
        &self.head
    }

    /// What the segment says of itself.
    pub fn header(&self) -> SegmentHeader {
        self.head.header
    }

    /// The blocks in order, each read when its turn comes; the last one is behind an error.
    pub fn blocks(&self) -> Blocks<'a> {
        let left = match self.head.extent {
            Extent::Counted { blocks, .. } => Some(blocks),
            Extent::UntilEnd => None,
        };
        Blocks { left, bytes: self.body }
    }
}

/// The blocks of a segment; made by [`SegmentReader::blocks`].
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    /// How many are left; `None`: as many as there are bytes for.
    left: Option<u32>,
    bytes: &'a [u8],
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<BlockReader<'a>, SegmentError>;

    fn next(&mut self) -> Option<Self::Item> {
        let ended = match (self.left, self.bytes.is_empty()) {
            (Some(0) | None, true) => return None,
            (Some(0), false) => Err(format!("{} bytes behind the last block", self.bytes.len())),
            (Some(left), true) => Err(format!("{left} blocks are missing at its end")),
            (_, false) => Ok(()),
        };
        let read = ended
            .map_err(|found| damaged(SEGMENT, found))
            .and_then(|()| BlockReader::read(&mut self.bytes));
        match &read {
            Ok(_) => self.left = self.left.map(|left| left - 1),
            Err(_) => (self.left, self.bytes) = (None, &[]),
        }
        Some(read)
    }
}

/// A block whose checksum, lengths and counts are right.
#[derive(Clone, Copy, Debug)]
pub struct BlockReader<'a> {
    name: &'a str,
    kind: ColumnKind,
    fingerprint: u64,
    puts: u32,
    tombstones: u32,
    rows: usize,
    hash_of_key: bool,
    ops: &'a [u8],
    all: &'a [u8],
}

impl<'a> BlockReader<'a> {
    /// Bytes of a block's head.
    pub const HEAD_BYTES: usize = BLOCK_HEAD;

    /// How many bytes a block has, head included, by its head: for who reads block by block. The
    /// head is not checked further until the block is [read](Self::read).
    ///
    /// # Errors
    /// It is no head of a block.
    pub fn bytes_by(head: &[u8; BLOCK_HEAD]) -> Result<u64, SegmentError> {
        magic(BLOCK, head, BLOCK_MAGIC)?;
        let (name, ops) = (u32_at(head, 8), u32_at(head, 12));
        Ok(BLOCK_HEAD as u64 + u64::from(name) + u64::from(ops) + CHECKSUM as u64)
    }

    /// Reads a block off the front of `bytes`.
    ///
    /// # Errors
    /// There is none, or one of another version.
    pub fn read(bytes: &mut &'a [u8]) -> Result<Self, SegmentError> {
        let all = *bytes;
        let Some((head, _)) = all.split_first_chunk() else {
            return Err(damaged(BLOCK, format!("{} bytes are less than a head", all.len())));
        };
        let length = Self::bytes_by(head)?;
        if length > all.len() as u64 {
            let found = format!("{} bytes where the head says {length}", all.len());
            return Err(damaged(BLOCK, found));
        }
        let (all, rest) = all.split_at(length as usize);
        checksum(BLOCK, all)?;
        version(BLOCK, head)?;
        let block = Self::split(all)?;
        block.check()?;
        *bytes = rest;
        Ok(block)
    }

    /// Splits a block that takes up all of `all`, as long as its head says.
    pub(super) fn split(all: &'a [u8]) -> Result<Self, SegmentError> {
        let (head, rest) = all.split_at(BLOCK_HEAD);
        let (name, ops) = (u32_at(head, 8), u32_at(head, 12));
        let (name, rest) = rest.split_at(name as usize);
        let Some(kind) = ColumnKind::from_byte(head[6]) else {
            return Err(damaged(BLOCK, format!("a column of the unknown kind {}", head[6])));
        };
        let Ok(name) = std::str::from_utf8(name) else {
            return Err(damaged(BLOCK, "a column whose name is no text".to_owned()));
        };
        Ok(Self {
            name,
            kind,
            fingerprint: u64_at(head, 24),
            puts: u32_at(head, 16),
            tombstones: u32_at(head, 20),
            rows: rows_of_code(head[7] & !HASH_OF_KEY),
            hash_of_key: head[7] & HASH_OF_KEY != 0,
            ops: &rest[..ops as usize],
            all,
        })
    }

    /// Checks that operations fill the block and are as many as its head says.
    fn check(&self) -> Result<(), SegmentError> {
        let (mut puts, mut tombstones) = (0u64, 0u64);
        let mut rest = self.ops;
        while !rest.is_empty() {
            match Split::off(&mut rest, self.hash_of_key) {
                Some(Split { value: Some(_), .. }) => puts += 1,
                Some(Split { value: None, .. }) => tombstones += 1,
                None => {
                    let at = self.ops.len() - rest.len();
                    let found = format!("no operation at byte {at} of column {}", self.name);
                    return Err(damaged(BLOCK, found));
                }
            }
        }
        if (puts, tombstones) != (u64::from(self.puts), u64::from(self.tombstones)) {
            let found = format!(
                "{puts} puts, {tombstones} tombstones of column {} where its head says {} and {}",
                self.name, self.puts, self.tombstones
            );
            return Err(damaged(BLOCK, found));
        }
        Ok(())
    }

    /// All of its bytes, head and checksum included.
    pub fn bytes(&self) -> &'a [u8] {
        self.all
    }

    /// The name of its column.
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// What its rows are.
    pub fn kind(&self) -> ColumnKind {
        self.kind
    }

    /// The shape of its keys and values.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// What its operations belong to.
    pub fn column(&self) -> Column {
        let Self { kind, fingerprint, hash_of_key, .. } = *self;
        Column { name: self.name.into(), kind, fingerprint, hash_of_key }
    }

    /// Whether its operations belong to a column, but for its name.
    pub(super) fn is_like(&self, column: &Column) -> bool {
        let Self { kind, fingerprint, hash_of_key, .. } = *self;
        (kind, fingerprint, hash_of_key) == (column.kind, column.fingerprint, column.hash_of_key)
    }

    /// How many rows its column had by then: rounded up, a hint without a bound.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bounds that hint by what can be.
    #[must_use]
    pub fn with_rows_max(mut self, most: usize) -> Self {
        self.rows = self.rows.min(most);
        self
    }

    /// How many operations it has.
    pub fn len(&self) -> usize {
        self.puts as usize + self.tombstones as usize
    }

    /// How many of them remove a key.
    pub fn tombstones(&self) -> usize {
        self.tombstones as usize
    }

    /// Bytes of its operations.
    pub fn op_bytes(&self) -> usize {
        self.ops.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its operations stand in its bytes.
    pub(super) fn op_range(&self) -> Range<usize> {
        let from = BLOCK_HEAD + self.name.len();
        from..from + self.ops.len()
    }

    /// Its operations in order.
    pub fn ops(&self) -> Ops<'a> {
        Ops::new(self.ops, self.hash_of_key)
    }
}

fn magic(attempted: &'static str, head: &[u8], expected: [u8; 4]) -> Result<(), SegmentError> {
    if head[..4] == expected {
        return Ok(());
    }
    Err(damaged(attempted, format!("it starts with {:02x?}, not {expected:02x?}", &head[..4])))
}

/// Checks that the last bytes are the checksum of those before.
fn checksum(attempted: &'static str, bytes: &[u8]) -> Result<(), SegmentError> {
    let at = bytes.len() - CHECKSUM;
    let (stored, computed) = (u64_at(bytes, at), xxh3_64(&bytes[..at]));
    if stored == computed {
        return Ok(());
    }
    let found = format!("its checksum is {computed:016x}, not {stored:016x}");
    Err(damaged(attempted, found))
}

fn version(attempted: &'static str, head: &[u8]) -> Result<(), SegmentError> {
    let version = u16::from_le_bytes([head[4], head[5]]);
    if version == VERSION {
        return Ok(());
    }
    let found = format!("its format has version {version}, not {VERSION}");
    Err(SegmentError { attempted, found, hint: OTHER_VERSION })
}

/// The number at `at`; the caller knows that it is there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
