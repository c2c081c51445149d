//! The memory that the tables of a core may still take.

use std::cell::Cell;

/// Bytes by which the tables that share it may still grow. The owner of the budget sets it anew
/// from time to time; in between every table that grows takes its part.
#[derive(Debug)]
pub struct Room(Cell<usize>);

impl Default for Room {
    /// Without a bound.
    fn default() -> Self {
        Self(Cell::new(usize::MAX))
    }
}

impl Room {
    /// No room at all: a table takes no more lines than it must.
    pub fn none() -> Self {
        Self(Cell::new(0))
    }

    /// Sets how much is left.
    pub fn set(&self, bytes: usize) {
        self.0.set(bytes);
    }

    /// How much is left.
    pub fn bytes(&self) -> usize {
        self.0.get()
    }

    /// Takes so much away, if there is so much.
    pub fn take(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        if let Some(left) = left.filter(|_| self.0.get() != usize::MAX) {
            self.0.set(left);
        }
        left.is_some()
    }
}
