//! Segments against a map, and against bytes that are none.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::KeyRef;

/// An operation: column, key, and value or removal.
type Change = (u8, Vec<u8>, Option<Vec<u8>>);

type Model = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn column(number: u8) -> Column {
    let kind = [ColumnKind::Rows, ColumnKind::TimerSet, ColumnKind::TimerQueue];
    Column {
        name: format!("\"o\"/{number}").into(),
        kind: kind[usize::from(number) % 3],
        fingerprint: u64::from(number) << 40,
        hash_of_key: number == 0,
    }
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        2 => vec(any::<u8>(), 0..40).prop_map(Some),
        1 => Just(None),
        1 => (60_000usize..70_000).prop_map(|length| Some(vec![7; length])),
    ];
    (0u8..3, vec(0u8..4, 0..3), value)
}

fn segment(number: u64, changes: &[Change]) -> Vec<u8> {
    let mut writers: Vec<BlockWriter> = (0..3).map(|at| BlockWriter::new(column(at))).collect();
    for (at, key, value) in changes {
        let writer = &mut writers[usize::from(*at)];
        let hash = KeyRef::new(key).hash;
        match value {
            Some(value) => writer.put_bytes(hash, key, value),
            None => writer.tombstone(hash, key),
        }
    }
    let mut blocks = Vec::new();
    writers.iter_mut().for_each(|writer| writer.finish(&mut blocks));
    SegmentHeader { core: 3, number, epoch: number + 10 }.segment(&blocks)
}

fn apply(model: &mut Model, changes: &[Change]) {
    for (at, key, value) in changes {
        let key = (column(*at).name.to_string(), key.clone());
        match value {
            Some(value) => drop(model.insert(key, value.clone())),
            None => drop(model.remove(&key)),
        }
    }
}

fn replay(model: &mut Model, bytes: &[u8]) -> Result<usize, SegmentError> {
    let mut tombstones = 0;
    for block in SegmentReader::new(bytes)?.blocks() {
        let block = block?;
        for op in block.ops() {
            assert_eq!(op.key_hash, KeyRef::new(op.key).hash);
            let key = (block.name().to_owned(), op.key.to_vec());
            match op.value {
                Some(value) => drop(model.insert(key, value.to_vec())),
                None => {
                    tombstones += 1;
                    model.remove(&key);
                }
            }
        }
    }
    Ok(tombstones)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 200 }))]

    #[test]
    fn a_chain_says_what_a_map_does(chain in vec(vec(change(), 0..30), 1..5)) {
        let (mut model, mut read) = (Model::new(), Model::new());
        for (number, changes) in (1..).zip(&chain) {
            let bytes = segment(number, changes);
            apply(&mut model, changes);
            replay(&mut read, &bytes).expect("what was written is a segment");
            prop_assert_eq!(&read, &model);
        }
    }

    #[test]
    fn merged_segments_say_what_they_said(
        chain in vec(vec(change(), 0..30), 2..6),
        from in 0usize..4,
    ) {
        let from = from.min(chain.len() - 1);
        let bytes: Vec<_> = (1..).zip(&chain).map(|(n, changes)| segment(n, changes)).collect();
        let parts: Vec<&[u8]> = bytes.iter().map(Vec::as_slice).collect();
        let mut model = Model::new();
        chain.iter().for_each(|changes| apply(&mut model, changes));
        let mut read = Model::new();
        for below in &parts[..from] {
            replay(&mut read, below).expect("a segment");
        }
        let merged = merge_in_memory(&parts[from..], from == 0).expect("they go together");
        let tombstones = replay(&mut read, &merged).expect("what was merged is a segment");
        prop_assert_eq!(&read, &model);
        prop_assert!(from > 0 || tombstones == 0);
        let header = SegmentReader::new(&merged).expect("a segment").header();
        prop_assert_eq!(header.number, chain.len() as u64);
    }

    #[test]
    fn arbitrary_bytes_are_refused(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(SegmentReader::new(&bytes).is_err());
        prop_assert!(BlockReader::read(&mut &bytes[..]).is_err());
    }

    #[test]
    fn damage_is_found(
        changes in vec(change(), 1..20),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        ends in any::<bool>(),
    ) {
        let mut bytes = segment(1, &changes);
        let at = at.index(bytes.len());
        if ends {
            bytes.truncate(at);
        } else {
            bytes[at] ^= 1 << bit;
        }
        prop_assert!(replay(&mut Model::new(), &bytes).is_err());
    }

    /// Lengths and counts that lie behind a right checksum.
    #[test]
    fn a_right_checksum_is_not_believed(
        changes in vec(change(), 1..6),
        at in 6usize..200,
        byte in any::<u8>(),
    ) {
        let mut writer = BlockWriter::new(column(0));
        changes.iter().for_each(|(_, key, _)| {
            writer.put_bytes(KeyRef::new(key).hash, key, b"value");
        });
        let mut blocks = Vec::new();
        writer.finish(&mut blocks);
        let mut bytes = blocks[0].bytes().to_vec();
        let end = bytes.len() - CHECKSUM;
        bytes[at % end] = byte;
        let checksum = xxhash_rust::xxh3::xxh3_64(&bytes[..end]);
        bytes[end..].copy_from_slice(&checksum.to_le_bytes());
        if let Ok(block) = BlockReader::read(&mut &bytes[..]) {
            prop_assert_eq!(block.ops().count(), block.len());
        }
    }
}

/// The format of a version is fixed: other bytes than these need another version.
#[test]
fn the_format_is_what_it_was() {
    let mut blocks = Vec::new();
    let mut writer = BlockWriter::new(column(1));
    writer.put_bytes(0x0102_0304_0506_0708, b"key", b"value");
    writer.tombstone(9, b"");
    writer.finish(&mut blocks);
    let mut writer = BlockWriter::new(column(0));
    writer.put_bytes(KeyRef::new(b"key").hash, b"key", &[b'v'; 130]);
    writer.note_rows(5);
    writer.finish(&mut blocks);
    let bytes = SegmentHeader { core: 7, number: 8, epoch: 9 }.segment(&blocks);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = concat!(
        "5457534703000000070000000200000008000000000000000900000000000000fd00000000000000",
        "ea9637ecd9d742415457424b03000200050000001b00000001000000010000000000000000010000",
        "226f222f310708070605040302016b65790576616c7565000900000000000000813654a5cefd03a9",
        "5457424b03000189050000008800000001000000000000000000000000000000226f222f30076b65",
        "798201",
        "v",
        "ee8d3a07cef35b07"
    )
    .replace('v', &"76".repeat(130));
    assert_eq!(hex, expected);
}

#[test]
fn another_version_is_refused_by_its_number() {
    for number in [VERSION - 1, VERSION + 1] {
        let mut bytes = segment(1, &[(0, vec![1], Some(vec![2]))]);
        let head = &mut bytes[..SEGMENT_HEAD];
        head[4..6].copy_from_slice(&number.to_le_bytes());
        let checksum = xxhash_rust::xxh3::xxh3_64(&head[..SEGMENT_HEAD - CHECKSUM]);
        head[SEGMENT_HEAD - CHECKSUM..].copy_from_slice(&checksum.to_le_bytes());
        let refused = SegmentReader::new(&bytes).expect_err("another version").to_string();
        assert!(refused.contains(&format!("version {number}, not {VERSION}")), "{refused}");
    }
}

#[test]
fn codes_of_rows_are_at_most_a_quarter_above_them() {
    for rows in (1..5_000).chain((1..31).map(|log2| (1 << log2) + 1)) {
        let told = rows_of_code(code_of_rows(rows));
        assert!((rows..=rows + rows / 4).contains(&told), "{rows} rows are told as {told}");
    }
    assert_eq!(rows_of_code(code_of_rows(0)), 1);
    assert_eq!(rows_of_code(code_of_rows(usize::MAX)), 7 << 29);
}

#[test]
fn blocks_are_closed_when_they_are_large() {
    let changes: Vec<Change> = (0..=255).map(|n| (0, vec![n], Some(vec![n; 4_000]))).collect();
    let bytes = segment(1, &changes);
    let reader = SegmentReader::new(&bytes).expect("a segment");
    let blocks: Vec<_> = reader.blocks().map(|block| block.expect("a block")).collect();
    assert!(blocks.len() > 5, "{} blocks", blocks.len());
    assert_eq!(blocks.iter().map(BlockReader::len).sum::<usize>(), 256);
}

#[test]
fn what_does_not_go_together_is_not_merged() {
    let (first, second) = (segment(1, &[]), segment(2, &[]));
    assert!(merge_in_memory(&[], true).is_err());
    assert!(merge_in_memory(&[&second, &first], true).is_err());
    assert!(merge_in_memory(&[&first, &first], true).is_err());
    let other = SegmentHeader { core: 4, number: 2, epoch: 2 }.segment(&[]);
    let error = merge_in_memory(&[&first, &other], true).expect_err("two cores").to_string();
    assert!(error.contains("segment 2 of core 4 comes behind segment 1 of core 3"), "{error}");
    let with_shape = |number, fingerprint| {
        let mut writer = BlockWriter::new(Column { fingerprint, ..column(1) });
        writer.tombstone(1, b"key");
        let mut blocks = Vec::new();
        writer.finish(&mut blocks);
        SegmentHeader { core: 3, number, epoch: 1 }.segment(&blocks)
    };
    assert!(merge_in_memory(&[&with_shape(1, 5), &with_shape(2, 6)], false).is_err());
    assert!(merge_in_memory(&[&with_shape(1, 5), &with_shape(2, 5)], false).is_ok());
}
