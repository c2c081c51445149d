//! What rkyv writes a record through: straight onto the page.
//!
//! Positions are positions on the page, so alignment and relative pointers hold where the record
//! stands. Scratch space (records with vectors of strings need it) is taken from the free end of
//! the page and given back before the record's entry is written: a record that fits leaves no trace
//! of it, and one that does not fit leaves the page as it was.

use std::alloc::Layout;
use std::ptr::{self, NonNull};

use rkyv::rancor::{Failure, Fallible};
use rkyv::ser::{Allocator, Positional, Writer};

use crate::pool::Buffer;

/// The serializer of a page: a writer over its free space.
pub struct PageSerializer {
    buffer: Buffer,
    /// End of the payload: where the next byte goes.
    pub(super) position: usize,
    /// Start of the directory: where the free space ends.
    pub(super) floor: usize,
    /// Scratch bytes in use, below `floor`.
    scratch: usize,
    /// The most scratch bytes in use since the last `clean`.
    scratch_peak: usize,
}

impl PageSerializer {
    pub(super) fn new(buffer: Buffer) -> Self {
        let floor = buffer.capacity();
        Self { buffer, position: 0, floor, scratch: 0, scratch_peak: 0 }
    }

    #[inline]
    pub(super) fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    pub(super) fn into_buffer(mut self) -> Buffer {
        self.clean();
        self.buffer
    }

    /// Pointer to a position on the page.
    #[inline]
    pub(super) fn at(&self, position: usize) -> *mut u8 {
        debug_assert!(position <= self.buffer.capacity(), "position {position} is off the page");
        self.buffer.start().as_ptr().wrapping_add(position)
    }

    /// Overwrites what scratch space left behind, padding of unknown content included, with
    /// initialised bytes.
    #[inline]
    pub(super) fn clean(&mut self) {
        if self.scratch_peak != 0 {
            self.clean_used();
        }
    }

    #[cold]
    fn clean_used(&mut self) {
        let start = self.position.max(self.floor - self.scratch_peak);
        // SAFETY: `start .. floor` lies in the buffer: `position <= floor <= capacity` always
        // holds.
        unsafe { ptr::write_bytes(self.at(start), 0, self.floor - start) };
        self.scratch = 0;
        self.scratch_peak = 0;
    }

    #[inline]
    fn free(&self) -> usize {
        self.floor - self.scratch - self.position
    }
}

impl Fallible for PageSerializer {
    type Error = Failure;
}

impl Positional for PageSerializer {
    #[inline]
    fn pos(&self) -> usize {
        self.position
    }
}

impl Writer<Failure> for PageSerializer {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if bytes.len() > self.free() {
            return Err(Failure);
        }
        // SAFETY: the target lies in the free space, as was just checked, and `bytes` cannot
        // overlap it: nobody holds a reference into the buffer while the serializer is borrowed
        // exclusively.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), self.at(self.position), bytes.len()) };
        self.position += bytes.len();
        Ok(())
    }
}

// SAFETY: allocations are disjoint pieces of the free space, taken downwards from `floor`; the
// writer stays above `position` and below the lowest of them, so nothing else refers to them while
// they are in use.
unsafe impl Allocator<Failure> for PageSerializer {
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, Failure> {
        let top = self.floor - self.scratch;
        let Some(start) = top.checked_sub(layout.size()).map(|at| at & !(layout.align() - 1))
        else {
            return Err(Failure);
        };
        // The page is aligned to a cache line, so an aligned position is an aligned address up to
        // that.
        if start < self.position || layout.align() > crate::pool::BUFFER_ALIGN {
            return Err(Failure);
        }
        self.scratch = self.floor - start;
        self.scratch_peak = self.scratch_peak.max(self.scratch);
        let Some(first) = NonNull::new(self.at(start)) else {
            return Err(Failure);
        };
        Ok(NonNull::slice_from_raw_parts(first, layout.size()))
    }

    unsafe fn pop_alloc(&mut self, piece: NonNull<u8>, layout: Layout) -> Result<(), Failure> {
        let start = piece.as_ptr() as usize - self.buffer.start().as_ptr() as usize;
        // Last in, first out: popping a piece pops those that were taken after it, which lie below.
        self.scratch = self.floor - (start + layout.size());
        Ok(())
    }
}
