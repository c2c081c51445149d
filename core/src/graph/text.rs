//! The job's graph as a text for people: a task per paragraph, a fused chain per line.

use std::fmt::{self, Write as _};

use super::{Edge, JobGraph, Node, NodeId, Role};

impl JobGraph {
    /// The graph as text: what runs as one loop stands on one line, with exchanges between the
    /// tasks.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// # fn job(flow: &Dataflow, _: &Args) -> thalweg::Result<()> {
    /// flow.from_iter("n", 0..9u64).rebalance().sink("out", Print::new());
    /// # Ok(()) }
    /// # let graph = thalweg::plan(&job, &Args::default(), 2).unwrap();
    /// assert!(graph.text().contains("rebalance to task 2"));
    /// ```
    pub fn text(&self) -> String {
        let (mut text, mut shown_before) = (String::new(), Vec::new());
        for (index, head) in self.heads().into_iter().enumerate() {
            let node = &self.nodes[head];
            let cores = match node.parallelism {
                1 => "1 core".to_owned(),
                more => format!("{more} cores"),
            };
            let _ = writeln!(text, "task {}, on {cores}", index + 1);
            let (shown, others) = (Vec::new(), &shown_before);
            let mut lines = Lines { graph: self, text: &mut text, shown, others };
            let _ = lines.chain(head, 1);
            let shown = lines.shown;
            shown_before.extend(shown.into_iter().map(|node| (node, index + 1)));
        }
        text
    }

    /// The nodes that start tasks, in order: a task's number is its place here.
    pub(super) fn heads(&self) -> Vec<NodeId> {
        self.nodes.iter().filter(|node| node.head).map(|node| node.id).collect()
    }

    /// The number of the task that `head` starts, from 1.
    pub(super) fn task_number(&self, head: NodeId) -> usize {
        self.heads().iter().position(|other| *other == head).map_or(0, |index| index + 1)
    }

    fn edges_from(&self, node: NodeId) -> impl Iterator<Item = &Edge> {
        self.edges.iter().filter(move |edge| edge.from == node)
    }
}

/// The lines of one task.
struct Lines<'a> {
    graph: &'a JobGraph,
    text: &'a mut String,
    /// What was shown: a union is reached more than once.
    shown: Vec<NodeId>,
    /// What was shown before, and in which task.
    others: &'a [(NodeId, usize)],
}

impl Lines<'_> {
    /// Writes the chain that begins at `node`, then what branches off its end.
    fn chain(&mut self, node: NodeId, depth: usize) -> fmt::Result {
        write!(self.text, "{:indent$}", "", indent = 2 * depth)?;
        let mut last = node;
        let mut states = Vec::new();
        loop {
            let node = &self.graph.nodes[last];
            write!(self.text, "{}", label(node))?;
            states.extend(node.states.iter().map(|state| (&node.name, state)));
            self.shown.push(last);
            match self.only_next(last) {
                Some(next) if !self.shown.contains(&next) && !self.is_elsewhere(next) => {
                    write!(self.text, " -> {}", self.port(last, next))?;
                    last = next;
                }
                _ => break,
            }
        }
        writeln!(self.text)?;
        for (operator, state) in states {
            let indent = 2 * depth + 2;
            writeln!(self.text, "{:indent$}state {operator}.{} ({})", "", state.name, state.kind)?;
        }
        self.ends(last, depth + 1)
    }

    /// The one edge out of `node`, if it is fused.
    fn only_next(&self, node: NodeId) -> Option<NodeId> {
        let mut edges = self.graph.edges_from(node);
        let edge = edges.next().filter(|edge| edge.channel.is_none())?;
        edges.next().is_none().then_some(edge.to)
    }

    /// Whether an operator with several inputs stands in the paragraph of another one.
    fn is_elsewhere(&self, node: NodeId) -> bool {
        self.graph.has_ports(node) && self.others.iter().any(|(other, _)| *other == node)
    }

    /// Which input of an operator with several an edge leads to.
    fn port(&self, from: NodeId, to: NodeId) -> String {
        let mut edges = self.graph.edges_from(from).filter(|edge| edge.to == to);
        match edges.next().filter(|_| self.graph.has_ports(to)) {
            Some(edge) => format!("[{}] ", edge.port),
            None => String::new(),
        }
    }

    /// Exchanges and branches behind the last node of a line.
    fn ends(&mut self, last: NodeId, depth: usize) -> fmt::Result {
        let graph = self.graph;
        for edge in graph.edges_from(last) {
            if edge.channel.is_some() {
                let (word, task) = (edge.partitioner.name(), graph.task_number(edge.to));
                writeln!(self.text, "{:indent$}=> {word} to task {task}", "", indent = 2 * depth)?;
            } else if self.is_elsewhere(edge.to) {
                let (name, port) = (&graph.nodes[edge.to].name, edge.port);
                let task = self.others.iter().find(|(other, _)| *other == edge.to);
                let task = task.map_or(0, |(_, task)| *task);
                let indent = 2 * depth;
                writeln!(self.text, "{:indent$}-> [{port}] {name} (task {task})", "")?;
            } else if self.shown.contains(&edge.to) {
                let name = &graph.nodes[edge.to].name;
                writeln!(self.text, "{:indent$}-> {name} (above)", "", indent = 2 * depth)?;
            } else {
                self.chain(edge.to, depth)?;
            }
        }
        Ok(())
    }
}

/// `purchases (generator)`; an unnamed operator's name holds its kind already.
fn label(node: &Node) -> String {
    let role = match node.role {
        Role::Source { .. } => "source ",
        Role::Sink => "sink ",
        Role::Operator => "",
    };
    if node.named {
        format!("{role}{} ({})", node.name, node.kind)
    } else {
        format!("{role}{}", node.name)
    }
}

#[cfg(test)]
mod tests {
    use crate::prelude::*;

    #[test]
    fn a_chain_is_a_line_and_a_branch_is_indented_below_it() {
        let job = |flow: &Dataflow, _: &Args| -> crate::Result<()> {
            let counted = flow
                .from_iter("words", ["a"].map(String::from))
                .filter(|word| !word.is_empty())
                .key_by(|word| word.clone())
                .flat_map_with_state("count", ValueSpec::new("n"), |_, word, n: &mut u64| {
                    *n += 1;
                    Some((word, *n))
                })
                .share();
            counted.clone().sink("all", Print::new());
            counted.filter(|(_, n)| *n > 1).name("often").sink("many", Print::new());
            Ok(())
        };
        let graph = crate::plan(&job, &Args::default(), 2).unwrap();
        assert_eq!(
            graph.text(),
            "\
task 1, on 2 cores
  source words (iterator) -> filter-1
    => hash to task 2
task 2, on 2 cores
  key_by-2 -> count (flat_map_with_state)
    state count.n (value)
    sink all (print)
    often (filter) -> sink many (print)
"
        );
    }
}
