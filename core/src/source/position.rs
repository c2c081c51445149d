//! Positions of splits for people: what the shipped sources write is recognised by its form.
//!
//! A checkpoint does not name a split's type, so this is for reading only: nothing is restored from
//! what is guessed here.

use thalweg_state::State;

use super::{FilePosition, GeneratorSplit};

/// What a parser keeps takes so many bytes at the most, what it refers to aside.
const PARSER_BYTES_MAX: usize = 256;

/// Archived positions stand at multiples of this.
const ALIGN: usize = 8;

/// Says where a split stands; `None`: its source is none of the shipped ones.
pub(crate) fn describe(number: u32, value: &[u8]) -> Option<String> {
    if value.is_empty() {
        return Some("no position".to_owned());
    }
    if let Some(position) = file(value) {
        let FilePosition { path, offset, lines, finished, .. } = position;
        let end = if finished { ", at its end" } else { "" };
        return Some(format!("{path:?} at byte {offset}, behind {lines} lines{end}"));
    }
    if let Ok((split, count, next)) = GeneratorSplit::decode(value)
        && split == u64::from(number)
        && split < count
    {
        return Some(format!("next index {next}, split {split} of {count}"));
    }
    match u64::decode(value) {
        Ok(read) if value.len() == size_of::<u64>() => Some(format!("{read} elements read")),
        _ => None,
    }
}

/// A file's position, whatever its parser keeps: that stands behind it in the archive, with what
/// it refers to in front.
fn file(value: &[u8]) -> Option<FilePosition> {
    let is_plain = |position: &FilePosition| {
        let FilePosition { path, offset, head_bytes, lines, .. } = position;
        let text = !path.is_empty() && !path.chars().any(char::is_control);
        text && lines <= offset && (*head_bytes > 0 || *offset == 0)
    };
    let ends =
        (0..=PARSER_BYTES_MAX).step_by(ALIGN).map_while(|kept| value.len().checked_sub(kept));
    let mut found = ends.filter_map(|end| FilePosition::decode(&value[..end]).ok());
    found.find(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::FileSplit;

    fn archive<S: State>(value: &S) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn positions_of_shipped_sources_are_told() {
        let position = FilePosition {
            path: "data/a.csv".to_owned(),
            offset: 4_096,
            lines: 70,
            head_bytes: 512,
            head_hash: 0xfeed,
            finished: true,
        };
        let told = "\"data/a.csv\" at byte 4096, behind 70 lines, at its end";
        let columns = vec!["id".to_owned(), "a much longer name of a column".to_owned()];
        let csv: FileSplit<Vec<String>> = (position.clone(), columns);
        assert_eq!(describe(0, &archive(&csv)).unwrap(), told);
        let lines: FileSplit<(String, u64)> = (position.clone(), ("data/a.csv".to_owned(), 70));
        assert_eq!(describe(0, &archive(&lines)).unwrap(), told);
        type Own = (Vec<String>, Option<(u64, String)>, u32);
        let own: FileSplit<Own> =
            (position.clone(), (vec!["a".repeat(70)], Some((7, "b".repeat(90))), 3));
        assert_eq!(describe(0, &archive(&own)).unwrap(), told);
        let json: FileSplit<()> = (position, ());
        assert_eq!(describe(0, &archive(&json)).unwrap(), told);
        let generator: GeneratorSplit = (1, 2, 41);
        assert_eq!(describe(1, &archive(&generator)).unwrap(), "next index 41, split 1 of 2");
        assert_eq!(describe(0, &archive(&7_u64)).unwrap(), "7 elements read");
        assert_eq!(describe(0, &[]).unwrap(), "no position");
    }

    #[test]
    fn other_bytes_are_not_told_and_never_panic() {
        let generator: GeneratorSplit = (1, 2, 41);
        assert_eq!(describe(0, &archive(&generator)), None, "of another number");
        for length in 0..200 {
            for byte in [0, 1, 0x20, 0x7f, 0xff] {
                drop(describe(0, &vec![byte; length]));
            }
        }
    }
}
