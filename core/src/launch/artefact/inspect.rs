//! `checkpoint inspect`: what a checkpoint holds.
//!
//! What the manifest says is printed at once; the files are read after that.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use thalweg_checkpoint::{Manifest, PartName};
use thalweg_state::segment::Census;

use super::super::cli::Which;
use super::super::progress::{self, ReadBytes};
use super::super::terminal::aligned;
use super::super::{Context, figures};
use super::find::Found;
use super::names::{Column, columns};
use super::shelf::kind;
use super::{clean, event_time, moment, object};
use crate::Result;
use crate::control::{Depth, Examined, examine};
use crate::sink::SealedPart;
use crate::source::position::describe;
use crate::time::Timestamp;
use thalweg_state::State;

/// Committables of a sink on a core that are listed by name.
const COMMITTABLES_SHOWN: usize = 8;

impl Context<'_> {
    /// Prints what a checkpoint holds; the exit code is 1 if a file of it is bad.
    pub(super) fn inspect_checkpoint(&self, which: &Which, key_groups: bool) -> Result<i32> {
        let found = self.find(which)?;
        let manifest = &found.manifest;
        let mut printed = 0;
        if !which.shelf.json {
            printed = self.terminal.data(&head(&found));
        }
        let mut reading = ReadBytes::of(manifest.bytes(), self.terminal);
        let mut seen =
            examine(&found.store, manifest, Depth::Counted, &mut |bytes| reading.add(bytes));
        progress::clear();
        seen.bad.extend(found.copy_complaint());
        let text = if which.shelf.json {
            object::of(&found, &seen, key_groups).to_string()
        } else {
            body(manifest, &seen, key_groups)
        };
        let bad = i32::from(!seen.bad.is_empty());
        Ok(printed.max(self.terminal.data(&text)).max(bad))
    }
}

/// What the manifest and the log say.
fn head(found: &Found) -> String {
    let Found { manifest, told, .. } = found;
    let job = &manifest.job;
    let took = manifest.completed_ms.saturating_sub(manifest.started_ms);
    let mut text = format!(
        "{}, checkpoint {}: {} of attempt {}, complete {} UTC after {}\n",
        clean(&job.name),
        manifest.checkpoint,
        kind(manifest.kind),
        manifest.attempt,
        moment(manifest.completed_ms),
        figures::nanos(took.saturating_mul(1_000_000)),
    );
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<11} {value}");
    };
    line("job id", &clean(&job.id));
    line("graph", &format!("{:016x}", job.graph_digest));
    let cores = job.parallelism;
    line("cores", &format!("{cores}, {} key groups", job.max_parallelism));
    let files = manifest.all_files().count() as u64;
    let size = format!("{} in {}", figures::bytes(manifest.bytes()), plural(files, "file"));
    match told {
        Some(told) => {
            line("size", &format!("{size}, {} of it new", figures::bytes(told.new_bytes)));
            line("standing", told.standing.sentence());
        }
        None => {
            line("size", &size);
            line("standing", "unknown: there is no log, and this is a copy of the manifest");
        }
    }
    text
}

/// What the files hold.
fn body(manifest: &Manifest, seen: &Examined, key_groups: bool) -> String {
    let mut text = String::new();
    if let Some(census) = &seen.census {
        let columns = columns(manifest, census);
        states(&columns, census, &mut text);
        if key_groups {
            groups(&columns, &mut text);
        }
    }
    sources(seen, &mut text);
    sinks(seen, &mut text);
    edges(seen, &mut text);
    files(manifest, &mut text);
    if !seen.bad.is_empty() {
        text.push_str("\nBAD FILES: what they hold is not counted above\n");
        for bad in &seen.bad {
            let _ = writeln!(text, "{}: {}", bad.path, bad.what);
        }
    }
    text
}

fn section(title: &str, header: &[&str], rows: &[Vec<String>], text: &mut String) {
    if rows.is_empty() {
        let _ = writeln!(text, "\n{title}: none");
    } else {
        let _ = write!(text, "\n{title}\n{}", aligned(header, rows));
    }
}

fn states(columns: &[Column<'_>], census: &Census, text: &mut String) {
    let row = |column: &Column<'_>| {
        let (total, count) = (column.total(), figures::count);
        let spread = column.spread(census.max_parallelism()).map_or_else(String::new, |it| {
            let ((least_at, least), (most_at, most)) = (it.least, it.most);
            let (least, middle, most) = (count(least), count(it.middle), count(most));
            format!("{least} ({least_at}), {middle}, {most} ({most_at})")
        });
        vec![
            column.operator.clone(),
            column.state.clone(),
            column.kind.clone(),
            count(total.entries),
            count(total.tombstones),
            figures::bytes(total.bytes),
            figures::bytes(column.stored_bytes()),
            spread,
            column.first_due().map(event_time).unwrap_or_default(),
        ]
    };
    let header = [
        "OPERATOR",
        "STATE",
        "KIND",
        "ENTRIES",
        "TOMBSTONES",
        "BYTES",
        "IN SEGMENTS",
        "PER KEY GROUP: LEAST (WHICH), MIDDLE, MOST (WHICH)",
        "FIRST DUE",
    ];
    let rows: Vec<_> = columns.iter().map(row).collect();
    section("STATE AND TIMERS", &header, &rows, text);
}

fn groups(columns: &[Column<'_>], text: &mut String) {
    let mut rows = Vec::new();
    for column in columns {
        for (group, counts) in column.groups() {
            rows.push(vec![
                column.operator.clone(),
                column.state.clone(),
                column.kind.clone(),
                group.to_string(),
                figures::count(counts.entries),
                figures::count(counts.tombstones),
                figures::bytes(counts.bytes),
            ]);
        }
    }
    let header = ["OPERATOR", "STATE", "KIND", "KEY GROUP", "ENTRIES", "TOMBSTONES", "BYTES"];
    section("KEY GROUPS", &header, &rows, text);
}

fn sources(seen: &Examined, text: &mut String) {
    let mut rows = Vec::new();
    for core in &seen.cores {
        for source in &core.sources {
            for (number, value) in &source.splits {
                let unknown = || format!("{} bytes of a type that is not known", value.len());
                rows.push(vec![
                    clean(&source.name),
                    number.to_string(),
                    core.core.to_string(),
                    describe(*number, value).map_or_else(unknown, |told| clean(&told)),
                ]);
            }
        }
    }
    section("SOURCES", &["SOURCE", "SPLIT", "CORE", "POSITION"], &rows, text);
}

fn sinks(seen: &Examined, text: &mut String) {
    let mut rows = Vec::new();
    for core in &seen.cores {
        for sink in &core.sinks {
            for (checkpoint, committables) in &sink.sealed {
                let names = committables.iter().filter_map(|bytes| part(bytes));
                let mut names: Vec<_> = names.map(|part| part.committed).collect();
                let more = names.len().saturating_sub(COMMITTABLES_SHOWN);
                names.truncate(COMMITTABLES_SHOWN);
                if more > 0 {
                    names.push(format!("{more} more"));
                }
                rows.push(vec![
                    clean(&sink.name),
                    core.core.to_string(),
                    checkpoint.to_string(),
                    committables.len().to_string(),
                    names.join(" "),
                ]);
            }
        }
    }
    let header = ["SINK", "CORE", "FOR CHECKPOINT", "COMMITTABLES", "PARTS"];
    section("SEALED OUTPUT", &header, &rows, text);
}

/// The part of a file sink that a committable promises, if it is one.
pub(super) fn part(committable: &[u8]) -> Option<SealedPart> {
    let part = SealedPart::decode(committable).ok()?;
    PartName::parse(&part.committed).is_some().then_some(part)
}

/// What is on its way on an edge.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) name: String,
    pub(super) records: u64,
    pub(super) frames: u64,
    pub(super) bytes: u64,
    /// The least of the gates'; an edge that all cores have may have none where parts are bad.
    pub(super) watermark: Option<Timestamp>,
    /// Whether all of its channels have ended.
    pub(super) ended: bool,
}

/// All edges, both ends of their channels together.
pub(super) fn edges_of(seen: &Examined) -> BTreeMap<u32, Edge> {
    let mut edges: BTreeMap<u32, Edge> = BTreeMap::new();
    for core in &seen.cores {
        for channel in &core.channels {
            let fresh = || Edge { name: clean(&channel.name), ended: true, ..Edge::default() };
            let edge = edges.entry(channel.edge).or_insert_with(fresh);
            edge.records += channel.records;
            edge.frames += channel.frames;
            edge.bytes += channel.bytes;
            edge.ended &= channel.ended;
        }
        for (edge, watermark) in &core.watermarks {
            if let Some(edge) = edges.get_mut(edge) {
                edge.watermark = Some(edge.watermark.map_or(*watermark, |it| it.min(*watermark)));
            }
        }
    }
    edges
}

fn edges(seen: &Examined, text: &mut String) {
    let row = |(number, edge): (u32, Edge)| {
        let ended = if edge.ended { ", ended" } else { "" };
        let watermark = edge.watermark.map(event_time).unwrap_or_default();
        vec![
            number.to_string(),
            edge.name,
            figures::count(edge.records),
            figures::count(edge.frames),
            figures::bytes(edge.bytes),
            format!("{watermark}{ended}"),
        ]
    };
    let rows: Vec<_> = edges_of(seen).into_iter().map(row).collect();
    let header = ["EDGE", "NAME", "RECORDS", "FRAMES", "BYTES", "WATERMARK"];
    section("IN FLIGHT", &header, &rows, text);
}

fn files(manifest: &Manifest, text: &mut String) {
    let mut rows = Vec::new();
    for core in &manifest.cores {
        let (first, count) = (core.first_key_group, core.key_group_count);
        let last = first.saturating_add(count).saturating_sub(1);
        for file in std::iter::once(&core.part).chain(&core.files) {
            rows.push(vec![
                core.core.to_string(),
                format!("{first} to {last}"),
                figures::bytes(file.bytes),
                figures::count(file.offset),
                clean(&file.path),
            ]);
        }
    }
    section("FILES", &["CORE", "KEY GROUPS", "BYTES", "OFFSET", "PACK"], &rows, text);
}

fn plural(count: u64, noun: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{} {noun}{end}", figures::count(count))
}
