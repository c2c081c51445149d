//! What makes records of a file's lines.

use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use thalweg_state::State;

use crate::{BoxError, Result};

/// Makes records of the lines of one file; each file has a parser of its own.
///
/// Order of calls: `restore` if reading goes on in the middle, else `header` with the first line;
/// then `parse` with each line in order. `snapshot` may come between any two.
pub trait LineParser: Clone + 'static {
    /// What it makes.
    type Out: 'static;
    /// What it remembers from line to line: part of the file's position, so small.
    type State: State + Clone + Send;

    /// Takes the first line of a file, without its end and without a byte order mark; `None` if the
    /// file is empty. True: it was a header and is no record.
    ///
    /// # Errors
    /// The file has no such header; this ends the attempt, whatever is done with malformed lines.
    fn header(&mut self, _first: Option<&[u8]>) -> Result<bool, BoxError> {
        Ok(false)
    }
    /// Makes a record of a line, which comes without its end; `None`: the line is none.
    ///
    /// # Errors
    /// The line is malformed.
    fn parse(&mut self, line: &[u8]) -> Result<Option<Self::Out>, BoxError>;
    /// A line was too long to be read.
    fn skipped(&mut self) {}
    /// What it remembers.
    fn snapshot(&self) -> Self::State;
    /// Goes on with what it remembered.
    fn restore(&mut self, state: Self::State);
}

/// A line as it stands, with its place.
#[thalweg::record]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The file, as it was given.
    pub file: String,
    /// The line's number, from 1.
    pub line: u64,
    /// The line without its end.
    pub text: String,
}

/// Makes a [`Line`] of each line, the empty ones too.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    file: String,
    line: u64,
}

impl Lines {
    pub(super) fn of(file: &str, line: u64) -> Self {
        Self { file: file.to_owned(), line }
    }
}

impl LineParser for Lines {
    type Out = Line;
    type State = (String, u64);

    fn parse(&mut self, line: &[u8]) -> Result<Option<Line>, BoxError> {
        self.line += 1;
        let text = text_of(line)?.to_owned();
        Ok(Some(Line { file: self.file.clone(), line: self.line, text }))
    }
    fn skipped(&mut self) {
        self.line += 1;
    }
    fn snapshot(&self) -> (String, u64) {
        (self.file.clone(), self.line)
    }
    fn restore(&mut self, (file, line): (String, u64)) {
        *self = Self { file, line };
    }
}

/// A line as text.
pub(super) fn text_of(line: &[u8]) -> Result<&str, BoxError> {
    std::str::from_utf8(line)
        .map_err(|error| format!("line is not UTF-8 from byte {} on", error.valid_up_to()).into())
}

/// Reads each line as a JSON value of type `T`; empty lines are skipped.
#[derive(Debug)]
pub struct JsonLines<T>(PhantomData<fn() -> T>);

impl<T> JsonLines<T> {
    pub(super) fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Clone for JsonLines<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: DeserializeOwned + 'static> LineParser for JsonLines<T> {
    type Out = T;
    type State = ();

    #[inline]
    fn parse(&mut self, line: &[u8]) -> Result<Option<T>, BoxError> {
        if line.is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(line).map(Some).map_err(told)
    }
    fn snapshot(&self) {}
    fn restore(&mut self, (): ()) {}
}

/// The line's number is known better elsewhere: here every line is the first.
#[cold]
fn told(error: serde_json::Error) -> BoxError {
    error.to_string().replace(" at line 1 column ", " at column ").into()
}
