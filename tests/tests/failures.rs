//! A failure of user code ends the attempt soon, with the operator's name, the core and the causes;
//! a stop ends it in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use thalweg::error::Kind;
use thalweg::prelude::*;
use thalweg::sink::{Sink, SinkContext, SinkWriter};
use thalweg::time::Stamp;
use thalweg::{Error, Result, RunOptions};
use thalweg_tests::attempt::{RIMS, attempt, cores, wait_until};

/// An attempt that takes longer to end hangs: generous, since the machine may have other work.
const BOUND: Duration = Duration::from_secs(20);

/// Where the user's code fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Source,
    Map,
    TryMap,
    Key,
    Keyed,
    KeyedIterator,
    SinkPanic,
    SinkError,
}

#[derive(Debug)]
struct NoSuchCard(std::num::ParseIntError);

impl fmt::Display for NoSuchCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no such card")
    }
}

impl std::error::Error for NoSuchCard {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// Fails at the thousandth call on core 1.
#[derive(Clone)]
struct Bomb {
    armed: bool,
    calls: u64,
}

impl Bomb {
    fn new(flow: &Dataflow, place: Place, here: Place) -> Self {
        Self { armed: place == here && flow.core() == 1, calls: 0 }
    }

    fn goes_off(&mut self) -> bool {
        self.calls += 1;
        self.armed && self.calls >= 1_000
    }

    fn pass(&mut self) {
        assert!(!self.goes_off(), "boom");
    }
}

struct Failing(Bomb, Bomb);

impl Sink<u64> for Failing {
    type Writer = Failing;
    fn kind(&self) -> &'static str {
        "failing"
    }
    fn writer(self, _cx: SinkContext) -> Result<Failing> {
        Ok(self)
    }
}

impl SinkWriter<u64> for Failing {
    type Committable = ();
    fn write(&mut self, _record: u64, _stamp: Stamp) -> Result<()> {
        self.0.pass();
        match self.1.goes_off() {
            true => {
                Err(Error::io("cannot write the verdict", std::io::Error::other("disk on fire")))
            }
            false => Ok(()),
        }
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
}

/// An endless job with user code everywhere.
fn job(flow: &Dataflow, place: Place) {
    let bomb = |here| Bomb::new(flow, place, here);
    let (mut map, mut try_map) = (bomb(Place::Map), bomb(Place::TryMap));
    let (mut keyed, mut iterator) = (bomb(Place::Keyed), bomb(Place::KeyedIterator));
    let source = std::cell::RefCell::new(bomb(Place::Source));
    let key = std::cell::RefCell::new(bomb(Place::Key));
    flow.source("numbers", Generator::new(move |n| (source.borrow_mut().pass(), (n, 0)).1))
        .map(move |n| (map.pass(), n).1)
        .name("double")
        .try_map(move |n: &u64| match try_map.goes_off() {
            true => "x".parse::<u64>().map_err(NoSuchCard),
            false => Ok(*n),
        })
        .name("look up")
        .key_by(move |n| (key.borrow_mut().pass(), *n % 1_000).1)
        .flat_map_with_state("judge", ValueSpec::new("n"), move |_, n: u64, _: &mut u64| {
            keyed.pass();
            let fails = iterator.goes_off();
            (0..1).map(move |_| if fails { panic!("boom") } else { n })
        })
        .sink("verdicts", Failing(bomb(Place::SinkPanic), bomb(Place::SinkError)));
}

fn failure(place: Place) -> Vec<Error> {
    let _cores = cores();
    let mut errors = Vec::new();
    for rim in RIMS {
        let mut options = RunOptions::new(2);
        options.runtime.rim = rim;
        let job = move |flow: &Dataflow, _: &Args| {
            job(flow, place);
            Ok(())
        };
        let Some(attempt) = attempt(job, options, 10 * BOUND) else {
            continue;
        };
        let error = attempt.result.expect_err("the job has no end of its own");
        assert!(attempt.took < BOUND, "{rim:?}: the end took {:?}", attempt.took);
        assert_eq!(error.core(), Some(1), "{rim:?}: {}", error.report());
        errors.push(error);
    }
    errors
}

fn panics_in(place: Place, operator: &str) {
    for error in failure(place) {
        let report = error.report();
        assert_eq!(error.operator(), Some(operator), "{report}");
        assert_eq!(error.kind(), Kind::Panic, "{report}");
        assert!(report.contains("boom") && report.contains("failures.rs"), "{report}");
    }
}

#[test]
fn a_panic_in_a_map_names_it() {
    panics_in(Place::Map, "double");
}

#[test]
fn a_panic_in_a_source_names_it() {
    panics_in(Place::Source, "numbers");
}

#[test]
fn a_panic_in_a_key_extractor_names_the_exchange() {
    panics_in(Place::Key, "key_by-3");
}

#[test]
fn a_panic_in_a_keyed_operator_names_it() {
    panics_in(Place::Keyed, "judge");
}

#[test]
fn a_panic_in_the_iterator_that_a_keyed_operator_returns_names_it() {
    panics_in(Place::KeyedIterator, "judge");
}

#[test]
fn a_panic_in_a_sink_names_it() {
    panics_in(Place::SinkPanic, "verdicts");
}

#[test]
fn an_error_of_a_sink_names_it_with_its_cause() {
    for error in failure(Place::SinkError) {
        let expected = "operator \"verdicts\" on core 1: cannot write the verdict\n\
                        caused by: disk on fire";
        assert!(error.report().contains(expected), "{}", error.report());
    }
}

#[test]
fn an_error_of_user_code_comes_with_all_its_causes() {
    for error in failure(Place::TryMap) {
        let expected = "operator \"look up\" on core 1: user code failed\ncaused by: no such card\n\
                        caused by: invalid digit found in string";
        assert!(error.report().contains(expected), "{}", error.report());
        assert_eq!(error.kind(), Kind::User);
    }
}

#[test]
fn a_stop_ends_the_sources_and_everything_that_was_read_arrives() {
    let _cores = cores();
    for rim in RIMS {
        let mut options = RunOptions::new(2);
        options.runtime.rim = rim;
        let (stop, read) = (Arc::clone(&options.stop), Arc::new(AtomicU64::new(0)));
        let (all, counted) = (Collected::new(), Arc::clone(&read));
        let out = all.clone();
        let job = move |flow: &Dataflow, _: &Args| {
            let counted = Arc::clone(&counted);
            flow.source("numbers", Generator::new(|n| (n, 0)).rate(200_000.0))
                .inspect(move |_| _ = counted.fetch_add(1, Ordering::Relaxed))
                .key_by(|n| *n)
                .collect_into("all", &out);
            Ok(())
        };
        let progress = Arc::clone(&read);
        let watch = std::thread::Builder::new().spawn(move || {
            let some = || progress.load(Ordering::Relaxed) > 10_000;
            wait_until("records are read", Duration::from_secs(10), some);
            stop.store(15, Ordering::Relaxed);
        });
        let attempt = attempt(job, options, 10 * BOUND);
        watch.expect("a thread").join().expect("the watch holds");
        let Some(attempt) = attempt else { continue };
        let summary = attempt.result.expect("an orderly stop is no error");
        assert_eq!(summary.signal, 15, "{rim:?}");
        let mut arrived = all.take();
        arrived.sort_unstable();
        arrived.dedup();
        assert_eq!(arrived.len() as u64, read.load(Ordering::Relaxed), "{rim:?}");
        assert_eq!(summary.records_in, summary.records_out, "{rim:?}");
    }
}
