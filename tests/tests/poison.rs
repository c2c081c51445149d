//! A record on which user code fails again and again goes aside, if the job wants that: once, with
//! the checkpoints, and nothing else is missing.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use thalweg::config::{PoisonConfig, Rim};
use thalweg::control::RestartFrom;
use thalweg::error::Kind;
use thalweg::prelude::*;
use thalweg::runtime::CheckpointOptions;
use thalweg::{Error, Job, Result, RunOptions, Summary};
use thalweg_checkpoint::coordinator::Config;
use thalweg_checkpoint::restart::Strategy;
use thalweg_tests::attempt::{attempt, cores};

/// Something that takes longer hangs: generous, since the machine may have other work.
const PATIENCE: Duration = Duration::from_secs(120);

/// How many records a job reads, and how many a second: about forty checkpoints long.
const RECORDS: u64 = 20_000;
const RATE: f64 = 20_000.0;

/// A directory of a test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("poison-{name}-{}", std::process::id());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&folder);
        Self(folder)
    }

    /// The lines of all committed parts in a directory below it; no part may be hidden.
    fn lines(&self, name: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join(name)) else { return Vec::new() };
        let mut lines = Vec::new();
        for entry in entries {
            let path = entry.expect("an entry").path();
            let hidden = path.file_name().is_some_and(|it| it.to_string_lossy().starts_with('.'));
            assert!(!hidden, "{} is left behind", path.display());
            let text = std::fs::read_to_string(path).expect("a part of text");
            lines.extend(text.lines().map(str::to_owned));
        }
        lines
    }

    fn numbers(&self, name: &str) -> Vec<u64> {
        let numbers = self.lines(name).into_iter().map(|line| line.parse().expect("a number"));
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        numbers
    }

    fn letters(&self) -> Vec<Value> {
        let lines = self.lines("poison").into_iter();
        lines.map(|line| serde_json::from_str(&line).expect("a line of JSON")).collect()
    }

    /// Runs a job on two cores with checkpoints; `after` failures make a record poison.
    fn run<J: Job + Clone + Send + 'static>(&self, job: J, after: u32) -> Result<Summary> {
        self.run_with(job, Manner { after, ..Manner::default() })
    }

    fn run_with<J: Job + Clone + Send + 'static>(&self, job: J, manner: Manner) -> Result<Summary> {
        let Manner { after, restarts_max, stop } = manner;
        let mut options = RunOptions::new(2);
        options.stop = stop;
        options.runtime.rim = Rim::Thread;
        options.runtime.state.directory = Some(self.0.join("data"));
        let output = self.0.join("poison");
        options.checkpoints = Some(CheckpointOptions {
            directory: self.0.join("checkpoints"),
            job_name: "job".into(),
            job_id: "0123456789abcdef0123456789abcdef".into(),
            coordinator: Config { interval_ms: Some(25), ..Config::default() },
            restarts: Strategy::FixedDelay { restarts_max, delay_ms: 1 },
            poison: NonZeroU32::new(after).map(|after| PoisonConfig { after, output }),
            from: RestartFrom::Newest,
            retain_on_cancel: false,
            at_least_once: false,
            allow_output_replay: false,
        });
        attempt(job, options, PATIENCE).expect("threads need no io_uring").result
    }

    fn sink(&self) -> FileSink {
        FileSink::json_lines(self.0.join("out"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How a job runs.
struct Manner {
    /// After how many failures a record is poison; 0: never.
    after: u32,
    restarts_max: u32,
    /// Ends it when a signal's number is there.
    stop: Arc<AtomicI32>,
}

impl Default for Manner {
    fn default() -> Self {
        Self { after: 0, restarts_max: 12, stop: Arc::default() }
    }
}

/// All numbers but these.
fn without(poison: &[u64]) -> Vec<u64> {
    (0..RECORDS).filter(|n| !poison.contains(n)).collect()
}

fn generator() -> Generator<impl Fn(u64) -> (u64, i64) + Clone + Send> {
    Generator::new(|n| (n, n as i64)).records(RECORDS).rate(RATE)
}

/// Fails at some records each time, and once at another one after that.
#[derive(Clone, Default)]
struct Trap {
    poison: BTreeSet<u64>,
    /// How often it has failed at each call.
    failures: Arc<AtomicU32>,
    /// A record that fails once, when so many others have.
    transient: Option<(u64, u32)>,
}

impl Trap {
    fn of(poison: &[u64]) -> Self {
        Self { poison: poison.iter().copied().collect(), ..Self::default() }
    }

    fn fails(&self, n: u64) -> bool {
        let failed = self.failures.load(Ordering::SeqCst);
        let is_transient = self.transient == Some((n, failed));
        let fails = is_transient || self.poison.contains(&n);
        self.failures.fetch_add(u32::from(fails), Ordering::SeqCst);
        fails
    }

    fn count(&self) -> u32 {
        self.failures.load(Ordering::SeqCst)
    }
}

#[test]
fn poison_in_a_sources_chain_goes_aside_with_its_place() {
    let _cores = cores();
    let folder = Folder::new("source");
    let (panics, errs) = (Trap::of(&[7_777]), Trap::of(&[12_002]));
    let (sink, traps) = (folder.sink(), (panics.clone(), errs.clone()));
    let job = move |flow: &Dataflow, _: &Args| {
        let (panics, errs) = traps.clone();
        flow.source("numbers", generator())
            .map(move |n| if panics.fails(n) { panic!("boom at {n}") } else { n })
            .name("look")
            .try_map(move |n: &u64| match errs.fails(*n) {
                true => Err(Error::user(format!("no {n}"))),
                false => Ok(*n),
            })
            .name("check")
            .sink("out", sink.clone());
        Ok(())
    };
    let summary = folder.run(job, 2).expect("the job goes on without them");
    assert_eq!(folder.numbers("out"), without(&[7_777, 12_002]));
    assert_eq!(summary.poison, 2);
    // The first one only showed where to look.
    assert_eq!((panics.count(), errs.count()), (3, 2));
    let mut letters = folder.letters();
    letters.sort_by_key(|letter| letter["operator"].to_string());
    let [check, look] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&look["operator"], &check["operator"]), (&"look".into(), &"check".into()));
    for (letter, text) in [(look, "boom at 7777"), (check, "no 12002")] {
        assert!(letter["error"].as_str().is_some_and(|it| it.contains(text)), "{letter}");
        assert_eq!((&letter["source"], &letter["failures"]), (&"numbers".into(), &2.into()));
        assert!(letter["record"].is_null() && letter["input"].is_null(), "{letter}");
    }
    assert_eq!((&look["split"], &look["timestamp"]), (&1.into(), &7_777.into()));
    assert_eq!(look["position"], "next index 7779, split 1 of 2");
    assert_eq!(check["position"], "next index 12004, split 0 of 2");
}

#[test]
fn poison_behind_an_exchange_goes_aside_once_though_it_is_replayed() {
    let _cores = cores();
    let folder = Folder::new("exchange");
    // The record right behind the poison of its key fails once when the poison is aside, before
    // any checkpoint can hold that.
    let trap = Trap { transient: Some((5_010, 4)), ..Trap::of(&[5_000]) };
    let (sink, judge) = (folder.sink(), trap.clone());
    let job = move |flow: &Dataflow, _: &Args| {
        let trap = judge.clone();
        flow.source("numbers", generator())
            .key_by(|n| n % 10)
            .flat_map_with_state("judge", ValueSpec::new("n"), move |_, n: u64, seen: &mut u64| {
                assert!(!trap.fails(n), "boom at {n}");
                *seen += 1;
                Some(n)
            })
            .boxed()
            .sink("out", sink.clone());
        Ok(())
    };
    let summary = folder.run(job, 3).expect("the job goes on without it");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[5_000]), 1));
    assert_eq!(trap.count(), 5);
    let letters = folder.letters();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&letter["operator"], &letter["failures"]), (&"judge".into(), &3.into()));
    assert!(letter["input"].as_str().is_some_and(|it| it.starts_with("key_by")), "{letter}");
    assert!(letter["error"].as_str().is_some_and(|it| it.contains("boom at 5000")), "{letter}");
    assert_eq!(letter["record"], "8813000000000000");
    assert_eq!(letter["timestamp"], 5_000);
    assert!(letter["key"].is_string() && letter["source"].is_null() && letter["core"].is_u64());
}

#[test]
fn poison_is_found_behind_the_point_where_records_are_staged() {
    let _cores = cores();
    let folder = Folder::new("staged");
    let trap = Trap::of(&[3_000, 3_001]);
    let (sink, check) = (folder.sink(), trap.clone());
    let job = move |flow: &Dataflow, _: &Args| {
        let trap = check.clone();
        let shared = flow.source("numbers", generator()).rebalance().boxed();
        shared
            .try_filter(move |n: &u64| match trap.fails(*n) {
                true => Err(Error::user("not this one")),
                false => Ok(true),
            })
            .name("check")
            .sink("out", sink.clone());
        Ok(())
    };
    let summary = folder.run(job, 2).expect("the job goes on without them");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[3_000, 3_001]), 2));
    let letters = folder.letters();
    let records: BTreeSet<_> = letters.iter().map(|it| it["record"].to_string()).collect();
    let expected = ["\"b80b000000000000\"", "\"b90b000000000000\""].map(str::to_owned);
    assert_eq!((records, letters.len()), (expected.into(), 2));
}

#[test]
fn of_two_consumers_the_one_that_does_not_fail_gets_the_record() {
    let _cores = cores();
    let folder = Folder::new("consumers");
    let trap = Trap::of(&[8_000]);
    let (out, whole) = (folder.sink(), FileSink::json_lines(folder.0.join("whole")));
    let check = trap.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let trap = check.clone();
        let numbers = flow.source("numbers", generator()).key_by(|n| *n % 100);
        let state = || ValueSpec::new("n");
        numbers
            .clone()
            .flat_map_with_state("pass", state(), |_, n: u64, _: &mut u64| Some(n))
            .sink("whole", whole.clone());
        numbers
            .flat_map_with_state("check", state(), move |_, n: u64, _: &mut u64| {
                let fails = trap.fails(n);
                (0..1).map(move |_| if fails { panic!("boom") } else { n })
            })
            .sink("out", out.clone());
        Ok(())
    };
    let summary = folder.run(job, 1).expect("the job goes on without it");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[8_000]), 1));
    assert_eq!(folder.numbers("whole"), without(&[]));
    assert_eq!((trap.count(), folder.letters().len()), (2, 1));
}

#[test]
fn a_record_that_fails_less_often_is_no_poison() {
    let _cores = cores();
    let folder = Folder::new("less");
    let failures = Arc::new(AtomicU32::new(0));
    let (sink, failed) = (folder.sink(), Arc::clone(&failures));
    let job = move |flow: &Dataflow, _: &Args| {
        let failed = Arc::clone(&failed);
        flow.source("numbers", generator())
            .try_map(move |n: &u64| match *n == 600 && failed.fetch_add(1, Ordering::SeqCst) < 3 {
                true => Err(Error::user("not yet")),
                false => Ok(*n),
            })
            .sink("out", sink.clone());
        Ok(())
    };
    let summary = folder.run(job, 3).expect("the record passes in the end");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[]), 0));
    assert!(failures.load(Ordering::SeqCst) >= 4 && folder.letters().is_empty());
}

#[test]
fn another_process_counts_anew_and_there_is_one_line() {
    let _cores = cores();
    let folder = Folder::new("process");
    // The attempt that has set it aside fails as well, and is the first process's last.
    let trap = Trap { transient: Some((4_002, 3)), ..Trap::of(&[4_000]) };
    let (sink, check) = (folder.sink(), trap.clone());
    let job = move |flow: &Dataflow, _: &Args| {
        let trap = check.clone();
        flow.source("numbers", generator())
            .map(move |n| if trap.fails(n) { panic!("boom at {n}") } else { n })
            .sink("out", sink.clone());
        Ok(())
    };
    let manner = || Manner { after: 2, restarts_max: 3, ..Manner::default() };
    let error = folder.run_with(job.clone(), manner()).expect_err("four failures are too many");
    assert!(error.to_string().contains("boom at 4002"), "{error}");
    let summary = folder.run_with(job, manner()).expect("it goes on without the record");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[4_000]), 1));
    assert_eq!((trap.count(), folder.letters().len()), (7, 1));
}

#[test]
fn a_line_of_a_file_is_known_by_its_offset() {
    let _cores = cores();
    let folder = Folder::new("file");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let path = folder.0.join("numbers.txt");
    let text: String = (0..RECORDS).map(|n| format!("{n}\n")).collect();
    std::fs::write(&path, text).expect("a file");
    let (sink, path) = (folder.sink(), path.display().to_string());
    let job = move |flow: &Dataflow, _: &Args| {
        flow.source("lines", FileSource::lines([path.clone()]))
            .map(|line| line.text.parse::<u64>().expect("a number"))
            .inspect(|n| assert_ne!(*n, 15_000, "boom"))
            .name("check")
            .sink("out", sink.clone());
        Ok(())
    };
    let summary = folder.run(job, 2).expect("the job goes on without it");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[15_000]), 1));
    let letters = folder.letters();
    let [letter] = &letters[..] else { panic!("{letters:?}") };
    assert_eq!((&letter["operator"], &letter["source"]), (&"check".into(), &"lines".into()));
    let position = letter["position"].as_str().unwrap_or_default();
    assert!(position.ends_with("behind 15001 lines"), "{letter}");
}

#[test]
fn a_job_may_ask_for_it_when_it_goes_on() {
    let _cores = cores();
    let folder = Folder::new("later");
    let (sink, stop) = (folder.sink(), Arc::new(AtomicI32::new(0)));
    let (trap, stopping) = (Trap::of(&[9_000]), Arc::clone(&stop));
    let job = move |flow: &Dataflow, _: &Args| {
        let (trap, stop) = (trap.clone(), Arc::clone(&stopping));
        flow.source("numbers", generator())
            .inspect(move |n| {
                // Only the first process sees this one: the other goes on behind it.
                if *n == 2_000 {
                    stop.store(15, Ordering::SeqCst);
                }
            })
            .rebalance()
            .map(move |n| if trap.fails(n) { panic!("boom") } else { n })
            .sink("out", sink.clone());
        Ok(())
    };
    let summary = folder
        .run_with(job.clone(), Manner { stop, ..Manner::default() })
        .expect("it stops in order");
    assert_eq!((summary.signal, folder.letters().len()), (15, 0));
    let summary = folder.run(job, 1).expect("it goes on without the record");
    assert_eq!((folder.numbers("out"), summary.poison), (without(&[9_000]), 1));
    assert_eq!(folder.letters().len(), 1);
}

/// Fails when a timer fires.
struct Late(ValueState<u64>);

impl KeyedProcess<u64, u64> for Late {
    type Out = u64;
    fn process(&mut self, n: u64, cx: &mut ProcessContext<u64, u64>) -> Result<()> {
        self.0.set(n);
        cx.register_event_timer(cx.timestamp() + 10);
        cx.emit(n);
        Ok(())
    }
    fn on_timer(&mut self, timer: Timer, _cx: &mut ProcessContext<u64, u64>) -> Result<()> {
        assert!(timer.timestamp < 1_000, "a timer at {}", timer.timestamp);
        Ok(())
    }
}

#[test]
fn a_timer_that_fails_is_no_record() {
    let _cores = cores();
    let folder = Folder::new("timer");
    let sink = folder.sink();
    let job = move |flow: &Dataflow, _: &Args| {
        flow.source("numbers", generator())
            .assign_timestamps(WatermarkStrategy::monotonous().with_timestamps(|n| *n as i64))
            .key_by(|n| *n)
            .process("late", |states| Late(states.value("n")))
            .sink("out", sink.clone());
        Ok(())
    };
    let error = folder.run(job, 1).expect_err("it fails as often as it may");
    assert_eq!((error.kind(), error.operator()), (Kind::Panic, Some("late")));
    assert!(folder.letters().is_empty(), "{:?}", folder.letters());
}

#[test]
fn poison_does_not_go_where_a_sink_of_the_job_writes() {
    let folder = Folder::new("same");
    let sink = FileSink::json_lines(folder.0.join("poison"));
    let job = move |flow: &Dataflow, _: &Args| {
        flow.source("numbers", generator()).sink("out", sink.clone());
        Ok(())
    };
    let error = folder.run(job, 1).expect_err("both would write there");
    assert_eq!(error.kind(), Kind::Usage);
    assert!(error.report().contains("restart.poison-output"), "{}", error.report());
    assert!(!folder.0.join("poison").exists());
}

#[test]
fn without_being_asked_nothing_goes_aside() {
    let _cores = cores();
    let folder = Folder::new("unasked");
    let trap = Trap::of(&[500]);
    let (sink, map) = (folder.sink(), trap.clone());
    let job = move |flow: &Dataflow, _: &Args| {
        let trap = map.clone();
        flow.source("numbers", generator())
            .map(move |n| if trap.fails(n) { panic!("boom") } else { n })
            .sink("out", sink.clone());
        Ok(())
    };
    let error = folder.run(job, 0).expect_err("it fails as often as it may");
    assert_eq!((error.kind(), trap.count()), (Kind::Panic, 13));
    assert!(!folder.0.join("poison").exists());
}
