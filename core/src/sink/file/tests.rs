//! Jobs that write files.

use std::rc::Rc;

use super::*;
use crate::config::Rim;
use crate::error::Kind;
use crate::prelude::*;
use crate::runtime::{Core, RunOptions};
use crate::sink::SinkWriter;
use crate::testing::{Folder, cpus};
use crate::time::{ManualClock, Stamp};

const STAMP: Stamp = Stamp { timestamp: 0, origin: 0 };

/// Writes the numbers below `count` on `cores` cores, with side threads or inline.
fn write(sink: &FileSink, count: u64, cores: usize, threads: bool) -> Result<()> {
    let sink = sink.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let numbers = Generator::new(|i| (i, 0)).records(count);
        flow.source("numbers", numbers).sink("out", sink.clone());
        Ok(())
    };
    if !threads {
        return crate::run_local(job, cores);
    }
    let mut options = RunOptions::new(cores);
    options.runtime.rim = Rim::Thread;
    crate::run(job, &Args::default(), &options).map(drop)
}

fn numbers(text: &str) -> Vec<u64> {
    text.lines().map(|line| line.parse().unwrap()).collect()
}

#[test]
fn every_record_is_in_one_part_under_its_name_at_the_end() {
    let folder = Folder::new("sink-all");
    for threads in [false, true] {
        let cores = if threads { cpus().min(2) } else { 2 };
        let sink = FileSink::json_lines(folder.path("out")).overwrite(true);
        write(&sink, 100_000, cores, threads).unwrap();
        let expected: Vec<String> =
            (0..cores).map(|core| format!("part-0000000000-0000{core}-00000000.jsonl")).collect();
        assert_eq!(folder.names("out"), expected);
        let mut all = numbers(&folder.text("out"));
        all.sort_unstable();
        assert_eq!(all, (0..100_000).collect::<Vec<_>>());
    }
}

#[test]
fn parts_roll_by_size_and_their_names_keep_the_order() {
    let folder = Folder::new("sink-size");
    for threads in [false, true] {
        let sink = FileSink::json_lines(folder.path("out")).overwrite(true).roll_bytes(1000);
        write(&sink, 20_000, 1, threads).unwrap();
        let names = folder.names("out");
        assert!(names.len() > 100 && names.iter().all(|name| name.starts_with("part-")));
        assert_eq!(numbers(&folder.text("out")), (0..20_000).collect::<Vec<_>>());
    }
}

#[test]
fn every_csv_part_has_a_header() {
    let folder = Folder::new("sink-csv");
    let sink = FileSink::csv(folder.path("out")).roll_bytes(1);
    let bad = |line| BadLine { file: "a".into(), line, error: "e,".into(), text: "t".into() };
    let job = move |flow: &Dataflow, _: &Args| {
        flow.from_iter("rows", [bad(1), bad(2)]).sink("out", sink.clone());
        Ok(())
    };
    crate::run_local(job, 1).unwrap();
    let header = "file,line,error,text\n";
    assert_eq!(folder.text("out"), format!("{header}a,1,\"e,\",t\n{header}a,2,\"e,\",t\n"));
}

#[test]
fn without_records_the_directory_is_there_and_empty() {
    let folder = Folder::new("sink-empty");
    write(&FileSink::json_lines(folder.path("a/b")), 0, 1, true).unwrap();
    assert!(folder.names("a/b").is_empty());
}

#[test]
fn a_directory_that_is_not_empty_is_refused_and_a_plan_touches_nothing() {
    let folder = Folder::new("sink-full");
    let sink = FileSink::json_lines(folder.path("out"));
    write(&sink, 5, 1, false).unwrap();
    folder.file("out/notes.txt", "mine");
    folder.file("out/.part-0000000000-00000-00000009.1.pending", "unfinished");
    let before = folder.names("out");
    let error = write(&sink, 1, 1, false).unwrap_err();
    assert_eq!((error.kind(), error.kind().exit_code()), (Kind::Usage, 2));
    assert!(error.hint().unwrap().contains("--overwrite"));
    let again = sink.clone().overwrite(true);
    let job = move |flow: &Dataflow, _: &Args| {
        flow.from_iter("n", [1u64]).sink("out", again.clone());
        Ok(())
    };
    crate::plan(&job, &Args::default(), 1).unwrap();
    assert_eq!(folder.names("out"), before);
    crate::run_local(job, 1).unwrap();
    let part = "part-0000000000-00000-00000000.jsonl";
    assert_eq!(folder.names("out"), ["notes.txt", part]);
    assert_eq!(std::fs::read_to_string(folder.path("out").join(part)).unwrap(), "1\n");
}

#[test]
fn of_several_directories_below_a_root_the_root_must_be_empty() {
    let folder = Folder::new("sink-root");
    folder.file("notes.txt", "mine");
    let sink = FileSink::json_lines(folder.path("alerts")).below(folder.path(""));
    assert_eq!(write(&sink, 1, 1, false).unwrap_err().kind(), Kind::Usage);
    write(&sink.overwrite(true), 1, 1, false).unwrap();
    assert_eq!(folder.names("alerts").len(), 1);
}

/// A process that dies between making them and owning its attempt leaves them behind.
#[test]
fn empty_directories_below_the_root_are_in_nobodys_way() {
    let folder = Folder::new("sink-made");
    let sink = FileSink::json_lines(folder.path("out/a")).below(folder.path("out"));
    Sink::<u64>::prepare(&sink).unwrap();
    Sink::<u64>::vacant(&sink).unwrap();
    folder.file("out/a/part", "");
    assert!(Sink::<u64>::vacant(&sink).is_err());
}

#[test]
fn a_place_that_cannot_be_written_ends_the_job_with_its_name() {
    let folder = Folder::new("sink-fails");
    let file = folder.file("file", "x");
    let error = write(&FileSink::json_lines(&file), 1, 1, true).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    let error = write(&FileSink::json_lines(format!("{file}/out")), 1, 1, true).unwrap_err();
    assert!(error.to_string().contains("/file/out"), "{error}");
    for threads in [false, true] {
        let directory = folder.path("gone");
        let sink = FileSink::json_lines(&directory);
        let job = move |flow: &Dataflow, _: &Args| {
            let directory = directory.clone();
            let numbers = flow.source("n", Generator::new(|i| (i, 0)).records(5_000_000));
            let numbers = numbers.inspect(move |n| {
                if *n == 0 {
                    std::fs::remove_dir_all(&directory).unwrap();
                }
            });
            numbers.sink("out", sink.clone());
            Ok(())
        };
        let mut options = RunOptions::new(1);
        options.runtime.rim = Rim::Thread;
        let error = match threads {
            true => crate::run(job, &Args::default(), &options).unwrap_err(),
            false => crate::run_local(job, 1).unwrap_err(),
        };
        assert_eq!((error.kind(), error.operator()), (Kind::Io, Some("out")));
        assert!(error.to_string().contains("/gone/.part-0000000000-00000-00000000.1.pending"));
    }
}

#[test]
fn a_job_that_fails_leaves_no_unfinished_part() {
    let folder = Folder::new("sink-abort");
    let sink = FileSink::json_lines(folder.path("out")).roll_bytes(1 << 20);
    let job = move |flow: &Dataflow, _: &Args| {
        let numbers = flow.source("n", Generator::new(|i| (i, 0)).records(1_000_000));
        let numbers = numbers.try_map(|n: &u64| if *n < 900_000 { Ok(*n) } else { Err("enough") });
        numbers.sink("out", sink.clone());
        Ok(())
    };
    let mut options = RunOptions::new(1);
    options.runtime.rim = Rim::Thread;
    assert_eq!(crate::run(job, &Args::default(), &options).unwrap_err().kind(), Kind::User);
    let names = folder.names("out");
    assert!(!names.is_empty() && names.iter().all(|name| !part::is_hidden(name)), "{names:?}");
}

/// A writer on a core of its own, with a clock that stands still.
fn writer(sink: &FileSink, checkpoints: bool) -> (FileWriter<u64>, Rc<Core>, ManualClock) {
    writer_of(sink, checkpoints, false, 3)
}

fn writer_of(
    sink: &FileSink,
    checkpoints: bool,
    write_through: bool,
    attempt: u64,
) -> (FileWriter<u64>, Rc<Core>, ManualClock) {
    let clock = ManualClock::new(0);
    let core = Core::new(1, 2, Rc::new(clock.clone()));
    let aside = None;
    let cx = SinkContext {
        core: Rc::clone(&core),
        doorbell: None,
        inline_io: true,
        checkpoints,
        write_through,
        attempt,
        aside,
    };
    Sink::<u64>::prepare(sink).unwrap();
    (sink.clone().writer(cx).unwrap(), core, clock)
}

#[test]
fn an_old_part_is_rolled_without_another_record() {
    let folder = Folder::new("sink-age");
    let sink = FileSink::json_lines(folder.path("out")).roll_after(Duration::from_secs(5));
    let (mut writer, core, clock) = writer(&sink, false);
    writer.write(1, STAMP).unwrap();
    clock.advance(4_999_999_999);
    core.refresh();
    assert!(writer.ready().unwrap() && folder.names("out").is_empty());
    clock.advance(1);
    core.refresh();
    assert!(writer.ready().unwrap());
    assert_eq!(folder.names("out"), ["part-0000000000-00001-00000000.jsonl"]);
}

#[test]
fn at_least_once_a_part_is_visible_at_the_cut_and_never_written_again() {
    let folder = Folder::new("sink-through");
    let sink = FileSink::json_lines(folder.path("out")).roll_bytes(1);
    let (mut first, ..) = writer_of(&sink, true, true, 1);
    first.restored(4);
    first.write(1, STAMP).unwrap();
    assert_eq!(first.seal(5).unwrap(), []);
    assert!(first.settled().unwrap());
    first.write(2, STAMP).unwrap();
    assert!(first.settled().unwrap());
    drop(first);
    // The checkpoint has failed: the next attempt goes on from the one before it.
    let (mut second, ..) = writer_of(&sink, true, true, 2);
    second.restored(4);
    second.write(1, STAMP).unwrap();
    second.seal(7).unwrap();
    second.end().unwrap();
    assert!(second.finish().unwrap());
    let names = folder.names("out");
    let expected = ["5-00001-00000000", "5-00001-00000002", "6-00001-00000001"];
    let expected = expected.map(|name| format!("part-000000000{name}.jsonl"));
    assert_eq!(names, expected);
}

#[test]
fn with_checkpoints_parts_are_sealed_at_the_cut_and_visible_after_the_commit() {
    let folder = Folder::new("sink-seal");
    let sink = FileSink::json_lines(folder.path("out")).roll_bytes(4);
    let (mut writer, ..) = writer(&sink, true);
    (10..13).for_each(|n| writer.write(n, STAMP).unwrap());
    let first = writer.seal(4).unwrap();
    assert!(writer.settled().unwrap());
    writer.write(13, STAMP).unwrap();
    let second = writer.seal(7).unwrap();
    let hidden = |checkpoint, n| format!(".part-{checkpoint:010}-00001-{n:08}.3.pending");
    assert_eq!(folder.names("out"), [hidden(1, 0), hidden(1, 1), hidden(5, 2)]);
    for _ in 0..2 {
        writer.commit(first.clone()).unwrap();
    }
    writer.commit(second).unwrap();
    assert!(writer.settled().unwrap());
    assert_eq!(
        folder.names("out"),
        ["4-00001-00000000", "4-00001-00000001", "7-00001-00000002"]
            .map(|name| format!("part-000000000{name}.jsonl"))
    );
    assert_eq!(folder.text("out"), "10\n11\n12\n13\n");
    writer.write(14, STAMP).unwrap();
    writer.end().unwrap();
    assert!(writer.finish().unwrap());
    assert_eq!(writer.seal(8).unwrap().len(), 1, "the final checkpoint takes the last part");
}

/// Two writers of one directory would give their parts the same names.
#[test]
fn a_directory_has_one_sink() {
    let folder = Folder::new("sink-twice");
    std::fs::create_dir_all(folder.path("real")).unwrap();
    std::os::unix::fs::symlink(folder.path("real"), folder.path("link")).unwrap();
    let run = |other: &str| {
        let [first, second] = ["real/out", other].map(|it| FileSink::json_lines(folder.path(it)));
        let job = move |flow: &Dataflow, _: &Args| {
            let numbers = flow.from_iter("numbers", 0..3u64).share();
            numbers.clone().sink("first", first.clone());
            numbers.sink("second", second.clone());
            Ok(())
        };
        crate::run_local(job, 1)
    };
    for same in ["real/out", "link/out", "real/./out"] {
        let error = run(same).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.report().contains("[\"first\", \"second\"] both do"), "{}", error.report());
        assert!(!std::path::Path::new(&folder.path("real/out")).exists());
    }
    run("real/other").unwrap();
    assert_eq!(numbers(&folder.text("real/other")), [0, 1, 2]);
}
