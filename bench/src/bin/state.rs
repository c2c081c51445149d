//! What state that exceeds its memory costs: the engine beside RocksDB by hand.
//!
//! Keys are uniform and their rows take ten times `state.memory`, so nearly every record needs a
//! row from disk and sends another one there. The bare loop reads and writes the same keys and
//! values, with a block cache as large as all of the engine's budget. Windows of both alternate.

use std::process::ExitCode;

use clap::Parser;
use thalweg::config::Share;
use thalweg::prelude::*;
use thalweg::sink::Blackhole;
use thalweg_bench::engine::Session;
use thalweg_bench::report::{self, Options, Quartiles, Report};
use thalweg_bench::rocks::{BareLoop, Load, Random, VALUE_BYTES};

/// Compare state ten times its memory with a bare loop of RocksDB
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Different keys [default: 4000000, or 200000 with --quick]
    #[arg(long)]
    keys: Option<u64>,
    /// Keys that the bare loop reads and writes at once
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// How many times its memory the state is
    #[arg(long, default_value_t = 10)]
    times: u64,
}

/// The state of a key, as large as the bare loop's values.
#[record]
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Row {
    words: [u64; VALUE_BYTES / 8],
}

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("state", &arguments.options)?;
    let few = if arguments.options.quick { 200_000 } else { 4_000_000 };
    let load = Load { keys: arguments.keys.unwrap_or(few), batch: arguments.batch };
    let memory = load.bytes() / arguments.times;
    report.configure("load", load);
    report.configure("state.memory", memory);
    report.configure("pairs", arguments.options.pairs());
    let directory = std::env::temp_dir().join(format!("thalweg-state-{}", std::process::id()));
    let mut bare = BareLoop::open(&directory, load, usize::try_from(memory)?)?;
    let mut options = thalweg::RunOptions::new(1);
    options.runtime.state.memory = Share::Bytes(memory);
    let job = move |flow: &Dataflow, _: &Args| rows(flow, load);
    let engine =
        Session::launch(options, move |options| thalweg::run(job, &Args::default(), options));
    engine.run_until(load.keys);
    let length = arguments.options.window(5.0);
    bare.window(length)?;
    engine.window(length);
    let mut pairs = Vec::new();
    for _ in 0..arguments.options.pairs() {
        let ours = engine.window(length).rate();
        let (keys, took) = bare.window(length)?;
        pairs.push((ours, keys as f64 / took.as_secs_f64()));
    }
    let summary = engine.stop()?;
    let (ours, theirs): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
    report.figure("engine records/s", Quartiles::of(&ours));
    report.figure("bare keys/s", Quartiles::of(&theirs));
    let state = summary.state;
    report.figure("bytes at most", state.bytes_max);
    report.figure("stalls", state.stalls);
    report.figure("rows fetched per record", state.fetched as f64 / summary.records_in as f64);
    if state.evicted < load.keys / 2 {
        report.void(format!("only {} rows have left memory", state.evicted));
    }
    report.ratio("state/bare", &pairs);
    Ok(report.finish()?)
}

/// Changes the row of one key with each record: of every key once, then of keys at random.
fn rows(flow: &Dataflow, load: Load) -> thalweg::Result<()> {
    let keys = Generator::new(move |index| {
        let key = if index < load.keys { load.key(index) } else { load.draw(&mut Random(index)) };
        (u64::from_be_bytes(key), 0)
    });
    let sum = flow.fingerprint("rows");
    flow.source("keys", keys)
        .key_by(|key: &u64| *key)
        .flat_map_with_state("change", ValueSpec::<Row>::new("row"), |key, _, row| {
            if *row == Row::default() {
                // Bytes that do not compress, as the bare loop's.
                let mut random = Random(*key);
                row.words = std::array::from_fn(|_| random.next());
            }
            row.words[0] = row.words[0].wrapping_add(1);
            Some(row.words[0])
        })
        .sink("changed", Blackhole::new(move |word: &u64| sum.fold(*word)));
    Ok(())
}
