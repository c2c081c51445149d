//! The object of `checkpoint inspect --json`: its schema is in `docs/cli.md`.

use serde_json::{Value, json};
use thalweg_checkpoint::manifest::CoreEntry;

use super::find::{Found, Told};
use super::inspect::{edges_of, part};
use super::names::{Column, columns};
use super::shelf::kind;
use crate::control::Examined;
use crate::source::position::describe;

/// What was found and seen.
pub(super) fn of(found: &Found, seen: &Examined, key_groups: bool) -> Value {
    let manifest = &found.manifest;
    let (job, told) = (&manifest.job, found.told.as_ref());
    let groups = job.max_parallelism;
    let census = seen.census.as_ref();
    let columns = census.map(|census| columns(manifest, census)).unwrap_or_default();
    let state = columns.iter().map(|it| column(it, groups, key_groups)).collect::<Vec<_>>();
    json!({
        "job": job.name,
        "job_id": job.id,
        "checkpoint": manifest.checkpoint,
        "kind": kind(manifest.kind),
        "attempt": manifest.attempt,
        "term": manifest.term,
        "started_ms": manifest.started_ms,
        "completed_ms": manifest.completed_ms,
        "standing": told.map(|told| told.standing.text()),
        "finished": told.map(|told| told.finished),
        "bytes": manifest.bytes(),
        "new_bytes": told.map(|Told { new_bytes, .. }| *new_bytes),
        "graph_digest": format!("{:016x}", job.graph_digest),
        "parallelism": job.parallelism,
        "max_parallelism": groups,
        "cores": manifest.cores.iter().map(core).collect::<Vec<_>>(),
        "state": state,
        "splits": splits(seen),
        "edges": edges(seen),
        "sealed": sealed(seen),
        "bad": seen.bad.iter().map(|bad| json!({ "path": bad.path, "what": bad.what }))
            .collect::<Vec<_>>(),
    })
}

fn core(entry: &CoreEntry) -> Value {
    let files = std::iter::once(&entry.part).chain(&entry.files).map(|file| {
        let checksum = format!("{:016x}", file.checksum);
        let (path, offset, bytes) = (&file.path, file.offset, file.bytes);
        json!({ "path": path, "offset": offset, "bytes": bytes, "checksum": checksum })
    });
    json!({
        "core": entry.core,
        "first_key_group": entry.first_key_group,
        "key_group_count": entry.key_group_count,
        "files": files.collect::<Vec<_>>(),
    })
}

fn column(column: &Column<'_>, max_parallelism: u32, key_groups: bool) -> Value {
    let total = column.total();
    let spread = column.spread(max_parallelism).map(|it| {
        json!({
            "least": { "key_group": it.least.0, "entries": it.least.1 },
            "middle": { "entries": it.middle },
            "most": { "key_group": it.most.0, "entries": it.most.1 },
        })
    });
    let groups = column.groups().map(|(group, counts)| {
        json!({
            "key_group": group,
            "entries": counts.entries,
            "tombstones": counts.tombstones,
            "bytes": counts.bytes,
        })
    });
    json!({
        "operator": column.operator,
        "state": column.state,
        "kind": column.kind,
        "entries": total.entries,
        "tombstones": total.tombstones,
        "bytes": total.bytes,
        "operations": column.operations(),
        "segment_bytes": column.stored_bytes(),
        "first_due_ms": column.first_due(),
        "spread": spread,
        "key_groups": key_groups.then(|| groups.collect::<Vec<_>>()),
    })
}

fn splits(seen: &Examined) -> Vec<Value> {
    let mut splits = Vec::new();
    for core in &seen.cores {
        for source in &core.sources {
            splits.extend(source.splits.iter().map(|(number, value)| {
                let hex: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
                let position = describe(*number, value);
                let (source, core) = (&source.name, core.core);
                json!({
                    "source": source,
                    "split": number,
                    "core": core,
                    "position": position,
                    "value": hex,
                })
            }));
        }
    }
    splits
}

fn edges(seen: &Examined) -> Vec<Value> {
    let edge = |(number, edge): (u32, super::inspect::Edge)| {
        json!({
            "edge": number,
            "name": edge.name,
            "records": edge.records,
            "frames": edge.frames,
            "bytes": edge.bytes,
            "watermark": edge.watermark,
            "ended": edge.ended,
        })
    };
    edges_of(seen).into_iter().map(edge).collect()
}

fn sealed(seen: &Examined) -> Vec<Value> {
    let mut sealed = Vec::new();
    for core in &seen.cores {
        for sink in &core.sinks {
            sealed.extend(sink.sealed.iter().map(|(checkpoint, committables)| {
                let committables = committables.iter().map(|bytes| {
                    let part = part(bytes);
                    let (hidden, committed) = part.map(|it| (it.hidden, it.committed)).unzip();
                    json!({ "bytes": bytes.len(), "hidden": hidden, "committed": committed })
                });
                json!({
                    "sink": sink.name,
                    "core": core.core,
                    "checkpoint": checkpoint,
                    "committables": committables.collect::<Vec<_>>(),
                })
            }));
        }
    }
    sealed
}
