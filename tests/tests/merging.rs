//! A merge takes as much memory however large the segments are: on the disk, through the store, as
//! a job's thread does it.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::path::{Path, PathBuf};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use thalweg::control::{Action, Begun, Done, JobDescription, Manner, Work, begin};
use thalweg::prelude::*;
use thalweg::runtime::CutReport;
use thalweg_checkpoint::coordinator::Config;
use thalweg_checkpoint::paths::Pack;
use thalweg_checkpoint::store::checksum;
use thalweg_checkpoint::{FileInfo, LocalStore, Store};
use thalweg_state::KeyRef;
use thalweg_state::segment::{
    BlockWriter, Column, ColumnKind, SegmentHeader, SegmentReader, merge_in_memory,
};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const SEGMENTS: u64 = 8;

/// Rows of a segment: 8 MiB.
const ROWS: u64 = 100_000;

/// What a merge may allocate, all in all: pieces and blocks of its segments, and of what they
/// become.
const LIMIT: usize = 16 << 20;

/// A directory that goes at the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A sorted segment; all have some keys of their own and some that the next one has, too.
fn segment(number: u64) -> Vec<u8> {
    let column = Column {
        name: "\"a\"/\"b\"".into(),
        kind: ColumnKind::Rows,
        fingerprint: 1,
        hash_of_key: false,
    };
    let (mut writer, mut blocks) = (BlockWriter::new(column), Vec::new());
    for row in 0..ROWS {
        let key = (row + number * ROWS / 2).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        writer.put_bytes(KeyRef::new(&key).hash, &key, &[number as u8; 64]);
    }
    writer.finish(&mut blocks);
    let encoded = SegmentHeader { core: 0, number, epoch: number }.segment(&blocks);
    merge_in_memory(&[&encoded], false).unwrap()
}

fn store_one(store: &LocalStore, number: u64) -> FileInfo {
    let (path, bytes) = (Pack { attempt: 9, node: 0, number }.path("job"), segment(number));
    store.create(&path, &bytes).unwrap();
    FileInfo { path, offset: 0, bytes: bytes.len() as u64, checksum: checksum(&bytes) }
}

#[test]
fn a_merge_of_segments_on_disk_is_not_held_in_memory() {
    let name = format!("thalweg-merging-{}", std::process::id());
    let folder = Folder(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name));
    let store = LocalStore::open(&folder.0).unwrap();
    let job = |flow: &Dataflow, _: &Args| {
        flow.source("numbers", Generator::new(|n| (n, 0)).records(1)).sink("nothing", Print::new());
        Ok(())
    };
    let graph = thalweg::plan(&job, &Args::default(), 1).unwrap();
    let (name, id) = ("merging".to_owned(), "job".to_owned());
    let described = JobDescription { name, id, graph, parallelism: 1 };
    let manner = Manner::newest(Config::default());
    let begun = begin(&store, &described, manner, 7, 0, &|| Ok(())).unwrap();
    let Begun::Attempt(mut attempt) = begun else { panic!("a job that never ran is over") };

    let segments: Vec<_> = (1..=SEGMENTS).map(|number| store_one(&store, number)).collect();
    let all: u64 = segments.iter().map(|file| file.bytes).sum();
    let report = CutReport::Merge { segments, is_bottom: true };
    let mut actions = attempt.keeper.hear(0, 0, report);
    let Some(Action::Do(work @ Work::Merge(_))) = actions.pop() else { panic!("no merge") };
    let region = Region::new(ALLOCATOR);
    let Done::Merged(0, merged) = work.carry_out(&store, "job") else { panic!("no merge") };
    let allocated = region.change().bytes_allocated;
    let merged = merged.unwrap();
    println!("{all} bytes became {}, {allocated} were allocated", merged.file.bytes);
    assert!(all > 56 << 20 && allocated < LIMIT, "{allocated} bytes allocated to merge {all}");
    assert_eq!((merged.merged.streamed, merged.merged.sorted), (SEGMENTS as usize, 0));

    let bytes = store.get(&merged.file.path).unwrap().unwrap();
    assert_eq!(merged.file.complaint(bytes.len() as u64, checksum(&bytes)), None);
    let blocks = SegmentReader::new(&bytes).unwrap().blocks();
    let rows: usize = blocks.map(|block| block.unwrap().len()).sum();
    assert_eq!(rows as u64, (SEGMENTS + 1) * ROWS / 2);
}
