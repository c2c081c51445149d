//! How fast the cold tier alone is beside the same reads and writes by hand.
//!
//! A thread does what a core does: it keeps a few fetches under way, changes what comes back and
//! gives it away in runs, which go through the tier's two threads. The baseline does both itself,
//! a batch at a time. Windows of both alternate in one process.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use thalweg_bench::machine::{self, Clock};
use thalweg_bench::report::{self, Options, Quartiles, Report};
use thalweg_bench::rocks::{BareLoop, Load, Random, changed};
use thalweg_state::cold::{
    Answer, ColdError, ColdTier, ColumnId, Fetch, RocksOptions, RocksShared, RocksTier,
};

/// Memory of runs that are not yet stored beyond which nothing is fetched, in bytes.
const BACKLOG_BYTES_MAX: usize = 16 << 20;

/// Rows of a run while the tier is filled.
const LOAD_ROWS: u64 = 65_536;

/// Compare the cold tier with a bare loop of reads and writes of RocksDB
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    /// Different keys [default: 4000000, or 200000 with --quick]
    #[arg(long)]
    keys: Option<u64>,
    /// Keys that are read at once
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Rows that are written at once
    #[arg(long, default_value_t = 4_096)]
    run: usize,
    /// Fetches under way at the same time
    #[arg(long, default_value_t = 2)]
    fetches: u64,
    /// Bytes of the cache, of both
    #[arg(long, default_value_t = 26_000_000)]
    cache_bytes: usize,
    /// Bytes of rows in memory, of the tier; the baseline takes RocksDB's 64 MiB
    #[arg(long, default_value_t = 16 << 20)]
    memtable_bytes: usize,
    /// Do not sleep while waiting for the tier
    #[arg(long)]
    spin: bool,
    /// Directory for both databases [default: the system's for temporary files]
    #[arg(long)]
    directory: Option<PathBuf>,
}

fn main() -> ExitCode {
    report::exit(measure(&Arguments::parse()))
}

fn measure(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let mut report = Report::open("cold", &arguments.options)?;
    let few = if arguments.options.quick { 200_000 } else { 4_000_000 };
    let load = Load { keys: arguments.keys.unwrap_or(few), batch: arguments.batch };
    report.configure("load", load);
    report.configure("run", arguments.run);
    report.configure("fetches", arguments.fetches);
    report.configure("cache_bytes", arguments.cache_bytes);
    report.configure("memtable_bytes", arguments.memtable_bytes);
    report.configure("spin", arguments.spin);
    let base = arguments.directory.clone().unwrap_or_else(std::env::temp_dir);
    let base = base.join(format!("thalweg-bench-{}", std::process::id()));
    let mut bare = BareLoop::open(&base.with_extension("bare"), load, arguments.cache_bytes)?;
    let mut tier = Driver::open(&base.with_extension("tier"), load, arguments)?;
    let length = arguments.options.window(3.0);
    bare.window(length)?;
    tier.window(length)?;
    let (mut pairs, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..arguments.options.pairs() {
        let ours = Window::take(|| tier.window(length))?;
        let bare = Window::take(|| bare.window(length))?;
        pairs.push((ours.keys_per_second, bare.keys_per_second));
        costs.push((ours.microseconds_per_key, bare.microseconds_per_key));
    }
    report.ratio("tier/bare", &pairs);
    for (key, pairs) in [("keys/s", pairs), ("us of processor time per key", costs)] {
        let (ours, bare): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
        report.figure(&format!("tier {key}"), Quartiles::of(&ours));
        report.figure(&format!("bare {key}"), Quartiles::of(&bare));
    }
    Ok(report.finish()?)
}

/// What one window has shown.
struct Window {
    keys_per_second: f64,
    /// Of all threads, RocksDB's own included.
    microseconds_per_key: f64,
}

impl Window {
    fn take<E>(window: impl FnOnce() -> Result<(usize, Duration), E>) -> Result<Self, E> {
        let before = machine::Usage::now();
        let (keys, length) = window()?;
        let spent = before.cpu_seconds_since();
        Ok(Self {
            keys_per_second: keys as f64 / length.as_secs_f64(),
            microseconds_per_key: spent * 1e6 / keys as f64,
        })
    }
}

/// A core as the tier sees it.
struct Driver<'a> {
    load: Load,
    arguments: &'a Arguments,
    tier: RocksTier,
    column: ColumnId,
    random: Random,
    next: u64,
}

impl<'a> Driver<'a> {
    fn open(path: &Path, load: Load, arguments: &'a Arguments) -> Result<Self, ColdError> {
        let shared = RocksShared::new(arguments.cache_bytes);
        let options =
            RocksOptions { memtable_bytes: arguments.memtable_bytes, ..RocksOptions::default() };
        let core = std::thread::current();
        let wake = Arc::new(move || core.unpark());
        let mut tier = RocksTier::open(path, &shared, &options, wake)?;
        let column = tier.column("bench", None)?;
        let mut driver = Self { load, arguments, tier, column, random: Random(1), next: 0 };
        for first in (0..load.keys).step_by(LOAD_ROWS as usize) {
            driver.next += 1;
            let mut run = driver.tier.run(driver.next, column);
            let rows = first..(first + LOAD_ROWS).min(load.keys);
            rows.for_each(|index| run.push(&load.key(index), Some(&load.value(index))));
            driver.tier.store(run, 0);
            driver.wait()?;
        }
        Ok(driver)
    }

    /// How many keys were read and given away in at least `length`, and in what time all of them
    /// were stored.
    fn window(&mut self, length: Duration) -> Result<(usize, Duration), ColdError> {
        let (clock, mut done) = (Clock::start(), 0);
        let mut fetches: Vec<Fetch> =
            (0..self.arguments.fetches).map(|id| Fetch::new(id, self.column)).collect();
        fetches.drain(..).for_each(|fetch| self.fetch(fetch));
        let mut under_way = self.arguments.fetches;
        let mut run = self.tier.run(0, self.column);
        while self.tier.busy() {
            match self.wait()? {
                Answer::Fetched { mut fetch, rows } => {
                    for (index, key) in fetch.keys().enumerate() {
                        let value = rows.get(index).expect("every key has a row");
                        run.push(key, Some(&changed(value)));
                    }
                    done += fetch.len();
                    under_way -= 1;
                    fetch.reset(self.next, self.column, rows);
                    fetches.push(fetch);
                }
                Answer::Stored { .. } => {}
                Answer::Failed(error) => return Err(error),
            }
            let ends = clock.now() >= length.as_nanos() as u64;
            if run.len() >= self.arguments.run || (ends && under_way == 0 && !run.is_empty()) {
                self.next += 1;
                let full = std::mem::replace(&mut run, self.tier.run(self.next, self.column));
                self.tier.store(full, 0);
            }
            while !ends && self.tier.backlog_bytes() < BACKLOG_BYTES_MAX {
                let Some(fetch) = fetches.pop() else { break };
                under_way += 1;
                self.fetch(fetch);
            }
        }
        Ok((done, Duration::from_nanos(clock.now())))
    }

    fn fetch(&mut self, mut fetch: Fetch) {
        for _ in 0..self.load.batch {
            fetch.push(&self.load.draw(&mut self.random));
        }
        self.tier.fetch(fetch);
    }

    fn wait(&mut self) -> Result<Answer, ColdError> {
        loop {
            match self.tier.poll() {
                Some(Answer::Failed(error)) => return Err(error),
                Some(answer) => return Ok(answer),
                None if self.arguments.spin => std::hint::spin_loop(),
                None => machine::park(),
            }
        }
    }
}
