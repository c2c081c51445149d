//! How a harness runs its job.

use super::{Harness, Input};
use crate::Result;
use crate::config::NetworkConfig;
use crate::dataflow::{Dataflow, Stream};
use crate::operator::Chain;
use crate::state::StateMemory;

/// Decides how late the answers of a harness's cold tier come.
const COLD_SEED: u64 = 0x7468_616c;

/// How a [`Harness`] runs its job. The results do not depend on it: a test runs its cases with each
/// of [`HarnessOptions::matrix`].
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::HarnessOptions;
/// for options in HarnessOptions::matrix() {
///     let mut h = options.build(|input: Stream<u64>| input.map(|n| n + 1));
///     h.push(1, 0);
///     assert_eq!(h.outputs(), [2]);
/// }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HarnessOptions {
    pub(super) channels: usize,
    pub(super) output_budget: Option<usize>,
    pub(super) small_buffers: bool,
    pub(super) batched: bool,
    pub(super) cold: bool,
    pub(super) wall_millis: i64,
    pub(super) restarting: bool,
}

impl HarnessOptions {
    /// One channel, one record at a time, no limits, processing time 0.
    pub fn new() -> Self {
        Self::default()
    }

    /// What an operator must not notice: whole batch and one by one, output budget of one, buffers
    /// of one record, state in memory and forced cold.
    pub fn matrix() -> Vec<Self> {
        let mut all = Vec::new();
        for cold in [false, true] {
            for batched in [false, true] {
                for output_budget in [None, Some(1)] {
                    for small_buffers in [false, true] {
                        let ways = Self { batched, output_budget, small_buffers, ..Self::new() };
                        all.push(Self { cold, ..ways });
                    }
                }
            }
        }
        all
    }

    /// This many input channels, each on a core of its own: every keyed operator then has as many.
    #[must_use]
    pub fn channels(mut self, channels: usize) -> Self {
        self.channels = channels;
        self
    }

    /// Lets a task stop after this many records of output and go on in a later turn.
    #[must_use]
    pub fn output_budget(mut self, records: usize) -> Self {
        self.output_budget = Some(records.max(1));
        self
    }

    /// Gives every record a buffer of its own between tasks.
    #[must_use]
    pub fn buffers_of_one_record(mut self) -> Self {
        self.small_buffers = true;
        self
    }

    /// Collects input until something is asked for, so that operators see whole batches.
    #[must_use]
    pub fn batched(mut self) -> Self {
        self.batched = true;
        self
    }

    /// Lets every row of state leave for a cold tier (in memory, with answers that come late) as
    /// soon as nobody needs it: what is read is then read back.
    #[must_use]
    pub fn cold(mut self) -> Self {
        self.cold = true;
        self
    }

    /// Restarts the job from a checkpoint behind everything that is pushed, if the harness is
    /// [restartable](HarnessOptions::build_restartable).
    #[must_use]
    pub fn restarting(mut self) -> Self {
        self.restarting = true;
        self
    }

    /// Processing time at the start, in milliseconds since the epoch.
    #[must_use]
    pub fn processing_time(mut self, wall_millis: i64) -> Self {
        self.wall_millis = wall_millis;
        self
    }

    /// Builds the job that `make` describes; it is called once to plan and once for every channel's
    /// core.
    ///
    /// # Panics
    /// If the job cannot be built.
    pub fn build<T, U, C, F>(&self, make: F) -> Harness<T, U>
    where
        T: 'static,
        U: 'static,
        C: Chain<U>,
        F: Fn(Stream<T>) -> Stream<U, C>,
    {
        let built = self.try_build(|_, input: Input<T>| Ok(make(input.stream())));
        built.unwrap_or_else(|error| panic!("{}", error.report()))
    }

    /// As [`HarnessOptions::build`] with a second input; the harness can begin its job
    /// [again](Harness::restart).
    ///
    /// # Panics
    /// If the job cannot be built.
    pub fn build_two<T, S, U, C, F>(&self, make: F) -> Harness<T, U, S>
    where
        T: 'static,
        S: 'static,
        U: 'static,
        C: Chain<U>,
        F: Fn(Stream<T>, Stream<S>) -> Stream<U, C> + 'static,
    {
        let built = Harness::start_two(self, true, move |_, first: Input<T>, second: Input<S>| {
            Ok(make(first.stream(), second.stream()))
        });
        built.unwrap_or_else(|error| panic!("{}", error.report()))
    }

    /// As [`HarnessOptions::build`]; the harness can begin its job [again](Harness::restart).
    ///
    /// # Panics
    /// If the job cannot be built.
    pub fn build_restartable<T, U, C, F>(&self, make: F) -> Harness<T, U>
    where
        T: 'static,
        U: 'static,
        C: Chain<U>,
        F: Fn(Stream<T>) -> Stream<U, C> + 'static,
    {
        let built = Harness::start_two(self, false, move |_, first: Input<T>, _: Input<()>| {
            Ok(make(first.stream()))
        });
        built.unwrap_or_else(|error| panic!("{}", error.report()))
    }

    /// As [`HarnessOptions::build`] for a whole job: `make` may use the flow and may fail.
    ///
    /// # Errors
    /// What `make` returns, and whatever is wrong with the job's graph.
    pub fn try_build<T, U, C, F>(&self, make: F) -> Result<Harness<T, U>>
    where
        T: 'static,
        U: 'static,
        C: Chain<U>,
        F: Fn(&Dataflow, Input<T>) -> Result<Stream<U, C>>,
    {
        Harness::start(self, make)
    }

    pub(super) fn memory(&self) -> StateMemory {
        if self.cold { StateMemory::forced_cold(COLD_SEED) } else { StateMemory::default() }
    }

    pub(super) fn network(&self) -> NetworkConfig {
        let network = NetworkConfig::default();
        if self.small_buffers {
            // Smaller than any record with its head, so each gets a buffer that is made for it.
            NetworkConfig { buffer_size: 64, credits: 2, ..network }
        } else {
            network
        }
    }
}
