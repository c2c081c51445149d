//! Merging: several segments into one that says the same.

use std::collections::BTreeMap;

use super::writer::SegmentHeader;
use super::{Block, BlockWriter, Column, ColumnKind, Op, SegmentError, SegmentReader};

const MERGE: &str = "merge segments";

/// The operations of a column, the oldest first.
struct Merged<'a> {
    kind: ColumnKind,
    fingerprint: u64,
    rows: usize,
    ops: Vec<Op<'a>>,
}

/// Merges segments of one core, oldest first, into one with the number and epoch of the last.
///
/// Of each key the last operation stays: those of rows by the hash of the stream's key, which is
/// quicker to sort by, all others in the order of keys, which is that of registration for timers.
/// `is_bottom` says that nothing lies below the oldest: tombstones are dropped then.
///
/// # Errors
/// Some are no segments, of several cores, not in the order of their numbers, or two have columns
/// of one name and different kinds or shapes.
pub fn merge(segments: &[&[u8]], is_bottom: bool) -> Result<Vec<u8>, SegmentError> {
    let mut header: Option<SegmentHeader> = None;
    let mut columns = BTreeMap::new();
    for bytes in segments {
        let segment = SegmentReader::new(bytes)?;
        let next = segment.header();
        if let Some(last) = header
            && (last.core != next.core || last.number >= next.number)
        {
            return Err(apart(last, next));
        }
        header = Some(next);
        for block in segment.blocks() {
            let block = block?;
            let (kind, fingerprint) = (block.kind(), block.fingerprint());
            let made = || Merged { kind, fingerprint, rows: 0, ops: Vec::new() };
            let column: &mut Merged<'_> = columns.entry(block.name()).or_insert_with(made);
            if (column.kind, column.fingerprint) != (kind, fingerprint) {
                return Err(changed(block.name()));
            }
            column.rows = block.rows();
            column.ops.extend(block.ops());
        }
    }
    let Some(header) = header else {
        let found = "there are none".to_owned();
        return Err(SegmentError { attempted: MERGE, found, hint: "name at least one" });
    };
    Ok(header.segment(&write(columns, is_bottom)))
}

fn write(columns: BTreeMap<&str, Merged<'_>>, is_bottom: bool) -> Vec<Block> {
    let mut blocks = Vec::new();
    for (name, Merged { kind, fingerprint, rows, mut ops }) in columns {
        // Stable: of one key the last stays last.
        match kind {
            ColumnKind::Rows => {
                ops.sort_by(|a, b| a.key_hash.cmp(&b.key_hash).then_with(|| a.key.cmp(b.key)));
            }
            _ => ops.sort_by(|a, b| a.key.cmp(b.key)),
        }
        let mut writer = BlockWriter::new(Column { name: name.into(), kind, fingerprint });
        writer.note_rows(rows);
        for (at, op) in ops.iter().enumerate() {
            if ops.get(at + 1).is_some_and(|next| next.key == op.key) {
                continue;
            }
            match op.value {
                Some(value) => writer.put_bytes(op.key_hash, op.key, value),
                None if is_bottom => {}
                None => writer.tombstone(op.key_hash, op.key),
            }
        }
        writer.finish(&mut blocks);
    }
    blocks
}

#[cold]
fn apart(last: SegmentHeader, next: SegmentHeader) -> SegmentError {
    let found = format!(
        "segment {} of core {} comes behind segment {} of core {}",
        next.number, next.core, last.number, last.core
    );
    SegmentError { attempted: MERGE, found, hint: "give those of one core, oldest first" }
}

#[cold]
fn changed(name: &str) -> SegmentError {
    let found = format!("column {name} has changed its kind or shape between two of them");
    let hint = "segments of one chain are written by one version of a job";
    SegmentError { attempted: MERGE, found, hint }
}
