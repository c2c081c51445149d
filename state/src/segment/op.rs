//! Operations of a block and their bytes.

use crate::key;

/// Longest head of an operation: its key's length and the hash.
const HEAD_MAX: usize = VARINT_MAX + 8;

/// Longest varint of a length below 4 GiB, doubled.
const VARINT_MAX: usize = 5;

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op<'a> {
    /// The hash of the stream's key, by which its group is known.
    pub key_hash: u64,
    /// The row's key.
    pub key: &'a [u8],
    /// The row's value; `None`: it was removed.
    pub value: Option<&'a [u8]>,
}

/// The operations of a block; made by [`BlockReader::ops`](super::BlockReader::ops).
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    bytes: &'a [u8],
    hash_of_key: bool,
}

impl<'a> Ops<'a> {
    pub(super) fn new(bytes: &'a [u8], hash_of_key: bool) -> Self {
        Self { bytes, hash_of_key }
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Op<'a>;

    fn next(&mut self) -> Option<Op<'a>> {
        Split::off(&mut self.bytes, self.hash_of_key).map(Split::op)
    }
}

/// An operation as it stands in a block.
#[derive(Clone, Copy)]
pub(super) struct Split<'a> {
    /// `None`: it is that of the key.
    hash: Option<u64>,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
}

impl<'a> Split<'a> {
    /// Takes an operation off the front of `bytes`; `None`: there is none.
    #[inline]
    pub(super) fn off(bytes: &mut &'a [u8], hash_of_key: bool) -> Option<Self> {
        let mut rest = *bytes;
        let head = take_varint(&mut rest)?;
        let hash = match hash_of_key {
            true => None,
            false => {
                let (hash, behind) = rest.split_first_chunk()?;
                rest = behind;
                Some(u64::from_le_bytes(*hash))
            }
        };
        let (key, behind) = rest.split_at_checked(usize::try_from(head >> 1).ok()?)?;
        rest = behind;
        let value = match head & 1 {
            0 => None,
            _ => {
                let length = take_varint(&mut rest)?;
                let (value, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                rest = behind;
                Some(value)
            }
        };
        *bytes = rest;
        Some(Self { hash, key, value })
    }

    #[inline]
    pub(super) fn op(self) -> Op<'a> {
        let Self { hash, key, value } = self;
        Op { key_hash: hash.unwrap_or_else(|| key::hash(key)), key, value }
    }
}

/// Appends what stands in front of a value, or a whole tombstone.
#[inline]
pub(super) fn put_head(out: &mut Vec<u8>, is_put: bool, hash: Option<u64>, key: &[u8]) {
    let mut head = [0; HEAD_MAX];
    let mut length = varint(u64::from(length(key.len())) << 1 | u64::from(is_put), &mut head);
    if let Some(hash) = hash {
        head[length..length + 8].copy_from_slice(&hash.to_le_bytes());
        length += 8;
    }
    out.extend_from_slice(&head[..length]);
    out.extend_from_slice(key);
}

/// Appends a value's length and the bytes that `write` appends; after an error `out` is as it was.
#[inline]
pub(super) fn put_value<E>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    let at = out.len();
    out.push(0);
    if let Err(error) = write(out) {
        out.truncate(at);
        return Err(error);
    }
    let bytes = out.len() - at - 1;
    match u8::try_from(bytes) {
        Ok(short) if short < 0x80 => out[at] = short,
        _ => widen(out, at, bytes),
    }
    Ok(())
}

/// Makes room in front of a value whose length takes more than a byte.
#[cold]
fn widen(out: &mut Vec<u8>, at: usize, bytes: usize) {
    let (mut head, end) = ([0; VARINT_MAX], out.len());
    let length = varint(length(bytes).into(), &mut head);
    out.extend_from_slice(&head[1..length]);
    out.copy_within(at + 1..end, at + length);
    out[at..at + length].copy_from_slice(&head[..length]);
}

/// Writes a number of at most 35 bits; returns how many bytes it takes.
#[inline]
fn varint(mut number: u64, out: &mut [u8]) -> usize {
    let mut at = 0;
    while number >= 0x80 {
        out[at] = number as u8 | 0x80;
        number >>= 7;
        at += 1;
    }
    out[at] = number as u8;
    at + 1
}

/// Takes a number of at most 35 bits off the front.
#[inline]
fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    let mut number = 0;
    for (at, byte) in bytes.iter().take(VARINT_MAX).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if *byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(number);
        }
    }
    None
}

/// A length as it is stored.
///
/// # Panics
/// If it is 4 GiB or more.
#[inline]
pub(super) fn length(bytes: usize) -> u32 {
    match u32::try_from(bytes) {
        Ok(length) => length,
        Err(_) => panic!("{bytes} bytes do not fit into an operation of a segment"),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn lengths_of_every_width_are_read_back() {
        let lengths = [0, 1, 62, 63, 64, 127, 128, 8_191, 8_192, 16_383, 16_384, 2_097_152];
        for (length, value) in lengths.iter().flat_map(|a| lengths.iter().map(move |b| (*a, *b))) {
            let (key, value) = (vec![7; length], vec![9; value]);
            for hash in [None, Some(3)] {
                let mut bytes = b"before".to_vec();
                put_head(&mut bytes, true, hash, &key);
                let put = put_value(&mut bytes, |out| {
                    out.extend_from_slice(&value);
                    Ok::<_, Infallible>(())
                });
                put.unwrap();
                put_head(&mut bytes, false, hash, &key);
                let mut ops = Ops::new(&bytes[6..], hash.is_none());
                let key_hash = hash.unwrap_or_else(|| key::hash(&key));
                let op = Op { key_hash, key: &key, value: Some(&value) };
                assert_eq!(ops.next(), Some(op));
                assert_eq!(ops.next(), Some(Op { value: None, ..op }));
                assert_eq!(ops.next(), None);
                assert!(ops.bytes.is_empty());
            }
        }
    }

    #[test]
    fn numbers_without_an_end_are_none() {
        assert_eq!(take_varint(&mut &[0xff, 0xff, 0xff, 0xff, 0x7f][..]), Some((1 << 35) - 1));
        assert_eq!(take_varint(&mut &[0xff; 9][..]), None);
        assert_eq!(take_varint(&mut &[0x80][..]), None);
        assert_eq!(take_varint(&mut &[][..]), None);
    }
}
