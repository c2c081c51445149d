//! Keyed processes: user code with states, timers and side outputs.

mod context;
mod driver;

use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use thalweg_net::PageView;
use thalweg_state::{Key, KeyRef};

use super::keyed::IntoConsumer;
use super::timers::TimerSet;
use super::{Feed, Snapshot};
use crate::Result;
use crate::record::Record;
use crate::runtime::{Core, PageConsumer, Run, SideOutputs};
use crate::state::{ColdState, Held, Journalled, StateTables};
use crate::time::{MIN, Timestamp};

pub use context::ProcessContext;
pub(super) use driver::Driver;

/// What a timer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeDomain {
    /// Watermarks.
    Event,
    /// The wall clock.
    Processing,
}

/// A timer that fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timer {
    /// For when it was registered, in milliseconds.
    pub timestamp: Timestamp,
    /// What it counts.
    pub domain: TimeDomain,
}

/// User code that is called for every record of a key and for every timer that it registered.
///
/// States are declared when the process is made (see `KeyedStream::process`). An error ends the
/// attempt.
///
/// ```
/// use thalweg::prelude::*;
/// struct Count {
///     count: ValueState<u64>,
/// }
/// impl KeyedProcess<String, String> for Count {
///     type Out = (String, u64);
///     fn process(&mut self, word: String, cx: &mut ProcessContext<String, Self::Out>) ->
/// thalweg::Result<()> {
///         *self.count.or_default() += 1;
///         cx.emit((word, *self.count.or_default()));
///         Ok(())
///     }
/// }
/// ```
pub trait KeyedProcess<K: Key, In>: 'static {
    /// What it emits.
    type Out: 'static;

    /// Takes a record of the current key.
    fn process(&mut self, record: In, cx: &mut ProcessContext<'_, K, Self::Out>) -> Result<()>;

    /// A timer of the current key fires. Timers fire in the order of their timestamps, those of
    /// event time as soon as the watermark has reached them and before it moves on to the next
    /// operator.
    fn on_timer(
        &mut self,
        _timer: Timer,
        _cx: &mut ProcessContext<'_, K, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
}

/// A keyed process on one core.
pub struct Process<K: Key, P> {
    pub(super) name: Rc<str>,
    pub(super) core: Rc<Core>,
    pub(super) process: P,
    pub(super) states: StateTables,
    pub(super) event: TimerSet<K>,
    pub(super) processing: TimerSet<K>,
    pub(super) sides: Rc<SideOutputs>,
    pub(super) watermark: Timestamp,
    /// Until when timers of event and of processing time are due whose keys are being fetched.
    waits_until: [Option<i64>; 2],
}

impl<K: Key, P> Process<K, P> {
    pub(crate) fn new(
        name: Rc<str>,
        core: Rc<Core>,
        process: P,
        states: StateTables,
        sides: Rc<SideOutputs>,
    ) -> Self {
        let event = TimerSet::new(&core, &name, "timers/event");
        let processing = TimerSet::new(&core, &name, "timers/processing");
        Self {
            name,
            core,
            process,
            states,
            event,
            processing,
            sides,
            watermark: MIN,
            waits_until: [None; 2],
        }
    }

    fn timers(&mut self, domain: TimeDomain) -> &mut TimerSet<K> {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }

    /// Whether the keys of the timers that fire next can be served without waiting.
    fn due_ready(&mut self, domain: TimeDomain, upto: i64) -> bool {
        let Self { states, event, processing, waits_until, .. } = self;
        if !states.is_cold() {
            return true;
        }
        let timers = match domain {
            TimeDomain::Event => event,
            TimeDomain::Processing => processing,
        };
        let mut ready = true;
        for timer in timers.due(upto) {
            ready &= states.ready(KeyRef::new(timer.key));
        }
        states.ask();
        waits_until[domain as usize] = (!ready).then_some(upto);
        ready
    }

    pub(super) fn journals(&mut self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        self.states.journals(visit);
        visit(&mut self.event);
        visit(&mut self.processing);
    }

    /// Memory of its timers.
    pub(super) fn timer_bytes(&self) -> usize {
        self.event.bytes() + self.processing.bytes()
    }
}

impl<K: Key, T: Record, P: KeyedProcess<K, T>> IntoConsumer<T, P::Out> for Process<K, P> {
    fn into_consumer<N: Feed<P::Out>>(self, next: N) -> Box<dyn PageConsumer<T>> {
        Box::new(Running::<K, T, P, N> { driver: Driver::new(self, next), record: PhantomData })
    }
}

struct Running<K: Key, T: Record, P: KeyedProcess<K, T>, N> {
    driver: Driver<K, P, P::Out, N>,
    record: PhantomData<fn(T)>,
}

impl<K, T, P, N> PageConsumer<T> for Running<K, T, P, N>
where
    K: Key,
    T: Record,
    P: KeyedProcess<K, T>,
    N: Feed<P::Out>,
{
    fn prepare(&mut self, page: &PageView<'_, T>, from: usize) -> Result<bool> {
        Ok(self.driver.prepare(page, from))
    }

    fn hold(&self, page: &PageView<'_, T>, from: usize, held: &mut Held) {
        self.driver.hold(page, from, held);
    }

    fn hold_timers(&self, held: &mut Held) {
        self.driver.hold_timers(held);
    }

    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        Some(&mut self.driver.operator.states)
    }

    fn journals(&mut self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        self.driver.operator.journals(visit);
    }

    fn restored(&mut self) {
        self.driver.operator.states.refresh();
    }

    fn prefetch(&mut self, page: &PageView<'_, T>, range: Range<usize>) {
        self.driver.prefetch(page, range);
    }

    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize> {
        self.driver.take_run(page, &run, Driver::follow, P::process)
    }

    fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
        self.driver.advance(watermark, P::on_timer)
    }

    fn advance_processing(&mut self, now: i64) -> Result<bool> {
        self.driver.advance_processing(now, P::on_timer)
    }

    fn next_processing_timer(&self) -> Option<i64> {
        self.driver.next_processing_timer()
    }

    fn state_bytes(&self) -> usize {
        let operator = &self.driver.operator;
        operator.states.bytes() + operator.timer_bytes()
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.driver.downstream.idle(idle)
    }
    fn flush(&mut self) -> Result<()> {
        self.driver.operator.states.refresh();
        self.driver.downstream.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.driver.downstream.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.driver.operator.watermark)?;
        self.driver.downstream.snapshot(snapshot)
    }
}
