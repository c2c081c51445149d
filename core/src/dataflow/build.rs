//! What streams share while a job is being built: the graph, and in run mode the parts of one core.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_checkpoint::SectionKind;
use thalweg_net::{ChannelId, Doorbell};
use thalweg_state::State;

use crate::config::NetworkConfig;
use crate::graph::{JobGraph, NodeId, Partitioner};
use crate::record::Record;
use crate::runtime::poison::{Head, Ledger, Letters};
use crate::runtime::{
    Aside, Captured, Core, Exchange, ExchangeFeed, Gate, GatePort, MergeLimits, Outlet, OutputPort,
    Parts, Port, Restore, Restoring, Route, SideCpus, SideOutputs, SinkPort, SourceTask, Task,
    splits,
};
use crate::sink::{Place, SinkContext};
use crate::source::SourceContext;
use crate::state::{OperatorState, StateMemory};
use crate::{Error, Result};

use super::Tag;
use super::roots::GateRoot;

/// Why the job function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// To record the graph.
    Plan,
    /// To make the operators of one core.
    Run,
}

/// What a build needs from outside.
#[derive(Clone)]
pub(crate) struct Environment {
    pub(crate) network: NetworkConfig,
    pub(crate) doorbell: Option<Doorbell>,
    pub(crate) inline_io: bool,
    pub(crate) side_cpus: SideCpus,
    pub(crate) checkpoints: bool,
    /// Whether output does not wait for them.
    pub(crate) write_through: bool,
    pub(crate) max_parallelism: u32,
    pub(crate) memory: StateMemory,
    /// Bytes of segments from which on it pays to merge them.
    pub(crate) merge: MergeLimits,
    /// The attempt that is being built: no two attempts write to one file.
    pub(crate) attempt: u64,
    /// What this core is restored from.
    pub(crate) restore: Option<Rc<Restore>>,
    /// What is known of records that fail; none unless the job wants them set aside.
    pub(crate) poison: Option<Arc<Ledger>>,
    /// Where side outputs go that the job does not use: for tests.
    pub(crate) captured: Option<Rc<Captured>>,
}

impl Environment {
    pub(crate) fn new(parallelism: usize, network: NetworkConfig) -> Self {
        let cores = u32::try_from(parallelism).unwrap_or(u32::MAX);
        Self {
            network,
            doorbell: None,
            inline_io: true,
            side_cpus: SideCpus::default(),
            checkpoints: false,
            write_through: false,
            max_parallelism: thalweg_state::group::default_max_parallelism(cores),
            memory: StateMemory::default(),
            merge: MergeLimits::DEFAULT,
            attempt: 1,
            restore: None,
            poison: None,
            captured: None,
        }
    }
}

/// A job under construction on one core.
pub(crate) struct Flow {
    pub(crate) mode: Mode,
    pub(crate) core: Rc<Core>,
    pub(crate) env: Environment,
    pub(crate) graph: RefCell<JobGraph>,
    made: RefCell<Made>,
    sides: RefCell<BTreeMap<NodeId, Rc<SideOutputs>>>,
    error: RefCell<Option<Error>>,
    places: RefCell<Vec<Box<dyn Place>>>,
}

#[derive(Default)]
struct Made {
    sources: Vec<(NodeId, Box<dyn SourceTask>)>,
    gates: Vec<(NodeId, u32, Rc<RefCell<dyn GatePort>>)>,
    outputs: Vec<(NodeId, u32, Rc<dyn OutputPort>)>,
    sinks: Vec<(NodeId, Rc<dyn SinkPort>)>,
    states: Vec<Rc<dyn OperatorState>>,
}

impl Flow {
    pub(crate) fn new(mode: Mode, core: Rc<Core>, env: Environment) -> Rc<Self> {
        let graph = JobGraph { max_parallelism: env.max_parallelism, ..JobGraph::default() };
        Rc::new(Self {
            mode,
            core,
            env,
            graph: RefCell::new(graph),
            made: RefCell::default(),
            sides: RefCell::default(),
            error: RefCell::new(None),
            places: RefCell::default(),
        })
    }

    pub(crate) fn parallelism(&self) -> usize {
        self.core.parallelism()
    }

    /// Notes an error; the first one is what the build returns.
    pub(crate) fn fail(&self, error: Error) {
        self.error.borrow_mut().get_or_insert(error);
    }

    /// In plan mode: notes a place that is written to.
    pub(crate) fn add_place(&self, place: Box<dyn Place>) {
        self.places.borrow_mut().push(place);
    }

    pub(crate) fn take_places(&self) -> Vec<Box<dyn Place>> {
        std::mem::take(&mut *self.places.borrow_mut())
    }

    pub(crate) fn take_error(&self) -> Result<()> {
        self.error.borrow_mut().take().map_or(Ok(()), Err)
    }

    /// Whether this build makes the operators of `node`.
    pub(crate) fn runs(&self, node: NodeId) -> bool {
        self.mode == Mode::Run && self.core.index() < self.graph.borrow().nodes[node].parallelism
    }

    pub(crate) fn name(&self, node: NodeId) -> Rc<str> {
        self.graph.borrow().nodes[node].name.as_str().into()
    }

    /// Adds a node that starts a task.
    pub(crate) fn add_head(&self, kind: &'static str, name: Option<&str>) -> NodeId {
        let parallelism = self.parallelism();
        self.graph.borrow_mut().add_node(kind, name, parallelism, true)
    }

    /// Adds a node that is fused to `from`.
    pub(crate) fn add_fused(&self, from: NodeId, kind: &'static str, name: Option<&str>) -> NodeId {
        let mut graph = self.graph.borrow_mut();
        let parallelism = graph.nodes[from].parallelism;
        let node = graph.add_node(kind, name, parallelism, false);
        graph.add_fused(from, node);
        node
    }

    pub(crate) fn add_source(&self, node: NodeId, task: Box<dyn SourceTask>) {
        self.made.borrow_mut().sources.push((node, task));
    }

    /// The place of the next source of this core.
    pub(crate) fn next_source(&self) -> u32 {
        self.made.borrow().sources.len() as u32
    }

    /// The splits of the next source of this core, where it is being restored.
    pub(crate) fn restored_splits<S: State>(&self) -> Result<Option<Vec<(u32, S)>>> {
        let Some(restore) = &self.env.restore else { return Ok(None) };
        let place = self.next_source();
        let image = Restoring::new(&restore.image, 0);
        splits::decode(image.section(SectionKind::Splits, place, 0)?).map(Some)
    }

    pub(crate) fn add_sink(&self, node: NodeId, sink: Rc<dyn SinkPort>) {
        self.made.borrow_mut().sinks.push((node, sink));
    }

    /// Adds states of an operator of this core that belong to no key.
    pub(crate) fn add_states(&self, states: Vec<Rc<dyn OperatorState>>) {
        self.made.borrow_mut().states.extend(states);
    }

    /// Connects `from` with a new gate through buffers: returns the end of the sending chain and
    /// the gate.
    pub(crate) fn exchange<T: Record, R: Route<T>>(
        self: &Rc<Self>,
        from: NodeId,
        kind: &'static str,
        partitioner: Partitioner,
        mut route: R,
    ) -> (ExchangeFeed<T, R>, GateRoot<T>) {
        let node = self.add_head(kind, None);
        route.named(self.name(node));
        let fingerprint = T::FINGERPRINT;
        let id = self.graph.borrow_mut().add_exchange(from, node, partitioner, fingerprint);
        let channel = ChannelId(id);
        let network = self.env.network.clone();
        let exchange = Rc::new(Exchange::<T>::new(channel, Rc::clone(&self.core), network));
        let gate = Rc::new(RefCell::new(Gate::<T>::new(channel, Rc::clone(&self.core))));
        let mut made = self.made.borrow_mut();
        made.outputs.push((from, id, Rc::clone(&exchange) as _));
        made.gates.push((node, id, Rc::clone(&gate) as _));
        let feed = ExchangeFeed { exchange, route, receivers: None };
        (feed, GateRoot { node, gate })
    }

    /// The port of a side output, made by whoever asks first.
    pub(crate) fn side<T: 'static>(&self, node: NodeId, tag: &Tag<T>) -> Rc<Port<T>> {
        self.sides(node).port(tag).unwrap_or_else(|error| {
            self.fail(error);
            Rc::new(Port::new())
        })
    }

    /// The side outputs of a node.
    pub(crate) fn sides(&self, node: NodeId) -> Rc<SideOutputs> {
        let mut sides = self.sides.borrow_mut();
        let made = || Rc::new(SideOutputs::new(self.env.captured.clone()));
        Rc::clone(sides.entry(node).or_insert_with(made))
    }

    /// Where side threads of this core run; `None` with inline I/O.
    fn aside(&self) -> Option<Aside> {
        let doorbell = self.env.doorbell.clone();
        let aside = Aside { cpus: self.env.side_cpus.clone(), doorbell, core: self.core.index() };
        (!self.env.inline_io).then_some(aside)
    }

    pub(crate) fn source_context(&self) -> SourceContext {
        SourceContext {
            core: Rc::clone(&self.core),
            doorbell: self.env.doorbell.clone(),
            inline_io: self.env.inline_io,
            aside: self.aside(),
        }
    }

    pub(crate) fn sink_context(&self) -> SinkContext {
        SinkContext {
            core: Rc::clone(&self.core),
            doorbell: self.env.doorbell.clone(),
            inline_io: self.env.inline_io,
            checkpoints: self.env.checkpoints,
            write_through: self.env.write_through,
            attempt: self.env.attempt,
            aside: self.aside(),
        }
    }

    /// Opens the output of records that are set aside, if there is one.
    fn open_letters(&self, made: &Made, graph: &JobGraph) -> Result<Option<Rc<Letters>>> {
        let Some(warden) = self.core.warden() else { return Ok(None) };
        let name = |node: NodeId| -> Rc<str> { graph.nodes[node].name.as_str().into() };
        let sources = (0u32..).zip(&made.sources);
        let sources = sources.map(|(place, (node, _))| (Head::Source(place), name(*node)));
        let gates = made.gates.iter().map(|(node, edge, _)| (Head::Input(*edge), name(*node)));
        warden.open(self.sink_context(), sources.chain(gates).collect()).map(Some)
    }

    /// Ends a build in run mode: opens exchanges and gates, and says what each task writes to.
    pub(crate) fn finish(self: Rc<Self>) -> Result<Parts> {
        self.take_error()?;
        let graph = self.graph.borrow().clone();
        graph.validate()?;
        let made = std::mem::take(&mut *self.made.borrow_mut());
        let mut parts = Parts {
            core: Rc::clone(&self.core),
            network: self.env.network.clone(),
            sources: Vec::new(),
            gates: (0..graph.channels()).map(|_| None).collect(),
            outputs: (0..graph.channels()).map(|_| None).collect(),
            sinks: Vec::new(),
            states: made.states.clone(),
            checkpoints: self.env.checkpoints,
            merge: self.env.merge,
        };
        let letters = self.open_letters(&made, &graph)?;
        let outlets = |head: NodeId| -> Vec<Rc<dyn Outlet>> {
            let task = graph.task_of(head);
            let outputs = made.outputs.iter().filter(|(from, ..)| task.contains(from));
            let sinks = made.sinks.iter().filter(|(node, _)| task.contains(node));
            let outputs = outputs.map(|(.., output)| Rc::clone(output) as Rc<dyn Outlet>);
            let sinks = sinks.map(|(_, sink)| Rc::clone(sink) as Rc<dyn Outlet>);
            let letters = letters.iter().map(|it| Rc::clone(it) as Rc<dyn Outlet>);
            outputs.chain(sinks).chain(letters).collect()
        };
        let name = |node: NodeId| -> Rc<str> { graph.nodes[node].name.as_str().into() };
        for (node, id, gate) in &made.gates {
            if self.runs(*node) {
                let edge = graph.edges.iter().find(|edge| edge.channel == Some(*id));
                let senders = edge.map_or(0, |edge| graph.nodes[edge.from].parallelism);
                gate.borrow_mut().open(senders, &self.env.network);
                let inner = Rc::clone(gate);
                let task = Task { name: name(*node), node: *node, inner, outlets: outlets(*node) };
                parts.gates[*id as usize] = Some(task);
            }
        }
        for (from, id, output) in &made.outputs {
            if self.runs(*from) {
                let edge = graph.edges.iter().find(|edge| edge.channel == Some(*id));
                output.open(edge.map_or(0, |edge| graph.nodes[edge.to].parallelism));
                parts.outputs[*id as usize] = Some(Rc::clone(output));
            }
        }
        parts.sinks = made.sinks.iter().map(|(_, sink)| Rc::clone(sink)).collect();
        parts.sinks.extend(letters.iter().map(|it| Rc::clone(it) as Rc<dyn SinkPort>));
        let sources: Vec<_> = made.sources.iter().map(|(node, _)| outlets(*node)).collect();
        let tasks = made.sources.into_iter().zip(sources);
        parts.sources = tasks
            .map(|((node, inner), outlets)| Task { name: name(node), node, inner, outlets })
            .collect();
        Ok(parts)
    }
}
