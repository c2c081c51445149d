//! What a table holds, and its bytes in the cold tier.

use thalweg_state::key::split_prefixed;
use thalweg_state::macros::fingerprint;
use thalweg_state::ttl::{put_stamp, split_stamp};
use thalweg_state::{CodecError, Encoder, Key, State};

use crate::error::Kind;
use crate::{Error, Result};

/// What a table holds.
pub(crate) trait Row: Sized + 'static {
    /// Identifies the shape of its bytes.
    const SHAPE: u64;
    /// Memory that it owns outside itself.
    fn heap_bytes(&self) -> usize;
    /// Asks for what it owns outside itself.
    #[inline]
    fn prefetch(&self) {}
    /// Appends its bytes.
    fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError>;
    /// Reads it back from all of `bytes`.
    fn decode(bytes: &[u8]) -> Result<Self>;
}

impl<S: State> Row for S {
    const SHAPE: u64 = S::FINGERPRINT;

    #[inline]
    fn heap_bytes(&self) -> usize {
        State::heap_bytes(self)
    }
    #[inline]
    fn prefetch(&self) {
        State::prefetch(self);
    }
    fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError> {
        encoder.encode(self, out)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(State::decode(bytes)?)
    }
}

/// A row and when it was last accessed, in milliseconds.
pub(crate) struct Stamped<V> {
    pub(crate) row: V,
    pub(crate) accessed: i64,
}

impl<V: Row> Row for Stamped<V> {
    const SHAPE: u64 = fingerprint("stamped", &[("", V::SHAPE)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.row.heap_bytes()
    }
    #[inline]
    fn prefetch(&self) {
        self.row.prefetch();
    }
    fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError> {
        put_stamp(self.accessed, out);
        self.row.encode(encoder, out)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (accessed, row) = split_stamp(bytes).ok_or_else(cut_short)?;
        Ok(Self { accessed, row: V::decode(row)? })
    }
}

/// What shape keys of this type have.
pub(crate) const fn key_shape<K: Key>() -> u64 {
    match K::WIDTH {
        Some(width) => width as u64,
        None => u64::MAX,
    }
}

/// Appends a key that something follows.
pub(crate) fn put_key<E: Key>(key: &E, out: &mut Vec<u8>) {
    key.encode_prefixed(out);
}

/// Takes such a key off the front.
pub(crate) fn take_key<E: Key>(bytes: &mut &[u8]) -> Result<E> {
    Ok(E::decode(split_prefixed(E::WIDTH, bytes)?)?)
}

/// A row's bytes end too early.
#[cold]
pub(crate) fn cut_short() -> Error {
    Error::new(Kind::State, "cannot decode a row of state: its bytes end too early")
}

impl From<CodecError> for Error {
    #[cold]
    fn from(error: CodecError) -> Self {
        Self::new(Kind::State, "cannot encode or decode a row of state").with_source(error)
    }
}
