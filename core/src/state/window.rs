//! What a window operator keeps per key and window.

use thalweg_state::macros::fingerprint;
use thalweg_state::{CodecError, Encoder, Key, State};

use super::encoding::{Row, cut_short};
use crate::Result;

/// The accumulator of one key and window, and what its trigger remembers.
pub(crate) struct WindowRow<A, G> {
    pub(crate) acc: A,
    pub(crate) trigger: G,
}

impl<A: State, G: State> Row for WindowRow<A, G> {
    const SHAPE: u64 =
        fingerprint("window", &[("acc", A::FINGERPRINT), ("trigger", G::FINGERPRINT)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.acc.heap_bytes() + self.trigger.heap_bytes()
    }
    fn encode(&self, encoder: &mut Encoder, out: &mut Vec<u8>) -> Result<(), CodecError> {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        encoder.encode(&self.acc, out)?;
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        encoder.encode(&self.trigger, out)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        let (length, rest) = bytes.split_first_chunk().ok_or_else(cut_short)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (acc, trigger) = rest.split_at_checked(length).ok_or_else(cut_short)?;
        Ok(Self { acc: State::decode(acc)?, trigger: State::decode(trigger)? })
    }
}

impl<A: State, G: State> WindowRow<A, G> {
    /// Memory that the row and its key own.
    #[inline]
    pub(crate) fn owned<K: Key>(&self, key: &(K, i64)) -> usize {
        if std::mem::needs_drop::<(K, A, G)>() {
            key.heap_bytes() + Row::heap_bytes(self)
        } else {
            0
        }
    }
}
