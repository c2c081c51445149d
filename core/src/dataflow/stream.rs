//! Streams and what can be done to each record of one.

use std::marker::PhantomData;
use std::rc::Rc;

use super::build::{Flow, Mode};
use super::roots::{GateRoot, PortRoot};
use super::{KeyedStream, Tag};
use crate::BoxError;
use crate::graph::{NodeId, Partitioner, Role, SIDE_OUTPUT, graph_error};
use crate::operator::{
    AssignTimestamps, Chain, Filter, FlatMap, Inspect, Letters, Map, Rejected, TryFilter,
    TryFlatMap,
};
use crate::record::Record;
use crate::runtime::{Broadcast, ByKey, Port, PortFeed, Rescale, RoundRobin, Route, To, Union};
use crate::runtime::{SinkFeed, Typed, Writing};
use crate::sink::{Named, Sink};
use crate::time::WatermarkStrategy;
use thalweg_state::Key;

/// A stream of records of type `T`.
///
/// `C` is the chain that leads to it; operators written as one expression become one loop.
/// [`Stream::boxed`] ends the chain, so that streams of one record type have one Rust type: needed
/// to store them, to choose one in an `if`, or to use one more than once.
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct Stream<T: 'static, C: Chain<T> = PortRoot<T>> {
    pub(crate) flow: Rc<Flow>,
    pub(crate) node: NodeId,
    pub(crate) chain: C,
    pub(crate) record: PhantomData<fn() -> T>,
}

impl<T: Clone + 'static> Clone for Stream<T, PortRoot<T>> {
    fn clone(&self) -> Self {
        self.chain.0.allow_clones();
        let chain = PortRoot(Rc::clone(&self.chain.0));
        Stream::new(Rc::clone(&self.flow), self.node, chain)
    }
}

impl<T: Record> Clone for Stream<T, GateRoot<T>> {
    fn clone(&self) -> Self {
        Stream::new(Rc::clone(&self.flow), self.node, self.chain.clone())
    }
}

impl<T: 'static, C: Chain<T>> Stream<T, C> {
    pub(crate) fn new(flow: Rc<Flow>, node: NodeId, chain: C) -> Self {
        Self { flow, node, chain, record: PhantomData }
    }

    /// Adds an operator to the chain.
    fn then<U: 'static, D: Chain<U>>(
        self,
        kind: &'static str,
        make: impl FnOnce(C, Rc<str>) -> D,
    ) -> Stream<U, D> {
        let node = self.flow.add_fused(self.node, kind, None);
        let chain = make(self.chain, self.flow.name(node));
        Stream::new(self.flow, node, chain)
    }

    /// Names the last operator: for errors, metrics and plans.
    pub fn name(mut self, name: &str) -> Self {
        let mut graph = self.flow.graph.borrow_mut();
        name.clone_into(&mut graph.nodes[self.node].name);
        graph.nodes[self.node].named = true;
        drop(graph);
        self.chain.rename(&name.into());
        self
    }

    /// Makes a record from each record.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| flow.from_iter("n", 1..4u64).map(|n| n * 10));
    /// assert_eq!(out, [10, 20, 30]);
    /// ```
    pub fn map<U, F>(self, user: F) -> Stream<U, Map<C, T, F>>
    where
        U: 'static,
        F: FnMut(T) -> U + 'static,
    {
        self.then("map", |chain, name| Map { chain, name, user, input: PhantomData })
    }

    /// Keeps the records for which the function is true.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let even = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("n", 1..6u64).filter(|n| n % 2 == 0)
    /// });
    /// assert_eq!(even, [2, 4]);
    /// ```
    pub fn filter<F>(self, user: F) -> Stream<T, Filter<C, F>>
    where
        F: FnMut(&T) -> bool + 'static,
    {
        self.then("filter", |chain, name| Filter { chain, name, user })
    }

    /// Makes any number of records from each record.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| flow.from_iter("n", 1..4u64).flat_map(|n| 0..n));
    /// assert_eq!(out, [0, 0, 1, 0, 1, 2]);
    /// ```
    pub fn flat_map<I, F>(self, user: F) -> Stream<I::Item, FlatMap<C, T, F>>
    where
        I: IntoIterator + 'static,
        F: FnMut(T) -> I + 'static,
    {
        self.then("flat_map", |chain, name| FlatMap { chain, name, user, input: PhantomData })
    }

    /// Looks at each record.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("n", 1..3u64).inspect(|n| assert!(*n < 3))
    /// });
    /// assert_eq!(out, [1, 2]);
    /// ```
    pub fn inspect<F>(self, user: F) -> Stream<T, Inspect<C, F>>
    where
        F: FnMut(&T) + 'static,
    {
        self.then("inspect", |chain, name| Inspect { chain, name, user })
    }

    /// As [`Stream::map`] with a function that may fail: an error ends the attempt, or sends the
    /// record to the dead letters ([`Stream::or_dead_letter`]).
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("text", ["1", "2"]).try_map(|text| text.parse::<u64>())
    /// });
    /// assert_eq!(out, [1, 2]);
    /// ```
    #[allow(clippy::type_complexity, reason = "the closure's type has no name")]
    pub fn try_map<U, E, F>(
        self,
        mut user: F,
    ) -> Stream<U, TryFlatMap<C, T, impl FnMut(&T) -> Result<Option<U>, E>>>
    where
        U: 'static,
        E: Into<BoxError> + 'static,
        F: FnMut(&T) -> Result<U, E> + 'static,
    {
        let user = move |record: &T| user(record).map(Some);
        let letters = Letters::none();
        self.then("try_map", |chain, name| TryFlatMap { chain, name, user, letters })
    }

    /// As [`Stream::flat_map`] with a function that may fail.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("n", [2u64]).try_flat_map(|n| Ok::<_, std::io::Error>(vec![*n; 2]))
    /// });
    /// assert_eq!(out, [2, 2]);
    /// ```
    pub fn try_flat_map<I, E, F>(self, user: F) -> Stream<I::Item, TryFlatMap<C, T, F>>
    where
        I: IntoIterator + 'static,
        E: Into<BoxError> + 'static,
        F: FnMut(&T) -> Result<I, E> + 'static,
    {
        let letters = Letters::none();
        self.then("try_flat_map", |chain, name| TryFlatMap { chain, name, user, letters })
    }

    /// As [`Stream::filter`] with a function that may fail.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("n", 1..4u64).try_filter(|n| Ok::<_, std::io::Error>(*n > 1))
    /// });
    /// assert_eq!(out, [2, 3]);
    /// ```
    pub fn try_filter<E, F>(self, user: F) -> Stream<T, TryFilter<C, T, F>>
    where
        E: Into<BoxError> + 'static,
        F: FnMut(&T) -> Result<bool, E> + 'static,
    {
        let letters = Letters::none();
        self.then("try_filter", |chain, name| TryFilter { chain, name, user, letters })
    }

    /// Gives records timestamps and derives watermarks from them, one generator per split of the
    /// source.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let strategy = WatermarkStrategy::monotonous().with_timestamps(|n: &i64| *n);
    ///     flow.from_iter("n", [5i64, 6]).assign_timestamps(strategy)
    /// });
    /// assert_eq!(out, [5, 6]);
    /// ```
    pub fn assign_timestamps(
        self,
        strategy: WatermarkStrategy<T>,
    ) -> Stream<T, AssignTimestamps<C, T>> {
        let core = Rc::clone(&self.flow.core);
        self.then("assign_timestamps", |chain, name| AssignTimestamps {
            chain,
            name,
            strategy,
            core,
        })
    }

    /// Ends the chain: the result has a type that does not depend on how it was made, and may be
    /// cloned if its records may. Costs one dynamic call per batch of up to 256 records.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let numbers: Stream<u64> = flow.from_iter("n", 1..3u64).boxed();
    ///     numbers.clone().union(numbers.map(|n| n * 10))
    /// });
    /// assert_eq!(out, [1, 2, 10, 20]);
    /// ```
    pub fn boxed(self) -> Stream<T> {
        let port = Rc::new(Port::new());
        self.chain.install(PortFeed(Rc::clone(&port)));
        Stream::new(self.flow, self.node, PortRoot(port))
    }

    /// As [`Stream::boxed`]: the point at which a stream is used more than once.
    pub fn share(self) -> Stream<T>
    where
        T: Clone,
    {
        self.boxed()
    }

    /// Both streams as one. Order is kept within each; the watermark is the lower one.
    pub fn union<D: Chain<T>>(self, other: Stream<T, D>) -> Stream<T> {
        let node = self.flow.add_fused(self.node, "union", None);
        self.flow.graph.borrow_mut().add_fused(other.node, node);
        let union = Union::new(2);
        self.chain.install(union.input(0));
        other.chain.install(union.input(1));
        Stream::new(self.flow, node, PortRoot(union.port()))
    }

    /// The records that the last operator sent to `tag`. The stream itself has to end in a sink
    /// too, or the operator is not there.
    pub fn side_output<S: 'static>(&self, tag: &Tag<S>) -> Stream<S> {
        let port = self.flow.side(self.node, tag);
        let node = self.flow.add_fused(self.node, SIDE_OUTPUT, None);
        Stream::new(Rc::clone(&self.flow), node, PortRoot(port))
    }

    /// Sends the stream to a sink, one writer per core.
    pub fn sink<S: Sink<T>>(self, name: &str, sink: S) {
        let flow = &self.flow;
        let node = flow.add_fused(self.node, sink.kind(), Some(name));
        flow.graph.borrow_mut().nodes[node].role = Role::Sink;
        flow.graph.borrow_mut().guarantees.extend(sink.guarantee());
        if flow.mode == Mode::Plan {
            match sink.validate() {
                Ok(()) => {
                    let (name, record) = (name.to_owned(), PhantomData);
                    flow.add_place(Box::new(Named { name, sink, record }));
                }
                Err(error) => flow.fail(error.in_operator(name)),
            }
            return;
        }
        if !flow.runs(node) {
            return;
        }
        match sink.writer(flow.sink_context()) {
            Ok(writer) => {
                let writer = Typed { writer, input: PhantomData };
                let core = Rc::clone(&flow.core);
                let writing = Rc::new(Writing::new(name.into(), core, writer));
                flow.add_sink(node, Rc::clone(&writing) as _);
                self.chain.install(SinkFeed(writing));
            }
            Err(error) => flow.fail(error.in_operator(name)),
        }
    }

    /// Keeps all records for the caller: see [`super::Collected`].
    pub fn collect_into(self, name: &str, all: &super::Collected<T>)
    where
        T: Send,
    {
        self.sink(name, all.clone());
    }
}

/// Exchanges: records change their core.
impl<T: Record, C: Chain<T>> Stream<T, C> {
    /// Groups the stream by key: all records of a key meet on one core, in the order of each
    /// sending core.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("words", ["a", "b", "a"].map(String::from))
    ///         .key_by(|word| word.clone())
    ///         .flat_map_with_state("count", ValueSpec::new("n"), |word: &String, _, n: &mut u64| {
    ///             *n += 1;
    ///             Some((word.clone(), *n))
    ///         })
    /// });
    /// assert_eq!(out, [("a".into(), 1), ("b".into(), 1), ("a".into(), 2)]);
    /// ```
    pub fn key_by<K: Key, F: Fn(&T) -> K + 'static>(self, key: F) -> KeyedStream<K, T> {
        let route = ByKey {
            name: "key_by".into(),
            key,
            max_parallelism: self.flow.env.max_parallelism,
            owners: None,
        };
        let (stream, flow) = self.exchange("key_by", Partitioner::Hash, route);
        KeyedStream::new(flow, stream.chain)
    }

    /// Spreads records evenly: one core after another.
    pub fn rebalance(self) -> Stream<T, GateRoot<T>> {
        let turn = self.flow.core.index();
        self.exchange("rebalance", Partitioner::Rebalance, RoundRobin(turn)).0
    }

    /// Spreads records over the receivers next to each sender.
    pub fn rescale(self) -> Stream<T, GateRoot<T>> {
        let senders = self.flow.graph.borrow().nodes[self.node].parallelism;
        let sender = self.flow.core.index();
        self.exchange("rescale", Partitioner::Rescale, Rescale { sender, senders, turn: 0 }).0
    }

    /// Sends every record to every core.
    pub fn broadcast(self) -> Stream<T, GateRoot<T>> {
        self.exchange("broadcast", Partitioner::Broadcast, Broadcast).0
    }

    /// Sends every record to core 0.
    pub fn global(self) -> Stream<T, GateRoot<T>> {
        self.exchange("global", Partitioner::Global, To(0)).0
    }

    /// Ends the chain in a buffer of the same core: what follows is a task of its own.
    pub fn start_new_chain(self) -> Stream<T, GateRoot<T>> {
        let own = self.flow.core.index();
        self.exchange("forward", Partitioner::Forward, To(own)).0
    }

    /// As [`Stream::start_new_chain`]: the name that Flink's users look for.
    pub fn disable_chaining(self) -> Stream<T, GateRoot<T>> {
        self.start_new_chain()
    }

    fn exchange<R: Route<T>>(
        self,
        kind: &'static str,
        partitioner: Partitioner,
        route: R,
    ) -> (Stream<T, GateRoot<T>>, Rc<Flow>) {
        let (feed, root) = self.flow.exchange::<T, R>(self.node, kind, partitioner, route);
        if partitioner == Partitioner::Forward {
            let mut graph = self.flow.graph.borrow_mut();
            graph.nodes[root.node].parallelism = graph.nodes[self.node].parallelism;
        }
        self.chain.install(feed);
        (Stream::new(Rc::clone(&self.flow), root.node, root), self.flow)
    }
}

impl<T: 'static, C: Chain<T>> Stream<T, C> {
    /// Runs on cores 0 … `cores` - 1 only. Right behind a source or an exchange; elsewhere the
    /// parallelism is that of the operator in front.
    pub fn parallelism(self, cores: usize) -> Self {
        set_parallelism(&self.flow, self.node, cores);
        self
    }

    /// The same chain: the marker of a forward edge, which is what connects operators anyway.
    pub fn forward(self) -> Self {
        self
    }
}

pub(crate) fn set_parallelism(flow: &Flow, node: NodeId, cores: usize) {
    let most = flow.parallelism();
    let mut graph = flow.graph.borrow_mut();
    let target = &mut graph.nodes[node];
    if cores == 0 || cores > most {
        let error = format!("\"{}\" cannot run on {cores} cores: the job has {most}", target.name);
        drop(graph);
        flow.fail(graph_error(error));
    } else if target.head || target.parallelism == cores {
        target.parallelism = cores;
    } else {
        let (name, own) = (target.name.clone(), target.parallelism);
        drop(graph);
        flow.fail(
            graph_error(format!(
                "a forward edge leads to \"{name}\", whose input has parallelism {own}, not {cores}"
            ))
            .with_hint("put .rebalance() or .rescale() in front of it"),
        );
    }
}

impl<T: 'static, U: 'static, C, F> Stream<U, TryFlatMap<C, T, F>>
where
    TryFlatMap<C, T, F>: Chain<U>,
{
    /// Sends refused records to a side output instead of ending the attempt.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let bad = Tag::new("bad");
    ///     let numbers = flow
    ///         .from_iter("text", ["1", "x"])
    ///         .try_map(|text| text.parse::<u64>())
    ///         .or_dead_letter(&bad);
    ///     let letters = numbers.side_output(&bad).map(|letter: Rejected<&str>| letter.error);
    ///     numbers.sink("numbers", Blackhole::new(|_: &u64| ()));
    ///     letters
    /// });
    /// assert_eq!(out, ["invalid digit found in string"]);
    /// ```
    pub fn or_dead_letter(mut self, tag: &Tag<Rejected<T>>) -> Self {
        let port = self.flow.side(self.node, tag);
        self.chain.letters.send_to(port, Rc::clone(&self.flow.core));
        self
    }
}

impl<T: 'static, C, F> Stream<T, TryFilter<C, T, F>>
where
    TryFilter<C, T, F>: Chain<T>,
{
    /// Sends refused records to a side output instead of ending the attempt.
    pub fn or_dead_letter(mut self, tag: &Tag<Rejected<T>>) -> Self {
        let port = self.flow.side(self.node, tag);
        self.chain.letters.send_to(port, Rc::clone(&self.flow.core));
        self
    }
}
