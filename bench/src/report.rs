//! How a figure is taken and reported: options, the lock, the machine, quartiles, raw runs.
//!
//! A bench opens one [`Report`], adds its raw runs and ratios, and finishes it: one JSON object on
//! standard output with `--json`, a readable summary otherwise, and the same object with all
//! raw runs in a file under `bench/runs`. Only one bench runs at a time on a machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use hdrhistogram::Histogram;
use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// Options that every bench takes; flatten them into the bench's own.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Print one JSON object on standard output
    #[arg(long)]
    pub json: bool,
    /// Few, short runs: shows that the bench works, not what it measures
    #[arg(long)]
    pub quick: bool,
    /// Pairs of alternating runs [default: 7, or 2 with --quick]
    #[arg(long)]
    pub pairs: Option<usize>,
    /// Seconds of one run [default: the bench's own, a tenth of it with --quick]
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Directory for the raw runs [default: bench/runs; with --quick nothing is written]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

impl Options {
    /// How many pairs to take.
    pub fn pairs(&self) -> usize {
        self.pairs.unwrap_or(if self.quick { 2 } else { 7 }).max(1)
    }

    /// The length of one run, of which the bench states its own default in seconds.
    pub fn window(&self, default_seconds: f64) -> Duration {
        let quick = if self.quick { default_seconds / 10.0 } else { default_seconds };
        Duration::from_secs_f64(self.seconds.unwrap_or(quick))
    }

    fn directory(&self) -> Option<PathBuf> {
        let default = || (!self.quick).then(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("runs"));
        self.out.clone().or_else(default)
    }
}

/// Median and quartiles, with the extremes and the number of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quartiles {
    /// The smallest value.
    pub min: f64,
    /// The first quartile.
    pub q1: f64,
    /// The median.
    pub median: f64,
    /// The third quartile.
    pub q3: f64,
    /// The largest value.
    pub max: f64,
    /// How many values there were.
    pub count: usize,
}

impl Quartiles {
    /// Of at least one value; between two values it interpolates.
    pub fn of(values: &[f64]) -> Self {
        assert!(!values.is_empty(), "quartiles of no values");
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len() - 1) as f64;
            let below = sorted[place.floor() as usize];
            below + (sorted[place.ceil() as usize] - below) * place.fract()
        };
        let count = sorted.len();
        Self { min: at(0.0), q1: at(0.25), median: at(0.5), q3: at(0.75), max: at(1.0), count }
    }

    /// Of the ratios of pairs, first to second.
    pub fn of_pairs(pairs: &[(f64, f64)]) -> Self {
        let ratios: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours / theirs).collect();
        Self::of(&ratios)
    }
}

/// The quantiles of a histogram of nanoseconds, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Quantiles {
    /// How many samples there are.
    pub samples: u64,
    /// The median.
    pub p50_us: f64,
    /// 99 of 100 are at most this.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p99_9_us: f64,
    /// 9,999 of 10,000.
    pub p99_99_us: f64,
    /// The largest.
    pub max_us: f64,
}

impl Quantiles {
    /// Of a histogram that counts nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            samples: histogram.len(),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p99_9_us: at(0.999),
            p99_99_us: at(0.9999),
            max_us: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// What a figure has to be: its name, with the unit, and the bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bar {
    /// At least this.
    Least(&'static str, f64),
    /// At most this.
    Most(&'static str, f64),
}

/// The report of one bench while it runs. Holds the lock.
pub struct Report {
    name: &'static str,
    options: Options,
    started: String,
    configuration: Map<String, Value>,
    ratios: BTreeMap<String, Quartiles>,
    figures: Map<String, Value>,
    bars: Vec<Value>,
    raw: Vec<Value>,
    void: Vec<String>,
    _lock: File,
}

impl Report {
    /// Waits until no other bench runs, then opens the report.
    pub fn open(name: &'static str, options: &Options) -> io::Result<Self> {
        Ok(Self {
            name,
            options: options.clone(),
            _lock: lock()?,
            started: timestamp(),
            configuration: Map::new(),
            ratios: BTreeMap::new(),
            figures: Map::new(),
            bars: Vec::new(),
            raw: Vec::new(),
            void: Vec::new(),
        })
    }

    /// States a part of the configuration.
    pub fn configure(&mut self, key: &str, value: impl Serialize) {
        self.configuration.insert(key.to_owned(), json!(value));
    }

    /// Adds a measured figure that is not a ratio.
    pub fn figure(&mut self, key: &str, value: impl Serialize) {
        self.figures.insert(key.to_owned(), json!(value));
    }

    /// Adds a ratio from the pairs (ours, baseline), and the pairs to the raw runs.
    pub fn ratio(&mut self, key: &str, pairs: &[(f64, f64)]) -> Quartiles {
        let quartiles = Quartiles::of_pairs(pairs);
        self.raw(&json!({ "ratio": key, "pairs": pairs }));
        self.ratios.insert(key.to_owned(), quartiles);
        quartiles
    }

    /// States what a figure had to be, and whether it was.
    pub fn bar(&mut self, case: &str, bar: &Bar, measured: f64) {
        let (what, limit, is_met) = match *bar {
            Bar::Least(what, least) => {
                (format!("{what} at least {least}"), least, measured >= least)
            }
            Bar::Most(what, most) => (format!("{what} at most {most}"), most, measured <= most),
        };
        eprintln!("{case}: {what}: {measured:.3}, {}", if is_met { "met" } else { "missed" });
        self.bars.push(json!({
            "case": case, "bar": what, "limit": limit, "measured": measured, "met": is_met,
        }));
    }

    /// Keeps one raw run.
    pub fn raw(&mut self, run: &impl Serialize) {
        self.raw.push(json!(run));
    }

    /// Declares the figures void, and why.
    pub fn void(&mut self, reason: impl Into<String>) {
        self.void.push(reason.into());
    }

    /// Prints the report and writes the raw runs. Returns whether the figures are valid, which
    /// nobody asks of `--quick`.
    pub fn finish(self) -> io::Result<bool> {
        let mut object = json!({
            "bench": self.name,
            "started": self.started,
            "machine": machine(),
            "kernel": kernel(),
            "commit": commit(),
            "version": env!("CARGO_PKG_VERSION"),
            "configuration": self.configuration,
            "ratios": medians(&self.ratios),
            "quartiles": self.ratios,
            "figures": self.figures,
            "bars": self.bars,
            "void": self.void,
        });
        if self.options.json {
            println!("{object}");
        } else {
            println!("{object:#}");
        }
        if let Some(directory) = self.options.directory() {
            fs::create_dir_all(&directory)?;
            let name = format!("{}-{}.json", self.started.replace(':', ""), self.name);
            object["runs"] = Value::Array(self.raw);
            let path = directory.join(name);
            fs::write(&path, format!("{object:#}\n"))?;
            eprintln!("raw runs: {}", path.display());
        }
        // A short run says that the bench works, not what it measures.
        Ok(self.void.is_empty() || self.options.quick)
    }
}

/// What the process of a bench ends with, given whether its figures are valid.
pub fn exit(outcome: Result<bool, Box<dyn std::error::Error>>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn medians(ratios: &BTreeMap<String, Quartiles>) -> BTreeMap<&str, f64> {
    ratios.iter().map(|(key, quartiles)| (key.as_str(), quartiles.median)).collect()
}

/// Waits for the machine-wide lock; it is free again when the file is closed.
fn lock() -> io::Result<File> {
    let path = std::env::temp_dir().join("thalweg-bench.lock");
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        eprintln!("another bench is running; waiting for it to end");
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(file)
}

/// Processor, number of processors that may be used, memory.
fn machine() -> Value {
    let line = |path: &str, key: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let found = text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        found.trim_start_matches([':', ' ', '\t']).trim().to_owned()
    };
    let processors = crate::machine::processors().map_or(0, |processors| processors.len());
    json!({
        "processor": line("/proc/cpuinfo", "model name"),
        "processors": processors,
        "memory": line("/proc/meminfo", "MemTotal"),
    })
}

fn kernel() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The commit of the source tree, with a mark if files differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let git =
            Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments).output();
        let output = git.ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "unknown".to_owned();
    };
    let is_clean =
        git(&["status", "--porcelain", "-uno"]).is_some_and(|changes| changes.is_empty());
    if is_clean { commit } else { commit + "+changes" }
}

/// Now, in UTC, as `2023-11-14T22:13:20Z`.
fn timestamp() -> String {
    format_utc(clock_gettime(ClockId::Realtime).tv_sec)
}

/// Civil date from days since the epoch, by Hinnant's algorithm.
fn format_utc(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap = day_of_era / 1_460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_interpolate_between_values() {
        let quartiles = Quartiles::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((quartiles.min, quartiles.max, quartiles.count), (1.0, 4.0, 4));
        assert_eq!((quartiles.q1, quartiles.median, quartiles.q3), (1.75, 2.5, 3.25));
        assert_eq!(Quartiles::of_pairs(&[(1.0, 2.0), (3.0, 4.0), (5.0, 5.0)]).median, 0.75);
    }

    #[test]
    fn dates_equal_known_ones() {
        assert_eq!(format_utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(format_utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(format_utc(1_700_000_000), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_ratio_is_reported_as_the_median_of_its_pairs() {
        let quartiles = Quartiles::of_pairs(&[(1.0, 1.0), (1.0, 4.0), (1.0, 2.0)]);
        let ratios = BTreeMap::from([("ours/theirs".to_owned(), quartiles)]);
        assert_eq!(medians(&ratios), BTreeMap::from([("ours/theirs", 0.5)]));
    }
}
