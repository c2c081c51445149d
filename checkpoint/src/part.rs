//! Names of the parts that a file sink writes.
//!
//! A part is written under a hidden name and renamed when it is committed: a reader of the
//! directory that skips hidden names sees committed output only. The order of committed names is
//! the order in which any one key's records were written: checkpoints come first, because a key
//! changes its core between two of them only, then the core, then the core's own count.

use std::fmt;

/// What every name begins with, behind the dot of a hidden one.
const PREFIX: &str = "part-";

/// What a hidden name ends with.
const PENDING: &str = ".pending";

/// Digits of each number: names of equal length sort as their numbers do.
const CHECKPOINT_DIGITS: usize = 10;
const CORE_DIGITS: usize = 5;
const NUMBER_DIGITS: usize = 8;

/// The committed name of a part: `part-<checkpoint>-<core>-<number>.<suffix>`.
///
/// ```
/// use thalweg_checkpoint::PartName;
/// let part = PartName { checkpoint: 41, core: 1, number: 7, suffix: "jsonl".to_owned() };
/// assert_eq!(part.to_string(), "part-0000000041-00001-00000007.jsonl");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartName {
    /// The checkpoint that promises the part; 0 without checkpoints.
    pub checkpoint: u64,
    /// The core that wrote it.
    pub core: u32,
    /// The core's count of parts, never reset within an attempt.
    pub number: u64,
    /// What it holds: `jsonl`, `csv`.
    pub suffix: String,
}

/// The name of a part that is not committed:
/// `.part-<checkpoint>-<core>-<number>.<attempt>.pending`.
///
/// The checkpoint is the one that the writer expected when it opened the part; the committed name
/// carries the one that sealed it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HiddenPart {
    /// The next checkpoint at the time of opening; 0 without checkpoints.
    pub checkpoint: u64,
    /// The core that writes it.
    pub core: u32,
    /// See [`PartName::number`].
    pub number: u64,
    /// The attempt that writes it: no two attempts ever write to one file. 0: it was committed and
    /// taken back.
    pub attempt: u64,
}

/// Whether a reader of the directory must skip a file of this name.
pub fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

impl PartName {
    /// Reads a committed name; `None` if it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let (numbers, suffix) = name.strip_prefix(PREFIX)?.split_once('.')?;
        let (checkpoint, core, number) = parse_numbers(numbers)?;
        let plain = !suffix.is_empty() && suffix.bytes().all(|byte| byte.is_ascii_alphanumeric());
        plain.then(|| Self { checkpoint, core, number, suffix: suffix.to_owned() })
    }
}

impl PartName {
    /// The hidden name of a part whose checkpoint no longer counts. It is that of no attempt, so
    /// every later one removes it.
    pub fn taken_back(&self) -> HiddenPart {
        let Self { checkpoint, core, number, .. } = *self;
        HiddenPart { checkpoint, core, number, attempt: 0 }
    }
}

impl HiddenPart {
    /// Whether the part was [taken back](PartName::taken_back).
    pub fn is_taken_back(&self) -> bool {
        self.attempt == 0
    }

    /// Reads a hidden name; `None` if it is not one of ours.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix('.')?.strip_prefix(PREFIX)?.strip_suffix(PENDING)?;
        let (numbers, attempt) = name.split_once('.')?;
        let (checkpoint, core, number) = parse_numbers(numbers)?;
        Some(Self { checkpoint, core, number, attempt: digits(attempt, 1)? })
    }

    /// The name under which the part is committed by `checkpoint`.
    pub fn committed(&self, checkpoint: u64, suffix: &str) -> PartName {
        let Self { core, number, .. } = *self;
        PartName { checkpoint, core, number, suffix: suffix.to_owned() }
    }
}

/// Whether a file of this name was made by a file sink, committed or not.
pub fn is_ours(name: &str) -> bool {
    PartName::parse(name).is_some() || HiddenPart::parse(name).is_some()
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_numbers(f, self.checkpoint, self.core, self.number)?;
        write!(f, ".{}", self.suffix)
    }
}

impl fmt::Display for HiddenPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(".")?;
        write_numbers(f, self.checkpoint, self.core, self.number)?;
        write!(f, ".{}{PENDING}", self.attempt)
    }
}

fn write_numbers(
    f: &mut fmt::Formatter<'_>,
    checkpoint: u64,
    core: u32,
    number: u64,
) -> fmt::Result {
    let (wide, narrow, least) = (CHECKPOINT_DIGITS, CORE_DIGITS, NUMBER_DIGITS);
    write!(f, "{PREFIX}{checkpoint:0wide$}-{core:0narrow$}-{number:0least$}")
}

fn parse_numbers(text: &str) -> Option<(u64, u32, u64)> {
    let (checkpoint, rest) = text.split_once('-')?;
    let (core, number) = rest.split_once('-')?;
    let core = u32::try_from(digits(core, CORE_DIGITS)?).ok()?;
    Some((digits(checkpoint, CHECKPOINT_DIGITS)?, core, digits(number, NUMBER_DIGITS)?))
}

/// A number of at least `least` digits, without a zero in front beyond them: each number has one
/// form.
fn digits(text: &str, least: usize) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let one_form = text.len() == least || (text.len() > least && !text.starts_with('0'));
    (plain && one_form).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(checkpoint: u64, core: u32, number: u64) -> PartName {
        PartName { checkpoint, core, number, suffix: "jsonl".to_owned() }
    }

    #[test]
    fn the_order_of_names_is_the_order_of_checkpoint_core_and_number() {
        let numbers = [0, 1, 9, 10, 99, 100, 65_535];
        let mut parts = Vec::new();
        for checkpoint in numbers {
            for core in numbers {
                parts.extend(numbers.map(|number| part(checkpoint, core as u32, number)));
            }
        }
        let by_number = parts.clone();
        parts.sort_by_key(PartName::to_string);
        assert_eq!(parts, by_number);
    }

    #[test]
    fn a_name_reads_back_as_what_it_was_made_from() {
        for numbers in [(0, 0, 0), (41, 1, 7), (10_000_000_000, 100_000, u64::MAX)] {
            let (checkpoint, core, number) = numbers;
            let name = part(checkpoint, core, number);
            assert_eq!(PartName::parse(&name.to_string()), Some(name));
            for attempt in [0, 3, u64::MAX] {
                let hidden = HiddenPart { checkpoint, core, number, attempt };
                assert_eq!(HiddenPart::parse(&hidden.to_string()), Some(hidden));
                assert_eq!(hidden.committed(checkpoint, "jsonl"), part(checkpoint, core, number));
            }
        }
    }

    #[test]
    fn the_names_are_these() {
        let hidden = HiddenPart { checkpoint: 41, core: 1, number: 7, attempt: 2 };
        assert_eq!(hidden.to_string(), ".part-0000000041-00001-00000007.2.pending");
        assert_eq!(hidden.committed(42, "csv").to_string(), "part-0000000042-00001-00000007.csv");
        assert!(is_hidden(&hidden.to_string()) && !is_hidden(&part(0, 0, 0).to_string()));
    }

    #[test]
    fn other_names_are_not_ours() {
        for name in [
            "",
            "part",
            "part-0-0-0.jsonl",
            "part-0000000000-00000-00000000",
            "part-0000000000-00000-00000000.",
            "part-0000000000-00000-00000000.jsonl.bak",
            "part-00000000000-00000-00000000.jsonl",
            "part-000000000+-00000-00000000.jsonl",
            ".part-0000000000-00000-00000000.pending",
            ".part-0000000000-00000-00000000.01.pending",
            "part-0000000000-00000-00000000.1.pending",
            "part-0000000000-99999999999-00000000.jsonl",
            "notes.txt",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
