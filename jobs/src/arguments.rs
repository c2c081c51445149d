//! Values of job arguments that clap has no parser for.

use std::time::Duration;

/// Parses `90s`, `5m`, `1h`, `2d`, `500ms`; a bare number is milliseconds.
///
/// # Errors
/// Says what is accepted.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let millis = match &text[digits.len()..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(accepted()),
    };
    let count: u64 = digits.parse().map_err(|_| accepted())?;
    count.checked_mul(millis).map(Duration::from_millis).ok_or_else(accepted)
}

fn accepted() -> String {
    "a duration is a whole number with ms, s, m, h or d behind it: 500ms, 30s, 1h".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_bare_numbers_are_milliseconds() {
        for (text, millis) in
            [("0", 0), ("7", 7), ("500ms", 500), ("2m", 120_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in
            ["", "s", "-1s", "1.5h", "1 h", "1w", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
