//! A cluster and what happens to it from outside: attempts end and begin, checkpoints come and go.

use std::rc::Rc;

use thalweg::control::JobDescription;
use thalweg::runtime::{MergeLimits, Progress, Restores};
use thalweg::testing::{Cluster, ClusterOptions};
use thalweg::time::Clock;

use super::Random;
use super::checkpoints::{Beginning, Checkpoints};
use super::checks::Checks;
use super::clocks::KeeperClock;
use super::jobs::Instance;
use super::schedule::Decision;
use super::trace::Trace;
use super::trap;
use crate::seen;

/// How often the store may refuse to be read by cores that are restored.
const REFUSALS_MAX: u32 = 1_000;

/// Of a hundred attempts, how many hand their records on one at a time.
const WATCHED: u64 = 25;

/// Of a hundred deaths, how many are panics of user code, and in how many calls at the most.
const PANICS: u64 = 25;
const PANIC_CALLS_MAX: u64 = 500;

/// A job that runs, through all its attempts.
pub struct World<'a> {
    instance: &'a Instance,
    options: ClusterOptions,
    /// The attempt that runs.
    pub cluster: Cluster,
    checks: Checks,
    checkpoints: Option<Checkpoints>,
    keeper_clock: KeeperClock,
    /// Crashes that are still to come, and their chance in ten thousand before each step.
    crashes: u64,
    crash_chance: u64,
    /// Whether the job had finished when its next attempt wanted to begin: a zombie wrote its end.
    is_over: bool,
    /// Whether user code has panicked: the attempt is over.
    has_fallen: bool,
    /// Decides which attempts hand their records on one at a time.
    watches: Random,
    /// Decides which deaths are panics of user code, and when.
    traps: Random,
    random: Random,
}

impl<'a> World<'a> {
    /// Builds the first attempt; `random` decides whether there are checkpoints, and all about
    /// them.
    ///
    /// # Errors
    /// The job cannot be built.
    pub fn new(
        instance: &'a Instance,
        mut options: ClusterOptions,
        mut random: Random,
    ) -> Result<Self, String> {
        options.checkpoints = random.chance(75);
        let mut merges = random.fork("merges");
        let bytes = merges.pick(&[0, 2_000, 50_000, u64::MAX]);
        let count = merges.pick(&[1, 3, 10, 64]);
        let unsorted_bytes = merges.pick(&[0, 1_000, 20_000, u64::MAX]);
        options.merge = MergeLimits { bytes, count, unsorted_bytes };
        let (mut watches, traps) = (random.fork("watches"), random.fork("traps"));
        trap::set(0);
        options.watched = watches.chance(WATCHED);
        seen!("records were handed on one at a time", if options.watched);
        let cluster = Cluster::new(&*instance.job, &instance.args, &options);
        let cluster = cluster.map_err(|error| error.report())?;
        let job = JobDescription {
            name: "simulated".to_owned(),
            id: "job".to_owned(),
            graph: cluster.graph.clone(),
            parallelism: options.parallelism,
        };
        let mut keeper_clock = KeeperClock::draw(random.fork("keeper's clock"));
        let began_ms = keeper_clock.read(options.clock.nanos());
        let checkpoints = options
            .checkpoints
            .then(|| Checkpoints::first(job, began_ms, random.fork("checkpoints")))
            .transpose()?;
        let checks = Checks::new(&cluster, options.network.buffer_size, options.network.overdraft);
        let crashes = if checkpoints.is_some() { random.pick(&[0, 1, 2, 5, 20]) } else { 0 };
        let crash_chance = random.pick(&[2, 20, 200]);
        Ok(Self {
            instance,
            options,
            cluster,
            checks,
            checkpoints,
            keeper_clock,
            crashes,
            crash_chance,
            is_over: false,
            has_fallen: false,
            watches,
            traps,
            random,
        })
    }

    /// Whether the job has had more than one attempt.
    pub fn has_crashed(&self) -> bool {
        self.options.attempt > 1 || self.is_over
    }

    /// Whether nobody runs any more: there was nothing left to do for another attempt.
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// From now on nothing is lost and nobody dies.
    pub fn heal(&mut self) {
        self.crashes = 0;
        trap::set(0);
        self.keeper_clock.heal();
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.heal();
        }
    }

    /// Whether the job has yet to finish, by its log.
    pub fn is_busy(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(Checkpoints::is_busy)
    }

    /// Lets the attempt die now and then; true if it did, and the next one has begun.
    ///
    /// # Errors
    /// The job cannot be restored.
    pub fn may_crash(&mut self, trace: &mut Trace) -> Result<bool, String> {
        let has_fallen = std::mem::take(&mut self.has_fallen);
        let strikes = self.crashes > 0 && self.random.below(10_000) < self.crash_chance();
        // Who has finished is not begun again.
        if !(strikes || has_fallen) || !self.is_busy() {
            return Ok(false);
        }
        self.crashes = self.crashes.saturating_sub(1);
        if !has_fallen && self.traps.chance(PANICS) {
            trap::set(self.traps.magnitude(PANIC_CALLS_MAX));
            return Ok(false);
        }
        seen!("user code panicked and the job went on", if has_fallen);
        trap::set(0);
        let now_ms = self.now_ms();
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(false) };
        let Some(Beginning { number, cores }) = checkpoints.next(now_ms)? else {
            self.is_over = true;
            return Ok(false);
        };
        seen!("a core died and the job went on from a checkpoint", if !cores.is_empty());
        seen!("a core died before the first checkpoint", if cores.is_empty());
        self.options.attempt = number;
        self.options.watched = self.watches.chance(WATCHED);
        seen!("records were handed on one at a time", if self.options.watched);
        trace.line(format_args!("attempt {number} from {} parts", cores.len()));
        let Instance { job, args, .. } = self.instance;
        let restores = Restores { cores: &cores, store: checkpoints.store() };
        let build = || Cluster::restored(&**job, args, &self.options, restores);
        // The store may refuse: then the attempt ends before it does anything.
        let (mut refused, mut built) = (0, build());
        while built.is_err() && refused < REFUSALS_MAX {
            (refused, built) = (refused + 1, build());
        }
        let next = built.map_err(|error| error.report())?;
        let dead = std::mem::replace(&mut self.cluster, next);
        let cores: Vec<_> =
            dead.workers.iter().map(|worker| Rc::downgrade(worker.core())).collect();
        drop(dead);
        let alive = cores.iter().filter(|core| core.strong_count() > 0).count();
        assert_eq!(alive, 0, "cores of attempt {} are not freed", number - 1);
        let network = &self.options.network;
        self.checks = Checks::new(&self.cluster, network.buffer_size, network.overdraft);
        Ok(true)
    }

    /// Deaths are worth most where there is something to go on from, and when the log is being
    /// written.
    fn crash_chance(&self) -> u64 {
        let Some(checkpoints) = &self.checkpoints else { return 0 };
        match (checkpoints.is_writing(), checkpoints.has_completed()) {
            (true, _) => 1_000,
            (false, true) => 4 * self.crash_chance,
            (false, false) => self.crash_chance,
        }
    }

    /// The keeper's time.
    fn now_ms(&mut self) -> u64 {
        self.keeper_clock.read(self.options.clock.nanos())
    }

    /// Gives a worker its turn.
    ///
    /// # Errors
    /// The attempt has failed, or a checkpoint is wrong.
    pub fn step(&mut self, decision: Decision, trace: &mut Trace) -> Result<Progress, String> {
        let now_ms = self.now_ms();
        let worker = &mut self.cluster.workers[decision.worker];
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.before_step(worker);
        }
        worker.set_budget(decision.budget);
        let Some(stepped) = trap::watch(|| worker.step_links(decision.frames)) else {
            self.has_fallen = true;
            trace.line(format_args!("user code panics on core {}", decision.worker));
            return Ok(Progress::default());
        };
        let progress = stepped.map_err(|error| error.report())?;
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.after_step(worker, now_ms)?;
        }
        self.checks.after_step(&self.cluster, decision.worker, progress, trace);
        Ok(progress)
    }

    /// What the job is waiting for, for messages.
    pub fn plight(&self) -> String {
        self.checkpoints.as_ref().map_or_else(String::new, Checkpoints::plight)
    }

    /// Checks that nothing is left anywhere.
    pub fn check_end(&self) {
        if !self.is_over {
            self.checks.at_end(&self.cluster);
        }
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.check_end();
        }
    }
}
