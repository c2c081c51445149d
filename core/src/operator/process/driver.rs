//! The part of a keyed operator that calls user code, whatever the number of its inputs.
//!
//! What a call emits is staged and handed on right behind it, so an early stop lies between two
//! records or between two timers, never inside one.

use std::ops::Range;
use std::rc::Rc;

use thalweg_net::PageView;
use thalweg_state::{Key, KeyRef, key};

use super::context::{Parts, ProcessContext};
use super::{Process, TimeDomain, Timer};
use crate::Result;
use crate::operator::downstream::Downstream;
use crate::operator::keyed::{ahead, key_of, near, stamp_of};
use crate::operator::timers::TIMERS_PER_TURN;
use crate::operator::{Blame, Feed};
use crate::record::Record;
use crate::runtime::Run;
use crate::state::Held;
use crate::time::{MIN, Stamp, Timestamp};

/// An operator's states and timers, its user code, and what stands behind it.
pub(in crate::operator) struct Driver<K: Key, P, O, N> {
    pub(in crate::operator) operator: Process<K, P>,
    /// What the current call has emitted.
    outputs: Vec<(O, Stamp)>,
    timer_key: Vec<u8>,
    pub(in crate::operator) downstream: Downstream<O, N>,
}

impl<K: Key, P, O, N: Feed<O>> Driver<K, P, O, N> {
    pub(in crate::operator) fn new(operator: Process<K, P>, next: N) -> Self {
        let downstream = Downstream::new(next, Rc::clone(&operator.sides));
        Self { operator, outputs: Vec::new(), timer_key: Vec::new(), downstream }
    }

    /// Calls user code with `key` as the current key, then hands on what it emitted, behind the
    /// watermark `before`.
    #[inline]
    pub(in crate::operator) fn call(
        &mut self,
        key: KeyRef<'_>,
        stamp: Stamp,
        timestamp: Timestamp,
        before: Timestamp,
        user: impl FnOnce(&mut P, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<()> {
        self.operator.states.scope.enter::<K>(key);
        self.call_user(stamp, timestamp, user)?;
        self.operator.states.scope.leave();
        self.hand_on(before)
    }

    /// As [`call`](Self::call) without a key.
    pub(in crate::operator) fn call_without_key(
        &mut self,
        stamp: Stamp,
        before: Timestamp,
        user: impl FnOnce(&mut P, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<()> {
        self.call_user(stamp, stamp.timestamp, user)?;
        self.hand_on(before)
    }

    #[inline(always)]
    fn call_user(
        &mut self,
        stamp: Stamp,
        timestamp: Timestamp,
        user: impl FnOnce(&mut P, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<()> {
        let operator = &mut self.operator;
        let mut cx = ProcessContext::new(
            Parts {
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
        Blame::try_call(&operator.name, || user(process, &mut cx))
    }

    #[inline(always)]
    fn hand_on(&mut self, before: Timestamp) -> Result<()> {
        if self.outputs.is_empty() {
            return Ok(());
        }
        self.downstream.tell(before)?;
        let mut outputs = self.outputs.drain(..);
        outputs.try_for_each(|(output, stamp)| self.downstream.feed(output, stamp))
    }

    /// Takes the records of a run until `follow` refuses the watermark in front of one, or credit
    /// ends; returns the first that was not taken. What stands behind has heard of the last
    /// watermark by then.
    #[inline]
    pub(in crate::operator) fn take_run<T: Record>(
        &mut self,
        page: &PageView<'_, T>,
        run: &Run,
        mut follow: impl FnMut(&mut Self, Timestamp) -> Result<bool>,
        user: impl Fn(&mut P, T, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<usize> {
        let mut taken = run.range.end;
        for index in run.range.clone() {
            let record = page.at(index);
            let watermark = run.watermark(record.head());
            if self.operator.core.pressure.get() || !follow(self, watermark)? {
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
                user(process, record.record(), cx)
            })?;
        }
        self.downstream.tell(self.operator.watermark)?;
        Ok(taken)
    }

    /// Moves event time on in front of a record, if no timer is due by then; else false.
    #[inline]
    pub(in crate::operator) fn follow(&mut self, watermark: Timestamp) -> Result<bool> {
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

    /// Moves event time on and fires what is due; false while timers are left.
    pub(in crate::operator) fn advance(
        &mut self,
        watermark: Timestamp,
        on_timer: impl Fn(&mut P, Timer, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<bool> {
        if watermark <= self.downstream.told() {
            return Ok(true);
        }
        self.operator.watermark = watermark;
        let fired = self.fire_due(TimeDomain::Event, watermark, on_timer)?;
        if fired {
            self.downstream.tell(watermark)?;
        }
        Ok(fired)
    }

    /// Fires processing-time timers that are due; false while some are left.
    pub(in crate::operator) fn advance_processing(
        &mut self,
        now: i64,
        on_timer: impl Fn(&mut P, Timer, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<bool> {
        self.operator.states.sweep(now);
        self.fire_due(TimeDomain::Processing, now, on_timer)
    }

    fn fire_due(
        &mut self,
        domain: TimeDomain,
        upto: i64,
        on_timer: impl Fn(&mut P, Timer, &mut ProcessContext<'_, K, O>) -> Result<()>,
    ) -> Result<bool> {
        if self.operator.timers(domain).next() <= upto && !self.operator.due_ready(domain, upto) {
            self.operator.core.budget.note_wait();
            return Ok(false);
        }
        let mut left = TIMERS_PER_TURN;
        while self.operator.timers(domain).next() <= upto {
            if left == 0 || self.operator.core.pressure.get() {
                return Ok(false);
            }
            left -= 1;
            let mut bytes = std::mem::take(&mut self.timer_key);
            let due = self.operator.timers(domain).pop(upto, &mut bytes);
            let Some((timestamp, _)) = due else { break };
            let origin = self.operator.core.now();
            // Who stands behind a timer of processing time gets records without a timestamp.
            let of_record = if domain == TimeDomain::Event { timestamp } else { MIN };
            let current = KeyRef { hash: key::hash(&bytes), bytes: &bytes };
            let timer = Timer { timestamp, domain };
            // Event time reaches who stands behind after its timers have fired.
            let stamp = Stamp { timestamp: of_record, origin };
            let fired = self
                .call(current, stamp, timestamp, MIN, |process, cx| on_timer(process, timer, cx));
            self.timer_key = bytes;
            fired?;
        }
        Ok(true)
    }
}

/// Cold rows and prefetching.
impl<K: Key, P, O, N> Driver<K, P, O, N> {
    /// Makes sure of the rows of a page's keys from `from` on; false while some are on their way.
    pub(in crate::operator) fn prepare<T: Record>(
        &mut self,
        page: &PageView<'_, T>,
        from: usize,
    ) -> bool {
        let states = &mut self.operator.states;
        if !states.is_cold() {
            return true;
        }
        let mut ready = true;
        for index in from..page.len() {
            states.prefetch(ahead(page, index).map(|later| page.head(later).hash));
            ready &= states.ready(key_of(page.at(index)));
        }
        states.ask();
        ready
    }

    /// Names the rows that those keys need.
    pub(in crate::operator) fn hold<T: Record>(
        &self,
        page: &PageView<'_, T>,
        from: usize,
        held: &mut Held,
    ) {
        let keys = (from..page.len()).map(|index| key_of(page.at(index)));
        keys.for_each(|key| self.operator.states.hold(key, held));
    }

    /// Names the rows that timers wait for.
    pub(in crate::operator) fn hold_timers(&self, held: &mut Held) {
        let Process { states, event, processing, waits_until, .. } = &self.operator;
        for (timers, upto) in [event, processing].into_iter().zip(waits_until) {
            let Some(upto) = *upto else { continue };
            timers.due(upto).for_each(|timer| states.hold(KeyRef::new(timer.key), held));
        }
    }

    #[inline]
    pub(in crate::operator) fn prefetch<T: Record>(
        &mut self,
        page: &PageView<'_, T>,
        range: Range<usize>,
    ) {
        self.operator.states.prefetch(range.map(|index| page.head(index).hash));
    }

    /// When the next processing-time timer fires, or a round of sweeping is due.
    pub(in crate::operator) fn next_processing_timer(&self) -> Option<i64> {
        let next = self.operator.processing.next().min(self.operator.states.round_at());
        (next != i64::MAX).then_some(next)
    }
}
