//! The memory that pages are made of.
//!
//! A buffer is owned by exactly one place at a time and changes hands as a whole. Every byte of it
//! is initialised from the start, so that whatever a page leaves behind may be read as bytes.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::slice;

/// Alignment of every buffer, and the granularity of its capacity: a cache line.
pub const BUFFER_ALIGN: usize = 64;

/// The largest capacity of a buffer: positions on a page are 32 bits wide, relative pointers 31.
pub const BUFFER_BYTES_MAX: usize = 1 << 30;

/// An owned block of bytes, aligned to 64.
pub struct Buffer {
    start: NonNull<u8>,
    capacity: usize,
}

// SAFETY: a buffer owns its memory, which is plain bytes without any tie to the thread that
// allocated it.
unsafe impl Send for Buffer {}

// SAFETY: through a shared reference the bytes can only be read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Allocates a zeroed buffer of at least `capacity` bytes, rounded up to whole cache lines.
    ///
    /// # Panics
    /// If `capacity` is above [`BUFFER_BYTES_MAX`]: limits are checked before memory is asked for.
    pub fn new(capacity: usize) -> Self {
        assert!(
            capacity <= BUFFER_BYTES_MAX,
            "a buffer of {capacity} bytes is above {BUFFER_BYTES_MAX}"
        );
        let capacity = capacity.max(1).next_multiple_of(BUFFER_ALIGN);
        let layout = Self::layout(capacity);
        // SAFETY: the layout's size is at least one cache line, never zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Self { start, capacity },
            None => handle_alloc_error(layout),
        }
    }

    /// Bytes that the buffer holds.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// The whole buffer for reading.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is valid for `capacity` bytes, all initialised when they were allocated
        // and only ever overwritten with initialised bytes; the borrow of `self` keeps writers out.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.capacity) }
    }

    /// The whole buffer for writing.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; the exclusive borrow of `self` makes it the only access.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.capacity) }
    }

    /// The first byte, for the page that lays itself out by positions.
    #[inline]
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.start
    }

    fn layout(capacity: usize) -> Layout {
        match Layout::from_size_align(capacity, BUFFER_ALIGN) {
            Ok(layout) => layout,
            Err(_) => panic!("a buffer of {capacity} bytes has no layout"),
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this very layout, and freed once, here.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.capacity)) }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_aligned_zeroed_and_whole_cache_lines() {
        for asked in [0, 1, 63, 64, 65, 16 * 1024, 100_000] {
            let buffer = Buffer::new(asked);
            assert!(buffer.capacity() >= asked && buffer.capacity() < asked + 2 * BUFFER_ALIGN);
            assert_eq!(buffer.capacity() % BUFFER_ALIGN, 0);
            assert_eq!(buffer.bytes().as_ptr() as usize % BUFFER_ALIGN, 0);
            assert!(buffer.bytes().iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn what_was_written_is_read_on_another_thread() {
        let mut buffer = Buffer::new(128);
        buffer.bytes_mut()[127] = 9;
        std::thread::scope(|scope| {
            scope.spawn(move || assert_eq!(buffer.bytes()[127], 9));
        });
    }

    #[test]
    #[should_panic(expected = "above")]
    fn an_absurd_capacity_is_refused_before_it_is_allocated() {
        Buffer::new(usize::MAX);
    }
}
