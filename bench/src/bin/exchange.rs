//! What the keyed edge costs: archiving a record into a page, and one record's way between two
//! spinning cores.
//!
//! Archiving is the exchange's own code alone: hash, key and timestamp beside a record of 48 bytes,
//! whole pages sealed, taken and returned. The way of one record goes through the engine: it is
//! stamped in a map in front of `key_by` and read in the sink behind it, on another core.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::json;
use thalweg::config::Idle;
use thalweg::prelude::*;
use thalweg::{RunOptions, Summary};
use thalweg_bench::machine::Clock;
use thalweg_bench::report::{self, Options, Quantiles, Quartiles, Report};
use thalweg_net::{Body, ChannelId, Head, OutputChannel};
use thalweg_state::key;

/// Records that are archived between two clock readings.
const BATCH: u64 = 1 << 20;

/// Bytes of a page and pages of a channel: the engine's defaults.
const PAGE_BYTES: usize = 16 << 10;
const CREDITS: usize = 16;

/// Measure the keyed edge
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Records a second whose way is measured
    #[arg(long, default_value_t = 20_000.0)]
    rate: f64,
}

/// A record of 48 bytes.
#[thalweg::record]
#[derive(Debug, Clone, Copy)]
struct Sample {
    key: u64,
    sent_ns: u64,
    payload: [u64; 4],
}

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("exchange", &arguments.options)?;
    report.configure("record_bytes", size_of::<Sample>());
    report.configure("page_bytes", PAGE_BYTES);
    report.configure("rate", arguments.rate);
    report.configure("runs", arguments.options.pairs());
    let length = arguments.options.window(1.0);
    let pairs: Vec<_> =
        (0..arguments.options.pairs()).map(|_| (archive(length), stores(length))).collect();
    let (archiving, bare): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    report.figure("archive ns per record", Quartiles::of(&archiving));
    report.figure("bare stores ns per record", Quartiles::of(&bare));
    report.ratio("archive time/bare stores", &pairs);
    let mut medians = Vec::new();
    for _ in 0..arguments.options.pairs() {
        let summary = ways(arguments)?;
        let hops = &summary.histograms["hop"];
        let quantiles = Quantiles::of(hops);
        report.raw(&json!({ "hop": quantiles, "hiccups": Quantiles::of(&summary.hiccups) }));
        medians.push(quantiles);
    }
    let each =
        |of: fn(&Quantiles) -> f64| Quartiles::of(&medians.iter().map(of).collect::<Vec<_>>());
    report.figure("one record's way p50 us", each(|hop| hop.p50_us));
    report.figure("one record's way p99 us", each(|hop| hop.p99_us));
    Ok(report.finish()?)
}

/// Nanoseconds for each record that is written into the pages of a channel.
fn archive(length: Duration) -> f64 {
    let mut channel =
        OutputChannel::<Sample>::new(ChannelId(0), PAGE_BYTES, CREDITS, PAGE_BYTES * CREDITS);
    nanos_each(length, |number, start| {
        let sample = Sample { key: number, sent_ns: start, payload: [number; 4] };
        let encoded = sample.key.to_be_bytes();
        let hash = key::hash(&encoded);
        let head = Head { hash, timestamp: number as i64, watermark: 0, origin: start };
        channel.write(head, &encoded, &sample).expect("a page has room for a record");
        while let Some(frame) = channel.next_frame() {
            if let Body::Data { page, .. } = frame.body {
                channel.home(std::hint::black_box(page).into_buffer());
            }
        }
    })
}

/// Nanoseconds for each record whose bytes a loop hashes and stores, and nothing else: as many
/// bytes as on a page, at both ends of a buffer as large.
fn stores(length: Duration) -> f64 {
    let mut buffer = vec![0u64; PAGE_BYTES / 8];
    let (mut low, mut high) = (0, buffer.len());
    nanos_each(length, |number, start| {
        let hash = key::hash(&number.to_be_bytes());
        if low + 7 + 5 > high {
            (low, high) = (0, std::hint::black_box(&mut buffer).len());
        }
        let row = [number, start, number, number, number, number, number.swap_bytes()];
        buffer[low..low + 7].copy_from_slice(&row);
        buffer[high - 5..high].copy_from_slice(&[hash, number, 0, start, low as u64]);
        (low, high) = (low + 7, high - 5);
    })
}

/// Nanoseconds of one call, the median over batches of calls with consecutive numbers.
fn nanos_each(length: Duration, mut call: impl FnMut(u64, u64)) -> f64 {
    let clock = Clock::start();
    let mut costs = Histogram::<u64>::new(3).expect("three digits are allowed");
    let mut number = 0u64;
    while clock.now() < length.as_nanos() as u64 {
        let start = clock.now();
        for _ in 0..BATCH {
            number += 1;
            call(number, start);
        }
        costs.record((clock.now() - start) * 1_000 / BATCH).expect("a cost is a small number");
    }
    costs.value_at_quantile(0.5) as f64 / 1_000.0
}

/// Runs a job whose records are made on one core and all belong to another.
fn ways(arguments: &Arguments) -> thalweg::Result<Summary> {
    let seconds = arguments.options.window(3.0).as_secs_f64() + 0.3;
    let (rate, records) = (arguments.rate, (arguments.rate * seconds) as u64);
    let clock = Clock::start();
    let job = move |flow: &Dataflow, _: &Args| {
        let (sent, read) = (clock.clone(), clock.clone());
        let hops = flow.histogram("hop");
        let warm = (rate * 0.3) as u64;
        let other = key_of_core(1);
        let made = Generator::new(move |index| {
            (Sample { key: other, sent_ns: 0, payload: [index; 4] }, index as i64)
        });
        flow.source("samples", made.records(records).rate(rate).splits(1))
            .map(move |sample| Sample { sent_ns: sent.now(), ..sample })
            .key_by(|sample| sample.key)
            .flat_map_with_state("count", ValueSpec::new("count"), |_, sample, count: &mut u64| {
                *count += 1;
                Some(sample)
            })
            .sink(
                "read",
                Blackhole::new(move |sample: &Sample| {
                    let taken = read.now().saturating_sub(sample.sent_ns);
                    if sample.payload[0] > warm {
                        hops.record(taken, 1);
                    }
                }),
            );
        Ok(())
    };
    let mut options = RunOptions::new(2);
    options.runtime.idle = Idle::Spin;
    thalweg::run(job, &Args::default(), &options)
}

/// The first number that is a key of the core, of two.
fn key_of_core(core: u32) -> u64 {
    let owners = thalweg_state::OwnerTable::new(2, 128);
    let of = |number: &u64| owners.owner_of_hash(key::hash(&number.to_be_bytes()));
    (0..).find(|number| of(number) == core).expect("each core owns some key")
}
