//! What the expansions of `#[record]` and `#[derive(Key)]` name besides the traits themselves.
//!
//! A crate that hands the macros on (`thalweg` does) re-exports this module, [`rkyv`],
//! [`Key`](trait@crate::Key), [`KeyError`](crate::KeyError), [`KeySink`](crate::KeySink) and
//! [`State`](crate::State) at its root.

/// Starting value of 64-bit FNV-1a.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// Multiplier of 64-bit FNV-1a.
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Width of fields that stand behind each other: their sum, or `None` if one of them varies.
pub const fn width(fields: &[Option<usize>]) -> Option<usize> {
    let mut sum = 0;
    let mut index = 0;
    while index < fields.len() {
        match fields[index] {
            Some(field) => sum += field,
            None => return None,
        }
        index += 1;
    }
    Some(sum)
}

/// Width of an enum: that of the variant index and the payload, if all payloads have the same
/// width.
pub const fn enum_width(index_bytes: usize, variants: &[Option<usize>]) -> Option<usize> {
    let mut index = 0;
    while index < variants.len() {
        match (variants[0], variants[index]) {
            (Some(first), Some(other)) if first == other => index += 1,
            _ => return None,
        }
    }
    match variants {
        [Some(payload), ..] => Some(index_bytes + *payload),
        _ => None,
    }
}

/// Fingerprint of a type: its name and, in order, the names and fingerprints of its parts.
///
/// Two types with one name, the same parts in the same order and of the same types have one
/// fingerprint.
pub const fn fingerprint(name: &str, parts: &[(&str, u64)]) -> u64 {
    let mut state = text(OFFSET, name);
    let mut index = 0;
    while index < parts.len() {
        state = text(state, parts[index].0);
        state = bytes(state, &parts[index].1.to_le_bytes());
        index += 1;
    }
    state
}

const fn text(state: u64, text: &str) -> u64 {
    let length = bytes(state, &(text.len() as u64).to_le_bytes());
    bytes(length, text.as_bytes())
}

const fn bytes(mut state: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        state = (state ^ bytes[index] as u64).wrapping_mul(PRIME);
        index += 1;
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_width_is_known_only_if_all_parts_have_one() {
        assert_eq!(width(&[]), Some(0));
        assert_eq!(width(&[Some(8), Some(1)]), Some(9));
        assert_eq!(width(&[Some(8), None]), None);
        assert_eq!(enum_width(1, &[Some(0), Some(0)]), Some(1));
        assert_eq!(enum_width(2, &[Some(4)]), Some(6));
        assert_eq!(enum_width(1, &[Some(0), Some(4)]), None);
        assert_eq!(enum_width(1, &[None]), None);
    }

    #[test]
    fn a_fingerprint_depends_on_names_order_and_types() {
        let base = fingerprint("A", &[("x", 1), ("y", 2)]);
        assert_eq!(base, fingerprint("A", &[("x", 1), ("y", 2)]));
        assert_ne!(base, fingerprint("B", &[("x", 1), ("y", 2)]));
        assert_ne!(base, fingerprint("A", &[("y", 2), ("x", 1)]));
        assert_ne!(base, fingerprint("A", &[("x", 1), ("y", 3)]));
        assert_ne!(fingerprint("ab", &[("c", 1)]), fingerprint("a", &[("bc", 1)]));
    }
}
