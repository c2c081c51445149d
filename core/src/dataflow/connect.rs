//! Streams that are connected, and processes that keep state without a key.

use std::marker::PhantomData;
use std::rc::Rc;

use super::build::Flow;
use super::roots::GateRoot;
use super::stream::set_parallelism;
use super::{KeyedStream, Stream};
use crate::graph::{NodeId, Partitioner, StateInfo, graph_error};
use crate::operator::connect::{IntoConsumers, KeyedBroadcast, KeyedPair, Partner, PlainPair};
use crate::operator::plain::{Plain, StreamProcessed};
use crate::operator::process::Process;
use crate::operator::{
    BroadcastProcess, Chain, Feed, KeyedBroadcastProcess, KeyedCoProcess, StreamProcess,
};
use crate::record::Record;
use crate::state::{BroadcastStates, OperatorState, OperatorStates, StateTables, States};
use crate::{Error, Result};
use thalweg_state::Key;

/// What a keyed stream can be connected with: a stream of the same key, or one that was
/// [broadcast](Stream::broadcast).
pub trait ConnectKeyed<K: Key, A: Record> {
    /// Both streams.
    type Connected;
    /// Puts `first` in front of this one.
    fn behind(self, first: KeyedStream<K, A>) -> Self::Connected;
}

impl<K: Key, A: Record, B: Record> ConnectKeyed<K, A> for KeyedStream<K, B> {
    type Connected = KeyedStreams<K, A, B>;
    fn behind(self, first: KeyedStream<K, A>) -> Self::Connected {
        KeyedStreams { first, second: self }
    }
}

impl<K: Key, A: Record, B: Record> ConnectKeyed<K, A> for Stream<B, GateRoot<B>> {
    type Connected = KeyedBroadcastStreams<K, A, B>;
    fn behind(self, first: KeyedStream<K, A>) -> Self::Connected {
        KeyedBroadcastStreams { keyed: first, broadcast: self }
    }
}

impl<K: Key, T: Record> KeyedStream<K, T> {
    /// Lets one operator hear two streams: this one, and another one of the same key, with which it
    /// shares the key's states, or one that was broadcast, whose elements every core hears.
    ///
    /// Order is kept within each; the watermark is the lower one.
    ///
    /// ```
    /// # use thalweg::{Result, prelude::*};
    /// struct Above { limit: BroadcastState<(), u64> }
    /// impl KeyedBroadcastProcess<u64, u64, u64> for Above {
    ///     type Out = u64;
    ///     fn process(&mut self, n: u64, cx: &mut ProcessContext<u64, u64>) -> Result<()> {
    ///         if self.limit.get(&()).is_none_or(|limit| n > *limit) {
    ///             cx.emit(n);
    ///         }
    ///         Ok(())
    ///     }
    ///     fn process_broadcast(
    ///         &mut self,
    ///         limit: u64,
    ///         cx: &mut BroadcastContext<u64, u64>,
    ///     ) -> Result<()> {
    ///         self.limit.write(cx).insert((), limit);
    ///         Ok(())
    ///     }
    /// }
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let limits = flow.from_iter("limits", [0u64]);
    ///     flow.from_iter("numbers", [3u64, 4])
    ///         .key_by(|n| *n)
    ///         .connect(limits.broadcast())
    ///         .process("above", |states| Above { limit: states.broadcast("limit") })
    /// });
    /// assert_eq!(out, [3, 4]);
    /// ```
    pub fn connect<O: ConnectKeyed<K, T>>(self, other: O) -> O::Connected {
        other.behind(self)
    }
}

impl<T: 'static, C: Chain<T>> Stream<T, C> {
    /// Lets one operator hear this stream and one that was [broadcast](Stream::broadcast).
    ///
    /// ```
    /// # use thalweg::{Result, prelude::*};
    /// # struct Allowed { words: BroadcastState<String, ()> }
    /// # impl BroadcastProcess<String, String> for Allowed {
    /// #     type Out = String;
    /// #     fn process(&mut self, _: String, _: &mut StreamContext<String>) -> Result<()> {
    /// #         Ok(())
    /// #     }
    /// #     fn process_broadcast(
    /// #         &mut self,
    /// #         word: String,
    /// #         cx: &mut StreamBroadcastContext<String>,
    /// #     ) -> Result<()> {
    /// #         self.words.write(cx).insert(word, ());
    /// #         Ok(())
    /// #     }
    /// # }
    /// # fn f(words: Stream<String>, allowed: Stream<String>) -> Stream<String> {
    /// words
    ///     .connect(allowed.broadcast())
    ///     .process("allowed", |states| Allowed { words: states.broadcast("words") })
    /// #     .boxed()
    /// # }
    /// ```
    pub fn connect<B: Record>(
        self,
        broadcast: Stream<B, GateRoot<B>>,
    ) -> BroadcastStreams<T, C, B> {
        BroadcastStreams { stream: self, broadcast }
    }

    /// Calls user code for every record, with lists of its own on each core. `make` declares them
    /// and makes the process; it is called when the job is planned and once on every core.
    ///
    /// ```
    /// # use thalweg::{Result, prelude::*};
    /// struct Pairs { first: OperatorList<u64> }
    /// impl StreamProcess<u64> for Pairs {
    ///     type Out = (u64, u64);
    ///     fn process(&mut self, n: u64, cx: &mut StreamContext<(u64, u64)>) -> Result<()> {
    ///         match self.first.take().pop() {
    ///             Some(first) => cx.emit((first, n)),
    ///             None => self.first.push(n),
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// let out = thalweg::testing::outputs(|flow| {
    ///     let numbers = flow.from_iter("n", 1..6u64);
    ///     numbers.process("pairs", |states| Pairs { first: states.list("first") })
    /// });
    /// assert_eq!(out, [(1, 2), (3, 4)]);
    /// ```
    pub fn process<P: StreamProcess<T>>(
        self,
        name: &str,
        make: impl FnOnce(&mut OperatorStates) -> P,
    ) -> Stream<P::Out, StreamProcessed<C, T, P>> {
        let mut states = OperatorStates::new(Rc::clone(&self.flow.core), name);
        let process = make(&mut states);
        let (tables, infos, checked) = states.finish();
        let node = self.flow.add_fused(self.node, "process", Some(name));
        self.flow.declare(node, infos, tables, checked);
        let plain = plain(&self.flow, node, process);
        let chain = StreamProcessed { chain: self.chain, plain, input: PhantomData };
        Stream::new(self.flow, node, chain)
    }
}

/// Two streams of one key; ends in [`KeyedStreams::process`].
#[must_use = "connected streams do nothing until they are processed"]
pub struct KeyedStreams<K: Key, A: Record, B: Record> {
    first: KeyedStream<K, A>,
    second: KeyedStream<K, B>,
}

impl<K: Key, A: Record, B: Record> KeyedStreams<K, A, B> {
    /// Calls user code for every record of either stream, with states and timers of the record's
    /// key, which both share. `make` declares the states and makes the process; it is called when
    /// the job is planned and once on every core.
    ///
    /// ```
    /// # use thalweg::{Result, prelude::*};
    /// struct Balance { cents: ValueState<i64> }
    /// impl KeyedCoProcess<u64, (u64, i64), u64> for Balance {
    ///     type Out = (u64, i64);
    ///     fn process_first(
    ///         &mut self,
    ///         (_, cents): (u64, i64),
    ///         _: &mut ProcessContext<u64, Self::Out>,
    ///     ) -> Result<()> {
    ///         *self.cents.or_default() += cents;
    ///         Ok(())
    ///     }
    ///     fn process_second(
    ///         &mut self,
    ///         question: u64,
    ///         cx: &mut ProcessContext<u64, Self::Out>,
    ///     ) -> Result<()> {
    ///         cx.emit((question, *self.cents.or_default()));
    ///         Ok(())
    ///     }
    /// }
    /// # fn f(bookings: KeyedStream<u64, (u64, i64)>, questions: KeyedStream<u64, u64>) {
    /// bookings
    ///     .connect(questions)
    ///     .process("balance", |states| Balance { cents: states.value("cents") })
    ///     .sink("answers", Print::new());
    /// # }
    /// ```
    pub fn process<P: KeyedCoProcess<K, A, B>>(
        self,
        name: &str,
        make: impl FnOnce(&mut States<K>) -> P,
    ) -> Stream<P::Out, ConnectedRoot<A, B, KeyedPair<K, P>>> {
        let Self { first, second } = self;
        let flow = first.flow;
        let mut states = States::new(Rc::clone(&flow.core), name);
        let process = make(&mut states);
        let (tables, infos, checked) = states.finish();
        let inputs = [first.root.node, second.root.node];
        let node = flow.add_pair(inputs, "keyed_co_process", name);
        flow.declare(node, infos, Vec::new(), checked);
        let operator = KeyedPair(keyed(&flow, node, process, tables));
        let root = ConnectedRoot { first: first.root, second: second.root, operator };
        Stream::new(flow, node, root)
    }
}

/// A keyed stream and a broadcast one; ends in [`KeyedBroadcastStreams::process`].
#[must_use = "connected streams do nothing until they are processed"]
pub struct KeyedBroadcastStreams<K: Key, A: Record, B: Record> {
    keyed: KeyedStream<K, A>,
    broadcast: Stream<B, GateRoot<B>>,
}

impl<K: Key, A: Record, B: Record> KeyedBroadcastStreams<K, A, B> {
    /// Calls user code for every record, with states and timers of the record's key, and for every
    /// element of the broadcast stream. `make` declares the states, broadcast ones too, and makes
    /// the process; it is called when the job is planned and once on every core. See
    /// [`KeyedStream::connect`] for an example.
    pub fn process<P: KeyedBroadcastProcess<K, A, B>>(
        self,
        name: &str,
        make: impl FnOnce(&mut BroadcastStates<States<K>>) -> P,
    ) -> Stream<P::Out, ConnectedRoot<A, B, KeyedBroadcast<K, P>>> {
        let Self { keyed: first, broadcast } = self;
        let flow = first.flow;
        let mut states = BroadcastStates::keyed(&flow.core, name);
        let process = make(&mut states);
        let (tables, of_operator, infos, checked) = states.finish();
        flow.check_broadcast(broadcast.node, first.root.node, name);
        let inputs = [first.root.node, broadcast.node];
        let node = flow.add_pair(inputs, "keyed_broadcast_process", name);
        flow.declare(node, infos, of_operator, checked);
        let operator = KeyedBroadcast(keyed(&flow, node, process, tables));
        let root = ConnectedRoot { first: first.root, second: broadcast.chain, operator };
        Stream::new(flow, node, root)
    }
}

/// A stream and a broadcast one; ends in [`BroadcastStreams::process`].
#[must_use = "connected streams do nothing until they are processed"]
pub struct BroadcastStreams<A: 'static, C: Chain<A>, B: Record> {
    stream: Stream<A, C>,
    broadcast: Stream<B, GateRoot<B>>,
}

impl<A: 'static, C: Chain<A>, B: Record> BroadcastStreams<A, C, B> {
    /// Calls user code for every record and for every element of the broadcast stream. `make`
    /// declares the states, broadcast ones and lists, and makes the process; it is called when the
    /// job is planned and once on every core.
    #[allow(clippy::type_complexity, reason = "the chain says how the stream was made")]
    pub fn process<P: BroadcastProcess<A, B>>(
        self,
        name: &str,
        make: impl FnOnce(&mut BroadcastStates<OperatorStates>) -> P,
    ) -> Stream<P::Out, PlainPair<C, GateRoot<B>, A, B, P>> {
        let Self { stream, broadcast } = self;
        let flow = stream.flow;
        let mut states = BroadcastStates::without_key(&flow.core, name);
        let process = make(&mut states);
        let ((), tables, infos, checked) = states.finish();
        flow.check_broadcast(broadcast.node, stream.node, name);
        let node = flow.add_pair([stream.node, broadcast.node], "broadcast_process", name);
        flow.declare(node, infos, tables, checked);
        let plain = plain(&flow, node, process);
        let (first, second) = (stream.chain, broadcast.chain);
        Stream::new(flow, node, PlainPair { first, second, plain, inputs: PhantomData })
    }
}

fn keyed<K: Key, P>(
    flow: &Rc<Flow>,
    node: NodeId,
    process: P,
    tables: StateTables,
) -> Process<K, P> {
    Process::new(flow.name(node), Rc::clone(&flow.core), process, tables, flow.sides(node))
}

fn plain<P>(flow: &Rc<Flow>, node: NodeId, process: P) -> Plain<P> {
    let core = Rc::clone(&flow.core);
    Plain { name: flow.name(node), core, process, sides: flow.sides(node) }
}

impl Flow {
    /// Adds a node that is fused to two others: to the first by its port 0, to the second by 1.
    fn add_pair(&self, [first, second]: [NodeId; 2], kind: &'static str, name: &str) -> NodeId {
        let node = self.add_fused(first, kind, Some(name));
        let mut graph = self.graph.borrow_mut();
        graph.add_second(second, node);
        let [one, other] = [first, second].map(|input| graph.nodes[input].parallelism);
        drop(graph);
        if one != other {
            let what = format!("the inputs of \"{name}\" run on {one} and on {other} cores");
            self.fail(graph_error(what).with_hint("give both the same .parallelism(…)"));
        }
        node
    }

    /// Makes sure that a stream goes to every core on which its operator runs.
    fn check_broadcast(&self, stream: NodeId, beside: NodeId, operator: &str) {
        let graph = self.graph.borrow();
        let (name, cores) = (graph.nodes[stream].name.clone(), graph.nodes[beside].parallelism);
        let is_broadcast = |edge: &crate::graph::Edge| edge.partitioner == Partitioner::Broadcast;
        let found = graph.edges.iter().any(|edge| edge.to == stream && is_broadcast(edge));
        drop(graph);
        if found {
            return set_parallelism(self, stream, cores);
        }
        let what = format!("\"{operator}\" is connected with \"{name}\", which is no broadcast");
        self.fail(graph_error(what).with_hint("end that stream with .broadcast()"));
    }

    /// Notes what states an operator has.
    fn declare(
        &self,
        node: NodeId,
        infos: Vec<StateInfo>,
        tables: Vec<Rc<dyn OperatorState>>,
        checked: Result<(), Error>,
    ) {
        if let Err(error) = checked {
            self.fail(error.in_operator(&self.name(node)));
        }
        self.graph.borrow_mut().nodes[node].states = infos;
        if self.runs(node) {
            self.add_states(tables);
        }
    }
}

/// A chain that begins at an operator with two gates.
pub struct ConnectedRoot<A: Record, B: Record, O> {
    first: GateRoot<A>,
    second: GateRoot<B>,
    operator: O,
}

impl<A, B, U, O> Chain<U> for ConnectedRoot<A, B, O>
where
    A: Record,
    B: Record,
    U: 'static,
    O: IntoConsumers<A, B, U>,
{
    fn install<N: Feed<U>>(self, next: N) {
        let Self { first, second, operator } = self;
        let (one, other) = operator.into_consumers(next, Partner::of(&first.gate, &second.gate));
        first.gate.borrow_mut().attach(one);
        second.gate.borrow_mut().attach(other);
    }
}
