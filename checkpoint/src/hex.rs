//! Numbers and bytes as hexadecimal digits: readers in other languages lose digits of large
//! numbers in JSON.

use serde::{Deserialize, Deserializer, Serializer, de};

/// Writes 16 digits.
pub(crate) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value:016x}"))
}

/// Reads 16 lower-case digits.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    let number = u64::from_str_radix(&text, 16).ok().filter(|_| is_hex(&text) && text.len() == 16);
    number.ok_or_else(|| de::Error::custom(format!("expected 16 hexadecimal digits, not {text:?}")))
}

/// The same for bytes.
pub(crate) mod bytes {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes two digits a byte.
    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('?');
        let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
        serializer.serialize_str(&digits.collect::<String>())
    }

    /// Reads an even count of lower-case digits.
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        if !super::is_hex(&text) || !text.len().is_multiple_of(2) {
            return Err(de::Error::custom("expected an even count of hexadecimal digits"));
        }
        let pairs = text.as_bytes().chunks(2).map(|pair| (value(pair[0]) << 4) | value(pair[1]));
        Ok(pairs.collect())
    }

    fn value(digit: u8) -> u8 {
        if digit.is_ascii_digit() { digit - b'0' } else { digit - b'a' + 10 }
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Both {
        #[serde(with = "super")]
        number: u64,
        #[serde(with = "super::bytes")]
        bytes: Vec<u8>,
    }

    #[test]
    fn numbers_and_bytes_read_back() {
        for number in [0, 1, u64::MAX, 1 << 53] {
            let both = Both { number, bytes: number.to_be_bytes().to_vec() };
            let text = serde_json::to_string(&both).unwrap();
            assert_eq!(text, format!(r#"{{"number":"{number:016x}","bytes":"{number:016x}"}}"#));
            assert_eq!(serde_json::from_str::<Both>(&text).unwrap(), both);
        }
    }

    #[test]
    fn other_digits_are_refused() {
        for (number, bytes) in [
            ("1", ""),
            ("+000000000000001", ""),
            ("000000000000000G", ""),
            ("0000000000000000", "0"),
            ("0000000000000000", "0A"),
            ("0000000000000000", "é"),
        ] {
            let text = format!(r#"{{"number":"{number}","bytes":"{bytes}"}}"#);
            assert!(serde_json::from_str::<Both>(&text).is_err(), "{text}");
        }
    }
}
