//! The keeper of checkpoints, the store, and the network between them and the cores, as a seed
//! wants them: commands arrive at different times, work is done late and in any order, messages
//! that may be lost are, and a store fails, forgets to answer, or writes long afterwards.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU32;
use std::rc::Rc;

use thalweg::control::{Action, Begun, Done, JobDescription, Keeper, MergedFile, Work, begin};
use thalweg::runtime::{CutCommand, CutReport, Restore, Worker};
use thalweg_checkpoint::coordinator::Config;
use thalweg_checkpoint::store::checksum;
use thalweg_checkpoint::{History, Log, Store};

use super::Random;
use super::faults::Faults;
use super::zombies::Haunted;
use crate::seen;

/// How a seed treats checkpoints.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    config: Config,
    /// Percentage of waiting commands and work that arrive in a step.
    arrives: u64,
    /// Percentage of commits and aborts that are lost.
    loses: u64,
    /// Percentage of the store's operations that something happens to.
    fails: u64,
}

impl Manner {
    /// Draws a manner.
    pub fn draw(random: &mut Random) -> Self {
        let config = Config {
            interval_ms: Some(random.pick(&[1, 10, 1_000, 60_000])),
            timeout_ms: random.pick(&[10_000, 60_000, 600_000]),
            min_pause_ms: random.pick(&[0, 0, 5, 1_000]),
            tolerable_failed: u32::MAX,
            retained: random.pick(&[1, 2, 3]).try_into().unwrap_or(NonZeroU32::MIN),
            retry_ms: random.pick(&[1, 50, 1_000]),
            aligned_timeout_ms: random.pick(&[0, 0, 0, 5, 1_000, u64::MAX]),
            ..Config::default()
        };
        Self {
            config,
            arrives: random.pick(&[5, 30, 100]),
            loses: random.pick(&[0, 0, 30, 90]),
            fails: random.pick(&[0, 0, 2, 20]),
        }
    }
}

/// The store of a job and the attempt that runs.
pub struct Checkpoints {
    job: JobDescription,
    store: Haunted,
    manner: Manner,
    /// Whether the store has never failed.
    is_sound: bool,
    /// Percentage of attempts whose keeper does not die with its cores.
    haunts: u64,
    keeper: Keeper,
    /// What waits to arrive at each core, in order.
    mail: Vec<VecDeque<CutCommand>>,
    work: Vec<Work>,
    is_finished: bool,
    random: Random,
}

/// What begins: the attempt's number, whether there was one before, and what each core is restored
/// from.
pub struct Beginning {
    /// The attempt.
    pub number: u64,
    /// One per core, or none if it begins afresh.
    pub cores: Vec<Rc<Restore>>,
}

/// How often an attempt is tried to begin: the store may refuse.
const BEGINNINGS_MAX: u32 = 1_000;

impl Checkpoints {
    /// Begins the first attempt of a job.
    ///
    /// # Errors
    /// It cannot begin.
    pub fn first(job: JobDescription, now_ms: u64, mut random: Random) -> Result<Self, String> {
        let store = Haunted::new(&job.id, random.fork("zombies"));
        let manner = Manner::draw(&mut random);
        let haunts = random.fork("haunts").pick(&[0, 50, 100]);
        let cores = job.parallelism;
        let begun = begin_one(&store, &job, manner.config, &mut random)?;
        let (keeper, _) = begun.ok_or("a job had finished before it began")?;
        let mut checkpoints = Self {
            job,
            store,
            manner,
            is_sound: true,
            haunts,
            keeper,
            mail: vec![VecDeque::new(); cores],
            work: Vec::new(),
            is_finished: false,
            random,
        };
        checkpoints.make_store_fail();
        checkpoints.get_ready(now_ms);
        Ok(checkpoints)
    }

    /// The attempt has died: begins the next one; `None` if the job has finished.
    ///
    /// # Errors
    /// It cannot begin.
    pub fn next(&mut self, now_ms: u64) -> Result<Option<Beginning>, String> {
        seen!("work was under way when the attempt died", if !self.work.is_empty());
        let work = std::mem::take(&mut self.work);
        if self.random.chance(self.haunts) {
            let coordinator = self.keeper.coordinator().clone();
            // It hears of no core any more, so its number is in nothing that it does.
            let keeper = Keeper::new(&self.job.id, 0, coordinator, self.job.parallelism);
            self.store.add(keeper, work, now_ms);
        }
        let begun = begin_one(&self.store, &self.job, self.manner.config, &mut self.random)?;
        let Some((keeper, beginning)) = begun else {
            self.is_finished = true;
            return Ok(None);
        };
        self.keeper = keeper;
        self.mail.iter_mut().for_each(VecDeque::clear);
        self.get_ready(now_ms);
        Ok(Some(beginning))
    }

    /// Where the job's files are.
    pub fn store(&self) -> &dyn Store {
        &self.store
    }

    fn get_ready(&mut self, now_ms: u64) {
        for core in 0..self.mail.len() {
            let actions = self.keeper.ready(now_ms, core, 0);
            // Nothing of a beginning fails the attempt.
            let _ = self.act(actions);
        }
    }

    fn make_store_fail(&mut self) {
        let mut faults = Faults::draw(self.random.fork("store"), self.manner.fails);
        self.is_sound = faults.are_none();
        self.store.store.set_faults(move |operation| faults.strike(operation));
    }

    /// From now on everything arrives and nothing is lost.
    pub fn heal(&mut self) {
        self.store.store.heal();
        self.manner = Manner { arrives: 100, loses: 0, fails: 0, ..self.manner };
    }

    /// Delivers mail to a core before its step.
    pub fn before_step(&mut self, worker: &mut Worker) {
        let mail = &mut self.mail[worker.core().index()];
        while !mail.is_empty() && self.random.chance(self.manner.arrives) {
            let command = mail.pop_front();
            command.into_iter().for_each(|command| worker.command(command));
        }
    }

    /// Takes what a core says after its step, and goes on with what is under way.
    ///
    /// # Errors
    /// The attempt is over, and why.
    pub fn after_step(&mut self, worker: &mut Worker, now_ms: u64) -> Result<(), String> {
        let core = worker.core().index();
        while let Some(report) = worker.report() {
            note(&report, self.manner.config.aligned_timeout_ms == u64::MAX);
            let actions = self.keeper.hear(now_ms, core, report);
            self.act(actions)?;
        }
        while !self.work.is_empty() && self.random.chance(self.manner.arrives) {
            let at = self.random.below(self.work.len() as u64) as usize;
            let done = self.work.remove(at).carry_out(&self.store, &self.job.id);
            if let Done::Merged(_, Ok(MergedFile { merged, .. })) = &done {
                seen!("sorted segments were merged as they came", if merged.streamed > 1);
                seen!("unsorted segments were sorted together", if merged.sorted > 1);
            }
            let actions = self.keeper.did(now_ms, done);
            self.act(actions)?;
        }
        if self.random.chance(5) && self.store.store.land_one().is_some() {
            seen!("the store wrote long after it was asked to");
        }
        let actions = self.keeper.tick(now_ms);
        self.act(actions)
    }

    fn act(&mut self, actions: Vec<Action>) -> Result<(), String> {
        for action in actions {
            match action {
                Action::Tell(core, command) => {
                    let may_be_lost =
                        matches!(command, CutCommand::Commit(_) | CutCommand::Abort(_));
                    seen!("a checkpoint was aborted", if matches!(command, CutCommand::Abort(_)));
                    if !(may_be_lost && self.random.chance(self.manner.loses)) {
                        self.mail[core].push_back(command);
                    }
                }
                Action::Do(work) => self.work.push(work),
                Action::Fail { reason, .. } => return Err(reason),
                Action::Kept | Action::NotKept(_) | Action::Answer(..) => {}
                Action::Finished => self.is_finished = true,
            }
        }
        Ok(())
    }

    /// Whether an entry is on its way into the log.
    pub fn is_writing(&self) -> bool {
        self.work.iter().any(|work| matches!(work, Work::Append { .. }))
    }

    /// Whether the attempt has a checkpoint to go on from.
    pub fn has_completed(&self) -> bool {
        self.keeper.coordinator().newest().is_some()
    }

    /// What is under way, for messages.
    pub fn plight(&self) -> String {
        let (mail, work) = (&self.mail, self.work.len());
        format!("mail {mail:?}, {work} pieces of work, {:?}", self.keeper.coordinator())
    }

    /// Whether the log has yet to say that the job has finished.
    pub fn is_busy(&self) -> bool {
        !self.is_finished
    }

    /// Checks that the job has finished, by its log, and that every file of what is retained is
    /// there.
    pub fn check_end(&self) {
        let history = Log::read(&self.store, &self.job.id).expect("the log reads back");
        assert!(history.is_finished(), "the log does not say that the job has finished");
        for completed in history.retained(self.manner.config.retained.get()) {
            let manifest = Log::manifest(&self.store, &self.job.id, completed);
            let manifest = manifest.expect("a complete checkpoint has a manifest");
            for file in manifest.all_files() {
                let found = self.store.get_range(&file.path, file.offset, file.bytes);
                let found = found.expect("the store answers").map(|bytes| checksum(&bytes));
                let checkpoint = completed.checkpoint;
                assert_eq!(found, Some(file.checksum), "checkpoint {checkpoint}: {file:?}");
            }
        }
        if self.is_sound {
            self.check_leftovers(&history);
        }
        let completed = self.keeper.coordinator().statistics().completed_count();
        seen!("an attempt completed several checkpoints", if completed > 2);
    }

    /// Checks that files which only checkpoints name that are not retained are gone: a store that
    /// never failed has deleted them.
    fn check_leftovers(&self, history: &History) {
        let files = |completed| {
            let manifest = Log::manifest(&self.store, &self.job.id, completed);
            let manifest = manifest.expect("a complete checkpoint has a manifest");
            manifest.all_files().map(|file| file.path.clone()).collect::<Vec<_>>()
        };
        let retained = history.retained(self.manner.config.retained.get());
        let needed: BTreeSet<String> = retained.into_iter().flat_map(files).collect();
        let all: BTreeSet<String> = history.live().flat_map(files).collect();
        seen!("files of old checkpoints were to go", if all.len() > needed.len());
        for path in all.difference(&needed) {
            let size = self.store.size(path).expect("the store answers");
            assert_eq!(size, None, "{path} is named by no retained checkpoint and was not deleted");
        }
    }
}

/// Counts what a core's part of a checkpoint holds.
fn note(report: &CutReport, drains: bool) {
    seen!("a core was quiet in a drain", if matches!(report, CutReport::Quiet { .. }));
    seen!("state was spilled between two cuts", if matches!(report, CutReport::Spill { .. }));
    seen!("segments were merged", if matches!(report, CutReport::Merge { .. }));
    if let CutReport::Acknowledged(part) = report {
        let counts = &part.counts;
        let empty = counts.iter().all(|c| c.recorded + c.unsent == 0);
        seen!("a drained cut recorded nothing", if drains && empty && !counts.is_empty());
        seen!("a cut recorded frames at their receiver", if counts.iter().any(|c| c.recorded > 0));
        seen!("a cut recorded frames at their sender", if counts.iter().any(|c| c.unsent > 0));
    }
}

fn begin_one(
    store: &Haunted,
    job: &JobDescription,
    config: Config,
    random: &mut Random,
) -> Result<Option<(Keeper, Beginning)>, String> {
    let mut last = String::new();
    for _ in 0..BEGINNINGS_MAX {
        match begin(store, job, thalweg::control::Manner::newest(config), random.bits(), 0, &|| {
            Ok(())
        }) {
            Ok(Begun::Attempt(attempt)) => {
                let cores = attempt.cores.into_iter().map(Rc::new).collect();
                let beginning = Beginning { number: attempt.number, cores };
                return Ok(Some((attempt.keeper, beginning)));
            }
            Ok(Begun::Finished) => return Ok(None),
            Err(error) => last = error.report(),
        }
    }
    Err(last)
}
