//! Jobs that read files.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::*;
use crate::BoxError;
use crate::config::Rim;
use crate::operator::SplitEvent;
use crate::prelude::*;
use crate::runtime::{Core, RunOptions};
use crate::source::{SourceOutput, SourceReader, SourceStatus};
use crate::testing::Folder;
use crate::time::MachineClock;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Row {
    user: u64,
    cents: i64,
}

/// Counts the lines that are the same: a parser with a state of its own per file.
#[derive(Debug, Clone, Default)]
struct Counting(BTreeMap<String, u64>);

impl LineParser for Counting {
    type Out = (String, u64);
    type State = BTreeMap<String, u64>;

    fn parse(&mut self, line: &[u8]) -> Result<Option<Self::Out>, BoxError> {
        let word = std::str::from_utf8(line)?.to_owned();
        if word == "bad" {
            return Err("a bad word".into());
        }
        let count = self.0.entry(word.clone()).or_default();
        *count += 1;
        Ok(Some((word, *count)))
    }
    fn snapshot(&self) -> Self::State {
        self.0.clone()
    }
    fn restore(&mut self, state: Self::State) {
        self.0 = state;
    }
}

type Outcome<T> = Result<(Vec<T>, Vec<BadLine>)>;

/// What comes of a source: records and dead letters.
fn read<P: LineParser<Out: Send>>(
    make: impl Fn() -> FileSource<P> + Clone + Send + 'static,
    cores: usize,
    threads: bool,
) -> Outcome<P::Out> {
    let (good, bad) = (Collected::new(), Collected::new());
    let outs = (good.clone(), bad.clone());
    let job = move |flow: &Dataflow, _: &Args| {
        let tag = Tag::new("bad");
        let rows = flow.source("rows", make()).or_dead_letter(&tag);
        rows.side_output(&tag).collect_into("bad", &outs.1);
        rows.collect_into("good", &outs.0);
        Ok(())
    };
    if threads {
        let mut options = RunOptions::new(cores);
        options.runtime.rim = Rim::Thread;
        let summary = crate::run(job, &Args::default(), &options)?;
        let (good, bad) = (good.take(), bad.take());
        assert_eq!(summary.records_in, good.len() as u64);
        assert_eq!(summary.dead_letters, bad.len() as u64);
        return Ok((good, bad));
    }
    crate::run_local(job, cores)?;
    Ok((good.take(), bad.take()))
}

#[test]
fn csv_and_json_lines_become_records_inline_and_on_threads() {
    let folder = Folder::new("file-formats");
    let csv = folder.file("a.csv", "\u{feff}cents,user\r\n5,1\r\n\r\n6,2");
    let json = folder.file("a.jsonl", "{\"user\":1,\"cents\":5}\n\n{\"cents\":6,\"user\":2}\n");
    let expected = vec![Row { user: 1, cents: 5 }, Row { user: 2, cents: 6 }];
    for threads in [false, true] {
        let path = csv.clone();
        let rows = read(move || FileSource::csv::<Row>([&path]), 1, threads).unwrap();
        assert_eq!(rows, (expected.clone(), vec![]));
        let path = json.clone();
        let rows = read(move || FileSource::json_lines::<Row>([&path]), 1, threads).unwrap();
        assert_eq!(rows, (expected.clone(), vec![]));
    }
}

#[test]
fn a_malformed_line_is_a_dead_letter_with_its_place() {
    let folder = Folder::new("file-bad");
    let path = folder.file("a.csv", b"user,cents\n1,5\nx,5\n2\n3,\xff\n4,7\n");
    let file = path.clone();
    let (good, bad) = read(move || FileSource::csv::<Row>([&path]), 1, true).unwrap();
    assert_eq!(good.iter().map(|row| row.user).collect::<Vec<_>>(), [1, 4]);
    assert_eq!(bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [3, 4, 5]);
    let error = "column user is \"x\": invalid digit found in string".to_owned();
    assert_eq!(bad[0], BadLine { file, line: 3, error, text: "x,5".to_owned() });
    assert_eq!(bad[2].text, "3,\u{fffd}");
    let json = serde_json::to_string(&bad[1]).unwrap();
    let expected = r#""line":4,"error":"row has 1 columns instead of 2","text":"2"}"#;
    assert!(json.ends_with(expected), "{json}");
}

#[test]
fn without_dead_letters_or_strictly_the_error_names_file_and_line() {
    let folder = Folder::new("file-strict");
    let path = folder.file("a.jsonl", "{\"user\":1,\"cents\":5}\n{\n");
    let source = path.clone();
    let make = move || FileSource::json_lines::<Row>([&source]).strict(true);
    let strict = read(make, 1, false).unwrap_err();
    let file = path.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let rows = flow.source("rows", FileSource::json_lines::<Row>([&path]));
        rows.sink("out", Blackhole::new(|_: &Row| {}));
        Ok(())
    };
    let plain = crate::run_local(job, 1).unwrap_err();
    for error in [strict, plain] {
        assert_eq!((error.kind(), error.operator()), (Kind::User, Some("rows")));
        let report = error.report();
        assert!(report.contains(&format!("cannot read line 2 of \"{file}\"")), "{report}");
        assert!(report.contains("EOF while parsing an object at column 1"), "{report}");
    }
}

#[test]
fn a_missing_column_ends_the_job_whatever_is_done_with_bad_lines() {
    let folder = Folder::new("file-header");
    for (text, expected) in [
        ("user,euros\n1,2\n", "the header has no column cents: it is \"user,euros\""),
        ("", "the header is missing: the file is empty"),
    ] {
        let path = folder.file("a.csv", text);
        let error = read(move || FileSource::csv::<Row>([&path]), 1, false).unwrap_err();
        assert!(error.report().contains(expected), "{}", error.report());
    }
}

#[test]
fn lines_carry_their_file_and_number() {
    let folder = Folder::new("file-lines");
    let path = folder.file("a", b"one\n\n\xff\nthree");
    let file = path.clone();
    let (lines, bad) = read(move || FileSource::lines([&path]), 1, false).unwrap();
    let line = |line, text: &str| Line { file: file.clone(), line, text: text.to_owned() };
    assert_eq!(lines, [line(1, "one"), line(2, ""), line(4, "three")]);
    assert_eq!((bad[0].line, &*bad[0].error), (3, "line is not UTF-8 from byte 0 on"));
}

#[test]
fn files_are_splits_in_their_order_and_a_core_without_one_holds_nothing() {
    let folder = Folder::new("file-many");
    let text = |n: u64| (0..1000).map(|i| format!("{}\n", n * 1000 + i)).collect::<String>();
    let paths: Vec<String> = (0..40).map(|n| folder.file(&n.to_string(), text(n))).collect();
    for (files, cores) in [(1, 2), (3, 2), (40, 1)] {
        let paths = paths[..files].to_vec();
        let make = move || FileSource::json_lines::<u64>(paths.clone());
        for threads in [false, cores == 1 || crate::testing::cpus() >= cores] {
            let (rows, _) = read(make.clone(), cores, threads).unwrap();
            assert_eq!(rows.len(), files * 1000);
            for file in 0..files as u64 {
                let own = rows.iter().filter(|row| **row / 1000 == file);
                assert!(own.copied().eq(file * 1000..file * 1000 + 1000), "file {file}");
            }
        }
    }
}

#[test]
fn the_watermark_waits_for_files_that_wait() {
    let folder = Folder::new("file-watermark");
    // Every file covers the same times: read one after another, all but the first would be late.
    let text: String = (0..3000).map(|i| format!("{i}\n")).collect();
    let paths: Vec<String> = (0..20).map(|n| folder.file(&n.to_string(), &text)).collect();
    let seen = Arc::new(AtomicU64::new(0));
    let sink = NoneLate { seen: Arc::clone(&seen), watermark: i64::MIN };
    let job = move |flow: &Dataflow, _: &Args| {
        let strategy = WatermarkStrategy::monotonous().with_timestamps(|n: &i64| *n);
        let all = flow.source("n", FileSource::json_lines::<i64>(paths.clone()));
        all.assign_timestamps(strategy).sink("none-late", sink.clone());
        Ok(())
    };
    crate::run_local(job, 1).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 60_000);
}

/// Counts records, none of which is late.
#[derive(Clone)]
struct NoneLate {
    seen: Arc<AtomicU64>,
    watermark: i64,
}

impl crate::sink::Sink<i64> for NoneLate {
    type Writer = Counted;

    fn kind(&self) -> &'static str {
        "none-late"
    }
    fn writer(self, _cx: crate::sink::SinkContext) -> Result<Counted> {
        Ok(Counted { sink: self, count: 0 })
    }
}

struct Counted {
    sink: NoneLate,
    count: u64,
}

impl crate::sink::SinkWriter<i64> for Counted {
    type Committable = ();

    fn write(&mut self, _record: i64, stamp: crate::time::Stamp) -> Result<()> {
        let watermark = self.sink.watermark;
        assert!(stamp.timestamp > watermark, "{} at {watermark}", stamp.timestamp);
        self.count += 1;
        Ok(())
    }
    fn watermark(&mut self, watermark: i64) -> Result<()> {
        self.sink.watermark = watermark;
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        self.sink.seen.store(self.count, Ordering::Relaxed);
        Ok(())
    }
}

#[test]
fn files_that_cannot_be_read_are_told_apart_before_the_start() {
    let folder = Folder::new("file-missing");
    let missing = FileSource::lines([folder.path("none.csv")]).validate().unwrap_err();
    assert_eq!((missing.kind(), missing.kind().exit_code()), (Kind::NotFound, 3));
    assert!(missing.hint().unwrap().contains("working directory"));
    let below = folder.file("a", "x");
    let below = FileSource::lines([format!("{below}/b")]).validate().unwrap_err();
    assert_eq!(below.kind(), Kind::NotFound);
    let directory = FileSource::lines([folder.path("")]).validate().unwrap_err();
    assert_eq!(directory.kind(), Kind::Usage);
    assert!(directory.to_string().contains("it is a directory"));
    let none = FileSource::lines(Vec::<PathBuf>::new()).validate().unwrap_err();
    assert_eq!(none.kind(), Kind::Usage);
}

/// Takes one record at a time.
#[derive(Default)]
struct One<T> {
    records: Vec<T>,
    room: usize,
}

impl<T> SourceOutput<T> for One<T> {
    fn collect(&mut self, record: T, _timestamp: i64, _origin: u64) -> Result<()> {
        self.room -= 1;
        self.records.push(record);
        Ok(())
    }
    fn is_full(&self) -> bool {
        self.room == 0
    }
    fn split(&mut self, _event: SplitEvent) -> Result<()> {
        Ok(())
    }
    fn idle(&mut self, _idle: bool) -> Result<()> {
        Ok(())
    }
    fn now(&self) -> u64 {
        0
    }
}

fn reader<P: LineParser>(
    source: &FileSource<P>,
    splits: Vec<(u32, FileSplit<P::State>)>,
) -> FileReader<P> {
    let core = Core::new(0, 1, Rc::new(MachineClock::new()));
    let cx = SourceContext { core, doorbell: None, inline_io: true, aside: None };
    source.clone().reader(splits, cx).unwrap()
}

#[test]
fn a_reader_goes_on_from_its_snapshot_after_any_record() {
    let folder = Folder::new("file-restore");
    let a = folder.file("a", "x\r\ny\nx\n\u{e9}\nx");
    let b = folder.file("b", "x\n\nx\n");
    let source = FileSource::with_parser([a, b], Counting::default());
    let splits = source.splits(1).unwrap();
    let mut splits: Vec<_> = (0..).zip(splits).collect();
    let mut out = One::default();
    let mut status = SourceStatus::More;
    while status != SourceStatus::Finished {
        let mut reader = reader(&source, splits);
        out.room = 1;
        reader.open(&mut out).unwrap();
        status = reader.poll(&mut out).unwrap();
        splits = reader.snapshot();
        let mut bytes = Vec::new();
        thalweg_state::State::encode(&splits, &mut bytes).unwrap();
        splits = thalweg_state::State::decode(&bytes).unwrap();
    }
    let word = |word: &str, count| (word.to_owned(), count);
    let mut words = out.records;
    words.sort();
    let mut expected =
        [word("x", 1), word("y", 1), word("x", 2), word("\u{e9}", 1), word("x", 3), word("x", 1)]
            .to_vec();
    expected.extend([word("", 1), word("x", 2)]);
    expected.sort();
    assert_eq!(words, expected);
    assert!(splits.iter().all(|(_, (position, _))| position.finished));
    assert_eq!(splits[0].1.0.offset, 11);
}

#[test]
fn a_file_that_has_changed_is_not_read_on() {
    let folder = Folder::new("file-changed");
    let path = folder.file("a", "x\ny\nz\n");
    let source = FileSource::with_parser([&path], Counting::default());
    let mut first = reader(&source, (0..).zip(source.splits(1).unwrap()).collect());
    let mut out = One { records: Vec::new(), room: 1 };
    first.open(&mut out).unwrap();
    first.poll(&mut out).unwrap();
    folder.file("a", "q\ny\nz\n");
    let mut again = reader(&source, first.snapshot());
    again.open(&mut out).unwrap();
    out.room = 1;
    let error = again.poll(&mut out).unwrap_err();
    assert!(error.to_string().contains("the file has changed"), "{error}");
}
