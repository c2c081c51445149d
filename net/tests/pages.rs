//! Pages give back what was put on them, refuse what is no page, and are never half written.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rkyv::rancor::Source;
use rkyv::ser::{Allocator, Writer};
use rkyv::validation::ArchiveContext;
use rkyv::{Archive, Deserialize, Serialize};
use thalweg_net::batch::ENTRY_BYTES;
use thalweg_net::{Buffer, ChannelError, Head, Page, PageFull, PageWriter, Slot};

#[derive(Clone, Debug, PartialEq, Archive, Serialize, Deserialize)]
#[rkyv(
    serialize_bounds(__S: Writer + Allocator, __S::Error: Source),
    deserialize_bounds(__D::Error: Source),
    bytecheck(bounds(__C: ArchiveContext, __C::Error: Source))
)]
enum Kind {
    Plain,
    Named(String),
    Nested {
        #[rkyv(omit_bounds)]
        inner: Option<Box<Kind>>,
        letter: char,
    },
}

#[derive(Clone, Debug, PartialEq, Archive, Serialize, Deserialize)]
struct Rich {
    flag: bool,
    name: String,
    numbers: Vec<u64>,
    names: Vec<String>,
    grid: Vec<Vec<Option<u16>>>,
    small: Option<u8>,
    kind: Kind,
    map: BTreeMap<String, Vec<i32>>,
    wide: u128,
}

fn kind() -> impl Strategy<Value = Kind> {
    let leaf = prop_oneof![Just(Kind::Plain), ".{0,30}".prop_map(Kind::Named)];
    leaf.prop_recursive(4, 8, 1, |inner| {
        (prop::option::of(inner.prop_map(Box::new)), any::<char>())
            .prop_map(|(inner, letter)| Kind::Nested { inner, letter })
    })
}

prop_compose! {
    fn rich()(
        (flag, name, small, wide) in (any::<bool>(), ".{0,40}", any::<Option<u8>>(), any::<u128>()),
        numbers in prop::collection::vec(any::<u64>(), 0..20),
        names in prop::collection::vec(".{0,20}", 0..6),
        grid in prop::collection::vec(prop::collection::vec(any::<Option<u16>>(), 0..4), 0..4),
        kind in kind(),
        map in prop::collection::btree_map(
            ".{0,12}", prop::collection::vec(any::<i32>(), 0..3), 0..12
        ),
    ) -> Rich {
        Rich { flag, name, numbers, names, grid, small, kind, map, wide }
    }
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 0..3000),
    ]
}

prop_compose! {
    fn head()(hash: u64, timestamp: i64, watermark: i64, origin: u64) -> Head {
        Head { hash, timestamp, watermark, origin }
    }
}

type Row<T> = (Head, Vec<u8>, T);

fn rows<T: std::fmt::Debug>(
    record: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<Row<T>>> {
    prop::collection::vec((head(), key(), record), 0..60)
}

/// Pushes rows until one does not fit; returns the page and how many stand on it.
fn fill<T: Slot>(buffer: Buffer, rows: &[Row<T>]) -> (Page, usize) {
    let mut writer = PageWriter::new(buffer);
    let taken = rows
        .iter()
        .take_while(|(head, key, record)| writer.push(*head, key, record).is_ok())
        .count();
    assert_eq!(writer.count(), taken);
    (writer.seal(), taken)
}

fn holds<T: Slot + PartialEq + std::fmt::Debug>(page: &Page, rows: &[Row<T>]) {
    let view = page.typed::<T>();
    assert_eq!((page.count(), view.len()), (rows.len(), rows.len()));
    assert_eq!(page.heads().count(), rows.len());
    for (index, (head, key, record)) in rows.iter().enumerate() {
        assert_eq!((view.head(index), view.key(index)), (head, &key[..]));
        assert_eq!(&view.record(index), record);
    }
}

fn copy<T: Slot>(page: &Page, buffer: Buffer) -> Result<Page, ChannelError> {
    Page::from_bytes::<T>(buffer, page.count() as u32, page.payload(), page.directory())
}

fn parts(page: &Page) -> (Vec<u8>, Vec<u8>) {
    (page.payload().to_vec(), page.directory().to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rich_records_survive_the_page_and_its_copies(rows in rows(rich()), dirt: u8) {
        let mut buffer = Buffer::new(16 * 1024);
        buffer.bytes_mut().fill(dirt);
        let (page, taken) = fill(buffer, &rows);
        holds(&page, &rows[..taken]);
        let again = copy::<Rich>(&page, Buffer::new(20_000)).expect("a written page is valid");
        holds(&again, &rows[..taken]);
        prop_assert_eq!(parts(&page), parts(&again));
        let twin = page.copy_into(Buffer::new(16 * 1024)).expect("it has the same size");
        holds(&twin, &rows[..taken]);
        let (clean, _) = fill(Buffer::new(16 * 1024), &rows);
        prop_assert_eq!(parts(&page), parts(&clean), "equal batches are equal bytes");
    }

    #[test]
    fn odd_sizes_and_alignments_share_no_byte(
        bytes in rows(any::<u8>()),
        units in rows(Just(())),
        wide in rows(any::<(u8, u128)>()),
        strings in rows(".{0,50}"),
    ) {
        let (page, taken) = fill(Buffer::new(4096), &bytes);
        holds(&page, &bytes[..taken]);
        let (page, taken) = fill(Buffer::new(4096), &units);
        holds(&page, &units[..taken]);
        let (page, taken) = fill(Buffer::new(4096), &wide);
        holds(&page, &wide[..taken]);
        let (page, taken) = fill(Buffer::new(4096), &strings);
        holds(&page, &strings[..taken]);
        prop_assert!(copy::<String>(&page, Buffer::new(4096)).is_ok());
    }

    #[test]
    fn a_record_that_does_not_fit_leaves_no_trace(
        rows in prop::collection::vec((head(), key(), rich()), 1..12),
        names in prop::collection::vec("[a-z]{0,200}", 60..200),
    ) {
        let mut large = rows[0].2.clone();
        large.names = names;
        let mut plain = PageWriter::new(Buffer::new(4096));
        let mut disturbed = PageWriter::new(Buffer::new(4096));
        for (head, key, record) in &rows {
            prop_assert_eq!(disturbed.push(*head, key, &large), Err(PageFull));
            prop_assert_eq!(disturbed.push(*head, &[0; 4096], record), Err(PageFull));
            prop_assert_eq!(disturbed.push(*head, key, record), plain.push(*head, key, record));
            prop_assert_eq!(disturbed.free_bytes(), plain.free_bytes());
        }
        prop_assert_eq!(parts(&disturbed.seal()), parts(&plain.seal()));
    }

    #[test]
    fn a_large_enough_buffer_takes_any_record((head, key, record) in (head(), key(), rich())) {
        let mut size = 64;
        let page = loop {
            let mut writer = PageWriter::new(Buffer::new(size));
            if writer.push(head, &key, &record).is_ok() {
                break writer.seal();
            }
            size *= 2;
            prop_assert!(size <= 64 * 1024, "no buffer is large enough");
        };
        holds(&page, &[(head, key, record)]);
    }

    #[test]
    fn damaged_bytes_are_refused_or_harmless(
        rows in rows(rich()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        in_directory: bool,
        (count, length) in (-1_i64..=1, -9_i64..=9),
    ) {
        let (page, _) = fill(Buffer::new(8192), &rows);
        let (mut payload, mut directory) = parts(&page);
        let target = if in_directory { &mut directory } else { &mut payload };
        for (index, byte) in damage {
            if !target.is_empty() {
                let index = index.index(target.len());
                target[index] ^= byte;
            }
        }
        let count = (page.count() as i64 + count).max(0) as u32;
        directory.resize(count as usize * ENTRY_BYTES, 0);
        payload.resize((payload.len() as i64 + length).max(0) as usize, 0);
        read_if_valid(Page::from_bytes::<Rich>(Buffer::new(16_384), count, &payload, &directory));
    }

    #[test]
    fn noise_is_refused_or_harmless(
        noise in prop::collection::vec(any::<u8>(), 512),
        (count, length) in (0_u32..14, 0_u32..600),
    ) {
        let mut buffer = Buffer::new(512);
        buffer.bytes_mut().copy_from_slice(&noise);
        read_if_valid(Page::from_buffer::<Rich>(buffer, count, length));
    }
}

fn read_if_valid(page: Result<Page, ChannelError>) {
    let Ok(page) = page else { return };
    let view = page.typed::<Rich>();
    for index in 0..view.len() {
        let bytes = view.key(index).len() + view.record(index).name.len();
        assert!(bytes <= page.payload_bytes(), "record {index} reaches beyond the page");
    }
}

#[test]
fn a_page_is_full_to_the_last_byte() {
    let mut writer = PageWriter::<u64>::new(Buffer::new(64 * 3));
    for free in [192, 144, 96, 48] {
        assert_eq!(writer.free_bytes(), free);
        writer.push(Head::default(), &[], &7).expect("exactly four fit");
    }
    assert_eq!(writer.push(Head::default(), &[], &7), Err(PageFull));
    let page = writer.seal();
    assert_eq!((page.count(), page.payload_bytes()), (4, 32));
    assert!(copy::<u64>(&page, Buffer::new(192)).is_ok());
}

#[test]
fn each_lie_about_a_record_is_found() {
    let mut writer = PageWriter::new(Buffer::new(512));
    for record in [1_u64, 2] {
        writer.push(Head::default(), b"key", &record).expect("it fits");
    }
    let page = writer.seal();
    let reason = |payload: &[u8], entry: usize, field: usize, value: u32| {
        let mut directory = page.directory().to_vec();
        let at = (1 - entry) * ENTRY_BYTES + 32 + 4 * field;
        directory[at..at + 4].copy_from_slice(&value.to_le_bytes());
        match Page::from_bytes::<u64>(Buffer::new(512), 2, payload, &directory) {
            Err(ChannelError::InvalidPage { record, reason, .. }) => (record, reason),
            other => panic!("taken for a page: {other:?}"),
        }
    };
    let payload = page.payload();
    assert_eq!(reason(payload, 1, 0, 8), (1, "it overlaps the one before it"));
    assert_eq!(reason(payload, 1, 0, 12), (1, "its position is not aligned"));
    assert_eq!(reason(payload, 1, 0, 24), (1, "it ends behind the payload"));
    assert_eq!(reason(payload, 1, 0, u32::MAX), (1, "it ends behind the payload"));
    assert_eq!(reason(payload, 0, 1, 9), (1, "it overlaps the one before it"));
    assert_eq!(reason(payload, 0, 1, u32::MAX), (0, "it ends behind the payload"));
}

#[test]
fn lengths_are_checked_before_anything_is_copied() {
    let small = || Buffer::new(64);
    assert!(Page::from_bytes::<u64>(small(), 0, &[0; 65], &[]).is_err());
    assert!(Page::from_bytes::<u64>(small(), 1, &[0; 8], &[0; 39]).is_err());
    assert!(Page::from_bytes::<u64>(small(), u32::MAX, &[], &[]).is_err());
    assert!(Page::from_buffer::<u64>(small(), u32::MAX, u32::MAX).is_err());
    assert!(Page::from_buffer::<u64>(small(), 1, 25).is_err());
    assert!(Page::from_buffer::<u64>(small(), 1, 24).is_ok());
}

#[test]
fn a_record_from_elsewhere_may_not_nest_without_end() {
    let mut kind = Kind::Plain;
    for _ in 0..400 {
        kind = Kind::Nested { inner: Some(Box::new(kind)), letter: 'x' };
    }
    // Release builds write it unchecked; debug builds notice that it could not be read back.
    let written = std::panic::catch_unwind(|| {
        let mut writer = PageWriter::new(Buffer::new(64 * 1024));
        writer.push(Head::default(), &[], &kind).expect("it fits");
        writer.seal()
    });
    match written {
        Ok(page) => assert!(copy::<Kind>(&page, Buffer::new(64 * 1024)).is_err()),
        Err(_) if cfg!(debug_assertions) => {}
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[test]
#[should_panic(expected = "a page of u64 is read as one of i64")]
fn a_page_is_not_read_as_another_type() {
    let _ = PageWriter::<u64>::new(Buffer::new(64)).seal().typed::<i64>();
}

#[test]
#[should_panic(expected = "record 1 of a page of 1")]
fn a_record_behind_the_last_is_a_broken_invariant() {
    let mut writer = PageWriter::new(Buffer::new(64));
    writer.push(Head::default(), &[], &1_u64).expect("it fits");
    let page = writer.seal();
    let _ = page.typed::<u64>().record(1);
}
