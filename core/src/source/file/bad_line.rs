//! Lines that a parser refuses: an error that ends the attempt, or a dead letter.

use std::rc::Rc;

use serde::Serialize;

use super::{FileSource, LineParser};
use crate::dataflow::{SourceRoot, Stream, Tag};
use crate::error::Kind;
use crate::operator::{Chain, Feed, Snapshot, SplitEvent, chain_text};
use crate::runtime::{Core, Port};
use crate::time::{MIN, Stamp, Timestamp};
use crate::{BoxError, Error, Result};

/// How much of a line a dead letter shows, in bytes.
const TEXT_MAX: usize = 1024;

/// A line that was refused, and why: what goes to the dead letters.
#[thalweg::record]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// The file, as it was given.
    pub file: String,
    /// The line's number, from 1.
    pub line: u64,
    /// Why it was refused.
    pub error: String,
    /// The line, cut at 1 KiB; what is not UTF-8 is replaced.
    pub text: String,
}

/// Where refused lines go: nowhere (the attempt ends) or to a port.
pub(super) struct Letters {
    port: Rc<Port<BadLine>>,
}

/// A refused line before it is known what is done with it.
pub(super) struct Refused<'a> {
    pub(super) file: &'a str,
    pub(super) line: u64,
    pub(super) text: &'a [u8],
    pub(super) error: BoxError,
}

impl Refused<'_> {
    /// Sends the line to the dead letters, or makes it the error that ends the attempt.
    #[cold]
    pub(super) fn settle(self, letters: Option<&Letters>, core: &Core) -> Result<()> {
        let Self { file, line, text, error } = self;
        let Some(letters) = letters else {
            return Err(Error::new(Kind::User, format!("cannot read line {line} of \"{file}\""))
                .with_source(error)
                .with_hint("correct the line, or let malformed lines go to the dead letters"));
        };
        core.metrics.dead_letters.add(1);
        let error = chain_text(&*error);
        let letter = BadLine { file: file.to_owned(), line, error, text: shown(text) };
        letters.port.push(letter, Stamp { timestamp: MIN, origin: core.now() })
    }
}

/// The beginning of a line as text, cut between two characters.
fn shown(line: &[u8]) -> String {
    let head = &line[..line.len().min(TEXT_MAX)];
    let text = String::from_utf8_lossy(match std::str::from_utf8(head) {
        // A character that only the cut has broken.
        Err(error) if error.error_len().is_none() && head.len() < line.len() => {
            &head[..error.valid_up_to()]
        }
        _ => head,
    });
    // Replacing bytes may have made it longer.
    text[..text.floor_char_boundary(TEXT_MAX)].to_owned()
}

impl<P: LineParser> Stream<P::Out, SourceRoot<FileSource<P>>> {
    /// Sends malformed lines to a side output instead of ending the attempt, unless the source is
    /// [`FileSource::strict`].
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// # let file = std::env::temp_dir().join(format!("numbers-{}", std::process::id()));
    /// std::fs::write(&file, "1\nx\n").unwrap();
    /// let bad = thalweg::testing::outputs(|flow| {
    ///     let tag = Tag::new("bad");
    ///     let rows = FileSource::json_lines::<u64>([&file]);
    ///     let rows = flow.source("rows", rows).or_dead_letter(&tag);
    ///     let bad = rows.side_output(&tag);
    ///     rows.sink("good", Print::new());
    ///     bad
    /// });
    /// assert_eq!((bad[0].line, bad[0].error.as_str()), (2, "expected value at column 1"));
    /// ```
    pub fn or_dead_letter(mut self, tag: &Tag<BadLine>) -> Stream<P::Out, BadLines<P>> {
        let port = self.flow.side(self.node, tag);
        self.chain.source.letters = Some(Rc::new(Letters { port: Rc::clone(&port) }));
        let chain = BadLines { root: self.chain, port };
        Stream::new(self.flow, self.node, chain)
    }
}

/// A chain that begins at a file source with dead letters.
pub struct BadLines<P> {
    root: SourceRoot<FileSource<P>>,
    port: Rc<Port<BadLine>>,
}

impl<P: LineParser> Chain<P::Out> for BadLines<P> {
    fn install<N: Feed<P::Out>>(self, next: N) {
        self.root.install(BadLinesFeed { port: self.port, next });
    }
}

/// Lets control events reach the dead letters, too; the letters themselves come from the reader.
struct BadLinesFeed<N> {
    port: Rc<Port<BadLine>>,
    next: N,
}

impl<T, N: Feed<T>> Feed<T> for BadLinesFeed<N> {
    #[inline]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        self.next.feed(record, stamp)
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.port.watermark(watermark)?;
        self.next.watermark(watermark)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.port.idle(idle)?;
        self.next.idle(idle)
    }
    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.next.split(event)
    }
    fn flush(&mut self) -> Result<()> {
        self.port.flush()?;
        self.next.flush()
    }
    fn end(&mut self) -> Result<()> {
        self.port.end()?;
        self.next.end()
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.port.snapshot(snapshot)?;
        self.next.snapshot(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_cut_between_two_characters() {
        let line = format!("x{}", "é".repeat(1_000));
        let text = shown(line.as_bytes());
        assert_eq!((text.len(), text.ends_with('é')), (1_023, true));
        assert_eq!(shown(&[b'a'; 5_000]), "a".repeat(1_024));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_within_the_limit() {
        assert_eq!(shown(b"a\xffb"), "a\u{fffd}b");
        assert_eq!(shown("é".as_bytes().split_at(1).0), "\u{fffd}");
        let text = shown(&[0xff; 5_000]);
        assert_eq!((text.len(), text.chars().all(|c| c == '\u{fffd}')), (1_023, true));
    }
}
