//! What a line stores: a key and its value, in the line itself or in the slab.

use super::lines::PAYLOAD_BYTES;

/// Alignment of a line's payload.
const PAYLOAD_ALIGN: usize = 16;

/// A key and its value.
pub(super) struct Pair<K, V> {
    pub(super) key: K,
    pub(super) value: V,
}

impl<K, V> Pair<K, V> {
    /// Whether such pairs lie in the lines themselves.
    pub(super) const INLINE: bool =
        size_of::<Self>() <= PAYLOAD_BYTES && align_of::<Self>() <= PAYLOAD_ALIGN;
}
