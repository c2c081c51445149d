//! Why a row or a header is refused, told to a person: the column, the value, what it accepts.
//!
//! A value is shown escaped and cut, so that an error is one short line whatever the input is.

use super::HEADER;

/// How much of a refused value an error shows, in characters.
const SHOWN_MAX: usize = 40;

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

    /// Parses a value of this column.
    pub(super) fn check<T>(
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
            RowError::Value { column: self, problem, seen: cut(value) }
        })
    }
}

/// Cuts a value to what an error shows.
pub(super) fn cut(value: &str) -> String {
    match value.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &value[..end]),
        None => value.to_owned(),
    }
}
