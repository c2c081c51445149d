//! What a reader of an output directory sees, and how it differs from what it should see.
//!
//! Knows nothing of the engine but the names of parts: `part-*` in the order of names, hidden ones
//! skipped. Lines of a key are compared as a sequence: none lost, none twice, none before another.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::path::Path;

/// The lines of each key of each output, in the order of a reader.
pub type Sequences = BTreeMap<(String, String), Vec<String>>;

/// The files of an output directory.
#[derive(Debug, Clone, Default)]
pub struct Committed {
    /// Committed parts by their path below the directory.
    parts: BTreeMap<String, Vec<u8>>,
    /// Paths of hidden files.
    hidden: Vec<String>,
}

/// What is wrong with committed output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Differences {
    /// Lines that were compared.
    pub records: u64,
    /// Lines that should be there and are not.
    pub lost: u64,
    /// Lines that should not be there, or not so often.
    pub doubled: u64,
    /// Lines of keys that have all their lines, in another place than they should be.
    pub disordered: u64,
}

impl Committed {
    /// Reads all files of a directory and those below it; of none if it is not there.
    ///
    /// # Panics
    /// If a file cannot be read, or has another name than parts have.
    pub fn read(root: &Path) -> Self {
        let mut committed = Self::default();
        if root.exists() {
            committed.walk(root, "");
        }
        committed.hidden.sort();
        committed
    }

    fn walk(&mut self, folder: &Path, above: &str) {
        for entry in std::fs::read_dir(folder).expect("a directory of output") {
            let entry = entry.expect("an entry of a directory of output");
            let name = entry.file_name().to_string_lossy().into_owned();
            let (path, relative) = (entry.path(), format!("{above}{name}"));
            if path.is_dir() {
                self.walk(&path, &format!("{relative}/"));
            } else if name.starts_with('.') {
                self.hidden.push(relative);
            } else {
                assert!(name.starts_with("part-"), "{relative} is no part");
                self.parts.insert(relative, std::fs::read(path).expect("a part"));
            }
        }
    }

    /// Paths of hidden files.
    pub fn hidden(&self) -> &[String] {
        &self.hidden
    }

    /// Length and hash of each committed part.
    pub fn marks(&self) -> BTreeMap<String, (usize, u64)> {
        let mark = |bytes: &Vec<u8>| {
            let mut hasher = DefaultHasher::new();
            hasher.write(bytes);
            (bytes.len(), hasher.finish())
        };
        self.parts.iter().map(|(name, bytes)| (name.clone(), mark(bytes))).collect()
    }

    /// The lines of each key: the number behind `"user":`; lines without it are of one key.
    ///
    /// # Panics
    /// If a part does not end with a whole line.
    pub fn sequences(&self) -> Sequences {
        let mut sequences = Sequences::new();
        for (name, bytes) in &self.parts {
            let output = name.rsplit_once('/').map_or("", |(output, _)| output);
            let text = String::from_utf8_lossy(bytes);
            assert!(text.is_empty() || text.ends_with('\n'), "the last line of {name} is torn");
            for line in text.lines() {
                let key = (output.to_owned(), user(line).to_owned());
                sequences.entry(key).or_default().push(line.to_owned());
            }
        }
        sequences
    }
}

impl Differences {
    /// Compares all that should be there with all that is.
    pub fn of_all(expected: &Sequences, found: &Sequences) -> Self {
        let mut differences = Self::default();
        for (key, lines) in expected {
            differences.add(lines, found.get(key).map_or(&[], Vec::as_slice));
        }
        for (_, lines) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
            differences.add(&[], lines);
        }
        differences
    }

    /// Compares what is there so far: each key has a beginning of what it should have in the end.
    pub fn so_far(expected: &Sequences, found: &Sequences) -> Self {
        let mut differences = Self::default();
        for (key, lines) in found {
            let expected = expected.get(key).map_or(&[][..], Vec::as_slice);
            differences.add(&expected[..lines.len().min(expected.len())], lines);
        }
        differences
    }

    /// Compares what is there with what should be there at least once: what is doubled is right,
    /// but for lines that should not be there at all.
    pub fn at_least(expected: &Sequences, found: &Sequences) -> Self {
        let mut differences = Self::of_all(expected, found);
        let known = |key, line| expected.get(key).is_some_and(|lines| lines.contains(line));
        let lines = found.iter().flat_map(|(key, lines)| lines.iter().map(move |it| (key, it)));
        differences.doubled = lines.filter(|(key, line)| !known(key, line)).count() as u64;
        differences
    }

    /// Whether nothing is wrong.
    pub fn is_none(&self) -> bool {
        (self.lost, self.doubled, self.disordered) == (0, 0, 0)
    }

    fn add(&mut self, expected: &[String], found: &[String]) {
        self.records += found.len() as u64;
        if expected == found {
            return;
        }
        let mut balance: BTreeMap<&str, i64> = BTreeMap::new();
        expected.iter().for_each(|line| *balance.entry(line).or_default() += 1);
        found.iter().for_each(|line| *balance.entry(line).or_default() -= 1);
        let lost: i64 = balance.values().filter(|count| **count > 0).sum();
        let doubled: i64 = balance.values().filter(|count| **count < 0).sum();
        self.lost += lost.unsigned_abs();
        self.doubled += doubled.unsigned_abs();
        if (lost, doubled) == (0, 0) {
            let pairs = expected.iter().zip(found);
            self.disordered += pairs.filter(|(expected, found)| expected != found).count() as u64;
        }
    }
}

/// The user in a line of JSON; nothing if it has none.
fn user(line: &str) -> &str {
    let rest = line.split_once("\"user\":").map_or("", |(_, rest)| rest);
    &rest[..rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(parts: &[(&str, &str)]) -> Sequences {
        let part = |(name, text): &(&str, &str)| ((*name).to_owned(), text.as_bytes().to_vec());
        let parts = parts.iter().map(part).collect();
        Committed { parts, hidden: Vec::new() }.sequences()
    }

    fn line(user: u64, n: u64) -> String {
        format!("{{\"user\":{user},\"n\":{n}}}\n")
    }

    fn counts(found: &Sequences) -> (u64, u64, u64) {
        let text = [line(1, 1), line(2, 2), line(1, 3)].concat();
        let expected = sequences(&[("part-1", &text)]);
        let Differences { lost, doubled, disordered, .. } = Differences::of_all(&expected, found);
        (lost, doubled, disordered)
    }

    #[test]
    fn the_order_of_keys_among_each_other_does_not_matter() {
        let text = [line(1, 1), line(1, 3)].concat();
        assert_eq!(counts(&sequences(&[("part-1", &text), ("part-2", &line(2, 2))])), (0, 0, 0));
    }

    #[test]
    fn lost_doubled_and_disordered_lines_are_counted() {
        let all = [line(1, 1), line(2, 2), line(1, 3)].concat();
        assert_eq!(counts(&sequences(&[])), (3, 0, 0));
        assert_eq!(counts(&sequences(&[("part-1", &line(1, 1))])), (2, 0, 0));
        assert_eq!(counts(&sequences(&[("part-1", &all), ("part-2", &line(2, 2))])), (0, 1, 0));
        assert_eq!(counts(&sequences(&[("part-1", &all), ("part-2", &line(9, 2))])), (0, 1, 0));
        let turned = [line(1, 3), line(2, 2), line(1, 1)].concat();
        assert_eq!(counts(&sequences(&[("part-1", &turned)])), (0, 0, 2));
        assert_eq!(counts(&sequences(&[("other/part-1", &all)])), (3, 3, 0));
    }

    #[test]
    fn so_far_a_key_has_a_beginning_of_its_lines() {
        let all = [line(1, 1), line(2, 2), line(1, 3)].concat();
        let expected = sequences(&[("part-1", &all)]);
        let is_right =
            |text: &str| Differences::so_far(&expected, &sequences(&[("part-1", text)])).is_none();
        assert!(is_right("") && is_right(&line(1, 1)) && is_right(&all));
        assert!(!is_right(&line(1, 3)) && !is_right(&line(3, 1)));
        assert!(!is_right(&[line(1, 1), line(1, 1)].concat()));
    }
}
