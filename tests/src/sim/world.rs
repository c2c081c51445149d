//! A cluster and what happens to it from outside: attempts end and begin, checkpoints come and go.

use thalweg::runtime::Progress;
use thalweg::testing::{Cluster, ClusterOptions};

use super::Random;
use super::checkpoints::{Coordinator, Durable, Manner};
use super::checks::Checks;
use super::jobs::Instance;
use super::schedule::Decision;
use super::trace::Trace;
use crate::seen;

/// A job that runs, through all its attempts.
pub struct World<'a> {
    instance: &'a Instance,
    options: ClusterOptions,
    /// The attempt that runs.
    pub cluster: Cluster,
    checks: Checks,
    checkpoints: Option<Checkpoints>,
}

/// What a world with checkpoints has besides.
struct Checkpoints {
    durable: Durable,
    coordinator: Coordinator,
    manner: Manner,
    /// Crashes that are still to come, and their chance in ten thousand before each step.
    crashes: u64,
    crash_chance: u64,
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
        let graph = thalweg::plan(&*instance.job, &instance.args, options.parallelism);
        let graph = graph.map_err(|error| error.report())?;
        let is_stateless = graph.nodes.iter().all(|node| node.states.is_empty());
        options.checkpoints = random.chance(75) && is_stateless;
        let cluster = Cluster::new(&*instance.job, &instance.args, &options);
        let cluster = cluster.map_err(|error| error.report())?;
        let mut durable = Durable::default();
        let checkpoints = options.checkpoints.then(|| Checkpoints {
            manner: Manner::draw(&mut random),
            coordinator: Coordinator::begin(&mut durable, options.parallelism),
            durable,
            crashes: random.pick(&[0, 1, 2, 5, 20]),
            crash_chance: random.pick(&[2, 20, 200]),
            random,
        });
        let checks = Checks::new(&cluster, options.network.buffer_size, options.network.overdraft);
        Ok(Self { instance, options, cluster, checks, checkpoints })
    }

    /// Whether the job has had more than one attempt.
    pub fn has_crashed(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.durable.attempts > 1)
    }

    /// From now on nothing is lost and nobody dies.
    pub fn heal(&mut self) {
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.manner = Manner::kind();
            checkpoints.crashes = 0;
        }
    }

    /// Whether messages or files are under way.
    pub fn is_busy(&self) -> bool {
        self.checkpoints.as_ref().is_some_and(|checkpoints| checkpoints.coordinator.is_busy())
    }

    /// Lets the attempt die now and then; true if it did, and the next one has begun.
    ///
    /// # Errors
    /// The job cannot be restored.
    pub fn may_crash(&mut self, trace: &mut Trace) -> Result<bool, String> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(false) };
        let random = &mut checkpoints.random;
        if checkpoints.crashes == 0 || random.below(10_000) >= checkpoints.crash_chance {
            return Ok(false);
        }
        checkpoints.crashes -= 1;
        let parts = checkpoints.durable.restore()?;
        seen!("a core died and the job went on from a checkpoint", if !parts.is_empty());
        seen!("a core died before the first checkpoint", if parts.is_empty());
        let cores = self.options.parallelism;
        checkpoints.coordinator = Coordinator::begin(&mut checkpoints.durable, cores);
        self.options.attempt = checkpoints.durable.attempts;
        trace.line(format_args!("attempt {} from {} parts", self.options.attempt, parts.len()));
        let Instance { job, args, .. } = self.instance;
        let cluster = Cluster::restored(&**job, args, &self.options, &parts);
        self.cluster = cluster.map_err(|error| error.report())?;
        let network = &self.options.network;
        self.checks = Checks::new(&self.cluster, network.buffer_size, network.overdraft);
        Ok(true)
    }

    /// Gives a worker its turn.
    ///
    /// # Errors
    /// The attempt has failed, or a checkpoint is wrong.
    pub fn step(&mut self, decision: Decision, trace: &mut Trace) -> Result<Progress, String> {
        let worker = &mut self.cluster.workers[decision.worker];
        if let Some(Checkpoints { coordinator, manner, random, .. }) = &mut self.checkpoints {
            coordinator.before_step(worker, *manner, random);
        }
        worker.set_budget(decision.budget);
        let progress = worker.step_links(decision.frames).map_err(|error| error.report())?;
        if let Some(Checkpoints { durable, coordinator, manner, random, .. }) =
            &mut self.checkpoints
        {
            coordinator.after_step(worker, durable, *manner, random)?;
        }
        self.checks.after_step(&self.cluster, decision.worker, progress, trace);
        Ok(progress)
    }

    /// Checks that nothing is left anywhere.
    pub fn check_end(&self) {
        self.checks.at_end(&self.cluster);
    }
}
