//! Frames as a checkpoint holds them.
//!
//! ```text
//! data       1 | watermark i64 | records u32 | payload bytes u32 | payload | directory
//! watermark  2 | watermark i64
//! idle 3, active 4, end 5
//! ```
//!
//! Integers are little-endian; payload and directory are those of the page (see
//! [`batch`](crate::batch)), a directory entry being 40 bytes. What is read is checked to the last
//! byte, and lengths before memory is asked for.

use crate::batch::{ENTRY_BYTES, Page, Slot};
use crate::error::ChannelError;
use crate::frame::Body;
use crate::pool::Buffer;

const DATA: u8 = 1;
const WATERMARK: u8 = 2;
const IDLE: u8 = 3;
const ACTIVE: u8 = 4;
const END: u8 = 5;

/// Appends a frame; returns how many records it holds.
pub fn record(body: &Body, out: &mut Vec<u8>) -> u64 {
    match body {
        Body::Data { page, watermark } => return record_page(page, *watermark, out),
        Body::Watermark(watermark) => {
            out.push(WATERMARK);
            out.extend_from_slice(&watermark.to_le_bytes());
        }
        Body::Idle => out.push(IDLE),
        Body::Active => out.push(ACTIVE),
        Body::End => out.push(END),
    }
    0
}

/// Appends a page as a data frame; returns how many records it holds.
pub fn record_page(page: &Page, watermark: i64, out: &mut Vec<u8>) -> u64 {
    let count = page.count() as u32;
    out.push(DATA);
    out.extend_from_slice(&watermark.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&(page.payload_bytes() as u32).to_le_bytes());
    out.extend_from_slice(page.payload());
    out.extend_from_slice(page.directory());
    u64::from(count)
}

/// Takes the first frame off `bytes`; a page gets a buffer of at least `buffer_bytes`.
///
/// # Errors
/// The bytes are no frame, or its page holds no records of type `T`.
pub fn read<T: Slot>(bytes: &mut &[u8], buffer_bytes: usize) -> Result<Body, ChannelError> {
    Ok(match u8::from_le_bytes(take(bytes)?) {
        DATA => read_page::<T>(bytes, buffer_bytes)?,
        WATERMARK => Body::Watermark(i64::from_le_bytes(take(bytes)?)),
        IDLE => Body::Idle,
        ACTIVE => Body::Active,
        END => Body::End,
        _ => return Err(invalid("its kind is unknown")),
    })
}

/// Takes the first frame off `bytes` without reading its records, whatever their type is; returns
/// how many it holds, `None` if it is no data.
///
/// # Errors
/// The bytes are no frame.
pub fn skip(bytes: &mut &[u8]) -> Result<Option<u32>, ChannelError> {
    Ok(match u8::from_le_bytes(take(bytes)?) {
        DATA => Some(take_page(bytes)?.count),
        WATERMARK => {
            take::<8>(bytes)?;
            None
        }
        IDLE | ACTIVE | END => None,
        _ => return Err(invalid("its kind is unknown")),
    })
}

/// The bytes of a page, unread.
struct RawPage<'a> {
    watermark: i64,
    count: u32,
    payload: &'a [u8],
    directory: &'a [u8],
}

fn take_page<'a>(bytes: &mut &'a [u8]) -> Result<RawPage<'a>, ChannelError> {
    let watermark = i64::from_le_bytes(take(bytes)?);
    let count = u32::from_le_bytes(take(bytes)?);
    if count == 0 {
        // Nobody writes one: each would take a buffer and bring nothing.
        return Err(invalid("its page has no records"));
    }
    let payload_bytes = u32::from_le_bytes(take(bytes)?) as usize;
    let needed = Page::capacity_for(payload_bytes, count);
    let needed = needed.ok_or_else(|| invalid("no page is that large"))?;
    let (page, rest) =
        bytes.split_at_checked(needed).ok_or_else(|| invalid("its page is cut short"))?;
    let (payload, directory) = page.split_at(needed - count as usize * ENTRY_BYTES);
    *bytes = rest;
    Ok(RawPage { watermark, count, payload, directory })
}

fn read_page<T: Slot>(bytes: &mut &[u8], buffer_bytes: usize) -> Result<Body, ChannelError> {
    let mut rest = *bytes;
    let RawPage { watermark, count, payload, directory } = take_page(&mut rest)?;
    let buffer = Buffer::new((payload.len() + directory.len()).max(buffer_bytes));
    let page = Page::from_bytes::<T>(buffer, count, payload, directory)?;
    *bytes = rest;
    Ok(Body::Data { page, watermark })
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ChannelError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or_else(|| invalid("it is cut short"))?;
    *bytes = rest;
    Ok(*taken)
}

#[cold]
fn invalid(reason: &'static str) -> ChannelError {
    ChannelError::InvalidFrame { reason }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Head, PageWriter};

    fn page(records: &[&str]) -> Page {
        let mut writer = PageWriter::<String>::new(Buffer::new(4096));
        for record in records {
            let head = Head { timestamp: record.len() as i64, ..Head::default() };
            writer.push(head, record.as_bytes(), &(*record).to_owned()).unwrap();
        }
        writer.seal()
    }

    fn frames() -> Vec<u8> {
        let mut bytes = Vec::new();
        let data = Body::Data { page: page(&["a", "a longer record than that"]), watermark: 9 };
        assert_eq!(record(&data, &mut bytes), 2);
        for body in [Body::Watermark(-3), Body::Idle, Body::Active, Body::End] {
            assert_eq!(record(&body, &mut bytes), 0);
        }
        bytes
    }

    #[test]
    fn what_is_recorded_reads_back() {
        let bytes = frames();
        let mut rest = &bytes[..];
        let Body::Data { page, watermark } = read::<String>(&mut rest, 64).unwrap() else {
            panic!("a page")
        };
        assert_eq!((watermark, page.count(), page.head(1).timestamp), (9, 2, 25));
        assert_eq!(page.key(1), b"a longer record than that");
        assert_eq!(page.typed::<String>().record(0), "a");
        assert!(matches!(read::<String>(&mut rest, 64).unwrap(), Body::Watermark(-3)));
        assert!(matches!(read::<String>(&mut rest, 64).unwrap(), Body::Idle));
        assert!(matches!(read::<String>(&mut rest, 64).unwrap(), Body::Active));
        assert!(matches!(read::<String>(&mut rest, 64).unwrap(), Body::End));
        assert!(rest.is_empty());
    }

    #[test]
    fn skipped_frames_end_where_read_ones_do() {
        let bytes = frames();
        let (mut read_rest, mut skip_rest) = (&bytes[..], &bytes[..]);
        for expected in [Some(2), None, None, None, None] {
            let body = read::<String>(&mut read_rest, 64).unwrap();
            assert_eq!(matches!(body, Body::Data { .. }), expected.is_some());
            assert_eq!(skip(&mut skip_rest), Ok(expected));
            assert_eq!(skip_rest.len(), read_rest.len());
        }
        for end in 0..bytes.len() - 9 - 3 {
            assert!(skip(&mut &bytes[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn every_prefix_is_refused() {
        let bytes = frames();
        let page_bytes = bytes.len() - 9 - 3;
        for end in 0..page_bytes {
            assert!(read::<String>(&mut &bytes[..end], 64).is_err(), "{end} bytes");
        }
        let empty = [&[DATA][..], &[0; 16]].concat();
        assert!(read::<String>(&mut &empty[..], 64).is_err(), "a page without records");
        let error = read::<String>(&mut &[9u8][..], 64).unwrap_err();
        assert_eq!(error, ChannelError::InvalidFrame { reason: "its kind is unknown" });
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(kind) = bytes.first_mut() {
                *kind %= 7;
            }
            let mut rest = &bytes[..];
            while read::<String>(&mut rest, 64).is_ok() {}
            let mut rest = &bytes[..];
            while skip(&mut rest).is_ok() {}
        }

        #[test]
        fn a_flipped_bit_never_panics(at in 0_usize..200, bit in 0_u32..8) {
            let mut bytes = frames();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let mut rest = &bytes[..];
            while let Ok(body) = read::<String>(&mut rest, 64) {
                if let Body::Data { page, .. } = body {
                    (0..page.count()).for_each(|at| drop(page.typed::<String>().record(at)));
                }
            }
        }
    }
}
