//! Bytes from elsewhere cannot make a reader allocate what they merely claim.
//!
//! A program of its own without a harness: the counters of the allocator are those of the process.

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use thalweg_net::{Buffer, Head, Page, PageWriter};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

type Record = (Vec<String>, Option<Vec<u64>>);

/// Validation allocates nothing, and reading no more than was sent.
fn main() {
    let record: Record = (vec!["longer than eight".to_owned(); 20], Some(vec![7; 40]));
    let mut writer = PageWriter::new(Buffer::new(4096));
    while writer.push(Head::default(), b"some key", &record).is_ok() {}
    let page = writer.seal();
    let (count, payload) = (page.count() as u32, page.payload_bytes() as u32);
    let mut refused = 0;
    for at in 0..page.payload_bytes() {
        for flip in [0x01, 0x40, 0x80, 0xff] {
            let mut buffer = page.copy_into(Buffer::new(4096)).expect("same size").into_buffer();
            buffer.bytes_mut()[at] ^= flip;
            let region = Region::new(ALLOCATOR);
            let page = Page::from_buffer::<Record>(buffer, count, payload);
            assert_eq!(region.change().allocations, 0, "byte {at} ^ {flip}");
            let Ok(page) = page else {
                refused += 1;
                continue;
            };
            let view = page.typed::<Record>();
            for index in 0..view.len() {
                drop(view.record(index));
            }
            // A string's header is three words where its archived form takes eight bytes.
            let bytes = region.change().bytes_allocated;
            assert!(bytes <= 4 * page.payload_bytes(), "{bytes} bytes for byte {at} ^ {flip}");
        }
    }
    assert!(refused > 0, "no damage was found");
}
