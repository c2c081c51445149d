//! What a window operator keeps per key and window.

use thalweg_state::{Key, State};

use super::store::Row;

/// The accumulator of one key and window, and what its trigger remembers.
pub(crate) struct WindowRow<A, G> {
    pub(crate) acc: A,
    pub(crate) trigger: G,
}

impl<A: State, G: State> Row for WindowRow<A, G> {
    #[inline]
    fn heap_bytes(&self) -> usize {
        self.acc.heap_bytes() + self.trigger.heap_bytes()
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
