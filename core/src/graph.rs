//! The job's graph: what plan mode records.
//!
//! The same function that builds the operators records the graph, on every core, so a digest tells
//! whether all cores run the same job. Parallelism and closures are not in the digest.

mod dot;
mod json;
mod text;

use std::fmt::Write as _;

use crate::{Error, Result};

/// Number of a node in its graph, in the order in which the job made it.
pub type NodeId = usize;

/// How records of an edge find their core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Partitioner {
    /// Fused: a function call.
    Fused,
    /// Same core, through a buffer.
    Forward,
    /// By key.
    Hash,
    /// One core after another.
    Rebalance,
    /// Round robin over neighbouring cores.
    Rescale,
    /// Every core.
    Broadcast,
    /// The first core.
    Global,
}

impl Partitioner {
    /// The word for plans.
    pub fn name(self) -> &'static str {
        match self {
            Partitioner::Fused => "fused",
            Partitioner::Forward => "forward",
            Partitioner::Hash => "hash",
            Partitioner::Rebalance => "rebalance",
            Partitioner::Rescale => "rescale",
            Partitioner::Broadcast => "broadcast",
            Partitioner::Global => "global",
        }
    }
}

/// An operator, source, sink or exchange of the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its name: given, or made from its kind and number.
    pub name: String,
    /// Whether the job gave the name.
    pub named: bool,
    /// What it is: `map`, `key_by`, `file`.
    pub kind: &'static str,
    /// The cores it runs on: 0 … parallelism - 1.
    pub parallelism: usize,
    /// Whether it starts a task: a source or the receiving side of an exchange.
    pub head: bool,
    /// The states that it declares.
    pub states: Vec<StateInfo>,
    /// Where it stands.
    pub role: Role,
}

/// Where a node stands in its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It reads from outside.
    Source {
        /// How many records it will read, if it knows.
        expected: Option<u64>,
    },
    /// It stands between others.
    Operator,
    /// It writes to the outside.
    Sink,
}

/// A declared state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateInfo {
    /// Its name, unique in its operator.
    pub name: String,
    /// `value`, `list`, `map`, `reducing`, `aggregating`, `window`, `broadcast`, `operator list`,
    /// `union list`.
    pub kind: &'static str,
    /// Fingerprint of its value's schema.
    pub fingerprint: u64,
}

/// A connection of two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Where records come from.
    pub from: NodeId,
    /// Where they go.
    pub to: NodeId,
    /// How they find their core.
    pub partitioner: Partitioner,
    /// The channel number on every link, if records travel in buffers.
    pub channel: Option<u32>,
    /// Fingerprint of the record's schema, if they do.
    pub fingerprint: u64,
    /// Which input of an operator with several: 0 or 1.
    pub port: u32,
}

/// Kind of the node at which a side output begins.
pub(crate) const SIDE_OUTPUT: &str = "side_output";

/// Nodes and edges of a job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobGraph {
    /// The nodes, in the order of their ids.
    pub nodes: Vec<Node>,
    /// The edges, in the order in which they were made.
    pub edges: Vec<Edge>,
    /// What is not exactly once, and why: a line for each source or sink that says so.
    pub guarantees: Vec<String>,
    /// Number of key groups.
    pub max_parallelism: u32,
}

impl JobGraph {
    pub(crate) fn add_node(
        &mut self,
        kind: &'static str,
        name: Option<&str>,
        parallelism: usize,
        head: bool,
    ) -> NodeId {
        let id = self.nodes.len();
        self.nodes.push(Node {
            id,
            name: name.map_or_else(|| format!("{kind}-{id}"), str::to_owned),
            named: name.is_some(),
            kind,
            parallelism,
            head,
            states: Vec::new(),
            role: Role::Operator,
        });
        id
    }

    pub(crate) fn add_fused(&mut self, from: NodeId, to: NodeId) {
        self.add_input(from, to, 0);
    }

    /// Connects the second input of an operator.
    pub(crate) fn add_second(&mut self, from: NodeId, to: NodeId) {
        self.add_input(from, to, 1);
    }

    fn add_input(&mut self, from: NodeId, to: NodeId, port: u32) {
        let partitioner = Partitioner::Fused;
        self.edges.push(Edge { from, to, partitioner, channel: None, fingerprint: 0, port });
    }

    pub(crate) fn add_exchange(
        &mut self,
        from: NodeId,
        to: NodeId,
        partitioner: Partitioner,
        fingerprint: u64,
    ) -> u32 {
        let number = self.channels() as u32;
        let channel = Some(number);
        self.edges.push(Edge { from, to, partitioner, channel, fingerprint, port: 0 });
        number
    }

    /// How many edges carry buffers.
    pub fn channels(&self) -> usize {
        self.edges.iter().filter(|edge| edge.channel.is_some()).count()
    }

    /// How many records the sources will read, if all of them know.
    pub fn expected(&self) -> Option<u64> {
        let sources = self.nodes.iter().filter_map(|node| match node.role {
            Role::Source { expected } => Some(expected),
            Role::Operator | Role::Sink => None,
        });
        sources.sum()
    }

    /// Whether an operator has inputs that are not alike.
    pub(crate) fn has_ports(&self, node: NodeId) -> bool {
        self.edges.iter().any(|edge| edge.to == node && edge.port > 0)
    }

    /// All nodes that a task starting at `head` runs: itself and what is fused to it.
    pub(crate) fn task_of(&self, head: NodeId) -> Vec<NodeId> {
        let mut task = vec![head];
        let mut next = 0;
        while next < task.len() {
            let from = task[next];
            let fused = |edge: &&Edge| edge.from == from && edge.channel.is_none();
            for edge in self.edges.iter().filter(fused) {
                if !task.contains(&edge.to) {
                    task.push(edge.to);
                }
            }
            next += 1;
        }
        task
    }

    /// Checks what cannot be seen while a single operator is added.
    ///
    /// # Errors
    /// An empty job, a name used twice, a forward or fused edge between different parallelisms.
    pub fn validate(&self) -> Result<()> {
        if self.nodes.is_empty() {
            return Err(graph_error("the job has no source").with_hint(
                "start it with flow.source(…) or flow.from_iter(…) and end it with a sink",
            ));
        }
        for (index, node) in self.nodes.iter().enumerate() {
            let twin = self.nodes[..index].iter().find(|other| other.name == node.name);
            if let Some(twin) = twin {
                return Err(graph_error(format!(
                    "two operators are named \"{}\": a {} and a {}",
                    node.name, twin.kind, node.kind
                ))
                .with_hint("names identify state: give each operator its own"));
            }
        }
        self.validate_side_outputs()?;
        self.validate_parallelism()
    }

    /// A chain is built from its sink upwards: an operator whose main output leads nowhere never
    /// runs, and then nothing comes out of its side outputs.
    fn validate_side_outputs(&self) -> Result<()> {
        let side = |to: NodeId| self.nodes[to].kind == SIDE_OUTPUT;
        for edge in self.edges.iter().filter(|edge| side(edge.to) && self.ends(edge.to)) {
            let main = self.edges.iter().filter(|other| other.from == edge.from && !side(other.to));
            if !main.map(|other| other.to).any(|to| self.ends(to)) {
                let name = &self.nodes[edge.from].name;
                return Err(graph_error(format!(
                    "a side output of \"{name}\" has a sink, its main output has none: nothing \
                     would run"
                ))
                .with_hint("end the main output with a sink, for example Blackhole::new(|_| {})"));
            }
        }
        Ok(())
    }

    /// Whether a node is a sink or leads to one.
    fn ends(&self, node: NodeId) -> bool {
        let mut behind = self.edges.iter().filter(|edge| edge.from == node);
        self.nodes[node].role == Role::Sink || behind.any(|edge| self.ends(edge.to))
    }

    fn validate_parallelism(&self) -> Result<()> {
        let local = [Partitioner::Fused, Partitioner::Forward];
        for edge in self.edges.iter().filter(|edge| local.contains(&edge.partitioner)) {
            let (from, to) = (&self.nodes[edge.from], &self.nodes[edge.to]);
            if from.parallelism != to.parallelism {
                return Err(graph_error(format!(
                    "a forward edge connects \"{}\" (parallelism {}) with \"{}\" (parallelism {})",
                    from.name, from.parallelism, to.name, to.parallelism
                ))
                .with_hint("put .rebalance() or .rescale() between them"));
            }
        }
        Ok(())
    }

    /// A digest of names, kinds, edges, their ports, partitioners and schema fingerprints: equal on
    /// all cores of a job.
    pub fn digest(&self) -> u64 {
        let mut text = String::new();
        for node in &self.nodes {
            let _ = write!(text, "node {} {}", node.name, node.kind);
            for state in &node.states {
                let _ = write!(text, " {} {} {:x}", state.name, state.kind, state.fingerprint);
            }
            text.push('\n');
        }
        for edge in &self.edges {
            let (from, to) = (&self.nodes[edge.from].name, &self.nodes[edge.to].name);
            let kind = edge.partitioner.name();
            let _ = write!(text, "edge {from} {to} {kind} {:x}", edge.fingerprint);
            if edge.port > 0 {
                let _ = write!(text, " {}", edge.port);
            }
            text.push('\n');
        }
        thalweg_state::key::hash(text.as_bytes())
    }
}

pub(crate) fn graph_error(message: impl Into<String>) -> Error {
    Error::new(crate::error::Kind::Graph, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two(first: usize, second: usize, partitioner: Partitioner) -> JobGraph {
        let mut graph = JobGraph::default();
        let a = graph.add_node("source", Some("a"), first, true);
        let b = graph.add_node("map", Some("b"), second, true);
        graph.add_exchange(a, b, partitioner, 1);
        graph
    }

    #[test]
    fn a_forward_edge_between_unequal_parallelisms_names_both() {
        let error = two(2, 1, Partitioner::Forward).validate().unwrap_err().to_string();
        assert!(error.contains("\"a\" (parallelism 2) with \"b\" (parallelism 1)"), "{error}");
        two(2, 1, Partitioner::Rebalance).validate().unwrap();
    }

    #[test]
    fn the_digest_leaves_parallelism_out_and_takes_names_and_partitioners_in() {
        let digest = two(2, 2, Partitioner::Hash).digest();
        assert_eq!(digest, two(4, 1, Partitioner::Hash).digest());
        assert_ne!(digest, two(2, 2, Partitioner::Rebalance).digest());
    }

    #[test]
    fn a_side_output_with_a_sink_needs_a_main_output_with_one() {
        let mut graph = two(1, 1, Partitioner::Hash);
        let sink = |graph: &mut JobGraph, from, name: &str| {
            let sink = graph.add_node("print", Some(name), 1, true);
            graph.nodes[sink].role = Role::Sink;
            graph.add_exchange(from, sink, Partitioner::Fused, 0);
        };
        let side = graph.add_node(SIDE_OUTPUT, None, 1, true);
        graph.add_exchange(1, side, Partitioner::Fused, 0);
        graph.validate().unwrap();
        sink(&mut graph, side, "late");
        let error = graph.validate().unwrap_err().to_string();
        assert!(error.contains("a side output of \"b\" has a sink"), "{error}");
        sink(&mut graph, 1, "all");
        graph.validate().unwrap();
    }

    #[test]
    fn a_name_is_used_once() {
        let mut graph = two(1, 1, Partitioner::Hash);
        graph.nodes[1].name = "a".into();
        assert!(graph.validate().unwrap_err().to_string().contains("named \"a\""));
    }
}
