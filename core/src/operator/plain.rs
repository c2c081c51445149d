//! Processes without a key: user code with lists and side outputs.
//!
//! Without a key there are no timers, so records and watermarks pass at once: such a process is
//! part of the chain that it stands in.

use std::marker::PhantomData;
use std::rc::Rc;

use super::downstream::Downstream;
use super::{Blame, Chain, Feed, Snapshot, SplitEvent};
use crate::Result;
use crate::dataflow::Tag;
use crate::metrics::{Counter, Distribution};
use crate::runtime::poison::Warden;
use crate::runtime::{Core, SideOutputs};
use crate::time::{MIN, Stamp, Timestamp};

/// User code that is called for every record of a stream on its core.
///
/// States are declared when the process is made (see `Stream::process`). An error ends the attempt.
///
/// ```
/// use thalweg::prelude::*;
/// /// Hands records on by hundreds.
/// struct Batches { waiting: OperatorList<u64> }
/// impl StreamProcess<u64> for Batches {
///     type Out = Vec<u64>;
///     fn process(&mut self, n: u64, cx: &mut StreamContext<Vec<u64>>) -> thalweg::Result<()> {
///         self.waiting.push(n);
///         if self.waiting.len() == 100 {
///             cx.emit(self.waiting.take());
///         }
///         Ok(())
///     }
///     fn on_watermark(
///         &mut self,
///         watermark: Timestamp,
///         cx: &mut StreamContext<Vec<u64>>,
///     ) -> thalweg::Result<()> {
///         if watermark == thalweg::time::MAX && !self.waiting.is_empty() {
///             cx.emit(self.waiting.take());
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait StreamProcess<In>: 'static {
    /// What it emits.
    type Out: 'static;

    /// Takes a record.
    fn process(&mut self, record: In, cx: &mut StreamContext<'_, Self::Out>) -> Result<()>;

    /// Event time moves on to `watermark`, which who stands behind hears of afterwards. The last
    /// one, at the end of the input, is [`crate::time::MAX`].
    fn on_watermark(
        &mut self,
        _watermark: Timestamp,
        _cx: &mut StreamContext<'_, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
}

/// The surroundings of one call of a process without a key: time and outputs.
pub struct StreamContext<'a, O> {
    core: &'a Core,
    sides: &'a SideOutputs,
    outputs: &'a mut Vec<(O, Stamp)>,
    stamp: Stamp,
    watermark: Timestamp,
}

impl<O> StreamContext<'_, O> {
    /// The same surroundings, for a while.
    pub(super) fn reborrow(&mut self) -> StreamContext<'_, O> {
        let StreamContext { core, sides, outputs, stamp, watermark } = self;
        let (stamp, watermark) = (*stamp, *watermark);
        StreamContext { core, sides, outputs, stamp, watermark }
    }

    /// The record's timestamp ([`crate::time::MIN`] if it has none), or the watermark.
    #[inline]
    pub fn timestamp(&self) -> Timestamp {
        self.stamp.timestamp
    }

    /// The watermark before this record.
    #[inline]
    pub fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// Wall-clock time in milliseconds since the epoch as of this turn.
    #[inline]
    pub fn processing_time(&self) -> i64 {
        self.core.wall_millis()
    }

    /// Emits a record with the timestamp of the record, or of the watermark.
    #[inline]
    pub fn emit(&mut self, record: O) {
        self.outputs.push((record, self.stamp));
    }

    /// Emits a record with a timestamp of its own.
    #[inline]
    pub fn emit_at(&mut self, timestamp: Timestamp, record: O) {
        self.outputs.push((record, Stamp { timestamp, ..self.stamp }));
    }

    /// Sends a record to a side output; it is dropped if the job does not use that output.
    ///
    /// # Errors
    /// The tag is used with another type, or what comes behind it fails.
    pub fn side<S: 'static>(&mut self, tag: &Tag<S>, record: S) -> Result<()> {
        self.sides.push(tag, record, self.stamp)
    }

    /// The counter `name` of this core; the run's summary adds the cores up.
    pub fn counter(&self, name: &str) -> Rc<Counter> {
        self.core.metrics.counter(name)
    }

    /// The histogram `name` of this core.
    pub fn histogram(&self, name: &str) -> Rc<Distribution> {
        self.core.metrics.histogram(name)
    }
}

/// A process without a key on one core, and where it runs.
pub struct Plain<P> {
    pub(crate) name: Rc<str>,
    pub(crate) core: Rc<Core>,
    pub(crate) process: P,
    pub(crate) sides: Rc<SideOutputs>,
}

/// A process without a key and what stands behind it.
pub(super) struct PlainDriver<P, O, N> {
    plain: Plain<P>,
    /// What the current call has emitted.
    outputs: Vec<(O, Stamp)>,
    watermark: Timestamp,
    pub(super) downstream: Downstream<O, N>,
}

impl<P, O, N: Feed<O>> PlainDriver<P, O, N> {
    pub(super) fn new(plain: Plain<P>, next: N) -> Self {
        let downstream = Downstream::new(next, Rc::clone(&plain.sides));
        Self { plain, outputs: Vec::new(), watermark: MIN, downstream }
    }

    /// Calls user code, then hands on what it emitted.
    #[inline]
    pub(super) fn call(
        &mut self,
        stamp: Stamp,
        user: impl FnOnce(&mut P, &mut StreamContext<'_, O>) -> Result<()>,
    ) -> Result<()> {
        let Plain { name, core, process, sides } = &mut self.plain;
        let (outputs, watermark) = (&mut self.outputs, self.watermark);
        let mut cx = StreamContext { core, sides, outputs, stamp, watermark };
        Blame::try_call(name, || user(process, &mut cx))?;
        let mut outputs = self.outputs.drain(..);
        outputs.try_for_each(|(output, stamp)| self.downstream.feed(output, stamp))
    }

    /// Event time has moved on: calls user code before who stands behind hears of it.
    pub(super) fn advance(
        &mut self,
        watermark: Timestamp,
        user: impl FnOnce(&mut P, &mut StreamContext<'_, O>) -> Result<()>,
    ) -> Result<()> {
        // What fails here is event time's doing, not that of the record that brought it.
        let noted = self.plain.core.warden().and_then(Warden::take_note);
        self.call(Stamp { timestamp: watermark, origin: self.plain.core.now() }, user)?;
        if let Some(warden) = self.plain.core.warden() {
            warden.note(noted);
        }
        self.watermark = watermark;
        self.downstream.tell(watermark)
    }

    pub(super) fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.watermark)?;
        self.downstream.snapshot(snapshot)
    }
}

/// A chain followed by a process without a key.
pub struct StreamProcessed<C, T, P> {
    pub(crate) chain: C,
    pub(crate) plain: Plain<P>,
    pub(crate) input: PhantomData<fn(T)>,
}

impl<C: Chain<T>, T: 'static, P: StreamProcess<T>> Chain<P::Out> for StreamProcessed<C, T, P> {
    fn install<N: Feed<P::Out>>(self, next: N) {
        let driver = PlainDriver::new(self.plain, next);
        self.chain.install(ProcessFeed::<T, P, N> { driver });
    }
}

struct ProcessFeed<T, P: StreamProcess<T>, N> {
    driver: PlainDriver<P, P::Out, N>,
}

impl<T: 'static, P: StreamProcess<T>, N: Feed<P::Out>> Feed<T> for ProcessFeed<T, P, N> {
    #[inline]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        self.driver.call(stamp, |process, cx| process.process(record, cx))
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.driver.advance(watermark, |process, cx| process.on_watermark(watermark, cx))
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.driver.downstream.idle(idle)
    }
    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.driver.downstream.split(event)
    }
    fn flush(&mut self) -> Result<()> {
        self.driver.downstream.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.driver.downstream.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.driver.snapshot(snapshot)
    }
}
