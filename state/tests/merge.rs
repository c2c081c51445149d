//! Merging takes memory for one block of each sorted segment, however large they are.

#![allow(clippy::unwrap_used)]

use std::alloc::System;
use std::cell::Cell;
use std::io::{self, Read, Write};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use thalweg_state::KeyRef;
use thalweg_state::segment::{
    Block, BlockWriter, Column, ColumnKind, Merged, SegmentHeader, merge, merge_in_memory,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SEGMENTS: u64 = 8;

/// Of each segment.
const BYTES: usize = 8 << 20;

/// Bytes that the allocator has given out and not got back.
fn held() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Looks at what is held whenever bytes pass.
struct Watched<'a, T>(T, &'a Cell<usize>);

impl<T> Watched<'_, T> {
    fn look(&self) {
        self.1.set(self.1.get().max(held()));
    }
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.look();
        self.0.read(into)
    }
}

impl<T: Write> Write for Watched<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look();
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A segment as a core encodes it: the rows of one table and some timers, in no order.
fn segment(number: u64, bytes: usize) -> Vec<u8> {
    let named =
        |name: &str, kind| Column { name: name.into(), kind, fingerprint: 1, hash_of_key: false };
    let mut rows = BlockWriter::new(named("\"a\"/\"rows\"", ColumnKind::Rows));
    let mut timers = BlockWriter::new(named("\"a\"/timers", ColumnKind::TimerQueue));
    for n in 0..bytes as u64 / 64 {
        let key = (n * SEGMENTS + number).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let hash = KeyRef::new(&key).hash;
        match n % 16 {
            0 => timers.put_bytes(hash, &[key, key].concat(), b""),
            1 => rows.tombstone(hash, &key),
            _ => rows.put_bytes(hash, &key, &[n as u8; 40]),
        }
    }
    let mut blocks: Vec<Block> = Vec::new();
    rows.finish(&mut blocks);
    timers.finish(&mut blocks);
    SegmentHeader { core: 0, number, epoch: number }.segment(&blocks)
}

/// Merges and says how much was held meanwhile.
fn watch(inputs: &[Vec<u8>]) -> (Merged, u64, usize) {
    let (before, peak) = (held(), Cell::new(0));
    let mut out = Watched(Count(0), &peak);
    let watched = inputs.iter().map(|bytes| Watched(&bytes[..], &peak));
    let merged = merge(watched, true, &mut out).unwrap();
    (merged, out.0.0, peak.get() - before)
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn merging_takes_a_block_of_each_sorted_segment_and_the_others_once() {
    let sorted = |number| merge_in_memory(&[&segment(number, BYTES)], false).unwrap();
    let mut inputs: Vec<_> = (1..=SEGMENTS).map(sorted).collect();
    let all: usize = inputs.iter().map(Vec::len).sum();
    let (merged, written, peak) = watch(&inputs);
    assert_eq!((merged.streamed, merged.sorted), (SEGMENTS as usize, 0));
    println!("{all} bytes of sorted segments became {written}, at most {peak} were held");
    assert!(all > 40 << 20 && written as usize > all * 9 / 10, "{all} bytes became {written}");
    assert!(peak < 4 << 20, "{peak} bytes held while {all} were merged");

    // One that is not sorted is held once, and sixteen bytes for each of its operations.
    let last = segment(SEGMENTS + 1, BYTES);
    let own = last.len();
    inputs.push(last);
    let (merged, written, peak) = watch(&inputs);
    assert_eq!((merged.streamed, merged.sorted), (SEGMENTS as usize, 1));
    println!("with one unsorted of {own} they became {written}, at most {peak} were held");
    assert!(peak < own * 3 / 2 + (4 << 20), "{peak} bytes held for {own} unsorted ones");
}
