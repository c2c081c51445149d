//! Keys and their one canonical encoding.
//!
//! The encoding is injective and fixed for ever: it is hashed to place a key, compared to find it,
//! and stored in checkpoints. Integers are big-endian of fixed width (the sign bit flipped), `bool`
//! is one byte, strings and byte strings stand as they are, tuples and derived types go field by
//! field. A field that something follows is *prefixed*: preceded by its length as `u32` big-endian,
//! unless its type has a fixed width. Golden vectors in this module's tests hold both the encodings
//! and the hashes in place.

mod primitive;
#[cfg(test)]
mod tests;
mod text;
mod tuple;

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of [`hash`]: the bytes of `thalweg1` read as a big-endian number.
pub const SEED: u64 = 0x7468_616c_7765_6731;

/// Longest encoding of fixed width that [`Key::with_encoded`] keeps in a small array.
const SMALL_MAX: usize = 32;

/// Longest encoding that [`Key::with_encoded`] keeps off the heap.
const STACK_MAX: usize = 128;

/// Places a key: every key group, table slot and cold bucket follows from this value.
///
/// `encoded` is the key's canonical encoding, not prefixed. The function is XXH3 with 64 bits and
/// [`SEED`], part of the checkpoint format.
#[inline]
pub fn hash(encoded: &[u8]) -> u64 {
    xxh3_64_with_seed(encoded, SEED)
}

/// A key as it travels beside a record: its canonical bytes and their hash, computed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef<'a> {
    /// The value of [`hash`] over `bytes`.
    pub hash: u64,
    /// The canonical encoding, not prefixed.
    pub bytes: &'a [u8],
}

impl<'a> KeyRef<'a> {
    /// Hashes `bytes`; where the hash is at hand already, the fields are set directly.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { hash: hash(bytes), bytes }
    }
}

/// A type by which a stream can be keyed.
///
/// Implemented for integers, `bool`, `char`, strings, byte strings, byte arrays and tuples of up to
/// six keys; `#[derive(Key)]` adds structs and enums. Floats have no implementation: equal floats
/// may differ in their bits. Two keys are equal exactly if their encodings are. For types of fixed
/// width the encodings sort as the values do (enums sort by the order in which their variants are
/// declared).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a key",
    label = "not a key",
    note = "keys are integers, bool, char, String, Vec<u8>, byte arrays and tuples of keys",
    note = "add #[derive(Key)] to a struct or an enum whose fields are keys",
    note = "floats and usize have no canonical encoding: convert them to an integer of fixed width"
)]
pub trait Key: Clone + Eq + Ord + std::fmt::Debug + 'static {
    /// Length of every encoding of this type, or `None` if it varies.
    const WIDTH: Option<usize>;

    /// Number of bytes that [`encode`](Self::encode) appends.
    fn encoded_len(&self) -> usize;

    /// Appends the encoding of a key that nothing follows.
    fn encode<S: KeySink + ?Sized>(&self, out: &mut S);

    /// Reads a key that takes up all of `bytes`; the inverse of [`encode`](Self::encode).
    ///
    /// Accepts canonical encodings only: what decodes encodes to the same bytes.
    fn decode(bytes: &[u8]) -> Result<Self, KeyError>;

    /// Tells whether `encoded` is this key's encoding, without allocating.
    fn matches(&self, encoded: &[u8]) -> bool;

    /// Memory that the key owns outside itself, for the state budget.
    fn heap_bytes(&self) -> usize;

    /// Number of bytes that [`encode_prefixed`](Self::encode_prefixed) appends.
    #[inline]
    fn prefixed_len(&self) -> usize {
        let prefix = if Self::WIDTH.is_some() { 0 } else { size_of::<u32>() };
        prefix + self.encoded_len()
    }

    /// Appends the encoding of a key that something follows, so that its end can be found.
    #[inline]
    fn encode_prefixed<S: KeySink + ?Sized>(&self, out: &mut S) {
        if Self::WIDTH.is_none() {
            let length = self.encoded_len();
            assert!(length <= u32::MAX as usize, "a key part of {length} bytes exceeds 4 GiB");
            out.put(&(length as u32).to_be_bytes());
        }
        self.encode(out);
    }

    /// Reads a prefixed key from the front of `bytes` and moves `bytes` behind it.
    #[inline]
    fn decode_prefixed(bytes: &mut &[u8]) -> Result<Self, KeyError> {
        Self::decode(split_prefixed(Self::WIDTH, bytes)?)
    }

    /// Tells whether `bytes` starts with this key's prefixed encoding, and moves `bytes` behind it.
    #[inline]
    fn matches_prefixed(&self, bytes: &mut &[u8]) -> bool {
        split_prefixed(Self::WIDTH, bytes).is_ok_and(|part| self.matches(part))
    }

    /// Lends the encoding to `f`; short keys stay off the heap.
    #[inline]
    fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        if matches!(Self::WIDTH, Some(width) if width <= SMALL_MAX) {
            return on_stack::<SMALL_MAX, _, _>(self, f);
        }
        let length = self.encoded_len();
        if length <= STACK_MAX {
            return on_stack::<STACK_MAX, _, _>(self, f);
        }
        let mut bytes = Vec::with_capacity(length);
        self.encode(&mut bytes);
        f(&bytes)
    }

    /// The key's hash, by way of its encoding.
    #[inline]
    fn key_hash(&self) -> u64 {
        self.with_encoded(hash)
    }
}

/// Where encodings are appended: a byte vector, or a small array on the stack.
pub trait KeySink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

impl KeySink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Why bytes are not a key's canonical encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes end inside the key.
    #[error("cannot decode key: {needed} bytes are needed, {available} are left")]
    Truncated {
        /// Bytes that the next part takes.
        needed: usize,
        /// Bytes that are there.
        available: usize,
    },
    /// The key ends before the bytes do.
    #[error("cannot decode key: {count} bytes follow its end")]
    Trailing {
        /// Bytes too many.
        count: usize,
    },
    /// No value of the type has this encoding.
    #[error("cannot decode key: no {type_name} is encoded as {value}")]
    Invalid {
        /// The type that was expected.
        type_name: &'static str,
        /// The offending number.
        value: u64,
    },
    /// A string is not UTF-8.
    #[error("cannot decode key: its text is not UTF-8 from byte {valid_up_to} on")]
    Text {
        /// Length of the part that is UTF-8.
        valid_up_to: usize,
    },
}

/// Takes a prefixed part of width `width` (or with a length in front) off the front of `bytes`.
///
/// Needs no more than [`Key::WIDTH`], so that stores without the key's type can find where a key
/// ends.
#[inline]
pub fn split_prefixed<'a>(
    width: Option<usize>,
    bytes: &mut &'a [u8],
) -> Result<&'a [u8], KeyError> {
    let length = match width {
        Some(width) => width,
        None => {
            let Some((length, rest)) = bytes.split_first_chunk::<4>() else {
                return Err(KeyError::Truncated { needed: 4, available: bytes.len() });
            };
            *bytes = rest;
            u32::from_be_bytes(*length) as usize
        }
    };
    let Some((part, rest)) = bytes.split_at_checked(length) else {
        return Err(KeyError::Truncated { needed: length, available: bytes.len() });
    };
    *bytes = rest;
    Ok(part)
}

/// Checks that `bytes` has exactly `N` bytes.
#[inline]
fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], KeyError> {
    match bytes.first_chunk::<N>() {
        None => Err(KeyError::Truncated { needed: N, available: bytes.len() }),
        Some(_) if bytes.len() > N => Err(KeyError::Trailing { count: bytes.len() - N }),
        Some(array) => Ok(*array),
    }
}

#[inline]
fn on_stack<const N: usize, K: Key, R>(key: &K, f: impl FnOnce(&[u8]) -> R) -> R {
    let mut stack = Stack::<N> { bytes: [0; N], length: 0 };
    key.encode(&mut stack);
    f(&stack.bytes[..stack.length])
}

/// A sink of bounded size that needs no allocation.
struct Stack<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> KeySink for Stack<N> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length + bytes.len();
        self.bytes[self.length..end].copy_from_slice(bytes);
        self.length = end;
    }
}
