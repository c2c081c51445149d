//! The harness: the engine's workers in one thread, with time in the test's hands.

use std::rc::Rc;
use std::time::Duration;

use super::again::Again;
use super::input::{Event, Input, Queues};
use super::options::HarnessOptions;
use super::output::{Arrived, Output};
use crate::dataflow::{Dataflow, Environment, Stream, Tag};
use crate::error::Kind;
use crate::job::{Args, local_workers};
use crate::operator::Chain;
use crate::runtime::{Captured, Worker};
use crate::time::{Clock, MAX, MIN, ManualClock, Timestamp};
use crate::{Error, Result};

/// Turns without work after which nothing more will happen by itself.
const QUIET_TURNS: usize = 4;

/// Turns after which a job that still works is taken for one that never rests.
const TURNS_MAX: usize = 10_000_000;

/// Runs one operator, or a whole job, and lets a test say what comes in and what time it is.
///
/// It steps the workers that run in production. Input is processed as it is pushed (or, when
/// [batched](HarnessOptions::batched), when something is asked for).
///
/// ```
/// use thalweg::prelude::*;
/// use thalweg::testing::Harness;
/// use std::time::Duration;
/// let mut h = Harness::new(|input: Stream<u64>| {
///     let windows = input.key_by(|_| 0u8).window(TumblingWindows::of(Duration::from_millis(10)));
///     windows.reduce("sum", |a, b| a + b)
/// });
/// h.push(3, 1);
/// h.push(4, 9);
/// assert!(h.outputs().is_empty());
/// h.watermark(9);
/// assert_eq!(h.timed_outputs(), [(7, 9)]);
/// ```
pub struct Harness<T, U, S = ()> {
    workers: Vec<Worker>,
    queues: Queues<T>,
    second: Queues<S>,
    /// Whether somebody reads the second input.
    has_second: bool,
    arrived: Rc<Arrived<U>>,
    captured: Rc<Captured>,
    clock: ManualClock,
    batched: bool,
    ended: bool,
    /// With what it is begun again, if it can be.
    again: Option<Again>,
    /// Whether that happens behind every event.
    restarting: bool,
}

impl<T: 'static, U: 'static> Harness<T, U> {
    /// A harness with one channel that processes records as they are pushed.
    ///
    /// # Panics
    /// If the job cannot be built.
    pub fn new<C, F>(make: F) -> Self
    where
        C: Chain<U>,
        F: Fn(Stream<T>) -> Stream<U, C>,
    {
        HarnessOptions::new().build(make)
    }

    pub(super) fn start<C, F>(options: &HarnessOptions, make: F) -> Result<Self>
    where
        C: Chain<U>,
        F: Fn(&Dataflow, Input<T>) -> Result<Stream<U, C>>,
    {
        let (parts, env) = Parts::new(options);
        let job = |flow: &Dataflow, _: &Args| {
            let (flow, queues) = (flow.clone(), Rc::clone(&parts.queues));
            let input = Input { flow: flow.clone(), queues, name: "input" };
            make(&flow, input)?.sink("output", parts.output());
            Ok(())
        };
        let shared: Rc<dyn Clock> = Rc::new(parts.clock.clone());
        let channels = parts.queues.len();
        let workers = local_workers(&job, &Args::default(), channels, &shared, &env, None)?;
        Ok(parts.harness(options, workers, None))
    }
}

/// What a harness and its job share.
struct Parts<T, U, S> {
    queues: Queues<T>,
    second: Queues<S>,
    arrived: Rc<Arrived<U>>,
    captured: Rc<Captured>,
    clock: ManualClock,
    budget: Option<usize>,
}

impl<T: 'static, U: 'static, S: 'static> Parts<T, U, S> {
    fn new(options: &HarnessOptions) -> (Self, Environment) {
        let channels = options.channels.max(1);
        let parts = Self {
            queues: Rc::new((0..channels).map(|_| Default::default()).collect()),
            second: Rc::new((0..channels).map(|_| Default::default()).collect()),
            arrived: Rc::new(Arrived::new(channels)),
            captured: Rc::new(Captured::default()),
            clock: ManualClock::new(options.wall_millis),
            budget: options.output_budget,
        };
        let mut env = Environment::new(channels, options.network());
        env.captured = Some(Rc::clone(&parts.captured));
        env.memory = options.memory();
        (parts, env)
    }

    fn share(&self) -> Self {
        Self {
            queues: Rc::clone(&self.queues),
            second: Rc::clone(&self.second),
            arrived: Rc::clone(&self.arrived),
            captured: Rc::clone(&self.captured),
            clock: self.clock.clone(),
            budget: self.budget,
        }
    }

    fn output(&self) -> Output<U> {
        Output { arrived: Rc::clone(&self.arrived), budget: self.budget }
    }

    fn harness(
        self,
        options: &HarnessOptions,
        workers: Vec<Worker>,
        again: Option<Again>,
    ) -> Harness<T, U, S> {
        let Self { queues, second, arrived, captured, clock, .. } = self;
        let (batched, restarting) = (options.batched, options.restarting && again.is_some());
        let (ended, has_second) = (false, false);
        Harness {
            workers,
            queues,
            second,
            has_second,
            arrived,
            captured,
            clock,
            batched,
            ended,
            again,
            restarting,
        }
    }
}

impl<T: 'static, U: 'static, S: 'static> Harness<T, U, S> {
    /// A harness that can begin its job again, with one input or two.
    pub(super) fn start_two<C, F>(
        options: &HarnessOptions,
        has_second: bool,
        make: F,
    ) -> Result<Self>
    where
        C: Chain<U>,
        F: Fn(&Dataflow, Input<T>, Input<S>) -> Result<Stream<U, C>> + 'static,
    {
        let (parts, env) = Parts::new(options);
        let given = parts.share();
        let job = move |flow: &Dataflow, _: &Args| {
            let (one, other) = (Rc::clone(&given.queues), Rc::clone(&given.second));
            let first = Input { flow: flow.clone(), queues: one, name: "input" };
            let second = Input { flow: flow.clone(), queues: other, name: "second" };
            make(flow, first, second)?.sink("output", given.output());
            Ok(())
        };
        let shared: Rc<dyn Clock> = Rc::new(parts.clock.clone());
        let (again, workers) = Again::first(Box::new(job), env, shared, parts.queues.len())?;
        Ok(Self { has_second, ..parts.harness(options, workers, Some(again)) })
    }

    /// Makes a checkpoint, throws all cores away, and goes on with new ones from the checkpoint.
    /// What was pushed is processed before; counters begin anew.
    ///
    /// # Panics
    /// If the harness was not made by [`HarnessOptions::build_two`] or
    /// [`HarnessOptions::build_restartable`], or the job fails.
    pub fn restart(&mut self) {
        self.run();
        self.begin_again();
        self.run();
    }

    /// As [`Harness::restart`], but while there is work: the cut is made after so many turns of
    /// every core. Returns how many records had come out by then.
    #[cfg(test)]
    pub(super) fn restart_amid(&mut self, turns: usize) -> usize {
        for _ in 0..turns {
            let mut stepped = self.workers.iter_mut().map(Worker::step);
            let failed = stepped.find_map(Result::err);
            assert!(failed.is_none(), "{failed:?}");
        }
        self.begin_again();
        let arrived = self.arrived.records.borrow().len();
        self.run();
        arrived
    }

    fn begin_again(&mut self) {
        let again = self.again.as_mut().expect("only a restartable harness begins again");
        again.next(&mut self.workers).unwrap_or_else(|error| panic!("{}", error.report()));
    }

    /// As [`Harness::push`], for the second input.
    pub fn push_second(&mut self, record: S, timestamp: Timestamp) {
        self.second_event(0, Event::Record(record, timestamp));
    }

    /// As [`Harness::push_on`], for the second input.
    pub fn push_second_on(&mut self, channel: usize, record: S, timestamp: Timestamp) {
        self.second_event(channel, Event::Record(record, timestamp));
    }

    /// As [`Harness::watermark`], for the second input.
    pub fn watermark_second(&mut self, watermark: Timestamp) {
        self.second_event(0, Event::Watermark(watermark));
    }

    /// As [`Harness::idle`], for the second input.
    pub fn idle_second(&mut self) {
        self.second_event(0, Event::Idle(true));
    }

    /// As [`Harness::idle_on`], for the second input.
    #[cfg(test)]
    pub(super) fn idle_second_on(&mut self, channel: usize) {
        self.second_event(channel, Event::Idle(true));
    }

    /// Ends the second input alone.
    pub fn end_second(&mut self) {
        (0..self.second.len()).for_each(|channel| self.second_event(channel, Event::End));
    }

    fn second_event(&mut self, channel: usize, event: Event<S>) {
        self.second[channel].borrow_mut().push_back(event);
        self.settle_unless_batched();
    }

    /// Pushes a record with a timestamp ([`crate::time::MIN`]: none).
    ///
    /// # Panics
    /// If the job fails; the message is the error's report.
    pub fn push(&mut self, record: T, timestamp: Timestamp) {
        self.push_on(0, record, timestamp);
    }

    /// As [`Harness::push`], on one of several channels.
    pub fn push_on(&mut self, channel: usize, record: T, timestamp: Timestamp) {
        self.event(channel, Event::Record(record, timestamp));
    }

    /// Pushes records with their timestamps; operators see them as one batch.
    pub fn push_all(&mut self, records: impl IntoIterator<Item = (T, Timestamp)>) {
        let mut queue = self.queues[0].borrow_mut();
        queue.extend(records.into_iter().map(|(record, at)| Event::Record(record, at)));
        drop(queue);
        self.settle_unless_batched();
    }

    /// As [`Harness::push`], for records that the job may refuse.
    ///
    /// # Errors
    /// Whatever ends the job; the harness is of no use afterwards.
    pub fn try_push(&mut self, record: T, timestamp: Timestamp) -> Result<()> {
        self.queues[0].borrow_mut().push_back(Event::Record(record, timestamp));
        self.settle()
    }

    /// Moves the watermark of the input: no more records with a timestamp of at most `watermark`.
    pub fn watermark(&mut self, watermark: Timestamp) {
        self.watermark_on(0, watermark);
    }

    /// As [`Harness::watermark`], on one of several channels.
    pub fn watermark_on(&mut self, channel: usize, watermark: Timestamp) {
        self.event(channel, Event::Watermark(watermark));
    }

    /// Makes the input idle: it holds no watermark back until its next record or watermark.
    pub fn idle(&mut self) {
        self.idle_on(0);
    }

    /// As [`Harness::idle`], for one of several channels.
    pub fn idle_on(&mut self, channel: usize) {
        self.event(channel, Event::Idle(true));
    }

    /// Makes an idle channel active again without a record.
    pub fn active_on(&mut self, channel: usize) {
        self.event(channel, Event::Idle(false));
    }

    /// Moves processing time on and fires what is due.
    pub fn advance(&mut self, by: Duration) {
        self.run();
        self.clock.advance(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX));
        self.run();
    }

    /// Processing time in milliseconds since the epoch.
    pub fn processing_time(&self) -> i64 {
        self.clock.wall_millis()
    }

    /// The records that came out since the last call.
    pub fn outputs(&mut self) -> Vec<U> {
        self.timed_outputs().into_iter().map(|(record, _)| record).collect()
    }

    /// The records that came out since the last call, with their timestamps.
    pub fn timed_outputs(&mut self) -> Vec<(U, Timestamp)> {
        self.run();
        std::mem::take(&mut *self.arrived.records.borrow_mut())
    }

    /// The records that went to a side output since the last call, unless the job uses that output
    /// itself.
    ///
    /// # Panics
    /// If the tag is used with another type.
    pub fn side<R: 'static>(&mut self, tag: &Tag<R>) -> Vec<R> {
        self.timed_side(tag).into_iter().map(|(record, _)| record).collect()
    }

    /// As [`Harness::side`], with timestamps.
    pub fn timed_side<R: 'static>(&mut self, tag: &Tag<R>) -> Vec<(R, Timestamp)> {
        self.run();
        let records = self.captured.of(tag).unwrap_or_else(|error| panic!("{}", error.report()));
        let records = std::mem::take(&mut *records.borrow_mut());
        records.into_iter().map(|(record, stamp)| (record, stamp.timestamp)).collect()
    }

    /// The watermark that has come out: the lowest over all cores.
    pub fn output_watermark(&mut self) -> Timestamp {
        self.run();
        let cores = self.arrived.cores.borrow();
        cores.iter().map(|core| core.watermark).min().unwrap_or(MIN)
    }

    /// Whether the output is idle on all cores.
    pub fn output_idle(&mut self) -> bool {
        self.run();
        self.arrived.cores.borrow().iter().all(|core| core.idle)
    }

    /// Records that were dropped because they came too late.
    pub fn late(&mut self) -> u64 {
        self.run();
        self.workers.iter().map(|worker| worker.core().metrics.late.value()).sum()
    }

    /// The user's counter `name` over all cores.
    pub fn counter(&mut self, name: &str) -> u64 {
        self.run();
        let cores = self.workers.iter().map(|worker| worker.core());
        cores.map(|core| core.metrics.counter(name).value()).sum()
    }

    /// Memory that the declared state takes up.
    pub fn state_bytes(&mut self) -> usize {
        self.run();
        self.workers.iter().map(Worker::state_bytes).sum()
    }

    /// Rows of state that left their table for the cold tier.
    pub fn evicted(&mut self) -> u64 {
        self.run();
        self.workers.iter().map(|worker| worker.core().budget.counts.evicted.value()).sum()
    }

    /// Ends the input: event time comes to its end, all timers of event time fire, the job
    /// finishes.
    pub fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        self.queues.iter().for_each(|queue| queue.borrow_mut().push_back(Event::End));
        for queue in self.second.iter().filter(|_| self.has_second) {
            queue.borrow_mut().push_back(Event::End);
        }
        self.run();
        assert_eq!(self.output_watermark(), MAX, "a job that has ended is at the end of time");
    }

    fn event(&mut self, channel: usize, event: Event<T>) {
        let channels = self.queues.len();
        assert!(channel < channels, "channel {channel} of {channels}: see HarnessOptions");
        self.queues[channel].borrow_mut().push_back(event);
        self.settle_unless_batched();
    }

    fn settle_unless_batched(&mut self) {
        if self.restarting {
            self.restart();
        } else if !self.batched {
            self.run();
        }
    }

    fn run(&mut self) {
        self.settle().unwrap_or_else(|error| panic!("{}", error.report()));
    }

    /// Steps all workers until nothing more happens.
    fn settle(&mut self) -> Result<()> {
        let mut quiet = 0;
        for _ in 0..TURNS_MAX {
            let mut worked = self.queues.iter().any(|queue| !queue.borrow().is_empty());
            worked |= self.second.iter().any(|queue| !queue.borrow().is_empty());
            for worker in &mut self.workers {
                worked |= worker.step()?.worked || worker.core().budget.is_busy();
            }
            if let Some(again) = &mut self.again {
                worked |= again.serve(&mut self.workers)?.is_some();
            }
            quiet = if worked { 0 } else { quiet + 1 };
            if quiet == QUIET_TURNS {
                return Ok(());
            }
        }
        let message = format!("the job is still busy after {TURNS_MAX} turns");
        Err(Error::new(Kind::Timeout, message)
            .with_hint("does a timer register itself again for a time that has passed?"))
    }
}
