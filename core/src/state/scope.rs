//! The key that state handles and timers refer to.

use std::cell::{Cell, RefCell};

use thalweg_state::{Key, KeyRef};

/// Longest key that is kept in place.
const INLINE_MAX: usize = 32;

/// The current key of an operator: set before user code runs, gone behind it.
pub(crate) struct Scope {
    present: Cell<bool>,
    hash: Cell<u64>,
    bytes: RefCell<KeyBytes>,
}

struct KeyBytes {
    length: usize,
    inline: [u8; INLINE_MAX],
    long: Vec<u8>,
}

impl Scope {
    pub(crate) fn new() -> Self {
        let bytes = KeyBytes { length: 0, inline: [0; INLINE_MAX], long: Vec::new() };
        Self { present: Cell::new(false), hash: Cell::new(0), bytes: RefCell::new(bytes) }
    }

    /// Makes `key` the current key; `K` tells how long its bytes are, if they always are.
    #[inline]
    pub(crate) fn enter<K: Key>(&self, key: KeyRef<'_>) {
        self.hash.set(key.hash);
        self.present.set(true);
        let bytes = &mut *self.bytes.borrow_mut();
        bytes.length = key.bytes.len();
        match K::WIDTH {
            // A copy of constant length is a move or two.
            Some(width) if width <= INLINE_MAX => {
                bytes.inline[..width].copy_from_slice(&key.bytes[..width]);
            }
            _ if key.bytes.len() <= INLINE_MAX => {
                bytes.inline[..key.bytes.len()].copy_from_slice(key.bytes);
            }
            _ => {
                bytes.long.clear();
                bytes.long.extend_from_slice(key.bytes);
            }
        }
    }

    /// Ends the current key.
    #[inline]
    pub(crate) fn leave(&self) {
        self.present.set(false);
    }

    /// Lends the current key to `f`.
    ///
    /// # Panics
    /// If there is none: state is used outside `process` and `on_timer`.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(KeyRef<'_>) -> R) -> R {
        assert!(
            self.present.get(),
            "state and timers belong to a key: use them in process and on_timer only"
        );
        let bytes = &*self.bytes.borrow();
        let slice = if bytes.length <= INLINE_MAX {
            &bytes.inline[..bytes.length]
        } else {
            &bytes.long[..]
        };
        f(KeyRef { hash: self.hash.get(), bytes: slice })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_keys_come_back_as_they_were() {
        let scope = Scope::new();
        let long = "x".repeat(100);
        for key in ["", "abc", &long, "z"] {
            scope.enter::<String>(KeyRef::new(key.as_bytes()));
            scope.with(|current| assert_eq!(current, KeyRef::new(key.as_bytes())));
        }
        scope.enter::<u64>(KeyRef::new(&7u64.to_be_bytes()));
        scope.with(|current| assert_eq!(current.bytes, 7u64.to_be_bytes()));
    }

    #[test]
    #[should_panic(expected = "belong to a key")]
    fn there_is_no_key_outside_of_records_and_timers() {
        let scope = Scope::new();
        scope.enter::<u8>(KeyRef::new(&[1]));
        scope.leave();
        scope.with(|_| ());
    }
}
