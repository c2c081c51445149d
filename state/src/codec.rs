//! Values of state and their bytes.
//!
//! A value is a plain Rust value in memory and an rkyv archive at rest. Bytes that come back are
//! validated before they are believed, whoever wrote them, and may lie at any alignment.

mod scratch;
#[cfg(test)]
mod tests;
mod value;

use rkyv::Archive;
use rkyv::api::low::{LowDeserializer, LowSerializer, LowValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error as RkyvError;
use rkyv::ser::allocator::Arena;
use rkyv::ser::{Positional, Writer};
use rkyv::util::AlignedVec;

pub use self::scratch::Scratch;

/// Archives up to these lengths are realigned on the stack when they are decoded.
const STACK_SMALL: usize = 64;
const STACK_MAX: usize = 256;

/// Alignment that suffices for every archive.
const ALIGN: usize = 16;

/// A type whose values can be kept as state.
///
/// Implemented for integers of fixed width, floats, `bool`, `char`, `String`, vectors, boxes, boxed
/// slices, options, tuples, arrays, `BTreeMap` and `VecDeque`; `#[record]` adds structs and enums.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept as state",
    label = "not a type of state",
    note = "mark the type with #[record]; all its fields must be types of state themselves",
    note = "usize and isize have no fixed width, HashMap no fixed order: use u64 and BTreeMap"
)]
pub trait State:
    Sized
    + 'static
    + Archive<
        Archived: for<'a> CheckBytes<LowValidator<'a, RkyvError>>
                      + rkyv::Deserialize<Self, LowDeserializer<RkyvError>>,
    >
    + for<'a> rkyv::Serialize<LowSerializer<Tail, Scratch<'a>, RkyvError>>
{
    /// Identifies the type's shape; a checkpoint holds it, so that a changed type is noticed at
    /// restore.
    const FINGERPRINT: u64;

    /// Whether [`prefetch`](Self::prefetch) asks for anything.
    const IS_DEEP: bool = false;

    /// Memory that the value owns outside itself, for the state budget.
    fn heap_bytes(&self) -> usize;

    /// Asks for what the value owns outside itself to be brought into the cache; called some
    /// records before the value is used.
    #[inline]
    fn prefetch(&self) {}

    /// Appends the value's archive to `out`. Where many values are encoded, [`Encoder`] saves an
    /// allocation each.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), CodecError> {
        Encoder::new().encode(self, out)
    }

    /// Validates an archive that takes up all of `bytes` and reads the value.
    fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.as_ptr().addr().is_multiple_of(ALIGN) {
            return decode_aligned(bytes);
        }
        if bytes.len() <= STACK_SMALL {
            return decode_on_stack::<Self, STACK_SMALL>(bytes);
        }
        if bytes.len() <= STACK_MAX {
            return decode_on_stack::<Self, STACK_MAX>(bytes);
        }
        let mut copy = AlignedVec::<ALIGN>::with_capacity(bytes.len());
        copy.extend_from_slice(bytes);
        decode_aligned(&copy)
    }
}

fn decode_aligned<T: State>(bytes: &[u8]) -> Result<T, CodecError> {
    rkyv::api::low::access::<T::Archived, RkyvError>(bytes)
        .and_then(rkyv::api::low::deserialize)
        .map_err(|source| CodecError::Decode {
            type_name: std::any::type_name::<T>(),
            length: bytes.len(),
            source,
        })
}

/// Reads an archive of at most `N` bytes at any alignment.
fn decode_on_stack<T: State, const N: usize>(bytes: &[u8]) -> Result<T, CodecError> {
    let mut copy = Realigned([0; N]);
    let copy = &mut copy.0[..bytes.len()];
    copy.copy_from_slice(bytes);
    decode_aligned(copy)
}

#[repr(align(16))]
struct Realigned<const N: usize>([u8; N]);

/// Encodes values one after the other with one scratch memory.
#[derive(Default)]
pub struct Encoder {
    arena: Arena,
}

impl Encoder {
    /// Makes an encoder; its scratch memory grows with the values that it sees.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends the archive of `value` to `out`; after an error `out` is as it was.
    #[inline]
    pub fn encode<T: State>(&mut self, value: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        let tail = Tail { bytes: std::mem::take(out), start };
        let mut serializer = rkyv::ser::Serializer::new(tail, Scratch::Idle(&mut self.arena), ());
        let outcome = rkyv::api::serialize_using(value, &mut serializer);
        *out = serializer.into_writer().bytes;
        outcome.map(|_| ()).map_err(|source| {
            out.truncate(start);
            CodecError::Encode { type_name: std::any::type_name::<T>(), source }
        })
    }
}

/// The end of a byte vector, written as if it were a vector of its own.
///
/// An archive is aligned relative to its own start, wherever it lies in the vector.
pub struct Tail {
    bytes: Vec<u8>,
    start: usize,
}

impl Positional for Tail {
    #[inline]
    fn pos(&self) -> usize {
        self.bytes.len() - self.start
    }
}

impl<E> Writer<E> for Tail {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Why a value cannot be turned into bytes or back.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The value has no archive.
    #[error("cannot encode a value of {type_name}")]
    Encode {
        /// The value's type.
        type_name: &'static str,
        /// What rkyv found.
        source: RkyvError,
    },
    /// The bytes are not an archive of this type.
    #[error("cannot decode {length} bytes as {type_name}")]
    Decode {
        /// The type that was expected.
        type_name: &'static str,
        /// Length of the archive.
        length: usize,
        /// What rkyv found.
        source: RkyvError,
    },
}
