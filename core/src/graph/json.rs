//! The job's graph for programs; the schema is in `docs/cli.md`.

use serde_json::{Value, json};

use super::{JobGraph, Node, Role};

impl JobGraph {
    /// The graph as one JSON object. Digests and fingerprints are strings of 16 hexadecimal digits.
    pub fn json(&self, job: &str, parallelism: usize) -> Value {
        let tasks = self.heads().into_iter().map(|head| {
            json!({
                "task": self.task_number(head),
                "parallelism": self.nodes[head].parallelism,
                "nodes": self.task_of(head),
            })
        });
        let edges = self.edges.iter().map(|edge| {
            json!({
                "from": edge.from,
                "to": edge.to,
                "partitioner": edge.partitioner.name(),
                "channel": edge.channel,
                "port": edge.port,
            })
        });
        json!({
            "job": job,
            "parallelism": parallelism,
            "max_parallelism": self.max_parallelism,
            "digest": format!("{:016x}", self.digest()),
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "edges": edges.collect::<Vec<_>>(),
            "tasks": tasks.collect::<Vec<_>>(),
        })
    }
}

fn node(node: &Node) -> Value {
    let states = node.states.iter().map(|state| {
        let fingerprint = format!("{:016x}", state.fingerprint);
        json!({ "name": state.name, "kind": state.kind, "fingerprint": fingerprint })
    });
    let (role, expected) = match node.role {
        Role::Source { expected } => ("source", expected),
        Role::Operator => ("operator", None),
        Role::Sink => ("sink", None),
    };
    json!({
        "id": node.id,
        "name": node.name,
        "kind": node.kind,
        "role": role,
        "parallelism": node.parallelism,
        "expected_records": expected,
        "states": states.collect::<Vec<_>>(),
    })
}
