//! What a key's text may be, and what it means: pure, from text to value.

use std::path::PathBuf;
use std::time::Duration;

/// What kind of value a key takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Count {
        /// The least that is allowed.
        least: u64,
        /// The most that is allowed.
        most: u64,
    },
    /// A number within bounds.
    Number {
        /// The least that is allowed.
        least: f64,
        /// The most that is allowed.
        most: f64,
    },
    /// A length of time with its unit.
    Duration,
    /// A number of bytes.
    Size,
    /// A number of bytes, or a fraction of the memory limit.
    Share,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A directory.
    Directory,
    /// How many CPUs, or which: `2`, `2-15`, `0,2,4-7`.
    Cores,
    /// An address to listen at.
    Address,
}

/// The value of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Left to the engine: what it takes then is said in the key's description.
    Auto,
    /// Of a flag.
    Flag(bool),
    /// Of a count.
    Count(u64),
    /// Of a number, or of a share given as a fraction.
    Number(f64),
    /// Of a duration.
    Duration(Duration),
    /// Of a size, or of a share given in bytes.
    Size(u64),
    /// Of a choice or an address.
    Word(String),
    /// Of a directory.
    Directory(PathBuf),
    /// Of CPUs by number.
    Cores(Vec<usize>),
}

impl Shape {
    /// The value that `text` stands for, or what would be one.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Shape::Flag => text.parse().ok().map(Value::Flag),
            Shape::Count { least, most } => {
                let bounds = least..=most;
                text.parse().ok().filter(|n| bounds.contains(n)).map(Value::Count)
            }
            Shape::Number { least, most } => {
                let bounds = least..=most;
                text.parse().ok().filter(|n| bounds.contains(n)).map(Value::Number)
            }
            Shape::Duration => duration(text).map(Value::Duration),
            Shape::Size => size(text).map(Value::Size),
            Shape::Share => share(text),
            Shape::Choice(words) => {
                words.iter().find(|word| **word == text).map(|word| Value::Word((*word).into()))
            }
            Shape::Directory => (!text.is_empty()).then(|| Value::Directory(text.into())),
            Shape::Cores => cores(text),
            Shape::Address => (!text.is_empty() && !text.contains(char::is_whitespace))
                .then(|| Value::Word(text.to_owned())),
        };
        value.ok_or_else(|| self.wanted())
    }

    /// What a value of this kind looks like, for messages and for the page of keys.
    pub fn wanted(self) -> String {
        match self {
            Shape::Flag => "true or false".into(),
            Shape::Count { least, most: u64::MAX } => format!("a whole number from {least}"),
            Shape::Count { least, most } => format!("a whole number from {least} to {most}"),
            Shape::Number { least, most: f64::INFINITY } => format!("a number from {least}"),
            Shape::Number { least, most } => format!("a number from {least} to {most}"),
            Shape::Duration => "a duration like 100us, 250ms, 10s or 5m".into(),
            Shape::Size => "a size like 64KiB or 2G".into(),
            Shape::Share => "a size like 2G, or a fraction like 0.4".into(),
            Shape::Choice(words) => words.join(" or "),
            Shape::Directory => "a directory".into(),
            Shape::Cores => "a number of CPUs, or a list like 2-15".into(),
            Shape::Address => "an address like 127.0.0.1".into(),
        }
    }
}

/// `10s`, `1.5 m`, `250ms`; a bare number is none, but zero needs no unit.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = split(text)?;
    let nanos = match unit.as_str() {
        "" if number == 0.0 => 0.0,
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" | "sec" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "d" => 86_400e9,
        _ => return None,
    };
    let nanos = number * nanos;
    (nanos < u64::MAX as f64).then(|| Duration::from_nanos(nanos as u64))
}

/// `4096`, `64KiB`, `2G`: every unit is a power of 1024, as in Flink.
fn size(text: &str) -> Option<u64> {
    let (number, unit) = split(text)?;
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "bytes" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return None,
    };
    let bytes = number * (1u64 << shift) as f64;
    (bytes < i64::MAX as f64).then_some(bytes as u64)
}

fn share(text: &str) -> Option<Value> {
    match text.parse::<f64>() {
        Ok(fraction) if fraction > 0.0 && fraction <= 1.0 => Some(Value::Number(fraction)),
        Ok(bytes) if bytes < 1024.0 => None,
        _ => size(text).map(Value::Size),
    }
}

fn cores(text: &str) -> Option<Value> {
    if let Ok(count) = text.parse() {
        return (count > 0).then_some(Value::Count(count));
    }
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last >= 1 << 12 {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(Value::Cores(cpus))
}

/// A number that is not negative, and the unit behind it.
fn split(text: &str) -> Option<(f64, String)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_needs_a_unit_unless_it_is_zero() {
        let parse = |text| Shape::Duration.parse(text);
        assert_eq!(parse("10s"), Ok(Value::Duration(Duration::from_secs(10))));
        assert_eq!(parse("5 min"), Ok(Value::Duration(Duration::from_secs(300))));
        assert_eq!(parse("100us"), Ok(Value::Duration(Duration::from_micros(100))));
        assert_eq!(parse("0"), Ok(Value::Duration(Duration::ZERO)));
        for text in ["10", "-1s", "", "s", "1 fortnight", "1e99h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        let parse = |text| Shape::Size.parse(text);
        for (text, bytes) in [("64KiB", 65_536), ("2G", 2 << 30), ("64 mb", 64 << 20), ("7", 7)] {
            assert_eq!(parse(text), Ok(Value::Size(bytes)), "{text}");
        }
        assert!(parse("2X").is_err() && parse("-2G").is_err());
    }

    #[test]
    fn a_share_is_a_fraction_or_a_size() {
        assert_eq!(Shape::Share.parse("0.4"), Ok(Value::Number(0.4)));
        assert_eq!(Shape::Share.parse("2G"), Ok(Value::Size(2 << 30)));
        assert!(Shape::Share.parse("1.5").is_err() && Shape::Share.parse("0").is_err());
    }

    #[test]
    fn cores_are_a_number_or_a_list() {
        assert_eq!(Shape::Cores.parse("2"), Ok(Value::Count(2)));
        assert_eq!(Shape::Cores.parse("1,4-6"), Ok(Value::Cores(vec![1, 4, 5, 6])));
        assert!(Shape::Cores.parse("6-4").is_err() && Shape::Cores.parse("0").is_err());
    }
}
