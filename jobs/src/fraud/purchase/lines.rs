//! Purchases as the lines of a file source.

use std::collections::BTreeMap;

use thalweg::BoxError;
use thalweg::prelude::LineParser;

use super::{Purchase, PurchaseParser, check_header};

impl LineParser for PurchaseParser {
    type Out = Purchase;
    /// Well-formed rows by day.
    type State = BTreeMap<i64, u64>;

    fn header(&mut self, first: Option<&[u8]>) -> Result<bool, BoxError> {
        match first {
            // The end of the line tells an empty first line from an empty file.
            Some(line) => check_header(&[line, b"\n"].concat())?,
            None => check_header(b"")?,
        }
        Ok(true)
    }

    fn parse(&mut self, line: &[u8]) -> Result<Option<Purchase>, BoxError> {
        Ok(PurchaseParser::parse(self, line)?)
    }

    fn snapshot(&self) -> BTreeMap<i64, u64> {
        self.rows_by_day.clone()
    }

    fn restore(&mut self, state: BTreeMap<i64, u64>) {
        self.rows_by_day = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_go_on_where_the_snapshot_was_made() {
        let mut parser = PurchaseParser::default();
        assert!(parser.header(Some(b"customer_id,date,cds,dollars")).unwrap());
        let line = b"4,1997-01-01,2,29.33";
        let first = LineParser::parse(&mut parser, line).unwrap().unwrap();
        let mut again = PurchaseParser::default();
        again.restore(parser.snapshot());
        let second = LineParser::parse(&mut again, line).unwrap().unwrap();
        assert_eq!(second.ts - first.ts, 1_000);
    }

    #[test]
    fn an_empty_file_and_an_empty_first_line_have_no_header() {
        let mut parser = PurchaseParser::default();
        for (first, expected) in [(None, "the file is empty"), (Some(&b""[..]), "header is \"\"")] {
            let error = parser.header(first).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
