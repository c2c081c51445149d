//! Operators on keyed streams: they read pages of a gate in place and keep state per key.

use std::marker::PhantomData;
use std::ops::Range;
use std::rc::Rc;

use thalweg_net::PageView;

use super::{Blame, Feed, SplitEvent};
use crate::Result;
use crate::record::Record;
use crate::runtime::{Core, PageConsumer};
use crate::state::{ValueSpec, ValueTable};
use crate::time::{Stamp, Timestamp};
use thalweg_state::{Key, KeyRef, State};

/// A keyed operator that waits for what comes behind it.
pub trait IntoConsumer<T: Record, U>: Sized + 'static {
    /// Puts the operator in front of `next`.
    fn into_consumer<N: Feed<U>>(self, next: N) -> Box<dyn PageConsumer<T>>;
}

/// The key of a record on a page.
#[inline]
pub(crate) fn key_of<'a, T: Record>(page: &PageView<'a, T>, index: usize) -> KeyRef<'a> {
    KeyRef { hash: page.head(index).hash, bytes: page.key(index) }
}

/// The stamp of a record on a page.
#[inline]
pub(crate) fn stamp_of<T: Record>(page: &PageView<'_, T>, index: usize) -> Stamp {
    let head = page.head(index);
    Stamp { timestamp: head.timestamp, origin: head.origin }
}

/// Makes records from a record and its key's value.
pub struct FlatMapWithState<K: Key, S: State, F> {
    name: Rc<str>,
    core: Rc<Core>,
    table: ValueTable<K, S>,
    user: F,
}

impl<K: Key, S: State, F> FlatMapWithState<K, S, F> {
    pub(crate) fn new(name: Rc<str>, core: Rc<Core>, state: ValueSpec<S>, user: F) -> Self {
        let table = ValueTable::new(Rc::clone(&core), state);
        Self { name, core, table, user }
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
        Box::new(Running { operator: self, output: PhantomData, next })
    }
}

struct Running<O, I, N> {
    operator: O,
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
    fn prefetch(&mut self, page: &PageView<'_, T>, range: Range<usize>) {
        for index in range {
            self.operator.table.prefetch(page.head(index).hash);
        }
    }

    fn consume(&mut self, page: &PageView<'_, T>, range: Range<usize>) -> Result<usize> {
        let FlatMapWithState { name, core, table, user } = &mut self.operator;
        for index in range.clone() {
            if core.pressure.get() {
                return Ok(index);
            }
            let stamp = stamp_of(page, index);
            let (key, value) = table.get_or_default(key_of(page, index));
            let outputs = Blame::call(name, || user(key, page.record(index), value));
            let mut outputs = Blame::call(name, || outputs.into_iter());
            while let Some(output) = Blame::call(name, || outputs.next()) {
                self.next.feed(output, stamp)?;
            }
        }
        Ok(range.end)
    }

    fn advance(&mut self, watermark: Timestamp) -> Result<bool> {
        self.next.watermark(watermark)?;
        Ok(true)
    }
    fn tick(&mut self) -> Result<()> {
        self.next.split(SplitEvent::Tick)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.next.idle(idle)
    }
    fn flush(&mut self) -> Result<()> {
        self.next.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.next.flush()?;
        self.next.end()
    }
}
