//! Windows: records of a key grouped by time, folded into one accumulator per window.
//!
//! A window's row is keyed by the key and the window's start (its namespace). A record is late for
//! a window if `max_timestamp + allowed lateness <= watermark`; until then the window's row lives,
//! and a record that comes behind the window's end fires it again at once.

mod assigner;
mod trigger;

use std::ops::Range;
use std::rc::Rc;

use thalweg_net::{PageView, RecordView};
use thalweg_state::{Key, KeyRef, State, key};

use super::aggregate::AggregateFn;
use super::downstream::Downstream;
use super::keyed::{IntoConsumer, ahead, key_of, stamp_of};
use super::timers::{DueTimers, TIMERS_PER_TURN, TimerQueue};
use super::{Blame, Feed, Snapshot};
use crate::error::Kind;
use crate::record::Record;
use crate::runtime::{Core, PageConsumer, Run, SideOutputs};
use crate::state::{
    ColdState, Held, Journalled, Places, RowKey, StateSpec, Store, WindowRow, row_hash,
};
use crate::time::{MAX, MIN, Stamp, Timestamp};
use crate::{Error, Result};

pub(crate) use assigner::millis;
pub use assigner::{TimeWindow, TumblingWindows, WindowAssigner};
pub use trigger::{EventTimeTrigger, Trigger, TriggerContext, TriggerResult};

/// Takes a late record with its stamp and the watermark that it was behind.
pub(crate) type LateOutput<T> = Box<dyn FnMut(T, Stamp, Timestamp) -> Result<()>>;

/// How a windowed operator works: what the job wrote.
pub(crate) struct Settings<T, A, G, F, E> {
    pub(crate) assigner: A,
    pub(crate) trigger: G,
    pub(crate) lateness_ms: i64,
    pub(crate) late: Option<LateOutput<T>>,
    pub(crate) aggregate: F,
    pub(crate) emit: E,
}

/// Aggregates the records of each key and window.
pub struct Windowed<K: Key, T, A, G: Trigger, F: AggregateFn<T>, E> {
    name: Rc<str>,
    core: Rc<Core>,
    settings: Settings<T, A, G, F, E>,
    store: Store<(K, i64), WindowRow<F::Acc, G::State>>,
    timers: TimerQueue,
    sides: Rc<SideOutputs>,
    watermark: Timestamp,
}

impl<K: Key, T, A, G: Trigger, F: AggregateFn<T>, E> Windowed<K, T, A, G, F, E> {
    pub(crate) fn new(
        name: Rc<str>,
        core: Rc<Core>,
        settings: Settings<T, A, G, F, E>,
        sides: Rc<SideOutputs>,
    ) -> Self {
        let spec = StateSpec { in_turns: true, ..StateSpec::new("window") };
        let store = Store::of_rows(&core, &name, &spec, Places::NAMESPACES);
        let timers = TimerQueue::new(&core, &name);
        Self { name, core, settings, store, timers, sides, watermark: MIN }
    }
}

impl<K, T, A, G, F, E, U> IntoConsumer<T, U> for Windowed<K, T, A, G, F, E>
where
    K: Key,
    T: Record,
    A: WindowAssigner,
    G: Trigger,
    F: AggregateFn<T>,
    U: 'static,
    E: FnMut(&K, &TimeWindow, F::Out) -> U + 'static,
{
    fn into_consumer<N: Feed<U>>(self, next: N) -> Box<dyn PageConsumer<T>> {
        let sides = Rc::clone(&self.sides);
        Box::new(Running {
            operator: self,
            row: RowKey::new(),
            windows: Vec::new(),
            wanted: Vec::new(),
            timer_key: Vec::new(),
            due: DueTimers::new(),
            downstream: Downstream::new(next, sides),
        })
    }
}

struct Running<O, U, N> {
    operator: O,
    row: RowKey,
    /// Windows of the current record.
    windows: Vec<TimeWindow>,
    /// Timers that the trigger asked for.
    wanted: Vec<Timestamp>,
    timer_key: Vec<u8>,
    /// Timers that fire next, while their rows are fetched.
    due: DueTimers,
    downstream: Downstream<U, N>,
}

/// When a window's row goes: behind its last moment and the lateness that is allowed.
#[inline]
fn cleanup_time(window: &TimeWindow, lateness_ms: i64) -> Timestamp {
    window.max_timestamp().saturating_add(lateness_ms)
}

impl<K, T, A, G, F, E, U, N> Running<Windowed<K, T, A, G, F, E>, U, N>
where
    K: Key,
    T: Record,
    A: WindowAssigner,
    G: Trigger,
    F: AggregateFn<T>,
    U: 'static,
    E: FnMut(&K, &TimeWindow, F::Out) -> U + 'static,
    N: Feed<U>,
{
    #[inline]
    fn take(&mut self, record: RecordView<'_, T>) -> Result<()> {
        let stamp = stamp_of(record);
        if stamp.timestamp == MIN {
            return Err(no_timestamp());
        }
        self.windows.clear();
        self.operator.settings.assigner.assign(stamp.timestamp, &mut self.windows);
        let (lateness, watermark) = (self.operator.settings.lateness_ms, self.operator.watermark);
        let mut late = true;
        for at in 0..self.windows.len() {
            let window = self.windows[at];
            if cleanup_time(&window, lateness) > watermark {
                late = false;
                self.add(record, window)?;
            }
        }
        if late { self.refuse(record.record(), stamp) } else { Ok(()) }
    }

    #[cold]
    fn refuse(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let operator = &mut self.operator;
        self.downstream.tell(operator.watermark)?;
        match &mut operator.settings.late {
            Some(late) => late(record, stamp, operator.watermark),
            None => {
                operator.core.metrics.late.add(1);
                Ok(())
            }
        }
    }

    /// Adds a record to one of its windows.
    #[inline]
    fn add(&mut self, record: RecordView<'_, T>, window: TimeWindow) -> Result<()> {
        let key = key_of(record);
        let stamp = stamp_of(record);
        let operator = &mut self.operator;
        let Settings { trigger, aggregate, emit, lateness_ms, .. } = &mut operator.settings;
        let row_key = self.row.in_namespace::<K>(key, window.start);
        let made = || WindowRow { acc: aggregate.create(), trigger: G::State::default() };
        let (pair, row, new) = operator.store.get_or_insert_with(row_key, made);
        let before = if new { 0 } else { row.owned(pair) };
        let mut cx = TriggerContext::new(operator.watermark, new, &mut self.wanted);
        let result = Blame::call(&operator.name, || {
            aggregate.add(&mut row.acc, record.record());
            trigger.on_element(stamp.timestamp, &window, &mut row.trigger, &mut cx)
        });
        let change = row.owned(pair) as isize - before as isize;
        if result.fires() {
            let output =
                Blame::call(&operator.name, || emit(&pair.0, &window, aggregate.result(&row.acc)));
            let stamp = Stamp { timestamp: window.max_timestamp(), ..stamp };
            self.downstream.tell(operator.watermark)?;
            self.downstream.feed(output, stamp)?;
        }
        operator.store.adjust_heap(change);
        let cleanup = cleanup_time(&window, *lateness_ms);
        if new && cleanup != MAX {
            operator.timers.register(key, window.start, cleanup);
        }
        for timestamp in self.wanted.drain(..).filter(|timestamp| !new || *timestamp != cleanup) {
            operator.timers.register(key, window.start, timestamp);
        }
        if result.purges() {
            drop(operator.store.remove(row_key));
        }
        Ok(())
    }

    /// Whether the rows of a record's windows can be used without waiting; else asks for them.
    fn ready(&mut self, key: KeyRef<'_>, timestamp: Timestamp) -> bool {
        if timestamp == MIN {
            return true;
        }
        let operator = &mut self.operator;
        self.windows.clear();
        operator.settings.assigner.assign(timestamp, &mut self.windows);
        let mut ready = true;
        for window in &self.windows {
            if cleanup_time(window, operator.settings.lateness_ms) > operator.watermark {
                ready &= operator.store.ready(self.row.in_namespace::<K>(key, window.start));
            }
        }
        ready
    }

    /// Moves event time on where rows may be cold: those of due timers are fetched first.
    #[cold]
    fn advance_cold(&mut self, watermark: Timestamp) -> Result<bool> {
        if self.due.is_empty() {
            self.due.take_from(&mut self.operator.timers, watermark, TIMERS_PER_TURN);
        }
        let (store, row) = (&mut self.operator.store, &mut self.row);
        let ready = self.due.iter().fold(true, |ready, due| {
            let key = KeyRef::new(&due.key);
            store.ready(row.in_namespace::<K>(key, due.namespace)) && ready
        });
        store.ask();
        if !ready {
            self.operator.core.budget.note_wait();
            return Ok(false);
        }
        while !self.operator.core.pressure.get()
            && let Some(due) = self.due.pop(&mut self.operator.timers)
        {
            self.timer_key.clear();
            self.timer_key.extend_from_slice(&due.key);
            self.fire(due.timestamp, due.namespace)?;
        }
        if !self.due.is_empty() || self.operator.timers.is_due(watermark) {
            return Ok(false);
        }
        self.downstream.tell(watermark)?;
        Ok(true)
    }

    /// A window's timer is due.
    fn fire(&mut self, timestamp: Timestamp, namespace: i64) -> Result<()> {
        let operator = &mut self.operator;
        let Settings { assigner, trigger, aggregate, emit, lateness_ms, .. } =
            &mut operator.settings;
        let window = assigner.window(namespace);
        let key = KeyRef { hash: key::hash(&self.timer_key), bytes: &self.timer_key };
        let row_key = self.row.in_namespace::<K>(key, namespace);
        let Some(row) = operator.store.get_mut(row_key) else {
            return Ok(());
        };
        let mut cx = TriggerContext::new(operator.watermark, false, &mut self.wanted);
        let result = Blame::call(&operator.name, || {
            trigger.on_event_time(timestamp, &window, &mut row.trigger, &mut cx)
        });
        if result.fires() {
            let owner = K::decode(key.bytes)?;
            let output =
                Blame::call(&operator.name, || emit(&owner, &window, aggregate.result(&row.acc)));
            let timestamp = window.max_timestamp();
            let stamp = Stamp { timestamp, origin: operator.core.now() };
            self.downstream.feed(output, stamp)?;
        }
        for timestamp in self.wanted.drain(..) {
            if !self.due.insert(&mut operator.timers, key, namespace, timestamp) {
                operator.timers.register(key, namespace, timestamp);
            }
        }
        if result.purges() || timestamp == cleanup_time(&window, *lateness_ms) {
            drop(operator.store.remove(row_key));
        }
        Ok(())
    }
}

impl<K, T, A, G, F, E, U, N> PageConsumer<T> for Running<Windowed<K, T, A, G, F, E>, U, N>
where
    K: Key,
    T: Record,
    A: WindowAssigner,
    G: Trigger,
    F: AggregateFn<T>,
    U: 'static,
    E: FnMut(&K, &TimeWindow, F::Out) -> U + 'static,
    N: Feed<U>,
{
    fn prepare(&mut self, page: &PageView<'_, T>, from: usize) -> Result<bool> {
        if !self.operator.store.is_cold() {
            return Ok(true);
        }
        let mut ready = true;
        for index in from..page.len() {
            self.prefetch(page, ahead(page, index));
            let record = page.at(index);
            ready &= self.ready(key_of(record), record.head().timestamp);
        }
        self.operator.store.ask();
        Ok(ready)
    }

    fn hold(&self, page: &PageView<'_, T>, from: usize, held: &mut Held) {
        let mut windows = Vec::new();
        for index in from..page.len() {
            let head = page.head(index);
            if head.timestamp == MIN {
                continue;
            }
            windows.clear();
            self.operator.settings.assigner.assign(head.timestamp, &mut windows);
            windows.iter().for_each(|window| held.add(row_hash(head.hash, window.start as u64)));
        }
    }

    fn hold_timers(&self, held: &mut Held) {
        for due in self.due.iter() {
            held.add(row_hash(key::hash(&due.key), due.namespace as u64));
        }
    }

    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        Some(&mut self.operator.store)
    }

    fn journals(&mut self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        visit(&mut self.operator.store);
        visit(&mut self.operator.timers);
    }

    fn prefetch(&mut self, page: &PageView<'_, T>, range: Range<usize>) {
        let operator = &self.operator;
        for index in range {
            let head = page.head(index);
            if head.timestamp == MIN {
                continue;
            }
            self.windows.clear();
            operator.settings.assigner.assign(head.timestamp, &mut self.windows);
            for window in &self.windows {
                operator.store.prefetch(row_hash(head.hash, window.start as u64));
            }
        }
    }

    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize> {
        let mut end = run.range.end;
        for index in run.range.clone() {
            let watermark = run.watermark(page.head(index)).max(self.operator.watermark);
            let fires =
                watermark > self.operator.watermark && self.operator.timers.is_due(watermark);
            if fires || self.operator.core.pressure.get() {
                end = index;
                break;
            }
            self.operator.watermark = watermark;
            self.prefetch(page, ahead(page, index));
            let taken = self.take(page.at(index));
            taken.map_err(|error| error.in_operator(&self.operator.name))?;
        }
        self.downstream.tell(self.operator.watermark)?;
        Ok(end)
    }

    fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
        if watermark <= self.downstream.told() {
            return Ok(true);
        }
        self.operator.watermark = watermark;
        if self.operator.store.is_cold() || !self.due.is_empty() {
            return self.advance_cold(watermark);
        }
        let mut left = TIMERS_PER_TURN;
        while self.operator.timers.next() <= watermark {
            if left == 0 || self.operator.core.pressure.get() {
                return Ok(false);
            }
            left -= 1;
            let Windowed { timers, store, .. } = &mut self.operator;
            let due = timers.pop(watermark, &mut self.timer_key, |key, namespace| {
                store.prefetch(row_hash(key::hash(key), namespace as u64));
            });
            let Some((timestamp, namespace)) = due else {
                break;
            };
            self.fire(timestamp, namespace)?;
        }
        self.downstream.tell(watermark)?;
        Ok(true)
    }

    fn state_bytes(&self) -> usize {
        self.operator.store.bytes() + self.operator.timers.bytes() + self.due.bytes()
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.downstream.idle(idle)
    }
    fn flush(&mut self) -> Result<()> {
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

#[cold]
fn no_timestamp() -> Error {
    Error::new(Kind::User, "a record without a timestamp cannot be put into a window").with_hint(
        "assign timestamps in front of it: \
         .assign_timestamps(WatermarkStrategy::…(…).with_timestamps(|record| …))",
    )
}

/// Reduces records: the aggregate behind `reduce`.
pub struct Reducing<F> {
    pub(crate) reduce: F,
}

impl<T, F> AggregateFn<T> for Reducing<F>
where
    T: State + Clone,
    F: Fn(T, T) -> T + 'static,
{
    type Acc = Option<T>;
    type Out = T;

    fn create(&self) -> Option<T> {
        None
    }
    fn add(&self, acc: &mut Option<T>, record: T) {
        *acc = Some(match acc.take() {
            Some(present) => (self.reduce)(present, record),
            None => record,
        });
    }
    fn result(&self, acc: &Option<T>) -> T {
        acc.clone().expect("a result is asked for behind a record")
    }
    fn merge(&self, acc: &mut Option<T>, other: Option<T>) {
        if let Some(record) = other {
            self.add(acc, record);
        }
    }
}
