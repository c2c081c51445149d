//! A keyed operator with two inputs: two keyed streams, or a keyed and a broadcast one.
//!
//! Each gate has a half; the halves share the operator. What must be done once for both, such as
//! state, is the first one's. The other gate's pages must not lose the rows that they need, so the
//! first half names these as well when rows leave.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use thalweg_net::PageView;
use thalweg_state::Key;

use super::clock::TwoInputClock;
use super::{
    BroadcastContext, Consumers, IntoConsumers, KeyedBroadcastProcess, KeyedCoProcess, Partner,
};
use crate::Result;
use crate::operator::keyed::stamp_of;
use crate::operator::process::{Driver, Process};
use crate::operator::{Feed, ProcessContext, Snapshot, Timer};
use crate::record::Record;
use crate::runtime::{PageConsumer, Run};
use crate::state::{ColdState, Held, Journalled};
use crate::time::Timestamp;

/// A process of a keyed and a broadcast stream on one core.
pub struct KeyedBroadcast<K: Key, P>(pub(crate) Process<K, P>);

/// A process of two keyed streams on one core.
pub struct KeyedPair<K: Key, P>(pub(crate) Process<K, P>);

impl<K, A, B, P> IntoConsumers<A, B, P::Out> for KeyedBroadcast<K, P>
where
    K: Key,
    A: Record,
    B: Record,
    P: KeyedBroadcastProcess<K, A, B>,
{
    /// The elements of a broadcast stream need no rows that are known before.
    fn into_consumers<N: Feed<P::Out>>(self, next: N, _partner: Partner) -> Consumers<A, B> {
        let shared = Shared::new(Driver::new(self.0, next), P::on_timer);
        let first = Half { input: 0, shared: Rc::clone(&shared), partner: None };
        let second = Half { input: 1, shared, partner: None };
        (
            Box::new(KeyedHalf { half: first, call: P::process, record: PhantomData }),
            Box::new(BroadcastHalf { half: second, call: P::process_broadcast }),
        )
    }
}

impl<K, A, B, P> IntoConsumers<A, B, P::Out> for KeyedPair<K, P>
where
    K: Key,
    A: Record,
    B: Record,
    P: KeyedCoProcess<K, A, B>,
{
    fn into_consumers<N: Feed<P::Out>>(self, next: N, partner: Partner) -> Consumers<A, B> {
        let shared = Shared::new(Driver::new(self.0, next), P::on_timer);
        let first = Half { input: 0, shared: Rc::clone(&shared), partner: Some(partner) };
        let second = Half { input: 1, shared, partner: None };
        (
            Box::new(KeyedHalf { half: first, call: P::process_first, record: PhantomData }),
            Box::new(KeyedHalf { half: second, call: P::process_second, record: PhantomData }),
        )
    }
}

type OnTimer<K, P, O> = fn(&mut P, Timer, &mut ProcessContext<'_, K, O>) -> Result<()>;

/// What both halves share.
struct Shared<K: Key, P, O, N> {
    driver: Driver<K, P, O, N>,
    clock: TwoInputClock,
    on_timer: OnTimer<K, P, O>,
    /// The last cut that it took part in.
    seen: Cell<u64>,
}

impl<K: Key, P, O, N: Feed<O>> Shared<K, P, O, N> {
    fn new(driver: Driver<K, P, O, N>, on_timer: OnTimer<K, P, O>) -> Rc<RefCell<Self>> {
        let (clock, seen) = (TwoInputClock::new(), Cell::new(0));
        Rc::new(RefCell::new(Self { driver, clock, on_timer, seen }))
    }

    /// Fires what is due, whichever input has moved time; false while timers are left.
    fn catch_up(&mut self) -> Result<bool> {
        if self.clock.lags() {
            if !self.driver.advance(self.clock.now(), self.on_timer)? {
                return Ok(false);
            }
            self.clock.has_fired();
            if let Some(idle) = self.clock.take_idling() {
                self.driver.downstream.idle(idle)?;
            }
        }
        Ok(true)
    }

    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        if !snapshot.is_new_to(&self.seen) {
            return Ok(());
        }
        snapshot.i64(&mut self.driver.operator.watermark)?;
        self.clock.snapshot(snapshot)?;
        self.driver.downstream.snapshot(snapshot)
    }
}

/// The end of one gate.
struct Half<K: Key, P, O, N> {
    input: usize,
    shared: Rc<RefCell<Shared<K, P, O, N>>>,
    /// The other half's gate, where its pages need rows and this half is to name them.
    partner: Option<Partner>,
}

impl<K: Key, P, O, N: Feed<O>> Half<K, P, O, N> {
    fn is_first(&self) -> bool {
        self.input == 0
    }

    fn advance(&self, watermark: Timestamp) -> Result<bool> {
        let shared = &mut *self.shared.borrow_mut();
        shared.clock.hear(self.input, watermark);
        shared.catch_up()
    }

    fn advance_processing(&self, now: i64) -> Result<bool> {
        let shared = &mut *self.shared.borrow_mut();
        shared.driver.advance_processing(now, shared.on_timer)
    }

    /// State is the first half's. The other one has memory as well, so that it waits, too, when
    /// rows have to leave.
    fn state_bytes(&self) -> usize {
        let operator = &self.shared.borrow().driver.operator;
        match self.input {
            0 => operator.states.bytes(),
            _ => operator.timer_bytes() + size_of::<Shared<K, P, O, N>>(),
        }
    }

    fn idle(&self, idle: bool) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        shared.clock.idle(self.input, idle);
        // Should it not get through, it lags and its gate goes on with it.
        shared.catch_up().map(drop)
    }

    fn flush(&self) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        shared.driver.operator.states.refresh();
        shared.driver.downstream.flush()
    }

    fn end(&self) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        if shared.clock.end(self.input) {
            assert!(!shared.clock.lags(), "both inputs have ended before the last timers");
            return shared.driver.downstream.end();
        }
        Ok(())
    }
}

/// What the halves do in the same way.
macro_rules! both_halves {
    () => {
        fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
            self.half.advance(watermark)
        }
        fn lags(&self) -> bool {
            self.half.shared.borrow().clock.lags()
        }
        fn advance_processing(&mut self, now: i64) -> Result<bool> {
            self.half.advance_processing(now)
        }
        fn next_processing_timer(&self) -> Option<i64> {
            self.half.shared.borrow().driver.next_processing_timer()
        }
        fn state_bytes(&self) -> usize {
            self.half.state_bytes()
        }
        fn idle(&mut self, idle: bool) -> Result<()> {
            self.half.idle(idle)
        }
        fn flush(&mut self) -> Result<()> {
            self.half.flush()
        }
        fn end(&mut self) -> Result<()> {
            self.half.end()
        }
        fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
            self.half.shared.borrow_mut().snapshot(snapshot)
        }
    };
}

/// The half of a keyed input; `call` takes its records.
struct KeyedHalf<K: Key, T, P, O, N, C> {
    half: Half<K, P, O, N>,
    call: C,
    record: PhantomData<fn(T)>,
}

impl<K, T, P, O, N, C> PageConsumer<T> for KeyedHalf<K, T, P, O, N, C>
where
    K: Key,
    T: Record,
    P: 'static,
    O: 'static,
    N: Feed<O>,
    C: Fn(&mut P, T, &mut ProcessContext<'_, K, O>) -> Result<()>,
{
    fn prepare(&mut self, page: &PageView<'_, T>, from: usize) -> Result<bool> {
        Ok(self.half.shared.borrow_mut().driver.prepare(page, from))
    }

    fn hold(&self, page: &PageView<'_, T>, from: usize, held: &mut Held) {
        self.half.shared.borrow().driver.hold(page, from, held);
    }

    fn hold_timers(&self, held: &mut Held) {
        if self.half.is_first() {
            self.half.shared.borrow().driver.hold_timers(held);
        }
        self.half.partner.iter().for_each(|partner| partner.hold_pages(held));
    }

    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        if self.half.is_first() { Some(&mut self.half) } else { None }
    }

    fn journals(&mut self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        if self.half.is_first() {
            self.half.shared.borrow_mut().driver.operator.journals(visit);
        }
    }

    fn restored(&mut self) {
        self.half.shared.borrow().driver.operator.states.refresh();
    }

    fn prefetch(&mut self, page: &PageView<'_, T>, range: Range<usize>) {
        self.half.shared.borrow_mut().driver.prefetch(page, range);
    }

    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize> {
        let (shared, input) = (&mut *self.half.shared.borrow_mut(), self.half.input);
        let Shared { driver, clock, .. } = shared;
        if clock.lags() {
            return Ok(run.range.start);
        }
        let follow = |driver: &mut Driver<K, P, O, N>, watermark| {
            let next = driver.operator.event.next();
            clock.follow(input, watermark, next).map_or(Ok(false), |now| driver.follow(now))
        };
        driver.take_run(page, &run, follow, &self.call)
    }

    both_halves!();
}

/// How a process takes an element of a broadcast stream.
type TakeElement<K, B, P, O> = fn(&mut P, B, &mut BroadcastContext<'_, K, O>) -> Result<()>;

/// The half of a broadcast input.
struct BroadcastHalf<K: Key, B, P, O, N> {
    half: Half<K, P, O, N>,
    call: TakeElement<K, B, P, O>,
}

impl<K, B, P, O, N> PageConsumer<B> for BroadcastHalf<K, B, P, O, N>
where
    K: Key,
    B: Record,
    P: 'static,
    O: 'static,
    N: Feed<O>,
{
    fn consume(&mut self, page: &PageView<'_, B>, run: Run) -> Result<usize> {
        let (shared, input) = (&mut *self.half.shared.borrow_mut(), self.half.input);
        let (Shared { driver, clock, .. }, call) = (shared, self.call);
        // Elements wait, and nobody behind hears of a time whose timers have yet to fire.
        if clock.lags() {
            return Ok(run.range.start);
        }
        let mut taken = run.range.end;
        for index in run.range.clone() {
            let record = page.at(index);
            let watermark = run.watermark(record.head());
            let next = driver.operator.event.next();
            if driver.operator.core.pressure.get() {
                taken = index;
                break;
            }
            let followed = clock.follow(input, watermark, next);
            if !followed.map_or(Ok(false), |now| driver.follow(now))? {
                taken = index;
                break;
            }
            let (stamp, before) = (stamp_of(record), driver.operator.watermark);
            driver.call_without_key(stamp, before, |process, cx| {
                call(process, record.record(), &mut BroadcastContext::new(cx.reborrow()))
            })?;
        }
        driver.downstream.tell(driver.operator.watermark)?;
        Ok(taken)
    }

    both_halves!();
}

/// State as the gate of the first half sees it.
impl<K: Key, P, O, N> ColdState for Half<K, P, O, N> {
    fn settle(&mut self) -> Result<()> {
        self.shared.borrow_mut().driver.operator.states.settle()
    }
    fn has_leavers(&self) -> bool {
        self.shared.borrow().driver.operator.states.has_leavers()
    }
    fn evict(&mut self, held: &Held) -> Result<bool> {
        self.shared.borrow_mut().driver.operator.states.evict(held)
    }
    fn is_choked(&self) -> bool {
        self.shared.borrow().driver.operator.states.is_choked()
    }
}
