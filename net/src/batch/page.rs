//! Reading a page: one that this process wrote, or bytes from elsewhere that were checked.
//!
//! Whoever holds a [`Page`] may read every record on it without a further check: either a
//! [`PageWriter`] made it, or [`Page::from_bytes`] validated it to the last byte.
//!
//! [`PageWriter`]: super::PageWriter

use std::any::{TypeId, type_name};
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::slice;

use rkyv::api::check_pos_with_context;
use rkyv::rancor::Failure;
use rkyv::validation::Validator;
use rkyv::validation::archive::ArchiveValidator;

use crate::error::ChannelError;
use crate::pool::{BUFFER_BYTES_MAX, Buffer};

use super::view::PageView;
use super::{ENTRY_BYTES, Entry, Head, Slot};

/// How deep a record from elsewhere may nest: validation recurses, and a stack is finite.
const NESTING_MAX: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// What a page knows of the type of its records.
struct Kind {
    id: TypeId,
    name: fn() -> &'static str,
    root_bytes: usize,
}

struct KindOf<T>(PhantomData<T>);

impl<T: Slot> KindOf<T> {
    const KIND: &'static Kind =
        &Kind { id: TypeId::of::<T>(), name: type_name::<T>, root_bytes: size_of::<T::Archived>() };
}

/// A sealed page.
pub struct Page {
    buffer: Buffer,
    kind: &'static Kind,
    count: u32,
    payload_bytes: u32,
}

impl Page {
    pub(super) fn new<T: Slot>(buffer: Buffer, count: u32, payload_bytes: u32) -> Self {
        Self { buffer, kind: KindOf::<T>::KIND, count, payload_bytes }
    }

    /// Rebuilds a page from the two byte strings of another one, in the given buffer, and checks
    /// all of it.
    ///
    /// The buffer need not have the size of the original's. Lengths are checked before anything is
    /// copied; nothing is allocated.
    pub fn from_bytes<T: Slot>(
        mut buffer: Buffer,
        count: u32,
        payload: &[u8],
        directory: &[u8],
    ) -> Result<Self, ChannelError> {
        let invalid = |reason| ChannelError::InvalidPage { count, record: 0, reason };
        if directory.len() as u64 != u64::from(count) * ENTRY_BYTES as u64 {
            return Err(invalid("the directory has another length"));
        }
        match Self::capacity_for(payload.len(), count) {
            Some(needed) if needed <= buffer.capacity() => {}
            _ => return Err(invalid("the page does not fit its buffer")),
        }
        let start = buffer.capacity() - directory.len();
        buffer.bytes_mut()[..payload.len()].copy_from_slice(payload);
        buffer.bytes_mut()[start..].copy_from_slice(directory);
        Self::from_buffer::<T>(buffer, count, payload.len() as u32)
    }

    /// Takes a buffer that was filled from elsewhere, payload in front and directory at the end,
    /// for a page, and checks all of it.
    pub fn from_buffer<T: Slot>(
        buffer: Buffer,
        count: u32,
        payload_bytes: u32,
    ) -> Result<Self, ChannelError> {
        match Self::capacity_for(payload_bytes as usize, count) {
            Some(needed) if needed <= buffer.capacity() => {}
            _ => {
                let reason = "the page does not fit its buffer";
                return Err(ChannelError::InvalidPage { count, record: 0, reason });
            }
        }
        let page = Self::new::<T>(buffer, count, payload_bytes);
        let mut end = 0;
        for record in 0..count {
            end = page
                .check_record::<T>(record, end)
                .map_err(|reason| ChannelError::InvalidPage { count, record, reason })?;
        }
        Ok(page)
    }

    /// Bytes that a page of this shape needs; nothing if no buffer can be that large.
    pub fn capacity_for(payload_bytes: usize, count: u32) -> Option<usize> {
        let directory = (count as usize).checked_mul(ENTRY_BYTES)?;
        let needed = payload_bytes.checked_add(directory)?;
        (needed <= BUFFER_BYTES_MAX).then_some(needed)
    }

    /// Records on the page.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// The head of a record.
    ///
    /// # Panics
    /// If the page holds no such record; likewise for [`key`](Self::key).
    #[inline]
    pub fn head(&self, record: usize) -> &Head {
        &self.entry(record).head
    }

    /// All heads, in order.
    pub fn heads(&self) -> impl ExactSizeIterator<Item = &Head> + DoubleEndedIterator {
        self.entries().iter().rev().map(|entry| &entry.head)
    }

    /// The canonical bytes of a record's key.
    #[inline]
    pub fn key(&self, record: usize) -> &[u8] {
        self.key_of(self.entry(record))
    }

    /// The page as a batch of records of one type: the type is compared once, here.
    ///
    /// # Panics
    /// If the page holds records of another type.
    #[inline]
    pub fn typed<T: Slot>(&self) -> PageView<'_, T> {
        assert!(
            self.kind.id == TypeId::of::<T>(),
            "a page of {} is read as one of {}",
            self.type_name(),
            type_name::<T>()
        );
        PageView::new(self)
    }

    /// Name of the type of the records.
    pub fn type_name(&self) -> &'static str {
        (self.kind.name)()
    }

    /// Records and keys as they lie in front of the buffer.
    pub fn payload(&self) -> &[u8] {
        &self.buffer.bytes()[..self.payload_bytes()]
    }

    /// The directory as it lies at the end of the buffer, the last entry first.
    pub fn directory(&self) -> &[u8] {
        &self.buffer.bytes()[self.buffer.capacity() - self.count() * ENTRY_BYTES..]
    }

    /// Bytes of records and keys.
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes as usize
    }

    /// Bytes of the page's buffer.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Copies the page into another buffer; a buffer that is too small comes back.
    pub fn copy_into(&self, mut buffer: Buffer) -> Result<Page, Buffer> {
        let directory = self.directory();
        if self.payload_bytes() + directory.len() > buffer.capacity() {
            return Err(buffer);
        }
        let start = buffer.capacity() - directory.len();
        buffer.bytes_mut()[..self.payload_bytes()].copy_from_slice(self.payload());
        buffer.bytes_mut()[start..].copy_from_slice(directory);
        let (kind, count, payload_bytes) = (self.kind, self.count, self.payload_bytes);
        Ok(Page { buffer, kind, count, payload_bytes })
    }

    /// Gives the buffer back for the next page.
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    #[inline]
    fn entries(&self) -> &[Entry] {
        let start = self.buffer.capacity() - self.count() * ENTRY_BYTES;
        // SAFETY: a page fits its buffer, so its `count` entries lie there, aligned, as capacity
        // and entry are multiples of 8; any bytes are an entry.
        unsafe {
            let first = self.buffer.start().as_ptr().add(start).cast::<Entry>();
            slice::from_raw_parts(first, self.count())
        }
    }

    #[inline]
    fn entry(&self, record: usize) -> &Entry {
        assert!(record < self.count(), "record {record} of a page of {}", self.count());
        // SAFETY: as in `entries`, and the record is below the count.
        unsafe { &*self.directory_end().sub(record + 1) }
    }

    /// First byte of the payload.
    #[inline]
    pub(super) fn start(&self) -> *const u8 {
        self.buffer.start().as_ptr()
    }

    /// Where the directory ends, and the buffer: the entry of record `i` is the `i + 1`th in front.
    #[inline]
    pub(super) fn directory_end(&self) -> *const Entry {
        self.start().wrapping_add(self.buffer.capacity()).cast()
    }

    #[inline]
    fn key_of(&self, entry: &Entry) -> &[u8] {
        let start = entry.root as usize + self.kind.root_bytes;
        // SAFETY: root and key of every entry lie in the payload, as written or as checked.
        unsafe {
            let first = self.buffer.start().as_ptr().add(start);
            slice::from_raw_parts(first, entry.key_bytes as usize)
        }
    }

    /// Checks a record from elsewhere, given where the one before it ends; returns where it ends
    /// itself.
    fn check_record<T: Slot>(&self, record: u32, start: usize) -> Result<usize, &'static str> {
        let entry = self.entry(record as usize);
        let root = entry.root as usize;
        let key_at = root + self.kind.root_bytes;
        let end = key_at + entry.key_bytes as usize;
        if root < start {
            return Err("it overlaps the one before it");
        }
        if end > self.payload_bytes() {
            return Err("it ends behind the payload");
        }
        if !root.is_multiple_of(align_of::<T::Archived>()) {
            return Err("its position is not aligned");
        }
        if !is_record::<T>(&self.buffer.bytes()[start..key_at]) {
            return Err("its bytes are no archived record");
        }
        Ok(end)
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("records", &self.type_name())
            .field("count", &self.count)
            .field("payload_bytes", &self.payload_bytes)
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// Whether bytes are a valid archived record that ends with its root and refers to nothing outside
/// of them.
pub(super) fn is_record<T: Slot>(bytes: &[u8]) -> bool {
    let Some(root) = bytes.len().checked_sub(size_of::<T::Archived>()) else {
        return false;
    };
    let archive = ArchiveValidator::with_max_depth(bytes, Some(NESTING_MAX));
    let mut validator = Validator::new(archive, ());
    check_pos_with_context::<T::Archived, _, Failure>(bytes, root, &mut validator).is_ok()
}
