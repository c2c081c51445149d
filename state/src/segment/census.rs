//! Counting what segments hold: per column and key group, without the rows themselves.
//!
//! Of the rows of a core only a digest of each key is kept while its segments are counted, oldest
//! first: a later operation replaces an earlier one of the same key. So two keys of one core that
//! share a digest of 64 bits count as one: once in a hundred thousand counts of ten million keys.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{BlockReader, ColumnKind, Op, SegmentError, damaged};
use crate::group::{MAX_PARALLELISM_LIMIT, key_group};

const COUNT: &str = "count the rows of a segment";

/// What columns hold, of all cores that were counted so far.
#[derive(Debug)]
pub struct Census {
    max_parallelism: u32,
    columns: BTreeMap<String, ColumnCensus>,
    /// What is there of the core that is being counted.
    live: BTreeMap<String, Live>,
}

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ColumnCensus {
    /// What its rows are.
    pub kind: ColumnKind,
    /// The shape of keys and values.
    pub fingerprint: u64,
    /// By key group; those without rows and tombstones are left out.
    pub groups: BTreeMap<u16, GroupCensus>,
    /// Operations in the segments, those that were replaced by later ones included.
    pub operations: u64,
    /// Bytes of these operations.
    pub stored_bytes: u64,
    /// Of timers: when the first one is due.
    pub first_due: Option<i64>,
}

/// What a column holds of a key group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupCensus {
    /// Rows that are there.
    pub entries: u64,
    /// Tombstones in the segments.
    pub tombstones: u64,
    /// Bytes of keys and values that are there.
    pub bytes: u64,
}

/// The rows of a column on one core: their bytes by the digest of their keys.
#[derive(Debug, Default)]
struct Live {
    rows: HashMap<u64, u64, BuildHasherDefault<Digest>>,
    /// Of timers: how many are due when.
    due: BTreeMap<i64, u64>,
}

/// The hash of a digest: itself.
#[derive(Clone, Copy, Debug, Default)]
struct Digest(u64);

impl Census {
    /// Counts keys by so many key groups; `None` if no job has so many.
    pub fn new(max_parallelism: u32) -> Option<Self> {
        let possible = (1..=MAX_PARALLELISM_LIMIT).contains(&max_parallelism);
        let (columns, live) = (BTreeMap::new(), BTreeMap::new());
        possible.then_some(Self { max_parallelism, columns, live })
    }

    /// Counts a block of the core that was begun last; segments come oldest first.
    ///
    /// # Errors
    /// The column had another kind or shape before.
    pub fn block(&mut self, block: &BlockReader<'_>) -> Result<(), SegmentError> {
        let name = block.name();
        if !self.columns.contains_key(name) {
            let (kind, fingerprint) = (block.kind(), block.fingerprint());
            self.columns.insert(name.to_owned(), ColumnCensus::new(kind, fingerprint));
        }
        if !self.live.contains_key(name) {
            self.live.insert(name.to_owned(), Live::default());
        }
        let (Some(column), Some(live)) = (self.columns.get_mut(name), self.live.get_mut(name))
        else {
            return Ok(());
        };
        if (column.kind, column.fingerprint) != (block.kind(), block.fingerprint()) {
            let found = format!("column {name} changes its kind or shape");
            return Err(damaged(COUNT, found));
        }
        column.operations += block.len() as u64;
        column.stored_bytes += block.op_bytes() as u64;
        let is_timer = column.kind.is_timers();
        for op in block.ops() {
            let group = key_group(op.key_hash, self.max_parallelism);
            live.apply(&op, is_timer, column.groups.entry(group).or_default());
        }
        Ok(())
    }

    /// All segments of a core were counted: those of another follow.
    pub fn end_core(&mut self) {
        for (name, live) in std::mem::take(&mut self.live) {
            let first = live.due.keys().next().copied();
            if let (Some(first), Some(column)) = (first, self.columns.get_mut(&name)) {
                column.first_due = Some(column.first_due.map_or(first, |due| due.min(first)));
            }
        }
    }

    /// Every column that was met, by its name.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &ColumnCensus)> {
        self.columns.iter().map(|(name, column)| (name.as_str(), column))
    }

    /// The number of key groups.
    pub fn max_parallelism(&self) -> u32 {
        self.max_parallelism
    }
}

impl ColumnCensus {
    fn new(kind: ColumnKind, fingerprint: u64) -> Self {
        let (groups, first_due) = (BTreeMap::new(), None);
        Self { kind, fingerprint, groups, operations: 0, stored_bytes: 0, first_due }
    }

    /// All key groups together.
    pub fn total(&self) -> GroupCensus {
        self.groups.values().fold(GroupCensus::default(), |sum, group| GroupCensus {
            entries: sum.entries + group.entries,
            tombstones: sum.tombstones + group.tombstones,
            bytes: sum.bytes + group.bytes,
        })
    }
}

impl Live {
    fn apply(&mut self, op: &Op<'_>, is_timer: bool, group: &mut GroupCensus) {
        let digest = xxh3_64_with_seed(op.key, op.key_hash);
        let Some(value) = op.value else {
            group.tombstones += 1;
            if let Some(bytes) = self.rows.remove(&digest) {
                group.entries = group.entries.saturating_sub(1);
                group.bytes = group.bytes.saturating_sub(bytes);
                self.count_due(op.key, is_timer, false);
            }
            return;
        };
        let bytes = (op.key.len() + value.len()) as u64;
        group.bytes += bytes;
        match self.rows.insert(digest, bytes) {
            Some(before) => group.bytes = group.bytes.saturating_sub(before),
            None => {
                group.entries += 1;
                self.count_due(op.key, is_timer, true);
            }
        }
    }

    /// A timer begins with its timestamp, in the order of numbers with a sign.
    fn count_due(&mut self, key: &[u8], is_timer: bool, is_new: bool) {
        let Some(timestamp) = key.first_chunk().filter(|_| is_timer) else { return };
        let timestamp = (u64::from_be_bytes(*timestamp) ^ (1 << 63)).cast_signed();
        let count = self.due.entry(timestamp).or_default();
        *count = if is_new { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            self.due.remove(&timestamp);
        }
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::segment::{Block, BlockWriter, Column};

    fn blocks(name: &str, kind: ColumnKind, ops: &[(u64, &[u8], Option<&[u8]>)]) -> Vec<Block> {
        let mut writer = BlockWriter::new(Column {
            name: name.into(),
            kind,
            fingerprint: 1,
            hash_of_key: false,
        });
        for (hash, key, value) in ops {
            match value {
                Some(value) => writer.put_bytes(*hash, key, value),
                None => writer.tombstone(*hash, key),
            }
        }
        let mut blocks = Vec::new();
        writer.finish(&mut blocks);
        blocks
    }

    fn count(census: &mut Census, blocks: &[Block]) {
        for block in blocks {
            census.block(&BlockReader::read(&mut block.bytes()).unwrap()).unwrap();
        }
    }

    #[test]
    fn of_a_key_the_last_operation_counts() {
        let mut census = Census::new(4).unwrap();
        let value: &[u8] = b"value";
        let first = [(1, &b"a"[..], Some(value)), (1, b"b", Some(value)), (2, b"c", Some(b""))];
        count(&mut census, &blocks("s", ColumnKind::Rows, &first));
        let second = [(1, &b"a"[..], Some(&b"v"[..])), (1, b"b", None), (3, b"d", None)];
        count(&mut census, &blocks("s", ColumnKind::Rows, &second));
        census.end_core();
        // The same key on another core is another row: ranges do not overlap, and it is counted.
        count(&mut census, &blocks("s", ColumnKind::Rows, &[(0, b"a", Some(b"v"))]));
        census.end_core();
        let (name, column) = census.columns().next().unwrap();
        assert_eq!((name, column.operations, column.groups.len()), ("s", 7, 4));
        assert_eq!(column.groups[&1], GroupCensus { entries: 1, tombstones: 1, bytes: 2 });
        assert_eq!(column.groups[&3], GroupCensus { entries: 0, tombstones: 1, bytes: 0 });
        assert_eq!(column.total(), GroupCensus { entries: 3, tombstones: 2, bytes: 5 });
        assert_eq!(column.first_due, None);
    }

    #[test]
    fn the_first_timer_that_is_left_is_due_first() {
        let key = |at: i64| (at.cast_unsigned() ^ (1 << 63)).to_be_bytes().to_vec();
        let (early, late) = (key(-5), key(70));
        let mut census = Census::new(128).unwrap();
        let puts = [(9, &early[..], Some(&b""[..])), (9, &late[..], Some(b""))];
        count(&mut census, &blocks("t", ColumnKind::TimerSet, &puts));
        census.end_core();
        assert_eq!(census.columns().next().unwrap().1.first_due, Some(-5));
        let mut census = Census::new(128).unwrap();
        count(&mut census, &blocks("t", ColumnKind::TimerSet, &puts));
        count(&mut census, &blocks("t", ColumnKind::TimerSet, &[(9, &early, None)]));
        census.end_core();
        assert_eq!(census.columns().next().unwrap().1.first_due, Some(70));
    }

    #[test]
    fn impossible_numbers_of_key_groups_and_changed_columns_are_refused() {
        assert!(Census::new(0).is_none() && Census::new(32_769).is_none());
        let mut census = Census::new(1).unwrap();
        count(&mut census, &blocks("s", ColumnKind::Rows, &[(1, b"a", None)]));
        let timers = blocks("s", ColumnKind::TimerSet, &[(1, b"a", None)]);
        let error = census.block(&BlockReader::read(&mut timers[0].bytes()).unwrap());
        assert!(error.unwrap_err().found.contains("column s changes"));
    }
}
