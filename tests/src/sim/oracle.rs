//! What must be equal between two runs of a job.

use std::collections::BTreeMap;

use super::probe::{Row, Rows};

/// How far the order of a job's output is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Equality {
    /// Per sink and key the same records in the same order.
    PerKey,
    /// Per sink the same records in any order.
    Multiset,
}

/// Says what is wrong with `found`, if anything is.
pub fn difference(equality: Equality, expected: &Rows, found: &Rows) -> Option<String> {
    let sinks: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    sinks.into_iter().find_map(|sink| {
        let empty = Vec::new();
        let expected = expected.get(sink).unwrap_or(&empty);
        let found = found.get(sink).unwrap_or(&empty);
        differ(equality, expected, found).map(|what| format!("sink {sink}: {what}"))
    })
}

fn differ(equality: Equality, expected: &[Row], found: &[Row]) -> Option<String> {
    let (mut want, mut have) = (expected.to_vec(), found.to_vec());
    match equality {
        // Stable: the order within a key stays.
        Equality::PerKey => {
            want.sort_by_key(|row| row.key);
            have.sort_by_key(|row| row.key);
        }
        Equality::Multiset => {
            want.sort();
            have.sort();
        }
    }
    if want == have {
        return None;
    }
    let counts = format!("{} records instead of {}", have.len(), want.len());
    Some(format!("{counts}; {}", first_difference(&want, &have)))
}

fn first_difference(want: &[Row], have: &[Row]) -> String {
    let mut balance: BTreeMap<&Row, i64> = BTreeMap::new();
    want.iter().for_each(|row| *balance.entry(row).or_default() -= 1);
    have.iter().for_each(|row| *balance.entry(row).or_default() += 1);
    let cut = |row: &Row| {
        let text: String = row.text.chars().take(120).collect();
        format!("key {} {text}", row.key)
    };
    let lost = balance.iter().find(|(_, count)| **count < 0);
    let doubled = balance.iter().find(|(_, count)| **count > 0);
    let mut text = String::new();
    if let Some((row, count)) = lost {
        text += &format!("lost {} times: {}; ", -count, cut(row));
    }
    if let Some((row, count)) = doubled {
        text += &format!("too many by {count}: {}; ", cut(row));
    }
    if text.is_empty() {
        let at = want.iter().zip(have).position(|(want, have)| want != have).unwrap_or(0);
        text = format!("order: {} where {} was due", cut(&have[at]), cut(&want[at]));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[(u64, &str)]) -> Rows {
        let row = |(key, text): &(u64, &str)| Row { key: *key, text: (*text).to_owned() };
        Rows::from([("out".to_owned(), rows.iter().map(row).collect())])
    }

    #[test]
    fn the_order_of_different_keys_never_counts_and_that_of_one_key_only_if_asked() {
        let expected = rows(&[(1, "a"), (2, "b"), (1, "c")]);
        let shuffled = rows(&[(2, "b"), (1, "a"), (1, "c")]);
        assert_eq!(difference(Equality::PerKey, &expected, &shuffled), None);
        let swapped = rows(&[(1, "c"), (2, "b"), (1, "a")]);
        assert!(difference(Equality::PerKey, &expected, &swapped).is_some());
        assert_eq!(difference(Equality::Multiset, &expected, &swapped), None);
    }

    #[test]
    fn a_lost_and_a_doubled_record_are_named() {
        let expected = rows(&[(1, "a"), (2, "b")]);
        let lost = difference(Equality::Multiset, &expected, &rows(&[(1, "a"), (1, "a")]));
        let lost = lost.unwrap();
        assert!(lost.contains("lost 1 times: key 2 b") && lost.contains("too many by 1: key 1 a"));
        assert!(difference(Equality::PerKey, &expected, &Rows::new()).is_some());
    }
}
