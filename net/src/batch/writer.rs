//! Filling a page, record by record.
//!
//! A record either stands on the page whole, with its key and entry, or the page is as it was
//! before.

use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::ptr;

use rkyv::Place;

use crate::pool::{BUFFER_ALIGN, Buffer};

use super::page::Page;
use super::serializer::PageSerializer;
use super::{ENTRY_BYTES, Entry, Head, Slot};

/// The answer of a page that has no room for the record: seal it and open another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageFull;

/// An open page for records of one type.
pub struct PageWriter<T: Slot> {
    serializer: PageSerializer,
    records: PhantomData<fn(&T)>,
}

impl<T: Slot> PageWriter<T> {
    const ROOT_BYTES: usize = mem::size_of::<T::Archived>();
    const ROOT_ALIGN: usize = {
        let align = mem::align_of::<T::Archived>();
        assert!(align <= BUFFER_ALIGN, "an archived record is aligned to a cache line at most");
        align
    };

    /// Opens an empty page in a buffer; what the buffer held is forgotten.
    pub fn new(buffer: Buffer) -> Self {
        Self { serializer: PageSerializer::new(buffer), records: PhantomData }
    }

    /// Appends a record with its key, or leaves the page unchanged.
    ///
    /// The size of a record is known only once it is archived: after [`PageFull`] on an empty page
    /// the caller tries a larger buffer.
    #[inline(always)]
    pub fn push(&mut self, head: Head, key: &[u8], record: &T) -> Result<(), PageFull> {
        let mark = self.serializer.position;
        let Ok(resolver) = record.serialize(&mut self.serializer) else {
            return Err(self.roll_back(mark));
        };
        self.serializer.clean();
        let behind = self.serializer.position;
        let root = behind.next_multiple_of(Self::ROOT_ALIGN);
        let key_at = root + Self::ROOT_BYTES;
        let end = key_at + key.len();
        if end + ENTRY_BYTES > self.serializer.floor {
            return Err(self.roll_back(mark));
        }
        let floor = self.serializer.floor - ENTRY_BYTES;
        let page = self.serializer.at(0);
        // SAFETY: `behind <= root`, and `root .. end` and the entry at `floor` lie in the free
        // space, disjoint, as was just checked; `root` is aligned for the archived type because the
        // page is aligned to a cache line, `floor` for an entry because capacity and entry are
        // multiples of its alignment. The resolver is that of this record, and every byte of a
        // buffer is initialised, so the place is valid.
        unsafe {
            Self::zero(page.add(behind), root - behind);
            let place = page.add(root).cast::<T::Archived>();
            ptr::write_bytes(place, 0, 1);
            record.resolve(resolver, Place::new_unchecked(root, place));
            copy_key(key, page.add(key_at));
            let (root, key_bytes) = (root as u32, key.len() as u32);
            page.add(floor).cast::<Entry>().write(Entry { head, root, key_bytes });
        }
        self.serializer.position = end;
        self.serializer.floor = floor;
        #[cfg(debug_assertions)]
        self.check_last(mark, root);
        Ok(())
    }

    /// Records on the page.
    #[inline]
    pub fn count(&self) -> usize {
        (self.capacity() - self.serializer.floor) / ENTRY_BYTES
    }

    /// Whether the page holds no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.serializer.floor == self.capacity()
    }

    /// Free bytes, for records, keys and their entries.
    #[inline]
    pub fn free_bytes(&self) -> usize {
        self.serializer.floor - self.serializer.position
    }

    /// Bytes of the page's buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.serializer.buffer().capacity()
    }

    /// Closes the page: from now on it is read only.
    pub fn seal(self) -> Page {
        let (count, payload_bytes) = (self.count(), self.serializer.position);
        Page::new::<T>(self.serializer.into_buffer(), count as u32, payload_bytes as u32)
    }

    /// Gives the buffer back and forgets what was written.
    pub fn into_buffer(self) -> Buffer {
        self.serializer.into_buffer()
    }

    #[cold]
    fn roll_back(&mut self, mark: usize) -> PageFull {
        self.serializer.clean();
        self.serializer.position = mark;
        PageFull
    }

    /// Zeroes the padding in front of a record, so that equal batches are equal bytes.
    ///
    /// # Safety
    /// `padding` bytes and the root behind them are valid for writes; the root is yet to be
    /// written, as the one wide store that is faster than a loop may run into it.
    #[inline]
    unsafe fn zero(from: *mut u8, padding: usize) {
        // SAFETY: the caller's; padding is shorter than the root's alignment.
        unsafe {
            if Self::ROOT_ALIGN <= 8 && Self::ROOT_BYTES >= 8 {
                from.cast::<u64>().write_unaligned(0);
            } else {
                ptr::write_bytes(from, 0, padding);
            }
        }
    }

    /// Reads the record that was just written the way a stranger's would be read.
    #[cfg(debug_assertions)]
    fn check_last(&self, mark: usize, root: usize) {
        let bytes = &self.serializer.buffer().bytes()[mark..root + Self::ROOT_BYTES];
        debug_assert!(
            super::page::is_record::<T>(bytes),
            "a {} does not archive into what it can read",
            std::any::type_name::<T>()
        );
    }
}

impl<T: Slot> fmt::Debug for PageWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageWriter")
            .field("count", &self.count())
            .field("free_bytes", &self.free_bytes())
            .finish_non_exhaustive()
    }
}

/// Copies a key; the call of a general copy costs more than the whole rest of a push, so short ones
/// go by words.
///
/// # Safety
/// `to` is valid for `key.len()` bytes and does not overlap the key.
#[inline]
unsafe fn copy_key(key: &[u8], to: *mut u8) {
    let (from, len) = (key.as_ptr(), key.len());
    // SAFETY: every access stays within `len` bytes of both: two overlapping words cover all
    // lengths from one word to two.
    unsafe {
        match len {
            8..=16 => {
                let (first, last) = (read::<u64>(from), read::<u64>(from.add(len - 8)));
                to.cast::<u64>().write_unaligned(first);
                to.add(len - 8).cast::<u64>().write_unaligned(last);
            }
            4..=7 => {
                let (first, last) = (read::<u32>(from), read::<u32>(from.add(len - 4)));
                to.cast::<u32>().write_unaligned(first);
                to.add(len - 4).cast::<u32>().write_unaligned(last);
            }
            0 => {}
            _ => ptr::copy_nonoverlapping(from, to, len),
        }
    }
}

/// Reads a word from anywhere.
///
/// # Safety
/// `from` is valid for the word's size, and any bytes are a word.
#[inline]
unsafe fn read<W: Copy>(from: *const u8) -> W {
    // SAFETY: the caller's.
    unsafe { from.cast::<W>().read_unaligned() }
}
