//! Values and macros through the codec and back.

use std::collections::{BTreeMap, VecDeque};

use crate::{CodecError, Encoder, Key, KeyError, State, record};

#[record(crate = crate)]
#[derive(Clone, Debug, PartialEq)]
struct Click {
    user: u64,
    page: String,
    tags: Vec<String>,
    referrer: Option<Box<str>>,
}

#[record(crate = crate)]
#[derive(Debug, PartialEq)]
struct Meters(f64, u32);

#[record(crate = crate)]
#[derive(Debug, PartialEq)]
struct Nothing;

#[record(crate = crate)]
#[derive(Debug, PartialEq)]
enum Event {
    Start,
    Click(Click),
    Move { by: Meters, path: VecDeque<u16> },
}

fn click() -> Click {
    Click {
        user: 7,
        page: "a page whose name is not short".into(),
        tags: vec!["red".into(), String::new()],
        referrer: Some("elsewhere".into()),
    }
}

fn round_trip<T: State + PartialEq + std::fmt::Debug>(value: T) {
    let mut encoder = Encoder::new();
    for offset in 0..17 {
        let mut bytes = vec![0xaa; offset];
        encoder.encode(&value, &mut bytes).unwrap();
        assert_eq!(T::decode(&bytes[offset..]).unwrap(), value, "at offset {offset}");
        let mut again = Vec::new();
        value.encode(&mut again).unwrap();
        assert_eq!(bytes[offset..], again, "an archive depends on where it lies");
    }
}

#[test]
fn values_survive_encoding_at_any_alignment() {
    round_trip(42_u64);
    round_trip((1_u8, -2_i128, 'x', true, 0.5_f32, ()));
    round_trip(String::from("a string that is longer than an inline one"));
    round_trip(vec![Some(1_u32), None]);
    round_trip(Box::new([1_u16, 2, 3]));
    round_trip::<Box<[u64]>>([1, 2, 3].into());
    round_trip::<Box<[String]>>(Box::default());
    round_trip(BTreeMap::from([(1_u32, String::from("one")), (2, "two".into())]));
    round_trip(VecDeque::from([1_i64, 2]));
    round_trip((0..1_000_u64).collect::<Vec<_>>());
}

#[test]
fn records_survive_encoding() {
    round_trip(click());
    round_trip(Meters(1.5, 2));
    round_trip(Nothing);
    round_trip(vec![
        Event::Start,
        Event::Click(click()),
        Event::Move { by: Meters(0.0, 1), path: VecDeque::from([9]) },
    ]);
}

#[test]
fn damaged_bytes_are_refused() {
    let mut bytes = Vec::new();
    click().encode(&mut bytes).unwrap();
    for length in 0..bytes.len() {
        let _ = Click::decode(&bytes[..length]);
    }
    let outcome = Click::decode(&bytes[..8]);
    assert!(matches!(outcome, Err(CodecError::Decode { length: 8, .. })), "{outcome:?}");
    let length = bytes.len();
    bytes[length - 40..].fill(0xff);
    let error = Click::decode(&bytes).unwrap_err().to_string();
    assert!(error.contains("cannot decode") && error.contains("Click"), "{error}");
}

#[test]
fn heap_bytes_count_what_a_value_owns() {
    assert_eq!(State::heap_bytes(&1_u64), 0);
    assert_eq!(State::heap_bytes(&String::with_capacity(100)), 100);
    assert_eq!(State::heap_bytes(&Vec::<u64>::with_capacity(10)), 80);
    assert_eq!(State::heap_bytes(&Some(Box::new(7_u32))), 4);
    let boxed: Box<[String]> = [String::with_capacity(10)].into();
    assert_eq!(State::heap_bytes(&boxed), size_of::<String>() + 10);
    let click = click();
    let tags = click.tags.capacity() * size_of::<String>() + 3;
    assert_eq!(click.heap_bytes(), click.page.capacity() + tags + 9);
    let heap = click.heap_bytes();
    assert_eq!(Event::Click(click).heap_bytes(), heap);
    assert_eq!(Event::Start.heap_bytes(), 0);
}

#[test]
fn a_value_is_deep_if_a_part_of_it_is_asked_for_ahead() {
    assert_eq!([Click::IS_DEEP, Event::IS_DEEP, <(u8, Option<String>)>::IS_DEEP], [true; 3]);
    assert_eq!([Meters::IS_DEEP, Nothing::IS_DEEP, <(u8, Box<[String]>)>::IS_DEEP], [false; 3]);
}

#[test]
fn fingerprints_tell_shapes_apart_and_are_fixed() {
    mod other {
        use crate::record;

        #[record(crate = crate)]
        pub(super) struct Click {
            user: u64,
            page: String,
            tags: Vec<String>,
            referrer: Option<String>,
        }

        #[record(crate = crate)]
        pub(super) struct Meters(f64, u32);
    }
    assert_ne!(Click::FINGERPRINT, other::Click::FINGERPRINT, "the type of a field changed");
    assert_eq!(Meters::FINGERPRINT, other::Meters::FINGERPRINT);
    assert_eq!(Meters::FINGERPRINT, 0xf769_9e1c_8953_290f, "checkpoints hold this value");
    assert_ne!(u64::FINGERPRINT, i64::FINGERPRINT);
    assert_ne!(<[u8; 3]>::FINGERPRINT, <[u8; 4]>::FINGERPRINT);
    assert_ne!(Vec::<u8>::FINGERPRINT, VecDeque::<u8>::FINGERPRINT);
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Key)]
#[key(crate = crate)]
enum Kind {
    Plain,
    Named { name: String, number: u16 },
    Pair(u8, String),
}

#[test]
fn a_derived_key_goes_field_by_field() {
    let key = Kind::Named { name: "ab".into(), number: 0x0102 };
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    assert_eq!(bytes, [1, 0, 0, 0, 2, b'a', b'b', 1, 2]);
    assert_eq!(Kind::decode(&bytes), Ok(key));
    assert_eq!(Kind::decode(&[3]), Err(KeyError::Invalid { type_name: "Kind", value: 3 }));
}
