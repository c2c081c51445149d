//! Memory of blocks that were stored, for the next ones.
//!
//! A checkpoint writes megabytes in a moment. Fresh memory would have to be cleared by the system
//! page by page, on the core that encodes.

use std::cell::RefCell;
use std::rc::Rc;

use super::Block;
use super::writer::BLOCK_CAPACITY;

/// Buffers that are kept: 32 MiB.
const KEPT_MAX: usize = (32 << 20) / BLOCK_CAPACITY;

/// Buffers of a core's blocks; clones share them.
#[derive(Clone, Debug, Default)]
pub struct BlockPool(Rc<RefCell<Vec<Vec<u8>>>>);

impl BlockPool {
    /// An empty buffer, of a block's capacity or of none.
    pub(super) fn take(&self) -> Vec<u8> {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes the memory of a block back.
    pub fn give(&self, block: Block) {
        let mut bytes = block.into_bytes();
        let mut kept = self.0.borrow_mut();
        if bytes.capacity() == BLOCK_CAPACITY && kept.len() < KEPT_MAX {
            bytes.clear();
            kept.push(bytes);
        }
    }

    /// Memory that is kept, in bytes.
    pub fn bytes(&self) -> usize {
        self.0.borrow().len() * BLOCK_CAPACITY
    }
}
