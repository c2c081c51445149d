//! The slotted page: a batch of archived records with their keys, in one buffer.
//!
//! ```text
//! | record, key | record, key | ...  free  ... | entry 1 | entry 0 |
//! 0            payload grows -->          <-- directory grows   capacity
//! ```
//!
//! An entry is the record's [`Head`], the position of its archived root and the length of its key
//! (40 bytes); the key's canonical bytes stand right behind the root. Positions count from the
//! page's start, which is aligned to 64, and nothing on a page points out of it: a page may be
//! copied or stored as two byte strings.
//!
//! Invariant: records lie in order and do not overlap; what a record refers to lies between the end
//! of the record before it and its own root.

mod lent;
mod page;
mod serializer;
mod view;
mod writer;

use rkyv::api::low::{LowDeserializer, LowValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Failure;
use rkyv::{Archive, Deserialize, Serialize};

pub(crate) use lent::Lent;
pub use page::Page;
pub use serializer::PageSerializer;
pub use view::{PageView, RecordView};
pub use writer::{PageFull, PageWriter};

/// Bytes of a directory entry.
pub const ENTRY_BYTES: usize = size_of::<Entry>();

/// What travels with every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Hash of the key's canonical bytes; 0 where there is no key.
    pub hash: u64,
    /// Event time in milliseconds.
    pub timestamp: i64,
    /// The channel's watermark before this record.
    pub watermark: i64,
    /// Nanoseconds of the engine's clock when the record was due; latency counts from it.
    pub origin: u64,
}

/// Where a record stands on its page.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct Entry {
    head: Head,
    root: u32,
    key_bytes: u32,
}

const _: () = assert!(ENTRY_BYTES == 40);

/// A type whose values can stand on a page.
///
/// Implemented for every type that rkyv archives without shared pointers. The implementation is
/// trusted to archive what it can read back, as a derived one does; debug builds check every record
/// when it is written.
pub trait Slot:
    Archive<
        Archived: Deserialize<Self, LowDeserializer<Failure>>
                      + for<'a> CheckBytes<LowValidator<'a, Failure>>,
    > + Serialize<PageSerializer>
    + Sized
    + 'static
{
}

impl<T> Slot for T
where
    T: Archive + Serialize<PageSerializer> + 'static,
    T::Archived:
        Deserialize<T, LowDeserializer<Failure>> + for<'a> CheckBytes<LowValidator<'a, Failure>>,
{
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::Buffer;

    #[derive(Clone, Debug, PartialEq, Archive, Serialize, Deserialize)]
    struct Fixed {
        a: u64,
        b: i64,
        c: f64,
        d: u64,
        e: i64,
        f: f64,
    }

    #[test]
    fn a_page_gives_back_what_was_pushed() {
        let mut writer = PageWriter::new(Buffer::new(4096));
        let record = Fixed { a: 1, b: -2, c: 0.5, d: 4, e: 5, f: 6.25 };
        let mut pushed = 0_u64;
        let head = |pushed| Head { hash: pushed, ..Head::default() };
        while writer.push(head(pushed), &pushed.to_be_bytes(), &record).is_ok() {
            pushed += 1;
        }
        let page = writer.seal();
        assert_eq!(page.count() as u64, pushed);
        assert_eq!(pushed, 4096 / 96);
        let view = page.typed::<Fixed>();
        for index in 0..page.count() {
            assert_eq!(view.head(index).hash, index as u64);
            assert_eq!(view.key(index), (index as u64).to_be_bytes());
            assert_eq!(view.record(index), record);
        }
    }
}
