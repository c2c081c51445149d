//! The process that `restart` kills: `fraud-p`, fed by a schedule that goes on while it is dead.
//!
//! The first purchases are due at once and fill the state; the others are due at moments of the
//! machine's clock that are part of the command line. So a process that starts late is behind,
//! and catches up. Each core says on standard output, as a line of JSON, when it had its first
//! verdict, how far it was when, and what its first verdicts were.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use serde::{Deserialize, Serialize};
use thalweg::RunOptions;
use thalweg::operator::SplitEvent;
use thalweg::prelude::*;
use thalweg::sink::{Sink, SinkContext, SinkWriter};
use thalweg::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use thalweg::time::Stamp;
use thalweg_bench::durable;
use thalweg_bench::machine::monotonic_nanos;
use thalweg_bench::workload::{self, Workload};
use thalweg_jobs::fraud_p::rule::Profile;
use thalweg_jobs::fraud_p::stream::{Draw, Purchase, Purchases};
use thalweg_jobs::fraud_p::{Verdict, enrich};

/// The first word of its command line.
pub const WORD: &str = "child";

/// Verdicts that a core repeats for its parent.
const TOLD: usize = 64;

/// Between two looks at how far a core is.
const LOOK_NS: u64 = 1_000_000;

/// A core whose verdicts are no later than this is not behind.
const IN_TIME_NS: u64 = 10_000_000;

/// The child's command line.
#[derive(Clone, Debug, Parser)]
pub struct Arguments {
    /// Where it keeps its files
    #[arg(long)]
    pub place: PathBuf,
    #[arg(long)]
    pub parallelism: usize,
    #[arg(long)]
    pub users: u64,
    /// Purchases that are due at once
    #[arg(long)]
    pub load: u64,
    /// Purchases a second behind those
    #[arg(long)]
    pub rate: f64,
    /// When the first of those is due, on the monotonic clock; without it never
    #[arg(long)]
    pub epoch: Option<u64>,
    /// Milliseconds between checkpoints; without it they are made on request
    #[arg(long)]
    pub interval: Option<u64>,
}

impl Arguments {
    /// The words of the command line.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec![WORD.to_owned(), "--place".to_owned()];
        words.push(self.place.display().to_string());
        let numbers = [
            ("--parallelism", Some(self.parallelism.to_string())),
            ("--users", Some(self.users.to_string())),
            ("--load", Some(self.load.to_string())),
            ("--rate", Some(self.rate.to_string())),
            ("--epoch", self.epoch.map(|epoch| epoch.to_string())),
            ("--interval", self.interval.map(|interval| interval.to_string())),
        ];
        for (flag, number) in numbers {
            words.extend(number.into_iter().flat_map(|number| [flag.to_owned(), number]));
        }
        words
    }

    /// When a purchase is due on the monotonic clock; `None`: never.
    pub fn due(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.load) {
            None => Some(0),
            Some(later) => Some(self.epoch? + (later as f64 * 1e9 / self.rate) as u64),
        }
    }

    /// The first purchase that is due after a moment.
    pub fn due_after(&self, nanos: u64) -> u64 {
        let since = nanos.saturating_sub(self.epoch.unwrap_or(u64::MAX));
        self.load + (since as f64 * self.rate / 1e9) as u64 + 1
    }
}

/// What a core tells its parent once it is not behind any more; moments of the monotonic clock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The core.
    pub core: usize,
    /// When the process began.
    pub began: u64,
    /// When the first source was opened: all cores were restored.
    pub opened: u64,
    /// When the first verdict came to the sink.
    pub first: u64,
    /// When verdicts were in time.
    pub in_time: u64,
    /// Moments and the event times that the sink had come to.
    pub looks: Vec<(u64, i64)>,
    /// The first verdicts: user, event time, amount, purchases in the hour, whether flagged.
    pub verdicts: Vec<(u64, i64, i64, i64, bool)>,
}

impl Told {
    /// When the core had come to this purchase.
    pub fn came_to(&self, index: u64) -> Option<u64> {
        let reached = |(_, ts): &&(u64, i64)| index_of(*ts) >= index;
        self.looks.iter().find(reached).map(|(at, _)| *at)
    }
}

/// The first purchase with this event time or a later one.
fn index_of(ts: i64) -> u64 {
    ((ts - workload::T0_MS) as u64 * 10).div_ceil(9)
}

/// Runs the child; it ends when it is stopped.
pub fn main() -> ExitCode {
    match run(&Arguments::parse_from(std::env::args().skip(1))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the child failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let began = monotonic_nanos();
    let interval = arguments.interval.map(Duration::from_millis);
    let options = RunOptions::new(arguments.parallelism);
    let options = durable::keep(options, &arguments.place, interval);
    let schedule = Scheduled { arguments: arguments.clone(), opened: Arc::default() };
    let sink = Telling { schedule: schedule.clone(), began };
    let job = move |flow: &Dataflow, _: &Args| fraud_p(flow, &schedule, &sink);
    thalweg::run(job, &Args::default(), &options)?;
    Ok(())
}

/// As the job of this name, but for its source and sink.
fn fraud_p(flow: &Dataflow, schedule: &Scheduled, sink: &Telling) -> thalweg::Result<()> {
    let strategy = WatermarkStrategy::monotonous().periodic(Duration::from_millis(200));
    let users = schedule.arguments.users.min(1 << 22) as usize;
    let profiles = ValueSpec::<Profile>::new("profile").expect_keys(users / flow.parallelism());
    flow.source("purchases", schedule.clone())
        .assign_timestamps(strategy)
        .map(enrich)
        .name("enrich")
        .key_by(|purchase| purchase.user)
        .flat_map_with_state("judge", profiles, |_, purchase, profile| {
            let judged = profile.judge(purchase.ts, purchase.amount);
            Some(Verdict {
                user: purchase.user,
                ts: purchase.ts,
                amount: purchase.amount,
                tx_count_1h: judged.tx_count_1h,
                fraud: judged.fraud,
            })
        })
        .sink("verdicts", sink.clone());
    Ok(())
}

/// Purchases that are due by the machine's clock; users are shared among the splits.
#[derive(Clone)]
struct Scheduled {
    arguments: Arguments,
    opened: Arc<AtomicU64>,
}

/// Which split of how many, and the index that it looks at next.
type Split = (u64, u64, u64);

impl Source for Scheduled {
    type Out = Purchase;
    type Split = Split;
    type Reader = Reading;

    fn kind(&self) -> &'static str {
        "schedule"
    }
    fn bounded(&self) -> bool {
        false
    }
    fn splits(&self, parallelism: usize) -> thalweg::Result<Vec<Split>> {
        let count = parallelism as u64;
        Ok((0..count).map(|split| (split, count, 0)).collect())
    }
    fn reader(self, splits: Vec<(u32, Split)>, _cx: SourceContext) -> thalweg::Result<Reading> {
        let draw =
            Draw { users: self.arguments.users, seed: workload::SEED, skew: 0.0, zipf: None };
        let purchases = Purchases::new(&draw)?;
        Ok(Reading { schedule: self, purchases, splits, started: None })
    }
}

struct Reading {
    schedule: Scheduled,
    purchases: Purchases,
    splits: Vec<(u32, Split)>,
    /// A moment of engine time and the same one of the monotonic clock.
    started: Option<(u64, u64)>,
}

impl Reading {
    /// When a purchase is due in engine time.
    fn due(&self, index: u64) -> Option<u64> {
        let (engine, machine) = self.started?;
        let due = self.schedule.arguments.due(index)?;
        Some((engine + due).saturating_sub(machine))
    }
}

impl SourceReader for Reading {
    type Out = Purchase;
    type Split = Split;

    fn open<O: SourceOutput<Purchase>>(&mut self, out: &mut O) -> thalweg::Result<()> {
        let now = monotonic_nanos();
        let _ = self.schedule.opened.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        self.started = Some((out.now(), now));
        self.splits.iter().try_for_each(|(id, _)| out.split(SplitEvent::Added(*id)))
    }

    fn poll<O: SourceOutput<Purchase>>(&mut self, out: &mut O) -> thalweg::Result<SourceStatus> {
        let now = out.now();
        let Some(&(id, (split, count, mut next))) = self.splits.first() else {
            return Ok(SourceStatus::Wait);
        };
        out.split(SplitEvent::Current(id))?;
        let status = loop {
            if out.is_full() {
                break SourceStatus::More;
            }
            let Some(due) = self.due(next) else { break SourceStatus::Wait };
            if due > now {
                break SourceStatus::WaitUntil(due);
            }
            let purchase = self.purchases.purchase(next);
            next += 1;
            if purchase.user % count == split {
                out.collect(purchase, purchase.ts, due)?;
            }
        };
        self.splits[0].1.2 = next;
        Ok(status)
    }

    fn snapshot(&self) -> Vec<(u32, Split)> {
        self.splits.clone()
    }
}

/// A sink that tells when the first verdict came, and until when they were late.
#[derive(Clone)]
struct Telling {
    schedule: Scheduled,
    began: u64,
}

impl Sink<Verdict> for Telling {
    type Writer = Teller;

    fn kind(&self) -> &'static str {
        "teller"
    }
    fn writer(self, cx: SinkContext) -> thalweg::Result<Teller> {
        let Self { schedule, began } = self;
        let told = Told {
            core: cx.core.index(),
            began,
            opened: 0,
            first: 0,
            in_time: 0,
            looks: Vec::new(),
            verdicts: Vec::new(),
        };
        Ok(Teller { schedule, told, newest: 0, is_done: false })
    }
}

struct Teller {
    schedule: Scheduled,
    told: Told,
    /// Event time of the last verdict.
    newest: i64,
    is_done: bool,
}

impl Teller {
    #[cold]
    fn look(&mut self, now: u64) {
        self.told.looks.push((now, self.newest));
        let due = self.schedule.arguments.due(index_of(self.newest));
        if due.is_some_and(|due| due > 0 && due + IN_TIME_NS > now) {
            (self.told.in_time, self.is_done) = (now, true);
            self.told.opened = self.schedule.opened.load(Ordering::SeqCst);
            println!("{}", serde_json::to_string(&self.told).unwrap_or_default());
        }
    }
}

impl SinkWriter<Verdict> for Teller {
    type Committable = ();

    fn write(&mut self, verdict: Verdict, _stamp: Stamp) -> thalweg::Result<()> {
        self.newest = verdict.ts;
        if self.told.verdicts.len() < TOLD {
            if self.told.verdicts.is_empty() {
                self.told.first = monotonic_nanos();
            }
            let Verdict { user, ts, amount, tx_count_1h, fraud } = verdict;
            self.told.verdicts.push((user, ts, amount, tx_count_1h, fraud));
        }
        Ok(())
    }
    fn flush(&mut self) -> thalweg::Result<()> {
        if self.is_done || self.told.verdicts.is_empty() {
            return Ok(());
        }
        let now = monotonic_nanos();
        if self.told.looks.last().is_none_or(|(last, _)| now - last >= LOOK_NS) {
            self.look(now);
        }
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> thalweg::Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> thalweg::Result<()> {
        Ok(())
    }
}

/// The verdicts that differ from those of a fold by hand over the stream, and of how many.
pub fn wrong(arguments: &Arguments, told: &[Told]) -> (usize, usize) {
    let stream = Workload::new(&workload::Options {
        users: arguments.users,
        ..workload::Options::default()
    });
    let verdicts = || told.iter().flat_map(|told| &told.verdicts);
    let mut wanted: Vec<u64> = verdicts().map(|verdict| verdict.0).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let last = verdicts().map(|verdict| verdict.1).max().unwrap_or(0);
    let mut is_wanted = vec![false; arguments.users as usize];
    wanted.iter().for_each(|user| is_wanted[*user as usize] = true);
    let mut profiles = vec![Profile::default(); wanted.len()];
    let mut right = Vec::new();
    for event in (0..).map(|index| stream.event(index)).take_while(|event| event.ts <= last) {
        if is_wanted[event.user as usize]
            && let Ok(at) = wanted.binary_search(&event.user)
        {
            let judged = profiles[at].judge(event.ts, event.amount);
            right.push((event.user, event.ts, event.amount, judged.tx_count_1h, judged.fraud));
        }
    }
    right.sort_unstable();
    let count = verdicts().count();
    (verdicts().filter(|verdict| right.binary_search(verdict).is_err()).count(), count)
}
