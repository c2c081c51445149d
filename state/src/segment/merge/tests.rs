//! Merging sorted and unsorted segments against a map, and against bytes that are none.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::KeyRef;
use crate::segment::{
    Block, BlockReader, CHECKSUM, ColumnKind, Op, SEGMENT_HEAD, SegmentReader, UNTIL_END,
    code_of_rows, rows_of_code,
};

/// Column, key, and value or removal.
type Change = (u8, Vec<u8>, Option<Vec<u8>>);

/// What the last operation of a key says, by the number of the column.
type Said = BTreeMap<(u8, Vec<u8>), Option<Vec<u8>>>;

const COLUMNS: u8 = 4;

/// How a segment is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As a core encodes it.
    Unsorted,
    /// As a merge writes it.
    Sorted,
    /// Sorted, with a block for each row.
    OneRowBlocks,
}

fn column(number: u8) -> Column {
    let kind = [ColumnKind::Rows, ColumnKind::TimerSet, ColumnKind::TimerQueue];
    // Names are not in the order of numbers.
    let name = format!("\"o\"/{}", ["b", "a", "d", "c"][usize::from(number % COLUMNS)]).into();
    let (kind, fingerprint) = (kind[usize::from(number) % 3], u64::from(number) << 40);
    Column { name, kind, fingerprint, hash_of_key: number.is_multiple_of(2) }
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![
        3 => vec(any::<u8>(), 0..20).prop_map(Some),
        2 => Just(None),
        1 => (60_000usize..140_000).prop_map(|length| Some(vec![7; length])),
    ];
    // Keys that share their first eight bytes, and shorter ones.
    let key = (any::<bool>(), vec(0u8..4, 0..4)).prop_map(|(long, mut key)| {
        key.splice(0..0, vec![0; if long { 7 } else { 0 }]);
        key
    });
    (0..COLUMNS, key, value)
}

fn chain() -> impl Strategy<Value = Vec<(Form, Vec<Change>)>> {
    let form = prop_oneof![Just(Form::Unsorted), Just(Form::Sorted), Just(Form::OneRowBlocks)];
    vec((form, vec(change(), 0..40)), 1..6)
}

fn say<'a>(changes: impl IntoIterator<Item = &'a Change>) -> Said {
    let said = |(at, key, value): &Change| ((*at, key.clone()), value.clone());
    changes.into_iter().map(said).collect()
}

fn write(writer: &mut BlockWriter, key: &[u8], value: Option<&[u8]>) {
    let hash = KeyRef::new(key).hash;
    match value {
        Some(value) => writer.put_bytes(hash, key, value),
        None => writer.tombstone(hash, key),
    }
}

fn unsorted(number: u64, changes: &[Change]) -> Vec<u8> {
    let mut writers: Vec<_> = (0..COLUMNS).map(|at| BlockWriter::new(column(at))).collect();
    for (at, key, value) in changes {
        let writer = &mut writers[usize::from(*at)];
        writer.note_rows(number as usize);
        write(writer, key, value.as_deref());
    }
    let mut blocks = Vec::new();
    writers.iter_mut().for_each(|writer| writer.finish(&mut blocks));
    SegmentHeader { core: 3, number, epoch: number + 10 }.segment(&blocks)
}

/// A sorted segment with a block for each operation.
fn one_row_blocks(number: u64, changes: &[Change]) -> Vec<u8> {
    let mut ops: Vec<_> = say(changes).into_iter().collect();
    ops.sort_by_key(|((at, key), _)| {
        let column = column(*at);
        let rank = if column.kind == ColumnKind::Rows { KeyRef::new(key).hash } else { 0 };
        (column.name.to_string(), rank, key.clone())
    });
    let mut blocks: Vec<Block> = Vec::new();
    for ((at, key), value) in &ops {
        let mut writer = BlockWriter::new(column(*at));
        writer.note_rows(number as usize);
        write(&mut writer, key, value.as_deref());
        writer.finish(&mut blocks);
    }
    let mut bytes = SegmentHeader { core: 3, number, epoch: number + 10 }.sorted_head().to_vec();
    blocks.iter().for_each(|block| bytes.extend_from_slice(block.bytes()));
    bytes
}

fn segment(form: Form, number: u64, changes: &[Change]) -> Vec<u8> {
    match form {
        Form::Unsorted => unsorted(number, changes),
        Form::Sorted => merge_in_memory(&[&unsorted(number, changes)], false).expect("a segment"),
        Form::OneRowBlocks => one_row_blocks(number, changes),
    }
}

fn segments(chain: &[(Form, Vec<Change>)]) -> Vec<Vec<u8>> {
    (1..).zip(chain).map(|(number, (form, changes))| segment(*form, number, changes)).collect()
}

/// Calls `each` with the operations of a merged segment, and checks that it is sorted.
fn visit(bytes: &[u8], mut each: impl FnMut(&str, Op<'_>)) {
    let reader = SegmentReader::new(bytes).expect("a segment");
    assert!(reader.head().is_sorted);
    let mut last = None;
    for block in reader.blocks() {
        let block = block.expect("a block");
        for op in block.ops() {
            let rank = if block.kind() == ColumnKind::Rows { op.key_hash } else { 0 };
            let place = Some((block.name().to_owned(), rank, op.key.to_vec()));
            assert!(last < place, "{last:?} before {place:?}");
            last = place;
            each(block.name(), op);
        }
    }
}

fn read(bytes: &[u8]) -> Said {
    let numbers: BTreeMap<String, u8> =
        (0..COLUMNS).map(|at| (column(at).name.to_string(), at)).collect();
    let mut said = Said::new();
    visit(bytes, |name, op| {
        assert_eq!(op.key_hash, KeyRef::new(op.key).hash);
        said.insert((numbers[name], op.key.to_vec()), op.value.map(<[u8]>::to_vec));
    });
    said
}

fn of(inputs: &[Vec<u8>]) -> Vec<&[u8]> {
    inputs.iter().map(Vec::as_slice).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 300 }))]

    #[test]
    fn of_each_key_the_newest_operation_is_left(chain in chain(), is_bottom in any::<bool>()) {
        let inputs = segments(&chain);
        let mut expected = say(chain.iter().flat_map(|(_, changes)| changes));
        if is_bottom {
            expected.retain(|_, value| value.is_some());
        }
        let mut merged = Vec::new();
        let done = merge(of(&inputs), is_bottom, &mut merged).expect("they go together");
        prop_assert_eq!(read(&merged), expected);
        let sorted = chain.iter().filter(|(form, _)| *form != Form::Unsorted).count();
        prop_assert_eq!((done.streamed, done.sorted), (sorted, chain.len() - sorted));
        prop_assert_eq!(done.header.number, chain.len() as u64);
        prop_assert_eq!(SegmentReader::new(&merged).expect("a segment").header(), done.header);
    }

    #[test]
    fn the_newest_hint_of_rows_is_kept(chain in chain()) {
        let merged = merge_in_memory(&of(&segments(&chain)), false).expect("they go together");
        for block in SegmentReader::new(&merged).expect("a segment").blocks() {
            let block = block.expect("a block");
            let has = |changes: &[Change]| {
                changes.iter().any(|(at, ..)| &*column(*at).name == block.name())
            };
            let newest = chain.iter().rposition(|(_, changes)| has(changes)).expect("somebody");
            prop_assert_eq!(block.rows(), rows_of_code(code_of_rows(newest + 1)));
        }
    }

    /// A head that was changed may still be one, of another core, with other flags or another end;
    /// of a segment that has no end but the file's, a whole number of blocks may be missing.
    #[test]
    fn damage_is_named_or_harmless(
        chain in chain(),
        which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        ends in any::<bool>(),
        repaired in any::<bool>(),
    ) {
        let mut inputs = segments(&chain);
        let damaged = which.get(&inputs).clone();
        let at = at.index(damaged.len());
        let own = &mut inputs[which.index(chain.len())];
        if ends {
            own.truncate(at);
        } else {
            own[at] ^= 1 << bit;
        }
        if repaired {
            repair(own);
        }
        let checked = merge_in_memory(&of(&inputs), true);
        let is_boundary = ends && boundaries(&damaged).contains(&at);
        match checked {
            Err(error) => prop_assert!(!error.found.is_empty()),
            Ok(merged) => {
                prop_assert!(repaired || is_boundary, "{} bytes", merged.len());
                visit(&merged, |_, _| ());
            }
        }
    }
}

/// Where a segment that goes on until the end of its file may end.
fn boundaries(bytes: &[u8]) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    if bytes[12..16] == UNTIL_END.0.to_le_bytes() {
        let mut at = SEGMENT_HEAD;
        while let Some(head) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
            found.insert(at);
            at += BlockReader::bytes_by(head).expect("a block") as usize;
        }
        found.insert(bytes.len());
    }
    found
}

/// Right checksums for the head and all blocks that fit.
fn repair(bytes: &mut [u8]) {
    let seal = |bytes: &mut [u8]| {
        let at = bytes.len() - CHECKSUM;
        let checksum = xxh3_64(&bytes[..at]);
        bytes[at..].copy_from_slice(&checksum.to_le_bytes());
    };
    let Some((head, mut rest)) = bytes.split_at_mut_checked(SEGMENT_HEAD) else { return };
    seal(head);
    while let Some(Ok(length)) = rest.first_chunk().map(BlockReader::bytes_by) {
        let Some((block, behind)) = rest.split_at_mut_checked(length as usize) else { return };
        seal(block);
        rest = behind;
    }
}

/// A segment that says that it is sorted, of these rows in this order, a block each.
fn claimed(rows: &[(Column, u64, &[u8])]) -> Vec<u8> {
    let mut bytes = SegmentHeader { core: 3, number: 1, epoch: 1 }.sorted_head().to_vec();
    for (column, hash, key) in rows {
        let (mut writer, mut blocks) = (BlockWriter::new(column.clone()), Vec::new());
        writer.put_bytes(*hash, key, b"value");
        writer.finish(&mut blocks);
        blocks.iter().for_each(|block| bytes.extend_from_slice(block.bytes()));
    }
    bytes
}

#[test]
fn what_says_that_it_is_sorted_and_is_not_is_refused() {
    let b = Column { hash_of_key: false, ..column(0) };
    let a = column(1);
    let other = Column { fingerprint: 9, ..b.clone() };
    let cases: [&[(Column, u64, &[u8])]; 5] = [
        &[(b.clone(), 2, b"x"), (b.clone(), 1, b"y")],
        &[(b.clone(), 1, b"y"), (b.clone(), 1, b"x")],
        &[(b.clone(), 1, b"x"), (b.clone(), 1, b"x")],
        &[(b.clone(), 1, b"x"), (a.clone(), 1, b"x")],
        &[(b.clone(), 1, b"x"), (other, 1, b"y")],
    ];
    for rows in cases {
        let error = merge_in_memory(&[&claimed(rows)], true).expect_err("it is not").to_string();
        assert!(error.contains("block 2 at byte 109: it is not sorted, in or behind"), "{error}");
        assert!(error.contains("\"o\"/b"), "{error}");
    }
    let right: &[(Column, u64, &[u8])] =
        &[(a.clone(), 9, b"x"), (a, 9, b"y"), (b.clone(), 1, b"y"), (b, 2, b"x")];
    assert!(merge_in_memory(&[&claimed(right)], true).is_ok());
}

#[test]
fn who_cannot_write_says_so_and_who_cannot_read_is_named() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::Error::other("no space"))
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("no disk"))
        }
    }
    let change: Change = (0, b"key".to_vec(), Some(b"value".to_vec()));
    let [whole, cut] =
        [1, 2].map(|n| segment(Form::OneRowBlocks, n, std::slice::from_ref(&change)));
    let refused = merge([&whole[..]], true, &mut Broken);
    assert!(matches!(refused, Err(MergeError::Output(_))), "{refused:?}");
    let broken: Box<dyn Read> = Box::new(Broken);
    let inputs: [Box<dyn Read>; 2] = [Box::new(&whole[..]), Box::new(cut[..60].chain(broken))];
    let Err(MergeError::Input { place, error }) = merge(inputs, true, &mut Vec::new()) else {
        panic!("a disk is broken")
    };
    assert!(error.found.contains("it cannot be read: no disk"), "{}", error.found);
    assert_eq!(place, 1);
}
