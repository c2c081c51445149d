//! Operators on keyed streams: they read pages of a gate in place and keep state per key.

use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use thalweg_net::{PageView, RecordView};

use super::{Blame, Feed, Snapshot, SplitEvent};
use crate::Result;
use crate::record::Record;
use crate::runtime::{Core, PageConsumer, Run};
use crate::state::{ColdState, Held, Journalled, StateSpec, Store, ValueSpec};
use crate::time::{MIN, Stamp, Timestamp};
use thalweg_state::{Key, KeyRef, State};

/// A keyed operator that waits for what comes behind it.
pub trait IntoConsumer<T: Record, U>: Sized + 'static {
    /// Puts the operator in front of `next`.
    fn into_consumer<N: Feed<U>>(self, next: N) -> Box<dyn PageConsumer<T>>;
}

/// How many records ahead of its use a table's line is asked for: one at a time, since a burst of
/// requests fills the core's line buffers and stalls it.
pub(crate) const AHEAD: usize = 16;

/// The record to ask for while record `index` is taken: one or none.
#[inline(always)]
pub(crate) fn ahead<T: Record>(page: &PageView<'_, T>, index: usize) -> Range<usize> {
    index + AHEAD..(index + AHEAD + 1).min(page.len())
}

/// The hash of the record whose line is there by now, and what lies behind it may be asked for.
#[inline(always)]
pub(crate) fn near<T: Record>(page: &PageView<'_, T>, index: usize) -> Option<u64> {
    page.get(index + AHEAD / 2).map(|near| near.head().hash)
}

/// The key of a record on a page.
#[inline]
pub(crate) fn key_of<'a, T: Record>(record: RecordView<'a, T>) -> KeyRef<'a> {
    KeyRef { hash: record.head().hash, bytes: record.key() }
}

/// The stamp of a record on a page.
#[inline]
pub(crate) fn stamp_of<T: Record>(record: RecordView<'_, T>) -> Stamp {
    let head = record.head();
    Stamp { timestamp: head.timestamp, origin: head.origin }
}

/// Makes records from a record and its key's value.
pub struct FlatMapWithState<K: Key, S: State, F> {
    name: Rc<str>,
    core: Rc<Core>,
    store: Store<K, S>,
    /// When a round of sweeping is due, as of the end of the last turn.
    round_at: i64,
    user: F,
}

impl<K: Key, S: State, F> FlatMapWithState<K, S, F> {
    pub(crate) fn new(name: Rc<str>, core: Rc<Core>, state: ValueSpec<S>, user: F) -> Self {
        let store = Store::new(Rc::clone(&core), &name, &StateSpec::from(state));
        Self { name, core, store, round_at: i64::MAX, user }
    }
}

impl<K, T, S, I, F> IntoConsumer<T, I::Item> for FlatMapWithState<K, S, F>
where
    K: Key,
    T: Record,
    S: State + Default,
    I: IntoIterator + 'static,
    F: FnMut(&K, T, &mut S) -> I + 'static,
{
    fn into_consumer<N: Feed<I::Item>>(self, next: N) -> Box<dyn PageConsumer<T>> {
        Box::new(Running { operator: self, watermark: MIN, output: PhantomData, next })
    }
}

/// Memory that a row owns; a new one was not counted at all yet.
#[inline]
fn owned<K: Key, S: State>(key: &K, value: &S, new: bool) -> usize {
    if new { 0 } else { key.heap_bytes() + value.heap_bytes() }
}

struct Running<O, I, N> {
    operator: O,
    watermark: Timestamp,
    output: PhantomData<fn(I)>,
    next: N,
}

impl<K, T, S, I, F, N> PageConsumer<T> for Running<FlatMapWithState<K, S, F>, I, N>
where
    K: Key,
    T: Record,
    S: State + Default,
    I: IntoIterator + 'static,
    F: FnMut(&K, T, &mut S) -> I + 'static,
    N: Feed<I::Item>,
{
    fn prepare(&mut self, page: &PageView<'_, T>, from: usize) -> Result<bool> {
        let store = &mut self.operator.store;
        if !store.is_cold() {
            return Ok(true);
        }
        let mut ready = true;
        for index in from..page.len() {
            if let Some(later) = page.get(index + AHEAD) {
                store.prefetch(later.head().hash);
            }
            ready &= store.ready(key_of(page.at(index)));
        }
        store.ask();
        Ok(ready)
    }

    fn hold(&self, page: &PageView<'_, T>, from: usize, held: &mut Held) {
        (from..page.len()).for_each(|index| held.add(page.head(index).hash));
    }

    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        Some(&mut self.operator.store)
    }
    fn journals(&mut self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        visit(&mut self.operator.store);
    }
    fn restored(&mut self) {
        self.operator.round_at = self.operator.store.round_at();
    }

    #[inline(always)]
    fn prefetch(&mut self, page: &PageView<'_, T>, range: Range<usize>) {
        for index in range {
            self.operator.store.prefetch(page.head(index).hash);
        }
    }

    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize> {
        let FlatMapWithState { name, core, store, user, .. } = &mut self.operator;
        let page = *page;
        for index in run.range.clone() {
            if core.pressure.get() {
                return Ok(index);
            }
            let record = page.at(index);
            let watermark = run.watermark(record.head());
            if watermark > self.watermark {
                self.watermark = watermark;
                self.next.watermark(watermark)?;
            }
            if let Some(later) = page.get(index + AHEAD) {
                store.prefetch(later.head().hash);
            }
            if S::IS_DEEP
                && let Some(hash) = near(&page, index)
            {
                store.prefetch_entry(hash);
            }
            let stamp = stamp_of(record);
            let (key, value, new) = store.get_or_insert_with(key_of(record), S::default);
            let before = if std::mem::needs_drop::<(K, S)>() { owned(key, value, new) } else { 0 };
            let outputs = Blame::call(name, || user(key, record.record(), value));
            if std::mem::needs_drop::<(K, S)>() {
                let change = owned(key, value, false) as isize - before as isize;
                store.adjust_heap(change);
            }
            let mut outputs = Blame::call(name, || outputs.into_iter());
            while let Some(output) = Blame::call(name, || outputs.next()) {
                self.next.feed(output, stamp)?;
            }
        }
        Ok(run.range.end)
    }

    fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.next.watermark(watermark)?;
        }
        Ok(true)
    }
    fn advance_processing(&mut self, now: i64) -> Result<bool> {
        if self.operator.round_at <= now {
            self.operator.store.sweep_slice();
            self.operator.round_at = self.operator.store.round_at();
        }
        Ok(true)
    }
    fn next_processing_timer(&self) -> Option<i64> {
        let next = self.operator.round_at;
        (next != i64::MAX).then_some(next)
    }
    fn state_bytes(&self) -> usize {
        self.operator.store.bytes()
    }
    fn tick(&mut self) -> Result<()> {
        self.next.split(SplitEvent::Tick)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.next.idle(idle)
    }
    fn flush(&mut self) -> Result<()> {
        self.operator.round_at = self.operator.store.round_at();
        self.next.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.next.flush()?;
        self.next.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        snapshot.i64(&mut self.watermark)?;
        self.next.snapshot(snapshot)
    }
}
