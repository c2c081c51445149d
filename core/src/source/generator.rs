//! A deterministic generator: a function of the event's index, in splits, at a rate.
//!
//! Event `i` is the same whatever the splits and the rate are. With a rate of R records per second
//! event `i` is due `i / R` seconds after the start, and latency counts from that moment, not from
//! when it was read.

use super::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::operator::SplitEvent;
use crate::time::Timestamp;
use crate::{Error, Result};

/// A source of events made from their index.
///
/// ```
/// use thalweg::prelude::*;
/// let squares = Generator::new(|i| (i * i, i as i64)).records(4).splits(1);
/// let out = thalweg::testing::outputs(move |flow| flow.source("squares", squares.clone()));
/// assert_eq!(out, [0, 1, 4, 9]);
/// ```
#[derive(Debug, Clone)]
pub struct Generator<F, A = NoAssignment> {
    event: F,
    assign: A,
    records: Option<u64>,
    rate: Option<f64>,
    splits: Option<usize>,
}

/// Split `s` of `S` emits the events `s, s + S, s + 2S, …`.
#[derive(Debug, Clone, Copy)]
pub struct NoAssignment;

/// Decides which split emits an event.
pub trait Assignment<T>: 'static {
    /// Distance of the indices that a split looks at, given the number of splits.
    fn stride(&self, splits: u64) -> u64;
    /// Whether split `split` of `splits` emits this event.
    fn takes(&self, event: &T, split: u64, splits: u64) -> bool;
}

impl<T> Assignment<T> for NoAssignment {
    #[inline]
    fn stride(&self, splits: u64) -> u64 {
        splits
    }
    #[inline]
    fn takes(&self, _event: &T, _split: u64, _splits: u64) -> bool {
        true
    }
}

/// Split `s` of `S` emits the events whose value `v` has `v % S == s`, in order of the index.
#[derive(Debug, Clone, Copy)]
pub struct AssignBy<G>(G);

impl<T, G: Fn(&T) -> u64 + 'static> Assignment<T> for AssignBy<G> {
    fn stride(&self, _splits: u64) -> u64 {
        1
    }
    #[inline]
    fn takes(&self, event: &T, split: u64, splits: u64) -> bool {
        (self.0)(event) % splits == split
    }
}

impl<F> Generator<F> {
    /// A generator without an end: `event(i)` is the record and its timestamp in milliseconds.
    pub fn new(event: F) -> Self {
        Self { event, assign: NoAssignment, records: None, rate: None, splits: None }
    }

    /// Gives all events with the same `value % splits` to one split, so that they keep their order.
    #[must_use]
    pub fn assign_by<T, G: Fn(&T) -> u64>(self, value: G) -> Generator<F, AssignBy<G>> {
        let Self { event, records, rate, splits, .. } = self;
        Generator { event, assign: AssignBy(value), records, rate, splits }
    }
}

impl<F, A> Generator<F, A> {
    /// Ends after the events 0 … `records` - 1.
    #[must_use]
    pub fn records(mut self, records: u64) -> Self {
        self.records = Some(records);
        self
    }

    /// Paces the events: `rate` a second, of all splits together.
    #[must_use]
    pub fn rate(mut self, rate: f64) -> Self {
        self.rate = Some(rate);
        self
    }

    /// Sets the number of splits; by default it is the parallelism at the job's first start.
    #[must_use]
    pub fn splits(mut self, splits: usize) -> Self {
        self.splits = Some(splits);
        self
    }
}

/// One split: which events it emits, and the next index that it looks at.
pub type GeneratorSplit = (u64, u64, u64);

impl<T, F, A> Source for Generator<F, A>
where
    T: 'static,
    F: Fn(u64) -> (T, Timestamp) + 'static,
    A: Assignment<T>,
{
    type Out = T;
    type Split = GeneratorSplit;
    type Reader = Generating<F, A>;

    fn kind(&self) -> &'static str {
        "generator"
    }

    fn validate(&self) -> Result<()> {
        if let Some(rate) = self.rate
            && !(rate.is_finite() && rate > 0.0)
        {
            return Err(Error::usage(format!("cannot generate {rate} records/s"))
                .with_hint("--rate takes a number above 0"));
        }
        if self.splits == Some(0) {
            let error = Error::usage("cannot generate in 0 splits");
            return Err(error.with_hint("--splits takes a number above 0"));
        }
        Ok(())
    }

    fn bounded(&self) -> bool {
        self.records.is_some()
    }

    fn expected(&self) -> Option<u64> {
        self.records
    }

    fn splits(&self, parallelism: usize) -> Result<Vec<GeneratorSplit>> {
        let count = self.splits.unwrap_or(parallelism) as u64;
        let first = |split| if self.assign.stride(count) == 1 { 0 } else { split };
        Ok((0..count).map(|split| (split, count, first(split))).collect())
    }

    fn reader(
        self,
        splits: Vec<(u32, GeneratorSplit)>,
        _cx: SourceContext,
    ) -> Result<Generating<F, A>> {
        let end = self.records.unwrap_or(u64::MAX);
        let splits = splits.into_iter().map(|(id, (split, count, next))| {
            let stride = self.assign.stride(count);
            Progress { id, split, count, stride, next, base: next, done: next >= end }
        });
        Ok(Generating {
            splits: splits.collect(),
            event: self.event,
            assign: self.assign,
            end,
            nanos_per_event: self.rate.map(|rate| 1e9 / rate),
            start: None,
            current: 0,
        })
    }
}

/// Reads the splits of one core, one after another in turns.
#[derive(Debug)]
pub struct Generating<F, A> {
    event: F,
    assign: A,
    splits: Vec<Progress>,
    end: u64,
    nanos_per_event: Option<f64>,
    /// Engine time of the first poll: event `base` is due then.
    start: Option<u64>,
    current: usize,
}

#[derive(Debug, Clone)]
struct Progress {
    id: u32,
    split: u64,
    count: u64,
    stride: u64,
    next: u64,
    /// Index from which this split's schedule counts.
    base: u64,
    done: bool,
}

/// Events that a split emits before the next one has its turn.
const TURN: usize = 256;

impl<F, A> Generating<F, A> {
    /// Engine time at which an event is due.
    #[inline]
    fn due(start: u64, nanos_per_event: f64, base: u64, index: u64) -> u64 {
        start + ((index - base) as f64 * nanos_per_event) as u64
    }

    /// Emits what one split has, up to a turn; `Some(due)` if the next event is in the future.
    #[inline]
    fn read<T, O>(&mut self, which: usize, start: u64, out: &mut O) -> Result<Option<u64>>
    where
        F: Fn(u64) -> (T, Timestamp),
        A: Assignment<T>,
        O: SourceOutput<T>,
    {
        let split = &mut self.splits[which];
        let now = out.now();
        let base = split.base - split.base % split.count.max(1);
        let mut left = TURN;
        while left > 0 && !out.is_full() {
            if split.next >= self.end {
                split.done = true;
                return Ok(None);
            }
            let origin = match self.nanos_per_event {
                None => now,
                Some(nanos) => Self::due(start, nanos, base, split.next),
            };
            if origin > now {
                return Ok(Some(origin));
            }
            let (event, timestamp) = (self.event)(split.next);
            let taken = self.assign.takes(&event, split.split, split.count);
            split.next += split.stride;
            left -= 1;
            if taken {
                out.collect(event, timestamp, origin)?;
            }
        }
        Ok(None)
    }
}

impl<T, F, A> SourceReader for Generating<F, A>
where
    T: 'static,
    F: Fn(u64) -> (T, Timestamp) + 'static,
    A: Assignment<T>,
{
    type Out = T;
    type Split = GeneratorSplit;

    fn open<O: SourceOutput<T>>(&mut self, out: &mut O) -> Result<()> {
        self.start.get_or_insert_with(|| out.now());
        for split in self.splits.iter().filter(|split| !split.done) {
            out.split(SplitEvent::Added(split.id))?;
        }
        if self.splits.is_empty() { out.idle(true) } else { Ok(()) }
    }

    fn poll<O: SourceOutput<T>>(&mut self, out: &mut O) -> Result<SourceStatus> {
        let start = *self.start.get_or_insert_with(|| out.now());
        let mut wake = u64::MAX;
        let mut waiting = 0;
        while !out.is_full() {
            let open = self.splits.iter().filter(|split| !split.done).count();
            if open == 0 {
                return Ok(SourceStatus::Finished);
            }
            if waiting == open {
                return Ok(SourceStatus::WaitUntil(wake));
            }
            self.current = (self.current + 1) % self.splits.len();
            let split = &self.splits[self.current];
            if split.done {
                continue;
            }
            let id = split.id;
            out.split(SplitEvent::Current(id))?;
            match self.read(self.current, start, out)? {
                Some(due) => {
                    wake = wake.min(due);
                    waiting += 1;
                }
                None => waiting = 0,
            }
            if self.splits[self.current].done {
                out.split(SplitEvent::Finished(id))?;
            }
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<(u32, GeneratorSplit)> {
        let position = |split: &Progress| (split.id, (split.split, split.count, split.next));
        self.splits.iter().map(position).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::outputs;

    fn numbers() -> Generator<impl Fn(u64) -> (u64, Timestamp) + Clone> {
        Generator::new(|i| (i, i as i64)).records(10)
    }

    #[test]
    fn splits_share_the_events_by_index() {
        let mut all = outputs(|flow| flow.source("n", numbers().splits(3)));
        all.sort_unstable();
        assert_eq!(all, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn events_assigned_by_value_keep_their_order() {
        let all = outputs(|flow| flow.source("n", numbers().splits(2).assign_by(|n| n / 5)));
        let low: Vec<_> = all.iter().copied().filter(|n| n / 5 == 0).collect();
        assert_eq!((low, all.len()), ((0..5).collect(), 10));
    }

    #[test]
    fn a_rate_of_nothing_is_a_usage_error() {
        let error = Source::validate(&numbers().rate(0.0)).unwrap_err();
        assert_eq!(error.kind(), crate::error::Kind::Usage);
    }
}
