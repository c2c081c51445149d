//! All cores of a job in one thread, each stepped by the caller: what a simulator is made of.

use std::rc::Rc;
use std::sync::Arc;

use crate::config::NetworkConfig;
use crate::dataflow::Environment;
use crate::graph::JobGraph;
use crate::job::{Args, Job, local_workers, plan};
use crate::runtime::poison::Ledger;
use crate::runtime::{MergeLimits, Restores, Worker};
use crate::state::StateMemory;
use crate::time::{Clock, ManualClock};
use crate::{Error, Result};

/// The workers of a job, which are those of production, linked to each other. Nothing is pinned,
/// nothing parks, connectors read and write inline, and time stands still unless the caller's clock
/// is moved.
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
    /// What state may take; above it rows go to a cold tier in memory.
    pub state: StateBound,
    /// Whether there are checkpoints; the caller is their coordinator.
    pub checkpoints: bool,
    /// When segments are merged.
    pub merge: MergeLimits,
    /// The number of this attempt, from 1.
    pub attempt: u64,
    /// Whether every task hands its records on one at a time, as if user code had failed in all of
    /// them in the attempt before.
    pub watched: bool,
}

/// How much memory the state of each core may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateBound {
    /// As much as it likes.
    #[default]
    None,
    /// So many bytes per core, above a cold tier whose pace is decided by `seed`.
    Bytes {
        /// The bound.
        bytes: usize,
        /// Decides how late answers come.
        seed: u64,
    },
    /// Every row leaves as soon as nobody needs it.
    Cold {
        /// Decides how late answers come.
        seed: u64,
    },
}

impl StateBound {
    fn memory(self) -> StateMemory {
        match self {
            StateBound::None => StateMemory::default(),
            StateBound::Bytes { bytes, seed } => StateMemory::above_memory(bytes, seed),
            StateBound::Cold { seed } => StateMemory::forced_cold(seed),
        }
    }
}

impl ClusterOptions {
    /// Cores with the default buffers and a clock that stands at zero.
    pub fn new(parallelism: usize) -> Self {
        Self {
            parallelism,
            network: NetworkConfig::default(),
            clock: ManualClock::new(0),
            max_parallelism: None,
            state: StateBound::None,
            checkpoints: false,
            merge: MergeLimits::default(),
            attempt: 1,
            watched: false,
        }
    }
}

impl Cluster {
    /// Builds every core's part of a job.
    ///
    /// # Errors
    /// Bad arguments, a graph that cannot run, no file descriptors left.
    pub fn new(job: &dyn Job, args: &Args, options: &ClusterOptions) -> Result<Self> {
        Self::build(job, args, options, None)
    }

    /// Builds every core's part of a job as it was at a checkpoint, or afresh if there is none.
    ///
    /// # Errors
    /// As [`Cluster::new`], and if the checkpoint is damaged or of another job.
    pub fn restored(
        job: &dyn Job,
        args: &Args,
        options: &ClusterOptions,
        restores: Restores<'_>,
    ) -> Result<Self> {
        Self::build(job, args, options, Some(restores))
    }

    fn build(
        job: &dyn Job,
        args: &Args,
        options: &ClusterOptions,
        restores: Option<Restores<'_>>,
    ) -> Result<Self> {
        if options.parallelism == 0 {
            return Err(Error::usage("cannot build a cluster of 0 cores"));
        }
        let mut env = Environment::new(options.parallelism, options.network.clone());
        env.max_parallelism = options.max_parallelism.unwrap_or(env.max_parallelism);
        env.memory = options.state.memory();
        let clock: Rc<dyn Clock> = Rc::new(options.clock.clone());
        env.checkpoints = options.checkpoints;
        env.merge = options.merge;
        env.attempt = options.attempt;
        let mut graph = plan(job, args, options.parallelism)?;
        env.poison = options.watched.then(|| Arc::new(Ledger::watching(&graph)));
        let workers = local_workers(job, args, options.parallelism, &clock, &env, restores)?;
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::prelude::*;
    use crate::sink::{Sink, SinkContext, SinkWriter};
    use crate::time::Stamp;

    fn tiny(parallelism: usize) -> ClusterOptions {
        let mut options = ClusterOptions::new(parallelism);
        options.network = NetworkConfig { buffer_size: 128, credits: 1, ..options.network };
        options
    }

    fn run(job: &dyn Job, options: &ClusterOptions, budgets: &[usize]) {
        let mut cluster = Cluster::new(job, &Args::default(), options).unwrap();
        for turn in 0..100_000 {
            let budget = budgets[turn % budgets.len()];
            cluster.workers.iter_mut().for_each(|worker| worker.set_budget(budget));
            options.clock.advance(1_000_000);
            let done = cluster.step_all().unwrap();
            cluster.check_credits();
            if done {
                return;
            }
        }
        panic!("no end");
    }

    #[test]
    fn a_source_without_an_exchange_is_read_to_its_end() {
        let all = Collected::new();
        let out = all.clone();
        let job = move |flow: &Dataflow, _: &Args| {
            flow.from_iter("n", 0..5_000u64).collect_into("out", &out);
            Ok(())
        };
        run(&job, &ClusterOptions::new(1), &[1024]);
        assert_eq!(all.take(), (0..5_000).collect::<Vec<_>>());
    }

    #[test]
    fn each_consumer_of_a_gate_takes_each_record_once_wherever_it_stops() {
        let (many, few) = (Collected::new(), Collected::new());
        let outs = (many.clone(), few.clone());
        let job = move |flow: &Dataflow, _: &Args| {
            let numbers = Generator::new(|n| (n, n as i64)).records(400).splits(3);
            let keyed = flow.source("n", numbers).key_by(|n| *n % 7);
            let copies = |n: u64| (0..3).map(move |copy| n * 3 + copy);
            let counted = keyed.clone().flat_map_with_state("many", ValueSpec::new("s"), {
                move |_, n, _: &mut u64| copies(n)
            });
            counted.rebalance().collect_into("out many", &outs.0);
            let counted = keyed.flat_map_with_state("few", ValueSpec::new("s"), {
                |_, n, _: &mut u64| (n % 5 == 0).then_some(n)
            });
            counted.rebalance().collect_into("out few", &outs.1);
            Ok(())
        };
        for budgets in [&[1][..], &[1024], &[5, 1, 40]] {
            run(&job, &tiny(3), budgets);
            let (mut many, mut few) = (many.take(), few.take());
            many.sort_unstable();
            few.sort_unstable();
            assert_eq!(many, (0..1_200).collect::<Vec<_>>(), "{budgets:?}");
            assert_eq!(few, (0..400).step_by(5).collect::<Vec<_>>(), "{budgets:?}");
        }
    }

    /// Finishes at the third call, and must not be asked again.
    #[derive(Clone)]
    struct Slow(Rc<Cell<u32>>);

    impl<T: 'static> Sink<T> for Slow {
        type Writer = Slow;
        fn kind(&self) -> &'static str {
            "slow"
        }
        fn writer(self, _cx: SinkContext) -> Result<Slow> {
            Ok(self)
        }
    }

    impl<T: 'static> SinkWriter<T> for Slow {
        type Committable = ();
        fn write(&mut self, _record: T, _stamp: Stamp) -> Result<()> {
            Ok(())
        }
        fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
            Ok(Vec::new())
        }
        fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
            Ok(())
        }
        fn finish(&mut self) -> Result<bool> {
            self.0.set(self.0.get() + 1);
            assert!(self.0.get() <= 3, "asked again after it had finished");
            Ok(self.0.get() == 3)
        }
    }

    #[test]
    fn a_sink_that_has_finished_is_not_asked_again() {
        let sinks = [Slow(Rc::default()), Slow(Rc::default())];
        let given = sinks.clone();
        let job = move |flow: &Dataflow, _: &Args| {
            let numbers = flow.from_iter("n", 0..3u64).share();
            numbers.clone().sink("first", given[0].clone());
            numbers.sink("second", given[1].clone());
            Ok(())
        };
        run(&job, &ClusterOptions::new(1), &[1]);
        assert_eq!(sinks.map(|sink| sink.0.get()), [3, 3]);
    }

    #[test]
    fn periodic_watermarks_are_made_behind_an_exchange_and_a_union() {
        let job = |flow: &Dataflow, _: &Args| {
            let numbers = Generator::new(|n| (n, n as i64)).records(100).rate(1_000.0).splits(1);
            let numbers = flow.source("n", numbers).rebalance().boxed();
            let strategy = WatermarkStrategy::monotonous().with_timestamps(|n: &u64| *n as i64);
            let both = numbers.clone().union(numbers);
            let timed = both.assign_timestamps(strategy.periodic(std::time::Duration::ZERO));
            timed.rebalance().collect_into("out", &Collected::new());
            Ok(())
        };
        let options = ClusterOptions::new(1);
        let mut cluster = Cluster::new(&job, &Args::default(), &options).unwrap();
        let mut watermarks = Vec::new();
        while !cluster.step_all().unwrap() {
            options.clock.advance(1_000_000);
            watermarks.extend(cluster.workers[0].gates().last().map(|gate| gate.watermark));
        }
        watermarks.dedup();
        assert!(watermarks.len() > 40 && watermarks.is_sorted(), "{watermarks:?}");
    }

    #[test]
    fn cores_are_freed_with_their_workers() {
        for (watched, checkpoints) in [(false, false), (true, false), (true, true)] {
            let job = |flow: &Dataflow, _: &Args| {
                let numbers = flow.from_iter("n", 0..5_000u64).key_by(|n| *n % 7);
                let sum = |_: &u64, n: u64, sum: &mut u64| {
                    *sum += n;
                    Some(*sum)
                };
                let sums = numbers.flat_map_with_state("sum", ValueSpec::new("sum"), sum);
                sums.collect_into("out", &Collected::new());
                Ok(())
            };
            let options = ClusterOptions { watched, checkpoints, ..ClusterOptions::new(2) };
            let mut cluster = Cluster::new(&job, &Args::default(), &options).unwrap();
            cluster.step_all().unwrap();
            let cores: Vec<_> =
                cluster.workers.iter().map(|worker| Rc::downgrade(worker.core())).collect();
            drop(cluster);
            assert!(cores.iter().all(|core| core.strong_count() == 0), "{watched} {checkpoints}");
        }
    }
}
