//! One purchase, and how a row of the CSV file becomes one.
//!
//! The format, beyond what the header says:
//!
//! * A row is one line. It ends with LF or CRLF, the last one may end with the file. An empty line
//!   is no row and no error; one of blanks is an error.
//! * The header is required, with these names in this order. A byte order mark before it is allowed.
//! * A field may stand in double quotes; nothing may stand outside them. Blanks are never trimmed.
//! * `customer_id` and `cds` are digits only, from 0 to 2^64 - 1. `date` is `YYYY-MM-DD`, a day of
//!   the calendar from 0001-01-01 to 9999-12-31.
//! * `dollars` is digits with at most two decimal places, without sign, exponent or separators, up
//!   to 92233720368547758.07 (2^63 - 1 cents). It is taken exactly.
//! * The k-th well-formed row of a date, from 0, happened k seconds after its midnight, UTC. A row
//!   that is refused does not count. After 86,400 rows of a date the seconds run on into the next
//!   day: every purchase is taken, and its time is what the rule says.

use std::collections::BTreeMap;

use jiff::civil::{self, Date};

/// The header that a file of purchases must have.
pub const HEADER: &str = "customer_id,date,cds,dollars";

const COLUMN_COUNT: usize = 4;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
/// How much of a refused value an error shows, in characters.
const SHOWN_MAX: usize = 40;

/// One purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purchase {
    /// Who bought.
    pub user: u64,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub ts: i64,
    /// For how much.
    pub amount_cents: i64,
}

/// Turns the rows of one file into purchases, in file order.
///
/// Its state is how many rows of each date there were; it belongs to the file's position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurchaseParser {
    /// Well-formed rows by day, which is counted in days since 1970-01-01.
    rows_by_day: BTreeMap<i64, u64>,
}

/// A column of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// `customer_id`.
    CustomerId,
    /// `date`.
    Date,
    /// `cds`.
    Cds,
    /// `dollars`.
    Dollars,
}

/// What is wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing between two commas.
    #[error("is empty")]
    Empty,
    /// Blanks before or after the value.
    #[error("has blanks around it")]
    Blanks,
    /// A minus sign.
    #[error("is negative")]
    Negative,
    /// A character that has no place in a number or date.
    #[error("is malformed")]
    Malformed,
    /// More than two decimal places.
    #[error("has more than two decimal places")]
    Places,
    /// More than the type holds.
    #[error("is too large")]
    TooLarge,
    /// Well written, but not in the calendar.
    #[error("is not a day of the calendar")]
    NoSuchDay,
}

/// Why a row was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The line is no text.
    #[error("row is not valid UTF-8 from byte {at} on")]
    NotUtf8 {
        /// The first byte that is not valid, from 0.
        at: usize,
    },
    /// More or fewer than four fields.
    #[error("row has {found} columns instead of 4 ({HEADER})")]
    ColumnCount {
        /// How many there are.
        found: usize,
    },
    /// A quoted field that does not end, or with text behind its end.
    #[error(
        "row has a quoted field that does not end at a comma or the line's end (field {field})"
    )]
    Quote {
        /// Which field, from 1.
        field: usize,
    },
    /// A value that its column does not accept.
    #[error("column {} {problem}: {seen:?} (accepted: {})", column.name(), column.accepted())]
    Value {
        /// Where.
        column: Column,
        /// What is wrong.
        problem: Problem,
        /// The value, cut.
        seen: String,
    },
}

/// Why a file's first line is not the header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The file is empty.
    #[error("header is missing: the file is empty\nhint: the first line must be {HEADER}")]
    Missing,
    /// Something else stands there.
    #[error("header is {seen:?}\nhint: the first line must be {HEADER}")]
    Unexpected {
        /// The line, cut.
        seen: String,
    },
}

impl PurchaseParser {
    /// Parses one line; `None` for an empty one. The line may still have its end.
    pub fn parse(&mut self, line: &[u8]) -> Result<Option<Purchase>, RowError> {
        let line = trim_end(line);
        if line.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(line).map_err(|error| RowError::NotUtf8 {
            at: error.valid_up_to(),
        })?;
        self.parse_fields(split(text)?).map(Some)
    }

    /// Makes a purchase of the four values of one row, and counts the row if it is well-formed.
    pub fn parse_fields(
        &mut self,
        [customer_id, date, cds, dollars]: [&str; COLUMN_COUNT],
    ) -> Result<Purchase, RowError> {
        let user = Column::CustomerId.check(customer_id, parse_whole)?;
        let day = Column::Date.check(date, parse_day)?;
        Column::Cds.check(cds, parse_whole)?;
        let amount_cents = Column::Dollars.check(dollars, parse_cents)?;
        let row = self.rows_by_day.entry(day).or_default();
        let seconds = day * 86_400 + row.cast_signed();
        *row += 1;
        Ok(Purchase {
            user,
            ts: seconds * 1_000,
            amount_cents,
        })
    }
}

/// Checks the first line of a file, which may still have its byte order mark and its end.
pub fn check_header(line: &[u8]) -> Result<(), HeaderError> {
    let text = trim_end(line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line));
    if text.is_empty() && !line.ends_with(b"\n") {
        return Err(HeaderError::Missing);
    }
    let text = String::from_utf8_lossy(text);
    match split(&text) {
        Ok(names) if names.iter().copied().eq(HEADER.split(',')) => Ok(()),
        _ => Err(HeaderError::Unexpected { seen: cut(&text) }),
    }
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Column::CustomerId => "customer_id",
            Column::Date => "date",
            Column::Cds => "cds",
            Column::Dollars => "dollars",
        }
    }

    fn accepted(self) -> &'static str {
        match self {
            Column::CustomerId | Column::Cds => "a whole number from 0 to 18446744073709551615",
            Column::Date => "a date as 1997-01-31, from 0001-01-01 to 9999-12-31",
            Column::Dollars => {
                "a decimal as 11.77, at most two places, from 0 to 92233720368547758.07"
            }
        }
    }

    fn check<T>(
        self,
        value: &str,
        parse: impl FnOnce(&str) -> Result<T, Problem>,
    ) -> Result<T, RowError> {
        parse(value).map_err(|problem| {
            let problem = match problem {
                _ if value.is_empty() => Problem::Empty,
                _ if value.trim() != value => Problem::Blanks,
                problem => problem,
            };
            RowError::Value {
                column: self,
                problem,
                seen: cut(value),
            }
        })
    }
}

fn parse_whole(value: &str) -> Result<u64, Problem> {
    if is_digits(value) {
        return value.parse().map_err(|_| Problem::TooLarge);
    }
    match value.strip_prefix('-') {
        Some(rest) if is_digits(rest) => Err(Problem::Negative),
        _ => Err(Problem::Malformed),
    }
}

/// Days since 1970-01-01.
fn parse_day(value: &str) -> Result<i64, Problem> {
    let &[c, y, a, r, b'-', m, n, b'-', d, e] = value.as_bytes() else {
        return Err(Problem::Malformed);
    };
    if ![c, y, a, r, m, n, d, e].iter().all(u8::is_ascii_digit) {
        return Err(Problem::Malformed);
    }
    let two = |tens: u8, ones: u8| i16::from(tens - b'0') * 10 + i16::from(ones - b'0');
    let (year, month, day) = (
        two(c, y) * 100 + two(a, r),
        two(m, n) as i8,
        two(d, e) as i8,
    );
    match Date::new(year, month, day) {
        Ok(date) if year > 0 => Ok(date
            .duration_since(civil::date(1970, 1, 1))
            .as_secs()
            .div_euclid(86_400)),
        _ => Err(Problem::NoSuchDay),
    }
}

fn parse_cents(value: &str) -> Result<i64, Problem> {
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

/// Splits a row at its commas and takes the quotes off its fields.
///
/// A doubled quote stays as it is: no value that is accepted has one.
fn split(row: &str) -> Result<[&str; COLUMN_COUNT], RowError> {
    let mut fields = [""; COLUMN_COUNT];
    let mut found = 0;
    let mut rest = Some(row);
    while let Some(text) = rest {
        let field;
        (field, rest) = match text.strip_prefix('"') {
            None => text
                .split_once(',')
                .map_or((text, None), |(field, rest)| (field, Some(rest))),
            Some(text) => split_quoted(text).ok_or(RowError::Quote { field: found + 1 })?,
        };
        if let Some(slot) = fields.get_mut(found) {
            *slot = field;
        }
        found += 1;
    }
    if found == COLUMN_COUNT {
        Ok(fields)
    } else {
        Err(RowError::ColumnCount { found })
    }
}

/// Splits behind the quote that ends a field; the one that opens it is gone already.
fn split_quoted(text: &str) -> Option<(&str, Option<&str>)> {
    let mut from = 0;
    loop {
        let end = from + text[from..].find('"')?;
        let behind = &text[end + 1..];
        if behind.starts_with('"') {
            from = end + 2;
        } else if behind.is_empty() {
            return Some((&text[..end], None));
        } else {
            return behind
                .strip_prefix(',')
                .map(|rest| (&text[..end], Some(rest)));
        }
    }
}

/// Takes off one LF or CRLF, or the CR of a line whose LF is gone already.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 852_076_800_000; // 1997-01-01

    fn parse(line: &str) -> Result<Purchase, String> {
        match PurchaseParser::default().parse(line.as_bytes()) {
            Ok(purchase) => purchase.ok_or_else(|| "empty".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn cents(dollars: &str) -> Result<i64, Problem> {
        parse_cents(dollars)
    }

    fn day(date: &str) -> Result<i64, Problem> {
        parse_day(date)
    }

    #[test]
    fn a_row_becomes_a_purchase() {
        let expected = Purchase {
            user: 4,
            ts: DAY,
            amount_cents: 2_933,
        };
        assert_eq!(parse("4,1997-01-01,2,29.33"), Ok(expected));
    }

    #[test]
    fn line_ends_and_quotes_change_nothing() {
        let expected = parse("4,1997-01-01,2,29.33");
        for line in [
            "4,1997-01-01,2,29.33\n",
            "4,1997-01-01,2,29.33\r\n",
            "4,1997-01-01,2,29.33\r",
            "\"4\",\"1997-01-01\",\"2\",\"29.33\"\n",
            "4,\"1997-01-01\",2,29.33",
            "0004,1997-01-01,2,029.33",
        ] {
            assert_eq!(parse(line), expected, "{line:?}");
        }
    }

    #[test]
    fn the_kth_well_formed_row_of_a_date_happened_k_seconds_after_midnight() {
        let mut parser = PurchaseParser::default();
        let mut ts = |line: &str| {
            parser
                .parse(line.as_bytes())
                .ok()
                .flatten()
                .map(|p| p.ts - DAY)
        };
        assert_eq!(ts("1,1997-01-01,1,1"), Some(0));
        assert_eq!(ts("1,1997-01-01,1,nothing"), None);
        assert_eq!(ts(""), None);
        assert_eq!(ts("2,1997-01-02,1,1"), Some(86_400_000));
        assert_eq!(ts("9,1997-01-01,1,1"), Some(1_000));
        assert_eq!(ts("9,1997-01-02,1,1"), Some(86_401_000));
        assert_eq!(ts("9,1997-01-01,1,1"), Some(2_000));
    }

    #[test]
    fn more_rows_than_a_day_has_seconds_run_into_the_next_day() {
        let mut parser = PurchaseParser::default();
        let mut last = None;
        for _ in 0..=86_400 {
            last = parser.parse(b"1,1997-01-01,1,1").ok().flatten();
        }
        assert_eq!(last.map(|purchase| purchase.ts), Some(DAY + 86_400_000));
    }

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
            assert_eq!(cents(text), Ok(expected), "{text}");
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
            assert_eq!(cents(text), Err(expected), "{text}");
        }
        let malformed = [
            "", ".", "5.", ".5", "+5", "--5", "-", "1e3", "1_000", "NaN", "inf", "0x10", "$5",
            "1,5", "1.2.3", "١", "1 0",
        ];
        for text in malformed {
            assert_eq!(cents(text), Err(Problem::Malformed), "{text}");
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
            assert_eq!(day(text), Ok(expected), "{text}");
        }
        for text in [
            "1997-02-29",
            "1900-02-29",
            "1997-04-31",
            "1997-13-01",
            "1997-00-10",
        ] {
            assert_eq!(day(text), Err(Problem::NoSuchDay), "{text}");
        }
        assert_eq!(day("1997-01-00"), Err(Problem::NoSuchDay));
        assert_eq!(day("0000-01-01"), Err(Problem::NoSuchDay));
        for text in [
            "",
            "1997-1-01",
            "19970101",
            "1997/01/01",
            "01-01-1997",
            "97-01-01",
            "1997-01-011",
        ] {
            assert_eq!(day(text), Err(Problem::Malformed), "{text}");
        }
        assert_eq!(day("1997-01-0a"), Err(Problem::Malformed));
    }

    #[test]
    fn errors_name_the_column_the_value_and_what_is_accepted() {
        let whole = "(accepted: a whole number from 0 to 18446744073709551615)";
        for (line, expected) in [
            ("-5,1997-01-01,1,1", format!("column customer_id is negative: \"-5\" {whole}")),
            ("+5,1997-01-01,1,1", format!("column customer_id is malformed: \"+5\" {whole}")),
            (" 5,1997-01-01,1,1", format!("column customer_id has blanks around it: \" 5\" {whole}")),
            (",1997-01-01,1,1", format!("column customer_id is empty: \"\" {whole}")),
            ("5,1997-01-01,1.5,1", format!("column cds is malformed: \"1.5\" {whole}")),
            (
                "18446744073709551616,1997-01-01,1,1",
                format!("column customer_id is too large: \"18446744073709551616\" {whole}"),
            ),
            (
                "5,1997-02-30,1,1",
                "column date is not a day of the calendar: \"1997-02-30\" (accepted: a date as \
                 1997-01-31, from 0001-01-01 to 9999-12-31)"
                    .to_owned(),
            ),
            (
                "5,1997-01-01,1,11.77 ",
                "column dollars has blanks around it: \"11.77 \" (accepted: a decimal as 11.77, at \
                 most two places, from 0 to 92233720368547758.07)"
                    .to_owned(),
            ),
        ] {
            assert_eq!(parse(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn missing_and_extra_columns_are_refused() {
        for (line, found) in [
            ("1", 1),
            ("   ", 1),
            ("1,1997-01-01,1", 3),
            ("1,1997-01-01,1,1.00,", 5),
            (",,,,,", 6),
            ("1;1997-01-01;1;1.00", 1),
            ("\"1,1997-01-01\",1,1.00", 3),
        ] {
            let expected = format!("row has {found} columns instead of 4 ({HEADER})");
            assert_eq!(parse(line), Err(expected), "{line:?}");
        }
    }

    #[test]
    fn a_quoted_field_must_end_at_its_quote() {
        for line in [
            "\"4,1997-01-01,2,29.33",
            "\"4\"x,1997-01-01,2,29.33",
            "4,1997-01-01,2,\"",
        ] {
            let error = parse(line).expect_err(line);
            assert!(
                error.starts_with("row has a quoted field"),
                "{line:?}: {error}"
            );
        }
        let error = parse("\"4\"\"\",1997-01-01,2,29.33").expect_err("a doubled quote");
        assert!(
            error.starts_with("column customer_id is malformed"),
            "{error}"
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = PurchaseParser::default().parse(b"4,1997-\xff1-01,2,29.33");
        assert_eq!(error, Err(RowError::NotUtf8 { at: 7 }));
    }

    #[test]
    fn a_long_value_is_cut_in_the_error() {
        let error = parse(&format!("{},1997-01-01,2,1", "é".repeat(1_000))).expect_err("no number");
        assert!(
            error.contains(&format!("\"{}…\"", "é".repeat(40))),
            "{error}"
        );
    }

    #[test]
    fn the_header_is_required_in_this_order() {
        for line in [
            "customer_id,date,cds,dollars",
            "customer_id,date,cds,dollars\r\n",
            "\u{feff}customer_id,date,cds,dollars\n",
            "\"customer_id\",\"date\",\"cds\",\"dollars\"\n",
        ] {
            assert_eq!(check_header(line.as_bytes()), Ok(()), "{line:?}");
        }
        assert_eq!(check_header(b""), Err(HeaderError::Missing));
        for line in [
            "\n",
            "1,1997-01-01,1,11.77",
            "date,customer_id,cds,dollars",
            "customer_id,date",
        ] {
            let error = check_header(line.as_bytes()).expect_err(line);
            assert!(matches!(error, HeaderError::Unexpected { .. }), "{line:?}");
            assert!(
                error
                    .to_string()
                    .ends_with("the first line must be customer_id,date,cds,dollars")
            );
        }
    }
}
