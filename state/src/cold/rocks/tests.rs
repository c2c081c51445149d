//! The cold tier on disk: against the model, and when things go wrong.

mod expiry;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::super::model::{drive, steps};
use super::*;

/// A directory of its own for each tier.
fn directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("thalweg-cold-{}-{number}", std::process::id()))
}

fn open(directory: &Path, memtable_bytes: usize) -> Result<RocksTier, ColdError> {
    let options = RocksOptions { memtable_bytes, ..RocksOptions::default() };
    RocksTier::open(directory, &RocksShared::new(1 << 20), &options, Arc::new(|| {}))
}

/// The next answer; the machine may be busy with other things for long.
#[allow(clippy::disallowed_methods, reason = "a deadline for the machine, not for the logic")]
fn answer(tier: &mut RocksTier) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(300);
    loop {
        if let Some(answer) = tier.poll() {
            return answer;
        }
        assert!(Instant::now() < deadline, "no answer");
        std::thread::yield_now();
    }
}

fn run(tier: &mut RocksTier, id: u64, column: ColumnId, rows: u64) -> Run {
    let mut run = tier.run(id, column);
    for row in 0..rows {
        let key = row.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        run.push(&key, Some(&[id as u8; 48]));
    }
    run
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_tier_on_disk_answers_like_a_map(steps in steps()) {
        let directory = directory();
        drive(&mut open(&directory, 1 << 20).unwrap(), &steps);
        prop_assert!(!directory.exists());
    }
}

#[test]
fn rows_are_found_when_they_have_left_memory() {
    let directory = directory();
    let mut tier = open(&directory, 64 << 10).unwrap();
    let column = tier.column("state", None).unwrap();
    for id in 1..=20 {
        let run = run(&mut tier, id, column, 3_000);
        tier.store(run, 0);
    }
    while tier.busy() {
        assert!(matches!(answer(&mut tier), Answer::Stored { .. }));
    }
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    assert!(files.into_iter().any(|path| path.extension().is_some_and(|name| name == "sst")));
    let mut fetch = Fetch::new(1, column);
    run(&mut tier, 0, column, 3_001).rows().for_each(|(key, _)| fetch.push(key));
    tier.fetch(fetch);
    let Answer::Fetched { rows, .. } = answer(&mut tier) else { panic!("no rows") };
    assert!((0..3_000).all(|index| rows.get(index) == Some(&[20; 48][..])));
    assert_eq!(rows.get(3_000), None);
}

#[test]
fn columns_are_apart_whatever_their_names() {
    let mut tier = open(&directory(), 1 << 20).unwrap();
    let columns = ["default", "", "state default"].map(|name| tier.column(name, None).unwrap());
    for (id, column) in columns.into_iter().enumerate() {
        let run = run(&mut tier, id as u64, column, 1);
        tier.store(run, 0);
        assert!(matches!(answer(&mut tier), Answer::Stored { .. }));
    }
    for (id, column) in columns.into_iter().enumerate() {
        assert_eq!(tier.get(column, &[0; 8]).unwrap(), Some(vec![id as u8; 48]));
    }
}

#[test]
fn a_directory_is_emptied_first_and_is_not_shared() {
    let directory = directory();
    let mut first = open(&directory, 1 << 20).unwrap();
    let column = first.column("state", None).unwrap();
    let error = open(&directory, 1 << 20).err().unwrap();
    assert!(error.what.contains(directory.to_str().unwrap()), "{error}");
    assert!(error.hint.unwrap().contains("another process"));
    assert_eq!(first.get(column, b"key").unwrap(), None);
    // Left behind by a process that was killed.
    let run = run(&mut first, 1, column, 1);
    first.store(run, 0);
    assert!(matches!(answer(&mut first), Answer::Stored { .. }));
    let left = directory.with_extension("left");
    std::fs::create_dir(&left).unwrap();
    for entry in std::fs::read_dir(&directory).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), left.join(entry.file_name())).unwrap();
    }
    std::fs::write(left.join("notes.txt"), "not ours").unwrap();
    let mut second = open(&left, 1 << 20).unwrap();
    let column = second.column("state", None).unwrap();
    assert_eq!(second.get(column, &[0; 8]).unwrap(), None);
    drop((first, second));
    assert!(!directory.exists() && left.join("notes.txt").exists());
    std::fs::remove_dir_all(left).unwrap();
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error_with_its_name() {
    let file = directory();
    std::fs::write(&file, "a file").unwrap();
    let error = open(&file.join("core-0"), 1 << 20).err().unwrap();
    assert!(error.what.contains(file.to_str().unwrap()) && error.hint.is_some(), "{error:?}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_file_that_cannot_be_written_ends_the_tier() {
    let directory = directory();
    let woken = Arc::new(AtomicUsize::new(0));
    let wake: Wake = {
        let woken = Arc::clone(&woken);
        Arc::new(move || {
            woken.fetch_add(1, Ordering::Relaxed);
        })
    };
    let options = RocksOptions { memtable_bytes: 64 << 10, ..RocksOptions::default() };
    let shared = RocksShared::new(1 << 20);
    let mut tier = RocksTier::open(&directory, &shared, &options, wake).unwrap();
    let column = tier.column("state", None).unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    let mut id = 0;
    let error = loop {
        id += 1;
        let run = run(&mut tier, id, column, 2_000);
        tier.store(run, 0);
        if let Answer::Failed(error) = answer(&mut tier) {
            break error;
        }
    };
    assert!(error.what.contains(directory.to_str().unwrap()), "{error}");
    assert!(woken.load(Ordering::Relaxed) > 0);
    assert!(!tier.busy() && tier.backlog_bytes() == 0 && tier.poll().is_none());
    assert_eq!(tier.get(column, b"key"), Err(error.clone()));
    tier.fetch(Fetch::new(1, column));
    assert!(tier.busy());
    assert!(matches!(tier.poll(), Some(Answer::Failed(again)) if again == error));
}

#[test]
fn a_panic_of_a_thread_is_an_answer() {
    let (answers, done) = unbounded();
    let (rung, bell) = unbounded();
    let wake: Wake = Arc::new(move || rung.send(()).unwrap());
    let start = || Some(|number: u64| -> Result<Done, ColdError> { panic!("{number} is odd") });
    let manner = Manner { name: "cold-test".to_owned(), cpus: Vec::new(), nice: 0 };
    let side = Side::start(manner, start, answers, wake).unwrap();
    side.order(13);
    bell.recv().unwrap();
    let Ok(Done::Failed(error)) = done.try_recv() else { panic!("no failure") };
    assert_eq!(error.what, "a thread of the cold tier panicked: 13 is odd");
}

#[test]
fn a_tier_that_is_dropped_with_work_left_ends_soon_and_cleans_up() {
    let directory = directory();
    let mut tier = open(&directory, 1 << 20).unwrap();
    let column = tier.column("state", None).unwrap();
    for id in 0..1_000 {
        let run = run(&mut tier, id, column, 1_000);
        tier.store(run, 0);
        tier.fetch(Fetch::new(id, column));
    }
    assert!(tier.backlog_bytes() > 0);
    drop(tier);
    assert!(!directory.exists());
}
