//! An attempt of a job in one thread, on real files: production's workers, keeper, local store and
//! file sink, with nothing left to chance, so that each operation on the disk can be seen.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use thalweg::config::NetworkConfig;
use thalweg::control::{Action, Begun, JobDescription, Keeper, Manner, Work, begin};
use thalweg::prelude::*;
use thalweg::runtime::{CutCommand, MergeLimits, Restores};
use thalweg::sink::{FileSink, Sink};
use thalweg::testing::{Cluster, ClusterOptions, StateBound};
use thalweg::time::ManualClock;
use thalweg_checkpoint::coordinator::Config;
use thalweg_checkpoint::{LocalStore, Log, Store};
use thalweg_state::segment::SegmentHead;

/// Its directory among the checkpoints.
pub const JOB_ID: &str = "job";

const CORES: usize = 2;

/// Records of the job.
const RECORDS: u64 = 120;

const KEYS: u64 = 60;

/// Records that a task takes in a turn.
const BUDGET: usize = 6;

/// Turns after which a job hangs.
const TURNS_MAX: usize = 100_000;

/// An attempt that runs.
pub struct Episode {
    clock: ManualClock,
    cluster: Cluster,
    keeper: Keeper,
    store: Box<dyn Store>,
    mail: Vec<VecDeque<CutCommand>>,
    work: VecDeque<Work>,
    is_finished: bool,
    /// The checkpoint that it goes on from.
    pub from: Option<u64>,
}

/// A line of output.
#[thalweg::record]
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
struct Line {
    user: u64,
    count: u64,
    sum: u64,
}

/// Where a job that lives in `base` writes.
pub fn output(base: &Path) -> PathBuf {
    base.join("out")
}

/// Where its checkpoints are.
pub fn checkpoints(base: &Path) -> PathBuf {
    base.join("chk")
}

fn sinks(base: &Path) -> [FileSink; 2] {
    let sink = |name: &str| {
        let sink = FileSink::json_lines(output(base).join(name));
        sink.below(output(base)).roll_bytes(300)
    };
    [sink("lines"), sink("odd")]
}

/// Counts and sums per key, and writes every line to one sink and the odd ones to another.
fn job(base: &Path) -> impl Fn(&Dataflow, &Args) -> thalweg::Result<()> + use<> {
    let [lines, odd] = sinks(base);
    move |flow: &Dataflow, _: &Args| {
        let numbers = Generator::new(|n| (n, n as i64)).records(RECORDS).splits(CORES);
        let numbers = flow.source("numbers", numbers.assign_by(|n| *n % KEYS));
        let counted = numbers.key_by(|n| *n % KEYS).flat_map_with_state(
            "count",
            ValueSpec::new("counts"),
            |user: &u64, n, (count, sum): &mut (u64, u64)| {
                (*count, *sum) = (*count + 1, *sum + n);
                Some(Line { user: *user, count: *count, sum: *sum })
            },
        );
        let counted = counted.share();
        counted.clone().filter(|line| line.count % 2 == 1).sink("odd", odd.clone());
        counted.sink("lines", lines.clone());
        Ok(())
    }
}

fn described(job: &dyn thalweg::Job) -> thalweg::Result<JobDescription> {
    let graph = thalweg::plan(job, &Args::default(), CORES)?;
    let (name, id) = ("counts".to_owned(), JOB_ID.to_owned());
    Ok(JobDescription { name, id, graph, parallelism: CORES })
}

fn options(clock: &ManualClock, attempt: u64) -> ClusterOptions {
    let network = NetworkConfig { buffer_size: 1024, credits: 2, ..NetworkConfig::default() };
    ClusterOptions {
        network,
        checkpoints: true,
        clock: clock.clone(),
        merge: MergeLimits { bytes: 1_500, count: 3, unsorted_bytes: 800 },
        // What has left for the cold tier cannot be told whole, so segments are merged.
        state: StateBound::Cold { seed: 5 },
        attempt,
        ..ClusterOptions::new(CORES)
    }
}

/// Removes what earlier attempts have left behind.
fn resume(base: &Path, attempt: u64, from: u64) -> thalweg::Result<()> {
    sinks(base).iter().try_for_each(|sink| Sink::<Line>::resume(sink, attempt, from))
}

impl Episode {
    /// Begins the next attempt as a process would; `None` if the job has finished.
    ///
    /// # Errors
    /// It cannot go on.
    pub fn begin(base: &Path) -> Result<Option<Self>, String> {
        let store = LocalStore::open(checkpoints(base)).map_err(|error| error.to_string())?;
        let report = |error: thalweg::Error| error.report();
        let job = job(base);
        let description = described(&job).map_err(report)?;
        let config = Config { interval_ms: Some(4), tolerable_failed: 9, ..Config::default() };
        let prepare = || {
            sinks(base).iter().try_for_each(Sink::<Line>::vacant)?;
            sinks(base).iter().try_for_each(Sink::<Line>::prepare)
        };
        let begun =
            begin(&store, &description, Manner::newest(config), 7, 0, &prepare).map_err(report)?;
        let Begun::Attempt(attempt) = begun else { return Ok(None) };
        let _ = store.sweep(&format!("{JOB_ID}/"));
        if attempt.cores.is_empty() && attempt.is_resumed {
            // Nothing is committed, and the cluster looks for empty directories.
            resume(base, attempt.number, 0).map_err(report)?;
        }
        let clock = ManualClock::new(0);
        let options = options(&clock, attempt.number);
        let cores: Vec<_> = attempt.cores.into_iter().map(Rc::new).collect();
        let restores = Restores { cores: &cores, store: &store };
        let cluster = Cluster::restored(&job, &Args::default(), &options, restores);
        let mut cluster = cluster.map_err(report)?;
        for worker in &mut cluster.workers {
            worker.set_budget(BUDGET);
            while !worker.is_settled().map_err(report)? {}
        }
        if attempt.is_resumed {
            resume(base, attempt.number, attempt.from.unwrap_or(0)).map_err(report)?;
        }
        let from = attempt.from;
        Self::start(cluster, attempt.keeper, Box::new(store), &clock, from).map(Some)
    }

    /// An attempt whose cores are made, and restored if it goes `from` a checkpoint.
    ///
    /// # Errors
    /// It fails at once.
    pub fn start(
        cluster: Cluster,
        keeper: Keeper,
        store: Box<dyn Store>,
        clock: &ManualClock,
        from: Option<u64>,
    ) -> Result<Self, String> {
        let mail = vec![VecDeque::new(); cluster.workers.len()];
        let (clock, work) = (clock.clone(), VecDeque::new());
        let mut it = Self { clock, cluster, keeper, store, mail, work, is_finished: false, from };
        for core in 0..it.mail.len() {
            let highest = it.cluster.workers[core].highest_checkpoint();
            let actions = it.keeper.ready(0, core, highest);
            it.act(actions)?;
        }
        Ok(it)
    }

    /// The number of the newest complete checkpoint.
    pub fn newest(&self) -> Option<u64> {
        self.keeper.coordinator().newest()
    }

    /// Runs it to the job's end.
    ///
    /// # Errors
    /// It fails, or has no end.
    pub fn run(mut self) -> Result<(), String> {
        for turn in 0..TURNS_MAX as u64 {
            if self.turn(turn)? {
                return Ok(());
            }
        }
        Err(format!("no end: {:?}", self.keeper.coordinator()))
    }

    /// Gives each core a turn, and the work that waits: true if the job has finished.
    ///
    /// # Errors
    /// It fails.
    pub fn turn(&mut self, turn: u64) -> Result<bool, String> {
        self.clock.advance(1_000_000);
        let mut done = true;
        for core in 0..self.mail.len() {
            let mail = std::mem::take(&mut self.mail[core]);
            let worker = &mut self.cluster.workers[core];
            mail.into_iter().for_each(|command| worker.command(command));
            done &= worker.step().map_err(|error| error.report())?.done;
            while let Some(report) = self.cluster.workers[core].report() {
                let actions = self.keeper.hear(turn, core, report);
                self.act(actions)?;
            }
        }
        // One piece of work a turn: what cores do comes between.
        if let Some(work) = self.work.pop_front() {
            let done = work.carry_out(&*self.store, JOB_ID);
            let actions = self.keeper.did(turn, done);
            self.act(actions)?;
        }
        let actions = self.keeper.tick(turn);
        self.act(actions)?;
        Ok(done && self.is_finished && self.work.is_empty())
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            match action {
                Action::Tell(core, command) => self.mail[core].push_back(command),
                Action::Do(work) => self.work.push_back(work),
                Action::Fail { reason, .. } => return Err(reason),
                Action::Kept | Action::NotKept(_) | Action::Answer(..) => {}
                Action::Finished => self.is_finished = true,
            }
        }
        Ok(())
    }
}

/// Runs a job from its beginning, or from wherever it was left.
///
/// # Errors
/// It fails.
pub fn run(base: &Path) -> Result<(), String> {
    Episode::begin(base)?.map_or(Ok(()), Episode::run)
}

/// Packs that are there and hold a merged segment.
///
/// # Panics
/// If the directory cannot be read.
pub fn merged(base: &Path) -> usize {
    let store = LocalStore::open(checkpoints(base)).expect("the store");
    let packs = store.list(&format!("{JOB_ID}/att-")).expect("a list");
    let is_merged = |path: &&String| {
        let head = store.get_range(path, 0, SegmentHead::BYTES as u64).expect("a pack");
        let head = head.as_deref().and_then(|head| SegmentHead::read(head.first_chunk()?).ok());
        head.is_some_and(|head| head.is_sorted)
    };
    packs.iter().filter(is_merged).count()
}

/// The paths of the log's entries that complete checkpoints, with their numbers.
///
/// # Panics
/// If the log cannot be read.
pub fn completed(base: &Path) -> Vec<(u64, PathBuf)> {
    let store = LocalStore::open(checkpoints(base)).expect("the store");
    let history = Log::read(&store, JOB_ID).expect("the log");
    let path = |k| checkpoints(base).join(thalweg_checkpoint::paths::log_entry(JOB_ID, k));
    let mut live: Vec<_> = history.live().map(|it| (it.checkpoint, path(it.k))).collect();
    live.reverse();
    live
}
