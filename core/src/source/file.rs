//! Files of lines: CSV, JSON lines, plain lines, or a format of one's own.
//!
//! A file is one split and never cut, so its lines stay in order. A core reads its files in turns,
//! several at a time, and those that wait hold the watermark: nothing is late for the order of
//! reading. The bytes are read on a side thread and parsed on the core.

mod bad_line;
mod csv;
mod cutter;
mod disk;
mod parser;
mod reader;
#[cfg(test)]
mod tests;

pub use bad_line::{BadLine, BadLines};
pub use csv::Csv;
pub use parser::{JsonLines, Line, LineParser, Lines};
pub use reader::FileReader;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::Access;
use serde::de::DeserializeOwned;

pub(super) use cutter::{Cut, Cutter, LINE_MAX};

use self::bad_line::Letters;
use super::{Source, SourceContext};
use crate::error::Kind;
use crate::{Error, Result};

/// A source that reads the lines of files.
///
/// A line ends with LF or CRLF, the last one may end with the file; a byte order mark in front of
/// the first is skipped; lines above 16 MiB are malformed. A malformed line ends the attempt with
/// an error that names file and line, or goes to a side output: see `or_dead_letter`.
///
/// ```
/// # use thalweg::prelude::*;
/// # let file = std::env::temp_dir().join(format!("rows-{}.csv", std::process::id()));
/// std::fs::write(&file, "user,cents\n7,150\n").unwrap();
/// #[derive(Clone, serde::Deserialize)]
/// struct Row { cents: u64 }
/// let out = thalweg::testing::outputs(|flow| {
///     flow.source("rows", FileSource::csv::<Row>([&file])).map(|row| row.cents)
/// });
/// assert_eq!(out, [150]);
/// ```
pub struct FileSource<P = Lines> {
    paths: Vec<PathBuf>,
    parser: Rc<dyn Fn(&str) -> P>,
    strict: bool,
    letters: Option<Rc<Letters>>,
}

impl<P> Clone for FileSource<P> {
    fn clone(&self) -> Self {
        Self {
            paths: self.paths.clone(),
            parser: Rc::clone(&self.parser),
            strict: self.strict,
            letters: self.letters.clone(),
        }
    }
}

/// How far a file was read: where the next line begins, and by what the file is known again.
#[thalweg::record]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilePosition {
    /// The file.
    pub path: String,
    /// Offset of the next line in bytes.
    pub offset: u64,
    /// How many lines stand in front of it.
    pub lines: u64,
    /// How many of the file's first bytes are known, and their hash.
    pub head_bytes: u32,
    /// See `head_bytes`.
    pub head_hash: u64,
    /// Whether the end was reached: what is appended later does not count.
    pub finished: bool,
}

impl FilePosition {
    pub(crate) fn start(path: String) -> Self {
        Self { path, offset: 0, lines: 0, head_bytes: 0, head_hash: 0, finished: false }
    }
}

impl FileSource {
    /// Reads records of type `Row` from files of comma-separated values with a header each. Columns
    /// are found by name; a record is one line.
    pub fn csv<Row: DeserializeOwned + 'static>(
        paths: impl IntoIterator<Item: Into<PathBuf>>,
    ) -> FileSource<Csv<Row>> {
        FileSource::with_parser(paths, Csv::new())
    }

    /// Reads records of type `Row` from files with a JSON value per line.
    pub fn json_lines<Row: DeserializeOwned + 'static>(
        paths: impl IntoIterator<Item: Into<PathBuf>>,
    ) -> FileSource<JsonLines<Row>> {
        FileSource::with_parser(paths, JsonLines::new())
    }

    /// Reads lines as they stand, each with its file and number.
    pub fn lines(paths: impl IntoIterator<Item: Into<PathBuf>>) -> FileSource<Lines> {
        FileSource::made(paths, |path| Lines::of(path, 0))
    }
}

impl<P: LineParser> FileSource<P> {
    /// Reads records with a parser of one's own, of which each file gets a clone.
    pub fn with_parser(paths: impl IntoIterator<Item: Into<PathBuf>>, parser: P) -> Self {
        Self::made(paths, move |_| parser.clone())
    }

    fn made(
        paths: impl IntoIterator<Item: Into<PathBuf>>,
        parser: impl Fn(&str) -> P + 'static,
    ) -> Self {
        let paths = paths.into_iter().map(Into::into).collect();
        Self { paths, parser: Rc::new(parser), strict: false, letters: None }
    }

    /// Lets a malformed line end the attempt, even where there are dead letters.
    #[must_use]
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }
}

/// One file: how far it was read, and what its parser remembers.
pub type FileSplit<S> = (FilePosition, S);

impl<P: LineParser> Source for FileSource<P> {
    type Out = P::Out;
    type Split = FileSplit<P::State>;
    type Reader = FileReader<P>;

    fn kind(&self) -> &'static str {
        "file"
    }

    fn validate(&self) -> Result<()> {
        if self.paths.is_empty() {
            return Err(Error::usage("cannot read files: none is given"));
        }
        self.paths.iter().try_for_each(|path| check(path))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn splits(&self, _parallelism: usize) -> Result<Vec<Self::Split>> {
        let split = |path: &PathBuf| {
            let path = name(path)?.to_owned();
            let state = (self.parser)(&path).snapshot();
            Ok((FilePosition::start(path), state))
        };
        self.paths.iter().map(split).collect()
    }

    fn reader(self, splits: Vec<(u32, Self::Split)>, cx: SourceContext) -> Result<FileReader<P>> {
        let letters = self.letters.filter(|_| !self.strict);
        FileReader::new(splits, &*self.parser, letters, cx)
    }
}

fn name(path: &Path) -> Result<&str> {
    let name = path.to_str();
    name.ok_or_else(|| Error::usage(format!("cannot read {path:?}: its name is not UTF-8")))
}

/// Whether a file can be read, as far as can be seen without opening it.
fn check(path: &Path) -> Result<()> {
    let shown = name(path)?;
    let attempt = format!("cannot read \"{shown}\"");
    let metadata = std::fs::metadata(path).map_err(|error| {
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) {
            return Error::io(&attempt, error);
        }
        let missing = Error::new(Kind::NotFound, &attempt).with_source(error);
        let place = std::env::current_dir().unwrap_or_default();
        missing.with_hint(format!("check the path; the working directory is {}", place.display()))
    })?;
    if metadata.is_dir() {
        return Err(Error::usage(format!("{attempt}: it is a directory"))
            .with_hint(format!("name the files in it: {}/…", shown.trim_end_matches('/'))));
    }
    rustix::fs::access(path, Access::READ_OK).map_err(|error| Error::io(attempt, error.into()))
}
