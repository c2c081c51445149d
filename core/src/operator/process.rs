//! Keyed processes: user code with states, timers and side outputs.
//!
//! What a process emits is staged per call and handed on right behind it, so an early stop lies
//! between two records or between two timers, never inside one.

mod context;

use std::ops::Range;
use std::rc::Rc;

use thalweg_net::PageView;
use thalweg_state::{Key, KeyRef, key};

use super::downstream::Downstream;
use super::keyed::{IntoConsumer, ahead, key_of, near, stamp_of};
use super::timers::{TIMERS_PER_TURN, TimerSet};
use super::{Blame, Feed, Snapshot};
use crate::Result;
use crate::record::Record;
use crate::runtime::{Core, PageConsumer, Run, SideOutputs};
use crate::state::{ColdState, Held, Journalled, StateTables};
use crate::time::{MIN, Stamp, Timestamp};

pub use context::ProcessContext;

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
    name: Rc<str>,
    core: Rc<Core>,
    process: P,
    states: StateTables,
    event: TimerSet<K>,
    processing: TimerSet<K>,
    sides: Rc<SideOutputs>,
    watermark: Timestamp,
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
}

impl<K: Key, T: Record, P: KeyedProcess<K, T>> IntoConsumer<T, P::Out> for Process<K, P> {
    fn into_consumer<N: Feed<P::Out>>(self, next: N) -> Box<dyn PageConsumer<T>> {
        let sides = Rc::clone(&self.sides);
        Box::new(Running::<K, T, P, N> {
            operator: self,
            outputs: Vec::new(),
            timer_key: Vec::new(),
            downstream: Downstream::new(next, sides),
        })
    }
}

struct Running<K: Key, T: Record, P: KeyedProcess<K, T>, N> {
    operator: Process<K, P>,
    /// What the current call has emitted.
    outputs: Vec<(P::Out, Stamp)>,
    timer_key: Vec<u8>,
    downstream: Downstream<P::Out, N>,
}

impl<K, T, P, N> Running<K, T, P, N>
where
    K: Key,
    T: Record,
    P: KeyedProcess<K, T>,
    N: Feed<P::Out>,
{
    /// Calls user code with `key` as the current key, then hands on what it emitted, behind the
    /// watermark `before`.
    #[inline]
    fn call(
        &mut self,
        key: KeyRef<'_>,
        stamp: Stamp,
        timestamp: Timestamp,
        before: Timestamp,
        user: impl FnOnce(&mut P, &mut ProcessContext<'_, K, P::Out>) -> Result<()>,
    ) -> Result<()> {
        let operator = &mut self.operator;
        operator.states.scope.enter::<K>(key);
        let mut cx = ProcessContext::new(
            context::Parts {
                core: &operator.core,
                scope: &operator.states.scope,
                event: &mut operator.event,
                processing: &mut operator.processing,
                sides: &operator.sides,
                outputs: &mut self.outputs,
            },
            stamp,
            timestamp,
            operator.watermark,
        );
        let process = &mut operator.process;
        Blame::try_call(&operator.name, || user(process, &mut cx))?;
        operator.states.scope.leave();
        if self.outputs.is_empty() {
            return Ok(());
        }
        self.downstream.tell(before)?;
        let mut outputs = self.outputs.drain(..);
        outputs.try_for_each(|(output, stamp)| self.downstream.feed(output, stamp))
    }

    /// Moves event time on to the next record's, if no timer is due by then; else false.
    #[inline]
    fn follow(&mut self, watermark: Timestamp) -> Result<bool> {
        if watermark > self.operator.watermark {
            if self.operator.event.next() <= watermark {
                return Ok(false);
            }
            self.operator.watermark = watermark;
            if !self.operator.sides.is_unused() {
                // User code emits there on its own.
                self.downstream.tell(watermark)?;
            }
        }
        Ok(true)
    }

    fn fire(&mut self, timer: Timer, stamp: Stamp) -> Result<()> {
        let bytes = std::mem::take(&mut self.timer_key);
        let current = KeyRef { hash: key::hash(&bytes), bytes: &bytes };
        // Event time reaches who stands behind after its timers have fired.
        let fired = self
            .call(current, stamp, timer.timestamp, MIN, |process, cx| process.on_timer(timer, cx));
        self.timer_key = bytes;
        fired
    }
}

impl<K, T, P, N> PageConsumer<T> for Running<K, T, P, N>
where
    K: Key,
    T: Record,
    P: KeyedProcess<K, T>,
    N: Feed<P::Out>,
{
    fn prepare(&mut self, page: &PageView<'_, T>, from: usize) -> Result<bool> {
        let states = &mut self.operator.states;
        if !states.is_cold() {
            return Ok(true);
        }
        let mut ready = true;
        for index in from..page.len() {
            states.prefetch(ahead(page, index).map(|later| page.head(later).hash));
            ready &= states.ready(key_of(page.at(index)));
        }
        states.ask();
        Ok(ready)
    }

    fn hold(&self, page: &PageView<'_, T>, from: usize, held: &mut Held) {
        let keys = (from..page.len()).map(|index| key_of(page.at(index)));
        keys.for_each(|key| self.operator.states.hold(key, held));
    }

    fn hold_timers(&self, held: &mut Held) {
        let Process { states, event, processing, waits_until, .. } = &self.operator;
        for (timers, upto) in [event, processing].into_iter().zip(waits_until) {
            let Some(upto) = *upto else { continue };
            timers.due(upto).for_each(|timer| states.hold(KeyRef::new(timer.key), held));
        }
    }

    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        Some(&mut self.operator.states)
    }

    fn journals(&mut self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        let Process { states, event, processing, .. } = &mut self.operator;
        states.journals(visit);
        visit(event);
        visit(processing);
    }

    fn restored(&mut self) {
        self.operator.states.refresh();
    }

    fn prefetch(&mut self, page: &PageView<'_, T>, range: Range<usize>) {
        self.operator.states.prefetch(range.map(|index| page.head(index).hash));
    }

    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize> {
        let mut taken = run.range.end;
        for index in run.range.clone() {
            let record = page.at(index);
            let watermark = run.watermark(record.head());
            if self.operator.core.pressure.get() || !self.follow(watermark)? {
                taken = index;
                break;
            }
            self.prefetch(page, ahead(page, index));
            if let Some(hash) = near(page, index) {
                self.operator.states.prefetch_entry(hash);
            }
            let stamp = stamp_of(record);
            let (key, watermark) = (key_of(record), self.operator.watermark);
            self.call(key, stamp, stamp.timestamp, watermark, |process, cx| {
                process.process(record.record(), cx)
            })?;
        }
        self.downstream.tell(self.operator.watermark)?;
        Ok(taken)
    }

    fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
        if watermark <= self.downstream.told() {
            return Ok(true);
        }
        self.operator.watermark = watermark;
        if self.operator.event.next() <= watermark
            && !self.operator.due_ready(TimeDomain::Event, watermark)
        {
            self.operator.core.budget.note_wait();
            return Ok(false);
        }
        let mut left = TIMERS_PER_TURN;
        while self.operator.event.next() <= watermark {
            if left == 0 || self.operator.core.pressure.get() {
                return Ok(false);
            }
            left -= 1;
            let due = self.operator.event.pop(watermark, &mut self.timer_key);
            let Some((timestamp, _)) = due else { break };
            let timer = Timer { timestamp, domain: TimeDomain::Event };
            let origin = self.operator.core.now();
            self.fire(timer, Stamp { timestamp, origin })?;
        }
        self.downstream.tell(watermark)?;
        Ok(true)
    }

    fn advance_processing(&mut self, now: i64) -> Result<bool> {
        self.operator.states.sweep(now);
        if self.operator.processing.next() <= now
            && !self.operator.due_ready(TimeDomain::Processing, now)
        {
            self.operator.core.budget.note_wait();
            return Ok(false);
        }
        let mut left = TIMERS_PER_TURN;
        while self.operator.processing.next() <= now {
            if left == 0 || self.operator.core.pressure.get() {
                return Ok(false);
            }
            left -= 1;
            let due = self.operator.processing.pop(now, &mut self.timer_key);
            let Some((timestamp, _)) = due else { break };
            let timer = Timer { timestamp, domain: TimeDomain::Processing };
            let origin = self.operator.core.now();
            self.fire(timer, Stamp { timestamp: MIN, origin })?;
        }
        Ok(true)
    }

    fn next_processing_timer(&self) -> Option<i64> {
        let next = self.operator.processing.next().min(self.operator.states.round_at());
        (next != i64::MAX).then_some(next)
    }

    fn state_bytes(&self) -> usize {
        let operator = &self.operator;
        operator.states.bytes() + operator.event.bytes() + operator.processing.bytes()
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.downstream.idle(idle)
    }
    fn flush(&mut self) -> Result<()> {
        self.operator.states.refresh();
        self.downstream.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.downstream.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.operator.watermark)?;
        self.downstream.snapshot(snapshot)
    }
}
