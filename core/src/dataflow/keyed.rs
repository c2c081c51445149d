//! Keyed streams: all records of a key meet on one core.

use std::marker::PhantomData;
use std::rc::Rc;

use super::build::Flow;
use super::roots::GateRoot;
use super::stream::set_parallelism;
use super::{Collected, Stream};
use crate::graph::{NodeId, StateInfo};
use crate::operator::keyed::{FlatMapWithState, IntoConsumer};
use crate::operator::process::Process;
use crate::operator::{AggregateFn, Chain, Feed, KeyedProcess};
use crate::record::Record;
use crate::state::{States, ValueSpec};
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
        make: impl FnOnce(&Rc<Flow>, NodeId, Rc<str>) -> O,
    ) -> Stream<U, KeyedRoot<T, O>> {
        let node = self.flow.add_fused(self.root.node, kind, Some(name));
        self.flow.graph.borrow_mut().nodes[node].states = states;
        let operator = make(&self.flow, node, name.into());
        Stream::new(self.flow, node, KeyedRoot { root: self.root, operator })
    }

    /// Makes any number of records from each record and a value kept for its key, which starts as
    /// the default. The value's table is prefetched for whole runs of records.
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
        let states = vec![state.info("value")];
        self.operate("flat_map_with_state", name, states, |flow, _, name| {
            FlatMapWithState::new(name, Rc::clone(&flow.core), state, user)
        })
    }

    /// Calls user code for every record, with states and timers of the record's key. `make`
    /// declares the states and makes the process; it is called when the job is planned and once on
    /// every core.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// struct Count { n: ValueState<u64> }
    /// impl KeyedProcess<u64, u64> for Count {
    ///     type Out = (u64, u64);
    ///     fn process(
    ///         &mut self,
    ///         _: u64,
    ///         cx: &mut ProcessContext<u64, (u64, u64)>,
    ///     ) -> thalweg::Result<()> {
    ///         let n = self.n.update(|n| { *n += 1; *n });
    ///         cx.emit((*cx.key(), n));
    ///         Ok(())
    ///     }
    /// }
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let keyed = flow.from_iter("n", [3u64, 4, 3]).key_by(|n| *n);
    ///     keyed.process("count", |states| Count { n: states.value("n") })
    /// });
    /// assert_eq!(out, [(3, 1), (4, 1), (3, 2)]);
    /// ```
    pub fn process<P: KeyedProcess<K, T>>(
        self,
        name: &str,
        make: impl FnOnce(&mut States<K>) -> P,
    ) -> Stream<P::Out, KeyedRoot<T, Process<K, P>>> {
        let mut states = States::new(Rc::clone(&self.flow.core), name);
        let process = make(&mut states);
        let (tables, infos, checked) = states.finish();
        if let Err(error) = checked {
            self.flow.fail(error.in_operator(name));
        }
        self.operate("process", name, infos, |flow, node, name| {
            Process::new(name, Rc::clone(&flow.core), process, tables, flow.sides(node))
        })
    }

    /// Reduces all records of a key to one; emits the result so far behind every record.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("n", [3u64, 4, 5]).key_by(|n| n % 2).reduce("sum", |a, b| a + b)
    /// });
    /// assert_eq!(out, [3, 4, 8]);
    /// ```
    #[allow(clippy::type_complexity, reason = "the closure's type has no name")]
    pub fn reduce<F>(
        self,
        name: &str,
        reduce: F,
    ) -> Stream<
        T,
        KeyedRoot<
            T,
            FlatMapWithState<
                K,
                Option<T>,
                impl FnMut(&K, T, &mut Option<T>) -> Option<T> + 'static,
            >,
        >,
    >
    where
        T: Clone,
        F: Fn(T, T) -> T + 'static,
    {
        let state = ValueSpec::<Option<T>>::new(name);
        let states = vec![state.info("reducing")];
        self.operate("reduce", name, states, |flow, _, name| {
            let fold = move |_: &K, record: T, value: &mut Option<T>| {
                *value = Some(match value.take() {
                    Some(present) => reduce(present, record),
                    None => record,
                });
                value.clone()
            };
            FlatMapWithState::new(name, Rc::clone(&flow.core), state, fold)
        })
    }

    /// Aggregates all records of a key; emits the result so far behind every record.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let count = Fold::new(|| 0u64, |n: &mut u64, _: u64| *n += 1);
    ///     flow.from_iter("n", [3u64, 4, 5]).key_by(|n| n % 2).aggregate("count", count)
    /// });
    /// assert_eq!(out, [1, 1, 2]);
    /// ```
    #[allow(clippy::type_complexity, reason = "the closure's type has no name")]
    pub fn aggregate<A: AggregateFn<T>>(
        self,
        name: &str,
        aggregate: A,
    ) -> Stream<
        A::Out,
        KeyedRoot<
            T,
            FlatMapWithState<
                K,
                Option<A::Acc>,
                impl FnMut(&K, T, &mut Option<A::Acc>) -> Option<A::Out> + 'static,
            >,
        >,
    > {
        let state = ValueSpec::<Option<A::Acc>>::new(name);
        let states = vec![state.info("aggregating")];
        self.operate("aggregate", name, states, |flow, _, name| {
            let fold = move |_: &K, record: T, acc: &mut Option<A::Acc>| {
                let acc = acc.get_or_insert_with(|| aggregate.create());
                aggregate.add(acc, record);
                Some(aggregate.result(acc))
            };
            FlatMapWithState::new(name, Rc::clone(&flow.core), state, fold)
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
