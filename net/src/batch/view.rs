//! A page as its consumer sees it: records of one type.
//!
//! A view holds the page's bounds by value, and a record's entry is looked up once for all that is
//! asked of the record: in a loop over a page both stay in registers.

use std::any::type_name;
use std::fmt;
use std::marker::PhantomData;
use std::slice;

use rkyv::Deserialize;
use rkyv::rancor::{Failure, Strategy};

use super::page::Page;
use super::{Entry, Head, Slot};

/// A page seen as a batch of records of one type.
pub struct PageView<'a, T: Slot> {
    start: *const u8,
    directory_end: *const Entry,
    len: usize,
    page: &'a Page,
    records: PhantomData<fn() -> T>,
}

impl<'a, T: Slot> PageView<'a, T> {
    /// The caller has compared the type of the page's records with `T`.
    #[inline]
    pub(super) fn new(page: &'a Page) -> Self {
        let (start, directory_end, len) = (page.start(), page.directory_end(), page.count());
        Self { start, directory_end, len, page, records: PhantomData }
    }

    /// Records on the page.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the page holds no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// One record: for whoever asks for more than one thing of it.
    ///
    /// # Panics
    /// If the page holds no such record; likewise for the accessors below.
    #[inline(always)]
    pub fn at(&self, record: usize) -> RecordView<'a, T> {
        match self.get(record) {
            Some(view) => view,
            None => no_record(record, self.len),
        }
    }

    /// One record, if the page holds it.
    #[inline(always)]
    pub fn get(&self, record: usize) -> Option<RecordView<'a, T>> {
        if record >= self.len {
            return None;
        }
        // SAFETY: the `len` entries of a page end where its directory ends, aligned and
        // initialised, for as long as the page is borrowed; the record is one of them.
        let entry = unsafe { &*self.directory_end.sub(record + 1) };
        Some(RecordView { start: self.start, entry, record: PhantomData })
    }

    /// The head of a record.
    #[inline]
    pub fn head(&self, record: usize) -> &'a Head {
        self.at(record).head()
    }

    /// The canonical bytes of a record's key.
    #[inline]
    pub fn key(&self, record: usize) -> &'a [u8] {
        self.at(record).key()
    }

    /// The archived record where it lies.
    #[inline]
    pub fn archived(&self, record: usize) -> &'a T::Archived {
        self.at(record).archived()
    }

    /// The record as a plain value; a few loads if its size is fixed.
    #[inline]
    pub fn record(&self, record: usize) -> T {
        self.at(record).record()
    }
}

impl<T: Slot> Clone for PageView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Slot> Copy for PageView<'_, T> {}

impl<T: Slot> fmt::Debug for PageView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.page.fmt(f)
    }
}

/// One record of a page.
pub struct RecordView<'a, T: Slot> {
    start: *const u8,
    entry: &'a Entry,
    record: PhantomData<fn() -> T>,
}

impl<'a, T: Slot> RecordView<'a, T> {
    /// Hash, timestamp, watermark and due time.
    #[inline(always)]
    pub fn head(&self) -> &'a Head {
        &self.entry.head
    }

    /// The canonical bytes of its key.
    #[inline(always)]
    pub fn key(&self) -> &'a [u8] {
        let at = self.entry.root as usize + size_of::<T::Archived>();
        // SAFETY: root and key of every entry lie in the payload, as written or as checked, and the
        // page holds records of `T`, compared when the view was made.
        unsafe { slice::from_raw_parts(self.start.add(at), self.entry.key_bytes as usize) }
    }

    /// The archived record where it lies.
    #[inline(always)]
    pub fn archived(&self) -> &'a T::Archived {
        // SAFETY: the page holds records of `T`, compared when the view was made, and the entry's
        // root is the aligned position of a valid one, as written or as checked.
        unsafe { &*self.start.add(self.entry.root as usize).cast() }
    }

    /// The record as a plain value; a few loads if its size is fixed.
    #[inline(always)]
    pub fn record(&self) -> T {
        match self.archived().deserialize(Strategy::wrap(&mut ())) {
            Ok(value) => value,
            Err(Failure) => undecodable::<T>(),
        }
    }
}

impl<T: Slot> Clone for RecordView<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T: Slot> Copy for RecordView<'_, T> {}

impl<T: Slot> fmt::Debug for RecordView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entry.head.fmt(f)
    }
}

#[cold]
fn no_record(record: usize, count: usize) -> ! {
    panic!("record {record} of a page of {count}")
}

#[cold]
fn undecodable<T>() -> ! {
    panic!("a record is a valid archived {} but cannot be decoded", type_name::<T>())
}
