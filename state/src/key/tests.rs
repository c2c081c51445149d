//! Golden vectors and laws of the encoding.

use proptest::prelude::*;

use super::*;
use crate::Key as DeriveKey;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, DeriveKey)]
#[key(crate = crate)]
struct Route {
    from: u32,
    via: String,
    to: i16,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, DeriveKey)]
#[key(crate = crate)]
struct Id(u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, DeriveKey)]
#[key(crate = crate)]
struct Everything;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, DeriveKey)]
#[key(crate = crate)]
enum Color {
    Red,
    Green,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, DeriveKey)]
#[key(crate = crate)]
enum Party {
    Nobody,
    Person(Id),
    Company { name: String, branch: Vec<u8> },
}

fn encoded<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}

fn golden<K: Key>(key: K, expected: &[u8]) {
    assert_eq!(encoded(&key), expected, "the encoding of {key:?} changed");
    assert_eq!(K::decode(expected), Ok(key));
}

#[test]
fn encodings_are_fixed_for_ever() {
    golden(7_u8, &[7]);
    golden(0x0102_u16, &[1, 2]);
    golden(0x0102_0304_u32, &[1, 2, 3, 4]);
    golden(0x0102_0304_0506_0708_u64, &[1, 2, 3, 4, 5, 6, 7, 8]);
    golden(1_u128, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    golden(-1_i8, &[0x7f]);
    golden(1_i16, &[0x80, 1]);
    golden(i32::MIN, &[0, 0, 0, 0]);
    golden(0_i64, &[0x80, 0, 0, 0, 0, 0, 0, 0]);
    golden(-1_i128, &[[0x7f].as_slice(), &[0xff; 15]].concat());
    golden(true, &[1]);
    golden('ä', &[0, 0, 0, 0xe4]);
    golden((), &[]);
    golden([1_u8, 2, 3], &[1, 2, 3]);
    golden(String::from("añb"), &[b'a', 0xc3, 0xb1, b'b']);
    golden(Box::<str>::from(""), &[]);
    golden(vec![0_u8, 255], &[0, 255]);
    golden((1_u8,), &[1]);
    golden((1_u8, String::from("x")), &[1, b'x']);
    golden((String::from("x"), 1_u8), &[0, 0, 0, 1, b'x', 1]);
    golden(((String::from("x"), 1_u8), 2_u8), &[0, 0, 0, 6, 0, 0, 0, 1, b'x', 1, 2]);
    golden((1_u8, 2_u8, 3_u8, 4_u8, 5_u8, 6_u16), &[1, 2, 3, 4, 5, 0, 6]);
}

#[test]
fn derived_encodings_are_fixed_for_ever() {
    golden(Id(1), &[0, 0, 0, 0, 0, 0, 0, 1]);
    golden(Everything, &[]);
    golden(Color::Red, &[0]);
    golden(Color::Green, &[1]);
    let route = Route { from: 1, via: "a".into(), to: 2 };
    golden(route, &[0, 0, 0, 1, 0, 0, 0, 1, b'a', 0x80, 2]);
    golden(Party::Nobody, &[0]);
    golden(Party::Person(Id(5)), &[1, 0, 0, 0, 0, 0, 0, 0, 5]);
    let company = Party::Company { name: "x".into(), branch: vec![9] };
    golden(company, &[2, 0, 0, 0, 1, b'x', 9]);
    assert_eq!((Id::WIDTH, Everything::WIDTH, Color::WIDTH), (Some(8), Some(0), Some(1)));
    assert_eq!((Route::WIDTH, Party::WIDTH), (None, None));
    assert_eq!(<(Id, Color)>::WIDTH, Some(9));
}

/// The expected values come from an implementation of the specification of XXH3 that shares no
/// code with the one in use.
#[test]
fn hashes_are_fixed_for_ever() {
    for (bytes, expected) in [
        (&b""[..], 0x7a1e_9d1b_d0c0_6824),
        (&[1], 0x6135_dd34_4203_d7f5),
        (&[0, 7], 0x12f4_4239_3ade_d6ec),
        (&42_u32.to_be_bytes(), 0x8af5_f3d9_506e_aae0),
        (&0_u64.to_be_bytes(), 0xa5b6_efae_a1ab_4b03),
        (&1_u64.to_be_bytes(), 0xa2ea_0a7c_fef0_7c65),
        (&u64::MAX.to_be_bytes(), 0x9987_031d_55a8_8add),
        (b"\0\0\0\x01a\0\0\0\0\0\0\0\x02", 0x83b1_ceb9_3aee_00ff),
        (b"thalweg", 0xd056_82cd_d878_f121),
        (b"a key of more than sixteen bytes", 0x7761_45e2_2abc_a94b),
        (&b"0123456789".repeat(10), 0x3aa9_ee8a_d826_4e21),
    ] {
        assert_eq!(hash(bytes), expected, "the hash of {bytes:02x?} changed");
        assert_eq!(KeyRef::new(bytes), KeyRef { hash: expected, bytes });
    }
    assert_eq!((String::from("a"), 2_u64).key_hash(), 0x83b1_ceb9_3aee_00ff);
    assert_eq!(SEED.to_be_bytes(), *b"thalweg1");
}

#[test]
fn only_canonical_encodings_decode() {
    assert_eq!(u32::decode(&[1, 2]), Err(KeyError::Truncated { needed: 4, available: 2 }));
    assert_eq!(u8::decode(&[1, 2]), Err(KeyError::Trailing { count: 1 }));
    assert_eq!(<()>::decode(&[0]), Err(KeyError::Trailing { count: 1 }));
    assert_eq!(bool::decode(&[2]), Err(KeyError::Invalid { type_name: "bool", value: 2 }));
    let surrogate = KeyError::Invalid { type_name: "char", value: 0xd800 };
    assert_eq!(char::decode(&[0, 0, 0xd8, 0]), Err(surrogate));
    assert_eq!(String::decode(b"ab\xff"), Err(KeyError::Text { valid_up_to: 2 }));
    assert_eq!(Color::decode(&[2]), Err(KeyError::Invalid { type_name: "Color", value: 2 }));
    assert_eq!(Color::decode(&[]), Err(KeyError::Truncated { needed: 1, available: 0 }));
    assert_eq!(Color::decode(&[0, 0]), Err(KeyError::Trailing { count: 1 }));
    let long = [0xff, 0xff, 0xff, 0xff, b'x'];
    let truncated = KeyError::Truncated { needed: 0xffff_ffff, available: 1 };
    assert_eq!(<(String, ())>::decode(&long), Err(truncated));
}

fn laws<K: Key>(left: &K, right: &K) -> Result<(), TestCaseError> {
    let (a, b) = (encoded(left), encoded(right));
    prop_assert_eq!(a == b, left == right, "encodings are equal exactly if the keys are");
    prop_assert_eq!(left.matches(&b), left == right);
    prop_assert_eq!(a.len(), left.encoded_len());
    prop_assert_eq!(&K::decode(&a), &Ok(left.clone()));
    left.with_encoded(|bytes| assert_eq!(bytes, a));
    prop_assert_eq!(left.key_hash(), hash(&a));
    if let Some(width) = K::WIDTH {
        prop_assert_eq!(a.len(), width);
        prop_assert_eq!(a.cmp(&b), left.cmp(right), "encodings sort as the keys do");
    }
    let mut both = Vec::new();
    left.encode_prefixed(&mut both);
    prop_assert_eq!(both.len(), left.prefixed_len());
    right.encode_prefixed(&mut both);
    let mut rest = &both[..];
    prop_assert_eq!(&K::decode_prefixed(&mut rest), &Ok(left.clone()));
    prop_assert!(right.matches_prefixed(&mut rest));
    prop_assert!(rest.is_empty());
    Ok(())
}

/// Decodes bytes that nobody encoded: what is accepted must be the encoding of what comes out.
fn canonical<K: Key>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(key) = K::decode(bytes) {
        prop_assert_eq!(encoded(&key), bytes);
    }
    Ok(())
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![
        Just(Party::Nobody),
        any::<u64>().prop_map(|id| Party::Person(Id(id))),
        (".{0,3}", prop::collection::vec(any::<u8>(), 0..3))
            .prop_map(|(name, branch)| Party::Company { name, branch }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn numbers_obey_the_laws(a: (u8, u64, i64), b: (u8, u64, i64), c: (i16, u128, i128), d: bool) {
        laws(&a, &b)?;
        laws(&a.1, &b.1)?;
        laws(&a.2, &b.2)?;
        laws(&(c, d), &(c, !d))?;
        laws(&(a.1, a.2, c), &(a.1, b.2, c))?;
    }

    #[test]
    fn texts_obey_the_laws(a in ".{0,3}", b in ".{0,3}", c in ".{0,3}", d in ".{0,200}") {
        laws(&a, &b)?;
        laws(&(a.clone(), b.clone()), &(b.clone(), c.clone()))?;
        laws(&(a.clone(), b.clone(), c.clone()), &(format!("{a}{b}"), String::new(), c.clone()))?;
        laws(&((a.clone(), b.clone()), c.clone()), &((a.clone(), c.clone()), b.clone()))?;
        laws(&(d.clone(), 1_u8), &(d, 2_u8))?;
    }

    #[test]
    fn derived_keys_obey_the_laws(a in party(), b in party(), from: u32, via in ".{0,3}", to: i16) {
        laws(&a, &b)?;
        laws(&(a, from), &(b, from))?;
        let route = Route { from, via, to };
        laws(&route, &Route { from: 0, ..route.clone() })?;
    }

    #[test]
    fn what_decodes_is_canonical(bytes in prop::collection::vec(0..4_u8, 0..14)) {
        canonical::<(String, u8)>(&bytes)?;
        canonical::<(bool, char)>(&bytes)?;
        canonical::<Party>(&bytes)?;
        canonical::<Route>(&bytes)?;
        canonical::<((Vec<u8>, Color), Box<str>)>(&bytes)?;
    }
}
