//! The values of a row: whole numbers, dates and dollars.
//!
//! Every parser takes a value exactly or says what is wrong; none trims, rounds or guesses.

use jiff::civil::{self, Date};

use super::error::Problem;

/// Parses digits up to 2^64 - 1.
pub(super) fn parse_whole(value: &str) -> Result<u64, Problem> {
    if is_digits(value) {
        return value.parse().map_err(|_| Problem::TooLarge);
    }
    match value.strip_prefix('-') {
        Some(rest) if is_digits(rest) => Err(Problem::Negative),
        _ => Err(Problem::Malformed),
    }
}

/// Parses `YYYY-MM-DD` to days since 1970-01-01.
pub(super) fn parse_day(value: &str) -> Result<i64, Problem> {
    let &[c, y, a, r, b'-', m, n, b'-', d, e] = value.as_bytes() else {
        return Err(Problem::Malformed);
    };
    if ![c, y, a, r, m, n, d, e].iter().all(u8::is_ascii_digit) {
        return Err(Problem::Malformed);
    }
    let two = |tens: u8, ones: u8| i16::from(tens - b'0') * 10 + i16::from(ones - b'0');
    let (year, month, day) = (two(c, y) * 100 + two(a, r), two(m, n) as i8, two(d, e) as i8);
    match Date::new(year, month, day) {
        Ok(date) if year > 0 => {
            Ok(date.duration_since(civil::date(1970, 1, 1)).as_secs().div_euclid(86_400))
        }
        _ => Err(Problem::NoSuchDay),
    }
}

/// Parses dollars with at most two decimal places to cents.
pub(super) fn parse_cents(value: &str) -> Result<i64, Problem> {
    match value.strip_prefix('-') {
        None => parse_unsigned_cents(value),
        Some(rest) if parse_unsigned_cents(rest) == Err(Problem::Malformed) => {
            Err(Problem::Malformed)
        }
        Some(_) => Err(Problem::Negative),
    }
}

fn parse_unsigned_cents(value: &str) -> Result<i64, Problem> {
    let (whole, places) = value.split_once('.').unwrap_or((value, "0"));
    if !is_digits(whole) || !is_digits(places) {
        return Err(Problem::Malformed);
    }
    let cents = match *places.as_bytes() {
        [tens] => i64::from(tens - b'0') * 10,
        [tens, ones] => i64::from(tens - b'0') * 10 + i64::from(ones - b'0'),
        _ => return Err(Problem::Places),
    };
    let dollars: i64 = whole.parse().map_err(|_| Problem::TooLarge)?;
    dollars
        .checked_mul(100)
        .and_then(|whole_cents| whole_cents.checked_add(cents))
        .ok_or(Problem::TooLarge)
}

fn is_digits(value: &str) -> bool {
    !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_exact() {
        for (text, expected) in [
            ("0", 0),
            ("0.00", 0),
            ("0.1", 10),
            ("0.01", 1),
            ("11.77", 1_177),
            ("1.15", 115),
            ("4.35", 435),
            ("5", 500),
            ("90071992547409.93", 9_007_199_254_740_993),
            ("92233720368547758.07", i64::MAX),
        ] {
            assert_eq!(parse_cents(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn dollars_that_are_no_such_decimal_are_refused() {
        for (text, expected) in [
            ("-1", Problem::Negative),
            ("-0.00", Problem::Negative),
            ("-1.234", Problem::Negative),
            ("1.234", Problem::Places),
            ("1.000", Problem::Places),
            ("92233720368547758.08", Problem::TooLarge),
            ("99999999999999999999999", Problem::TooLarge),
        ] {
            assert_eq!(parse_cents(text), Err(expected), "{text}");
        }
        let malformed = [
            "", ".", "5.", ".5", "+5", "--5", "-", "1e3", "1_000", "NaN", "inf", "0x10", "$5",
            "1,5", "1.2.3", "١", "1 0",
        ];
        for text in malformed {
            assert_eq!(parse_cents(text), Err(Problem::Malformed), "{text}");
        }
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (text, expected) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("1997-01-01", 9_862),
            ("2000-02-29", 11_016),
            ("0001-01-01", -719_162),
            ("9999-12-31", 2_932_896),
        ] {
            assert_eq!(parse_day(text), Ok(expected), "{text}");
        }
        for text in ["1997-02-29", "1900-02-29", "1997-04-31", "1997-13-01", "1997-00-10"] {
            assert_eq!(parse_day(text), Err(Problem::NoSuchDay), "{text}");
        }
        assert_eq!(parse_day("1997-01-00"), Err(Problem::NoSuchDay));
        assert_eq!(parse_day("0000-01-01"), Err(Problem::NoSuchDay));
        for text in
            ["", "1997-1-01", "19970101", "1997/01/01", "01-01-1997", "97-01-01", "1997-01-011"]
        {
            assert_eq!(parse_day(text), Err(Problem::Malformed), "{text}");
        }
        assert_eq!(parse_day("1997-01-0a"), Err(Problem::Malformed));
    }
}
