//! The job's graph for graphviz: `thalweg plan JOB --dot | dot -Tsvg`.

use std::fmt::Write as _;

use super::JobGraph;

impl JobGraph {
    /// The graph in the language of graphviz, a cluster per task.
    pub fn dot(&self, job: &str) -> String {
        let mut text = format!("digraph {} {{\n  rankdir=LR;\n  node [shape=box];\n", quoted(job));
        let mut drawn = vec![false; self.nodes.len()];
        for (index, head) in self.heads().into_iter().enumerate() {
            let cores = self.nodes[head].parallelism;
            let label = quoted(&format!("task {}, parallelism {cores}", index + 1));
            let _ = writeln!(text, "  subgraph cluster_{} {{\n    label={label};", index + 1);
            for id in self.task_of(head) {
                if std::mem::replace(&mut drawn[id], true) {
                    continue;
                }
                let node = &self.nodes[id];
                let mut label = format!("{}\n{}", node.name, node.kind);
                for state in &node.states {
                    let _ = write!(label, "\nstate {} ({})", state.name, state.kind);
                }
                let _ = writeln!(text, "    n{id} [label={}];", quoted(&label));
            }
            text.push_str("  }\n");
        }
        for edge in &self.edges {
            let (from, to) = (edge.from, edge.to);
            let _ = match edge.channel {
                None if self.has_ports(to) => {
                    let label = quoted(&format!("input {}", edge.port));
                    writeln!(text, "  n{from} -> n{to} [label={label}];")
                }
                None => writeln!(text, "  n{from} -> n{to};"),
                Some(_) => {
                    let label = edge.partitioner.name();
                    writeln!(text, "  n{from} -> n{to} [label=\"{label}\", style=bold];")
                }
            };
        }
        text.push_str("}\n");
        text
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use crate::graph::{JobGraph, Partitioner};

    #[test]
    fn names_are_quoted_and_exchanges_labelled() {
        let mut graph = JobGraph::default();
        let from = graph.add_node("generator", Some("a \"b\""), 2, true);
        let to = graph.add_node("key_by", None, 2, true);
        graph.add_exchange(from, to, Partitioner::Hash, 1);
        let text = graph.dot("job");
        assert!(text.contains("n0 [label=\"a \\\"b\\\"\\ngenerator\"];"), "{text}");
        assert!(text.contains("n0 -> n1 [label=\"hash\", style=bold];"), "{text}");
    }
}
