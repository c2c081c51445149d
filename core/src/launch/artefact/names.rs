//! Columns of segments by the operators and states that they belong to.
//!
//! The name of a column is the operator's in quotes, then the state's in quotes or what else it is;
//! the manifest tells the kinds of states.

use std::collections::BTreeMap;

use thalweg_checkpoint::Manifest;
use thalweg_state::segment::{Census, ColumnCensus, ColumnKind, GroupCensus};

use super::clean;

/// A column, or a state of which nothing is stored.
#[derive(Debug)]
pub(super) struct Column<'a> {
    pub(super) operator: String,
    pub(super) state: String,
    pub(super) kind: String,
    census: Option<&'a ColumnCensus>,
}

/// The key groups with the fewest entries, in the middle, and with the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spread {
    pub(super) least: (u16, u64),
    pub(super) middle: u64,
    pub(super) most: (u16, u64),
}

/// Every state of the manifest with what the census says, then timers and what else is there.
pub(super) fn columns<'a>(manifest: &Manifest, census: &'a Census) -> Vec<Column<'a>> {
    let mut left: BTreeMap<&str, &ColumnCensus> = census.columns().collect();
    let mut columns = Vec::new();
    for operator in &manifest.job.operators {
        for state in &operator.states {
            let name = format!("{:?}/{:?}", operator.name, state.name);
            let mut add = |kind: String, census| {
                let (operator, state) = (clean(&operator.name), clean(&state.name));
                columns.push(Column { operator, state, kind, census });
            };
            add(clean(&state.kind), left.remove(name.as_str()));
            if let Some(heads) = left.remove(format!("{name}/heads").as_str()) {
                add(format!("heads of the {}", clean(&state.kind)), Some(heads));
            }
        }
    }
    let others = left.into_iter().map(|(name, census)| {
        let (operator, rest) = unquoted(name);
        let (state, kind) = match (census.kind, rest) {
            (ColumnKind::TimerSet, "/timers/event") => ("", "event timers"),
            (ColumnKind::TimerSet, "/timers/processing") => ("", "processing timers"),
            (ColumnKind::TimerQueue, "/timers") => ("", "window timers"),
            (kind, rest) if kind.is_timers() => (rest, "timers"),
            (_, rest) => (rest, "rows"),
        };
        let (operator, state, kind) = (clean(operator), clean(state), kind.to_owned());
        Column { operator, state, kind, census: Some(census) }
    });
    columns.extend(others);
    columns
}

/// The name in quotes in front, and what follows it.
fn unquoted(name: &str) -> (&str, &str) {
    let Some(inside) = name.strip_prefix('"') else { return (name, "") };
    let mut escaped = false;
    for (at, byte) in inside.bytes().enumerate() {
        if byte == b'"' && !escaped {
            return (&inside[..at], &inside[at + 1..]);
        }
        escaped = byte == b'\\' && !escaped;
    }
    (name, "")
}

impl Column<'_> {
    pub(super) fn total(&self) -> GroupCensus {
        self.census.map(ColumnCensus::total).unwrap_or_default()
    }

    /// Bytes of all its operations in the segments.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.census.map_or(0, |census| census.stored_bytes)
    }

    pub(super) fn operations(&self) -> u64 {
        self.census.map_or(0, |census| census.operations)
    }

    pub(super) fn first_due(&self) -> Option<i64> {
        self.census?.first_due
    }

    /// Key groups that hold something, in order.
    pub(super) fn groups(&self) -> impl Iterator<Item = (u16, GroupCensus)> {
        let groups = self.census.into_iter().flat_map(|census| &census.groups);
        groups.map(|(group, counts)| (*group, *counts))
    }

    /// How its entries spread over all key groups; `None`: there are no key groups.
    pub(super) fn spread(&self, max_parallelism: u32) -> Option<Spread> {
        let held: BTreeMap<u16, u64> =
            self.groups().map(|(group, counts)| (group, counts.entries)).collect();
        let all = (0..max_parallelism).filter_map(|group| u16::try_from(group).ok());
        let mut all: Vec<(u64, u16)> =
            all.map(|group| (held.get(&group).copied().unwrap_or(0), group)).collect();
        all.sort_unstable();
        let (least, most) = (all.first()?, all.last()?);
        let middle = all[all.len() / 2].0;
        Some(Spread { least: (least.1, least.0), middle, most: (most.1, most.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_what_stands_in_quotes_in_front() {
        assert_eq!(unquoted("\"a\"/timers/event"), ("a", "/timers/event"));
        assert_eq!(unquoted("\"a\\\"b\\\\\"/timers"), ("a\\\"b\\\\", "/timers"));
        assert_eq!(unquoted("\"a"), ("\"a", ""));
        assert_eq!((unquoted(""), unquoted("\"\"")), (("", ""), ("", "")));
    }

    #[test]
    fn the_spread_counts_empty_key_groups_too() {
        let count = |entries| GroupCensus { entries, tombstones: 0, bytes: 0 };
        let census = ColumnCensus {
            kind: ColumnKind::Rows,
            fingerprint: 1,
            groups: [(0, count(4)), (2, count(9)), (3, count(1))].into(),
            operations: 14,
            stored_bytes: 0,
            first_due: None,
        };
        let column = Column {
            operator: String::new(),
            state: String::new(),
            kind: String::new(),
            census: Some(&census),
        };
        let spread = column.spread(4).unwrap();
        assert_eq!(spread, Spread { least: (1, 0), middle: 4, most: (2, 9) });
        assert_eq!(column.spread(0), None);
    }
}
