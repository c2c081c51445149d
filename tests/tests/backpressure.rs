//! A sink that takes nothing stops its sources; memory stays bounded; nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use thalweg::prelude::*;
use thalweg::sink::{Sink, SinkContext, SinkWriter};
use thalweg::testing::{Cluster, ClusterOptions};
use thalweg::time::Stamp;
use thalweg::{Result, RunOptions};
use thalweg_net::Doorbell;
use thalweg_tests::attempt::{RIMS, attempt, cores, wait_until};

/// A sink that takes a record for each permit.
#[derive(Clone, Default)]
struct Gatekeeper {
    permits: Arc<AtomicU64>,
    taken: Arc<Mutex<Vec<u64>>>,
    bells: Arc<Mutex<Vec<Doorbell>>>,
}

impl Gatekeeper {
    fn permit(&self, records: u64) {
        self.permits.fetch_add(records, Ordering::SeqCst);
        self.bells.lock().unwrap().iter().for_each(Doorbell::ring);
    }

    /// All records so far, sorted.
    fn sorted(&self) -> Vec<u64> {
        let mut taken = self.taken.lock().unwrap().clone();
        taken.sort_unstable();
        taken
    }
}

impl Sink<u64> for Gatekeeper {
    type Writer = Gatekeeper;
    fn kind(&self) -> &'static str {
        "gatekeeper"
    }
    fn writer(self, cx: SinkContext) -> Result<Gatekeeper> {
        self.bells.lock().unwrap().extend(cx.doorbell);
        Ok(self)
    }
}

impl SinkWriter<u64> for Gatekeeper {
    type Committable = ();
    fn ready(&mut self) -> Result<bool> {
        Ok(self.permits.load(Ordering::SeqCst) > 0)
    }
    fn write(&mut self, record: u64, _stamp: Stamp) -> Result<()> {
        let less = |permits: u64| Some(permits.saturating_sub(1));
        let _ = self.permits.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        self.taken.lock().unwrap().push(record);
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
}

/// Two exchanges and a sink.
fn job(flow: &Dataflow, records: u64, read: &Arc<AtomicU64>, sink: &Gatekeeper) {
    let read = Arc::clone(read);
    flow.source("numbers", Generator::new(|n| (n, n as i64)).records(records))
        .inspect(move |_| _ = read.fetch_add(1, Ordering::Relaxed))
        .rebalance()
        .key_by(|n| *n % 1_000)
        .flat_map_with_state("pass", ValueSpec::new("n"), |_, n, _: &mut u64| Some(n))
        .sink("held", sink.clone());
}

/// Bytes of all buffers of a cluster.
fn buffer_bytes(cluster: &Cluster, buffer_size: u64) -> u64 {
    let outputs = cluster.workers.iter().flat_map(|worker| worker.outputs());
    outputs.map(|output| output.counts.granted * buffer_size + output.counts.borrowed_bytes).sum()
}

#[test]
fn a_held_sink_stops_the_sources_with_bounded_memory_and_then_everything_arrives() {
    const RECORDS: u64 = 100_000;
    let (read, sink) = (Arc::new(AtomicU64::new(0)), Gatekeeper::default());
    let (counted, given) = (Arc::clone(&read), sink.clone());
    let job = move |flow: &Dataflow, _: &Args| {
        job(flow, RECORDS, &counted, &given);
        Ok(())
    };
    let mut options = ClusterOptions::new(3);
    (options.network.buffer_size, options.network.credits) = (1024, 4);
    let mut cluster = Cluster::new(&job, &Args::default(), &options).unwrap();
    let step = |cluster: &mut Cluster, rounds: u64| {
        for _ in 0..rounds {
            options.clock.advance(1_000_000);
            if cluster.step_all().unwrap() {
                return true;
            }
            cluster.check_credits();
        }
        false
    };
    let granted = buffer_bytes(&cluster, 1024);
    assert!(!step(&mut cluster, 1_000));
    let stopped_at = read.load(Ordering::Relaxed);
    assert!(stopped_at > 0 && stopped_at < RECORDS / 10, "{stopped_at} records were read");
    assert!(!step(&mut cluster, 10_000));
    assert_eq!(read.load(Ordering::Relaxed), stopped_at, "sources went on");
    let held = buffer_bytes(&cluster, 1024);
    assert!(held <= 2 * granted, "{held} bytes of buffers, {granted} were granted");
    assert_eq!(sink.sorted(), Vec::<u64>::new());
    sink.permit(u64::MAX);
    assert!(step(&mut cluster, 100_000), "no end");
    assert_eq!(sink.sorted(), (0..RECORDS).collect::<Vec<_>>());
}

#[test]
fn sources_of_a_running_job_stop_and_go_with_their_sink() {
    const RECORDS: u64 = 1_000_000;
    let _cores = cores();
    for rim in RIMS {
        let (read, sink) = (Arc::new(AtomicU64::new(0)), Gatekeeper::default());
        let (counted, given) = (Arc::clone(&read), sink.clone());
        let job = move |flow: &Dataflow, _: &Args| {
            job(flow, RECORDS, &counted, &given);
            Ok(())
        };
        let mut options = RunOptions::new(2);
        options.runtime.rim = rim;
        let (held, watched) = (sink.clone(), Arc::clone(&read));
        let watch = std::thread::Builder::new().spawn(move || {
            let stopped_at = standstill(&watched);
            assert!(stopped_at < RECORDS / 4, "{stopped_at} records were read");
            held.permit(u64::MAX);
        });
        let attempt = attempt(job, options, Duration::from_secs(30));
        watch.expect("a thread").join().expect("the sources stop");
        let Some(attempt) = attempt else { continue };
        attempt.result.expect("the job ends");
        assert_eq!(sink.sorted(), (0..RECORDS).collect::<Vec<_>>(), "{rim:?}");
    }
}

/// Waits until records are read, then until no more are for a tenth of a second.
fn standstill(read: &AtomicU64) -> u64 {
    let (mut last, mut since) = (0, 0);
    wait_until("the sources stop", Duration::from_secs(20), || {
        let now = read.load(Ordering::Relaxed);
        since = if now == last { since + 1 } else { 0 };
        last = now;
        now > 0 && since > 100
    });
    last
}

#[test]
fn a_slow_sink_sets_the_pace() {
    const RECORDS: u64 = 60_000;
    let _cores = cores();
    for rim in RIMS {
        let (read, sink) = (Arc::new(AtomicU64::new(0)), Gatekeeper::default());
        let (given, done) = (sink.clone(), Arc::new(AtomicBool::new(false)));
        let job = move |flow: &Dataflow, _: &Args| {
            job(flow, RECORDS, &read, &given);
            Ok(())
        };
        let mut options = RunOptions::new(2);
        options.runtime.rim = rim;
        let (pacing, over) = (sink.clone(), Arc::clone(&done));
        let pace = std::thread::Builder::new().spawn(move || {
            wait_until("the job ends", Duration::from_secs(40), || {
                pacing.permit(100);
                over.load(Ordering::SeqCst)
            });
        });
        let attempt = attempt(job, options, Duration::from_secs(30));
        done.store(true, Ordering::SeqCst);
        pace.expect("a thread").join().expect("the pace is set");
        let Some(attempt) = attempt else { continue };
        attempt.result.expect("the job ends");
        assert_eq!(sink.sorted(), (0..RECORDS).collect::<Vec<_>>(), "{rim:?}");
    }
}
