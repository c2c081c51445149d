//! One purchase, and how a row of the CSV file becomes one.
//!
//! The format, beyond what the header says:
//!
//! * A row is one line. It ends with LF or CRLF, the last one may end with the file. An empty line
//!   is no row and no error; one of blanks is an error.
//! * The header is required, with these names in this order. It may start with a byte order
//!   mark.
//! * A field may stand in double quotes; nothing may stand outside them. Blanks are never trimmed.
//! * `customer_id` and `cds` are digits only, from 0 to 2^64 - 1. `date` is `YYYY-MM-DD`, a day of
//!   the calendar from 0001-01-01 to 9999-12-31.
//! * `dollars` is digits with at most two decimal places, without sign, exponent or separators, up
//!   to 92233720368547758.07 (2^63 - 1 cents). It is taken exactly.
//! * The k-th well-formed row of a date, from 0, happened k seconds after its midnight, UTC. A row
//!   that is refused does not count. After 86,400 rows of a date the seconds run on into the next
//!   day: every purchase is taken, and its time is what the rule says.

use std::collections::BTreeMap;

pub use self::error::{Column, HeaderError, Problem, RowError};

use self::error::cut;
use self::value::{parse_cents, parse_day, parse_whole};

mod error;
mod lines;
mod value;

/// The header that a file of purchases must have.
pub const HEADER: &str = "customer_id,date,cds,dollars";

const COLUMN_COUNT: usize = 4;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// One purchase.
#[thalweg::record]
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

impl PurchaseParser {
    /// Parses one line; `None` for an empty one. The line may still have its end.
    pub fn parse(&mut self, line: &[u8]) -> Result<Option<Purchase>, RowError> {
        let line = trim_end(line);
        if line.is_empty() {
            return Ok(None);
        }
        let text = std::str::from_utf8(line)
            .map_err(|error| RowError::NotUtf8 { at: error.valid_up_to() })?;
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
        Ok(Purchase { user, ts: seconds * 1_000, amount_cents })
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
            None => text.split_once(',').map_or((text, None), |(field, rest)| (field, Some(rest))),
            Some(text) => split_quoted(text).ok_or(RowError::Quote { field: found + 1 })?,
        };
        if let Some(slot) = fields.get_mut(found) {
            *slot = field;
        }
        found += 1;
    }
    if found == COLUMN_COUNT { Ok(fields) } else { Err(RowError::ColumnCount { found }) }
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
            return behind.strip_prefix(',').map(|rest| (&text[..end], Some(rest)));
        }
    }
}

/// Takes off one LF or CRLF, or the CR of a line whose LF is gone already.
fn trim_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
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

    #[test]
    fn a_row_becomes_a_purchase() {
        let expected = Purchase { user: 4, ts: DAY, amount_cents: 2_933 };
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
        let mut ts = |line: &str| parser.parse(line.as_bytes()).ok().flatten().map(|p| p.ts - DAY);
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
    fn errors_name_the_column_the_value_and_what_is_accepted() {
        let whole = "(accepted: a whole number from 0 to 18446744073709551615)";
        for (line, expected) in [
            ("-5,1997-01-01,1,1", format!("column customer_id is negative: \"-5\" {whole}")),
            ("+5,1997-01-01,1,1", format!("column customer_id is malformed: \"+5\" {whole}")),
            (
                " 5,1997-01-01,1,1",
                format!("column customer_id has blanks around it: \" 5\" {whole}"),
            ),
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
        for line in ["\"4,1997-01-01,2,29.33", "\"4\"x,1997-01-01,2,29.33", "4,1997-01-01,2,\""] {
            let error = parse(line).expect_err(line);
            assert!(error.starts_with("row has a quoted field"), "{line:?}: {error}");
        }
        let error = parse("\"4\"\"\",1997-01-01,2,29.33").expect_err("a doubled quote");
        assert!(error.starts_with("column customer_id is malformed"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let error = PurchaseParser::default().parse(b"4,1997-\xff1-01,2,29.33");
        assert_eq!(error, Err(RowError::NotUtf8 { at: 7 }));
    }

    #[test]
    fn a_long_value_is_cut_in_the_error() {
        let line = format!("{},1997-01-01,2,1", "é".repeat(1_000));
        let error = parse(&line).expect_err("no number");
        assert!(error.contains(&format!("\"{}…\"", "é".repeat(40))), "{error}");
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
        for line in
            ["\n", "1,1997-01-01,1,11.77", "date,customer_id,cds,dollars", "customer_id,date"]
        {
            let error = check_header(line.as_bytes()).expect_err(line);
            assert!(matches!(error, HeaderError::Unexpected { .. }), "{line:?}");
            assert!(
                error.to_string().ends_with("the first line must be customer_id,date,cds,dollars")
            );
        }
    }
}
