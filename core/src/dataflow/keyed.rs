//! Keyed streams: all records of a key meet on one core.

use std::marker::PhantomData;
use std::rc::Rc;

use super::build::Flow;
use super::roots::GateRoot;
use super::stream::set_parallelism;
use super::{Collected, Stream};
use crate::graph::StateInfo;
use crate::operator::keyed::{FlatMapWithState, IntoConsumer};
use crate::operator::{Chain, Feed};
use crate::record::Record;
use crate::state::ValueSpec;
use thalweg_state::{Key, State};

/// A stream grouped by a key of type `K`. Its operators share one exchange, however many there are.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct KeyedStream<K: Key, T: Record> {
    pub(crate) flow: Rc<Flow>,
    pub(crate) root: GateRoot<T>,
    key: PhantomData<fn() -> K>,
}

impl<K: Key, T: Record> Clone for KeyedStream<K, T> {
    fn clone(&self) -> Self {
        Self::new(Rc::clone(&self.flow), self.root.clone())
    }
}

impl<K: Key, T: Record> KeyedStream<K, T> {
    pub(crate) fn new(flow: Rc<Flow>, root: GateRoot<T>) -> Self {
        Self { flow, root, key: PhantomData }
    }

    /// Runs the operators of this stream on cores 0 … `cores` - 1 only.
    pub fn parallelism(self, cores: usize) -> Self {
        set_parallelism(&self.flow, self.root.node, cores);
        self
    }

    /// Adds a keyed operator to the gate of this stream.
    pub(crate) fn operate<U: 'static, O: IntoConsumer<T, U>>(
        self,
        kind: &'static str,
        name: &str,
        states: Vec<StateInfo>,
        make: impl FnOnce(&Rc<Flow>, Rc<str>) -> O,
    ) -> Stream<U, KeyedRoot<T, O>> {
        let node = self.flow.add_fused(self.root.node, kind, Some(name));
        self.flow.graph.borrow_mut().nodes[node].states = states;
        let operator = make(&self.flow, name.into());
        Stream::new(self.flow, node, KeyedRoot { root: self.root, operator })
    }

    /// Makes any number of records from each record and a value kept for its key, which starts as the default.
    /// The value's table is prefetched for whole runs of records.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("n", [3u64, 4, 3])
    ///         .key_by(|n| *n)
    ///         .flat_map_with_state("count", ValueSpec::new("seen"), |key, _, seen: &mut u64| {
    ///             *seen += 1;
    ///             Some((*key, *seen))
    ///         })
    /// });
    /// assert_eq!(out, [(3, 1), (4, 1), (3, 2)]);
    /// ```
    pub fn flat_map_with_state<S, I, F>(
        self,
        name: &str,
        state: ValueSpec<S>,
        user: F,
    ) -> Stream<I::Item, KeyedRoot<T, FlatMapWithState<K, S, F>>>
    where
        S: State + Default,
        I: IntoIterator + 'static,
        F: FnMut(&K, T, &mut S) -> I + 'static,
    {
        let states = vec![state.info()];
        self.operate("flat_map_with_state", name, states, |flow, name| {
            FlatMapWithState::new(name, Rc::clone(&flow.core), state, user)
        })
    }
}

/// A chain that begins at a keyed operator.
pub struct KeyedRoot<T: Record, O> {
    root: GateRoot<T>,
    operator: O,
}

impl<T: Record, U: 'static, O: IntoConsumer<T, U>> Chain<U> for KeyedRoot<T, O> {
    fn install<N: Feed<U>>(self, next: N) {
        let consumer = self.operator.into_consumer(next);
        self.root.gate.borrow_mut().attach(consumer);
    }
}

impl<K: Key, T: Record + Send> KeyedStream<K, T> {
    /// Keeps the records as they arrive behind the exchange: see [`Collected`].
    pub fn collect_into(self, name: &str, all: &Collected<T>) {
        Stream::new(self.flow, self.root.node, self.root).collect_into(name, all);
    }
}
