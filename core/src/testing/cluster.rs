//! All cores of a job in one thread, each stepped by the caller: what a simulator is made of.

use std::rc::Rc;

use crate::config::NetworkConfig;
use crate::dataflow::Environment;
use crate::graph::JobGraph;
use crate::job::{Args, Job, local_workers, plan};
use crate::runtime::Worker;
use crate::time::{Clock, ManualClock};
use crate::{Error, Result};

/// The workers of a job, which are those of production, linked to each other. Nothing is pinned, nothing parks,
/// connectors read and write inline, and time stands still unless the caller's clock is moved.
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::{Cluster, ClusterOptions};
/// let all = Collected::new();
/// let out = all.clone();
/// let job = move |flow: &Dataflow, _: &Args| {
///     flow.from_iter("n", 0..100u64).rebalance().collect_into("out", &out);
///     Ok(())
/// };
/// let mut cluster = Cluster::new(&job, &Args::default(), &ClusterOptions::new(2)).unwrap();
/// while !cluster.step_all().unwrap() {}
/// assert_eq!(all.take().len(), 100);
/// ```
pub struct Cluster {
    /// One worker per core; step them in any order.
    pub workers: Vec<Worker>,
    /// The job's graph.
    pub graph: JobGraph,
}

/// How to build a [`Cluster`].
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many cores.
    pub parallelism: usize,
    /// Buffers and credits; tiny ones make backpressure.
    pub network: NetworkConfig,
    /// The time of all cores. Copies share it.
    pub clock: ManualClock,
    /// Number of key groups; the default depends on the parallelism.
    pub max_parallelism: Option<u32>,
}

impl ClusterOptions {
    /// Cores with the default buffers and a clock that stands at zero.
    pub fn new(parallelism: usize) -> Self {
        Self {
            parallelism,
            network: NetworkConfig::default(),
            clock: ManualClock::new(0),
            max_parallelism: None,
        }
    }
}

impl Cluster {
    /// Builds every core's part of a job.
    ///
    /// # Errors
    /// Bad arguments, a graph that cannot run, no file descriptors left.
    pub fn new(job: &dyn Job, args: &Args, options: &ClusterOptions) -> Result<Self> {
        if options.parallelism == 0 {
            return Err(Error::usage("cannot build a cluster of 0 cores"));
        }
        let mut env = Environment::new(options.parallelism, options.network.clone());
        env.max_parallelism = options.max_parallelism.unwrap_or(env.max_parallelism);
        let clock: Rc<dyn Clock> = Rc::new(options.clock.clone());
        let workers = local_workers(job, args, options.parallelism, &clock, &env)?;
        let mut graph = plan(job, args, options.parallelism)?;
        graph.max_parallelism = env.max_parallelism;
        Ok(Self { workers, graph })
    }

    /// Gives every worker one turn; true when all of them are done.
    ///
    /// # Errors
    /// Whatever ends the attempt.
    pub fn step_all(&mut self) -> Result<bool> {
        let mut done = true;
        for worker in &mut self.workers {
            done &= worker.step()?.done;
        }
        Ok(done)
    }

    /// Asserts the credit invariant of every channel.
    pub fn check_credits(&self) {
        let workers: Vec<&Worker> = self.workers.iter().collect();
        self.workers.iter().for_each(|worker| worker.check_credits(&workers));
    }
}
