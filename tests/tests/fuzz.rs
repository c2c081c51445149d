//! Damaged bytes never panic, and nobody allocates what a length in them says.
//!
//! Valid files of every simulated job are flipped, cut, spliced and given huge lengths, half of the
//! time with right checksums, and read. `THALWEG_FUZZ=600 cargo test --release -p thalweg-tests
//! --test fuzz -- --nocapture` does so for ten minutes, with progress; `THALWEG_FUZZ_CASE=17` does
//! it for the inputs of that number only.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::alloc::System;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use thalweg::runtime::Restore;
use thalweg::time::{Clock, MachineClock};
use thalweg_checkpoint::paths::{self, Pack};
use thalweg_checkpoint::store::checksum;
use thalweg_checkpoint::{
    Entry, FileInfo, HiddenPart, History, Image, MemoryStore, PartName, Store,
};
use thalweg_net::batch::{Head, PageWriter};
use thalweg_net::{Body, Buffer, recorded};
use thalweg_state::segment::{SegmentReader, merge_in_memory};
use thalweg_tests::fuzz::corpus::Stored;
use thalweg_tests::fuzz::{mutate, repair};
use thalweg_tests::sim::Random;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What reading so many bytes may allocate, all in all.
const fn limit(bytes: usize) -> usize {
    8 * bytes + (1 << 20)
}

/// Seconds of each target where nobody asks for more.
const SECONDS: f64 = 1.5;

/// The allocator counts for all threads: targets take turns.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn number(name: &str) -> Option<f64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Bytes that were allocated so far, by all that was.
fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated
}

/// Reads inputs until the time is over. `make` makes one, `read` reads it; it may allocate `extra`
/// bytes beyond the limit.
fn fuzz<I>(
    name: &str,
    extra: usize,
    mut make: impl FnMut(&mut Random) -> I,
    size: impl Fn(&I) -> usize,
    mut read: impl FnMut(&I),
) {
    let (clock, only) = (MachineClock::new(), number("THALWEG_FUZZ_CASE"));
    let seconds = number("THALWEG_FUZZ").map_or(SECONDS, |all| all / TARGETS);
    let (mut case, mut said, mut most) = (0u64, 0.0, 0);
    loop {
        let case_number = only.map_or(case, |only| only as u64);
        let input = make(&mut Random::new(case_number).fork(name));
        let before = allocated();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&input)));
        let taken = allocated() - before;
        let bytes = size(&input);
        assert!(outcome.is_ok(), "{name}: THALWEG_FUZZ_CASE={case_number} panics");
        assert!(
            taken <= limit(bytes) + extra,
            "{name}: THALWEG_FUZZ_CASE={case_number} of {bytes} bytes allocates {taken}"
        );
        most = most.max(taken);
        case += 1;
        let now = clock.nanos() as f64 / 1e9;
        if now > said + 10.0 {
            said = now;
            println!("{name}: {case} inputs, {now:.0} of {seconds:.0} s, at most {most} bytes");
        }
        if now > seconds || only.is_some() {
            println!("{name}: {case} inputs in {now:.1} s, at most {most} bytes allocated");
            return;
        }
    }
}

/// How many targets share the time.
const TARGETS: f64 = 7.0;

#[test]
fn segments() {
    let _alone = alone();
    let corpus: Vec<_> = Stored::all()
        .iter()
        .flat_map(|it| it.segments().map(<[u8]>::to_vec).collect::<Vec<_>>())
        .collect();
    assert!(corpus.len() > 10, "{} segments", corpus.len());
    let make = |random: &mut Random| {
        let mut bytes = mutate(&corpus, random);
        if random.chance(60) {
            repair::segment(&mut bytes);
        }
        bytes
    };
    fuzz("segment", 0, make, Vec::len, |bytes| {
        if let Ok(segment) = SegmentReader::new(bytes) {
            for block in segment.blocks().flatten() {
                block.ops().for_each(|op| _ = black_box(op));
            }
        }
        drop(black_box(merge_in_memory(&[bytes], true)));
    });
}

#[test]
fn images() {
    let _alone = alone();
    let corpus: Vec<_> =
        Stored::all().iter().flat_map(|it| it.images().collect::<Vec<_>>()).collect();
    assert!(corpus.len() > 20, "{} images", corpus.len());
    let make = |random: &mut Random| {
        let mut bytes = mutate(&corpus, random);
        if random.chance(70) {
            repair::image(&mut bytes);
        }
        bytes
    };
    fuzz("image", 0, make, Vec::len, |bytes| drop(black_box(Image::decode(bytes))));
}

#[test]
fn entries_of_the_log_and_manifests() {
    let _alone = alone();
    let corpus: Vec<_> =
        Stored::all().iter().flat_map(|it| it.entries().cloned().collect::<Vec<_>>()).collect();
    let whole = corpus.iter().filter(|bytes| bytes.len() > 500).count();
    assert!(whole > 10, "{whole} manifests");
    let make = |random: &mut Random| {
        let mut bytes = mutate(&corpus, random);
        if random.chance(60) && bytes.last() != Some(&b'\n') {
            bytes.push(b'\n');
        }
        bytes
    };
    fuzz("log", 0, make, Vec::len, |bytes| {
        if let Ok(entry) = Entry::parse("log/1", bytes) {
            let mut history = History::default();
            drop(history.push(&entry));
            black_box((history.restore_point(), history.retained(2), history.next_id()));
        }
    });
}

#[test]
fn recorded_frames() {
    let _alone = alone();
    let valid = |seed: u64| {
        let (mut random, mut bytes) = (Random::new(seed), Vec::new());
        for _ in 0..random.between(1, 6) {
            let mut page = PageWriter::<(String, Vec<u64>)>::new(Buffer::new(4096));
            for n in 0..random.between(1, 12) {
                let record = ("x".repeat(random.below(40) as usize), vec![n; n as usize]);
                let _ = page.push(Head::default(), &n.to_be_bytes(), &record);
            }
            let watermark = random.bits().cast_signed();
            recorded::record(&Body::Data { page: page.seal(), watermark }, &mut bytes);
            let control = [Body::Watermark(watermark), Body::Idle, Body::Active, Body::End];
            recorded::record(&control[random.below(4) as usize], &mut bytes);
        }
        bytes
    };
    let corpus: Vec<Vec<u8>> = (0..40).map(valid).collect();
    fuzz(
        "frames",
        0,
        |random| mutate(&corpus, random),
        Vec::len,
        |bytes| {
            let mut rest = &bytes[..];
            while let Ok(body) = recorded::read::<(String, Vec<u64>)>(&mut rest, 64) {
                if let Body::Data { page, .. } = body {
                    let records = page.typed::<(String, Vec<u64>)>();
                    (0..page.count()).for_each(|at| drop(black_box(records.record(at))));
                }
                if rest.is_empty() {
                    break;
                }
            }
        },
    );
}

/// Positions of sources, sealed output, numbers of tasks and channels, frames, rows of state and
/// timers: whatever a core is made from.
#[test]
fn whole_cores() {
    let _alone = alone();
    let stored = Stored::all();
    let most = stored.iter().map(usual_bytes).max().unwrap();
    let make = |random: &mut Random| {
        let at = random.below(stored.len() as u64) as usize;
        let mut cores = stored[at].cores.clone();
        let core = random.below(cores.len() as u64) as usize;
        let store = stored[at].store();
        damage(&mut cores[core], &store, random);
        Damaged { at, cores: cores.into_iter().map(Rc::new).collect(), store }
    };
    let size = |it: &Damaged| it.cores.iter().map(|core| bytes_in(core)).sum();
    fuzz("core", most, make, size, |Damaged { at, cores, store }| {
        _ = black_box(stored[*at].restore(cores, store).is_ok());
    });
}

/// What a job whose place among all is `at` is to be restored from.
struct Damaged {
    at: usize,
    cores: Vec<Rc<Restore>>,
    store: MemoryStore,
}

/// What restoring the undamaged job allocates.
fn usual_bytes(stored: &Stored) -> usize {
    let cores: Vec<_> = stored.cores.iter().cloned().map(Rc::new).collect();
    let store = stored.store();
    let before = allocated();
    drop(stored.restore(&cores, &store).expect("an undamaged checkpoint"));
    allocated() - before
}

fn bytes_in(restore: &Restore) -> usize {
    let segments: u64 = restore.segments.iter().map(|file| file.bytes).sum();
    restore.image.payload_bytes() + segments as usize
}

fn damage(restore: &mut Restore, store: &MemoryStore, random: &mut Random) {
    let sections: Vec<Vec<u8>> =
        restore.image.sections.iter().map(|section| section.bytes.clone()).collect();
    if random.chance(30) && !restore.segments.is_empty() {
        let read = |file: &FileInfo| {
            let bytes = store.get_range(&file.path, file.offset, file.bytes);
            bytes.unwrap().expect("a segment of the corpus")
        };
        let all: Vec<_> = restore.segments.iter().map(read).collect();
        let at = random.below(all.len() as u64) as usize;
        let mut bytes = mutate(&all, random);
        repair::segment(&mut bytes);
        store.overwrite("damaged", &bytes);
        let (path, checksum) = ("damaged".to_owned(), checksum(&bytes));
        let bytes = bytes.len() as u64;
        restore.segments[at] = FileInfo { path, offset: 0, bytes, checksum };
        return;
    }
    let at = random.below(sections.len() as u64) as usize;
    // Mostly its own bytes, now and then those of another section.
    let own = [sections[at].clone()];
    let corpus = if random.chance(85) { &own[..] } else { &sections[..] };
    restore.image.sections[at].bytes = mutate(corpus, random);
}

#[test]
fn names() {
    let _alone = alone();
    let valid = [
        "part-0000000041-00001-00000007.jsonl",
        ".part-0000000041-00001-00000007.3.pending",
        "job/att-12/node-3/99.pack",
        "job/log/00000000000000000007",
        "job/chk-7/_metadata",
    ];
    let corpus: Vec<Vec<u8>> = valid.iter().map(|name| name.as_bytes().to_vec()).collect();
    fuzz(
        "names",
        0,
        |random| mutate(&corpus, random),
        Vec::len,
        |bytes| {
            let name = String::from_utf8_lossy(bytes);
            if let Some(part) = PartName::parse(&name) {
                assert_eq!(PartName::parse(&part.to_string()), Some(part));
            }
            if let Some(part) = HiddenPart::parse(&name) {
                assert_eq!(HiddenPart::parse(&part.to_string()), Some(part));
            }
            if let Some(file) = Pack::parse("job", &name) {
                assert_eq!(file.path("job"), name);
            }
            black_box((paths::complaint(&name), paths::parse_log_entry("job", &name)));
            black_box(paths::parse_metadata("job", &name));
        },
    );
}

/// A damaged file that a checkpoint names is refused by its name, however it is damaged.
#[test]
fn damaged_files_are_refused_by_name() {
    let _alone = alone();
    let stored = Stored::all();
    let fresh: Vec<_> =
        stored.iter().map(|it| it.restore(&[], &MemoryStore::new()).unwrap()).collect();
    let make = |random: &mut Random| {
        let at = random.below(stored.len() as u64) as usize;
        let file = random.pick(&stored[at].files);
        let valid = stored[at].bytes(&file).to_vec();
        let mut own = mutate(std::slice::from_ref(&valid), random);
        if own.starts_with(&valid) {
            own.truncate(valid.len() - 1);
        }
        if random.chance(50) {
            own.resize(valid.len(), 0);
            let at = random.below(valid.len() as u64) as usize;
            own[at] ^= u8::from(own == valid);
            if random.chance(50) {
                // Right by what it says itself: the manifest knows better.
                match valid.starts_with(b"TWSG") {
                    true => repair::segment(&mut own),
                    false => repair::image(&mut own),
                }
                own[0] ^= u8::from(own == valid);
            }
        }
        let path = file.path.clone();
        let pack = &stored[at].objects[&path];
        let (from, to) = (file.offset as usize, (file.offset + file.bytes) as usize);
        let bytes = [&pack[..from], &own, &pack[to..]].concat();
        (at, path, bytes)
    };
    let size = |(at, _, bytes): &(usize, String, Vec<u8>)| {
        bytes.len() + stored[*at].objects.values().map(Vec::len).sum::<usize>()
    };
    let most = stored.iter().map(usual_bytes).max().unwrap();
    fuzz("damaged file", most, make, size, |(at, path, bytes)| {
        let store = stored[*at].store();
        store.overwrite(path, bytes);
        let error = stored[*at].begin(&store, &fresh[*at]).expect_err(path).report();
        assert!(error.contains(path.as_str()), "{path} in {error}");
    });
}
