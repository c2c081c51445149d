//! Cuts chunks of a file into lines.
//!
//! A line ends with LF or CRLF; a CR alone is no end. What stands behind the last LF is a line too,
//! unless it is empty. Only a line that lies across two chunks is copied. A line above the limit is
//! kept in part and marked, so memory is bounded whatever the input is.

use std::io::BufRead;

/// Longest line that is read, in bytes with its end.
pub(in crate::source) const LINE_MAX: u64 = 16 << 20;

/// The byte order mark.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Chunks, and how far they are cut.
#[derive(Debug, Default)]
pub(in crate::source) struct Cutter {
    chunk: Vec<u8>,
    at: usize,
    /// The beginning of a line whose end was not in its chunk, up to the limit.
    carry: Vec<u8>,
    /// Length of that beginning.
    carried: u64,
    /// The carried line was handed out.
    spent: bool,
    ended: bool,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) enum Cut<'a> {
    /// A line without its end.
    Line(Cutting<'a>),
    /// Another chunk is wanted.
    Wanted,
    /// No more lines.
    End,
}

/// A line.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::source) struct Cutting<'a> {
    /// Without its end; above [`LINE_MAX`] only its beginning.
    pub(in crate::source) line: &'a [u8],
    /// How many bytes of the file it takes, its end included.
    pub(in crate::source) bytes: u64,
}

impl Cutting<'_> {
    pub(in crate::source) fn too_long(&self) -> bool {
        self.bytes > LINE_MAX
    }
}

impl Cutter {
    /// Takes the next chunk and gives the last one back; called only when one was wanted.
    pub(in crate::source) fn feed(&mut self, chunk: Vec<u8>) -> Vec<u8> {
        assert!(self.at == self.chunk.len(), "{} of {} cut", self.at, self.chunk.len());
        self.at = 0;
        std::mem::replace(&mut self.chunk, chunk)
    }

    /// There are no more chunks.
    pub(in crate::source) fn end(&mut self) {
        self.ended = true;
    }

    /// The next line.
    #[inline]
    pub(in crate::source) fn cut(&mut self) -> Cut<'_> {
        if self.spent {
            self.spent = false;
            self.carry.clear();
            self.carried = 0;
        }
        let start = self.at;
        let mut rest = &self.chunk[start..];
        // The library's own search for a byte, several at a time.
        let length = rest.skip_until(b'\n').unwrap_or(0);
        self.at += length;
        let whole = length > 0 && self.chunk[self.at - 1] == b'\n';
        if whole && self.carried == 0 {
            let (line, bytes) = (&self.chunk[start..start + length], length as u64);
            return Cut::Line(Cutting { line: without_end(line), bytes });
        }
        self.carry(start);
        if !whole && !self.ended {
            return Cut::Wanted;
        }
        if self.carried == 0 {
            return Cut::End;
        }
        self.spent = true;
        Cut::Line(Cutting { line: without_end(&self.carry), bytes: self.carried })
    }

    #[cold]
    fn carry(&mut self, start: usize) {
        let piece = &self.chunk[start..self.at];
        self.carried += piece.len() as u64;
        let room = (LINE_MAX as usize).saturating_sub(self.carry.len());
        self.carry.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

fn without_end(line: &[u8]) -> &[u8] {
    match line.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => line,
    }
}

/// The first line of a file without its byte order mark.
pub(in crate::source) fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix(MARK).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All lines with their bytes, cut from chunks of `size`.
    fn lines(text: &[u8], size: usize) -> Vec<(Vec<u8>, u64)> {
        let (mut cutter, mut found) = (Cutter::default(), Vec::new());
        let mut chunks = text.chunks(size);
        loop {
            match cutter.cut() {
                Cut::Line(cutting) => found.push((cutting.line.to_vec(), cutting.bytes)),
                Cut::End => return found,
                Cut::Wanted => match chunks.next() {
                    Some(chunk) => drop(cutter.feed(chunk.to_vec())),
                    None => cutter.end(),
                },
            }
        }
    }

    #[test]
    fn lines_are_the_same_however_the_file_is_chunked() {
        let text = b"a\nbc\r\n\r\n\n\rd\re\r\nlast\r";
        let expected: Vec<(Vec<u8>, u64)> =
            [(&b"a"[..], 2), (b"bc", 4), (b"", 2), (b"", 1), (b"\rd\re", 6), (b"last\r", 5)]
                .map(|(line, bytes)| (line.to_vec(), bytes))
                .to_vec();
        for size in 1..=text.len() {
            assert_eq!(lines(text, size), expected, "chunks of {size}");
        }
    }

    #[test]
    fn an_end_at_the_end_starts_no_line() {
        assert_eq!(lines(b"a\n", 1), [(b"a".to_vec(), 2)]);
        assert_eq!(lines(b"", 1), []);
        assert_eq!(lines(b"\n", 1), [(Vec::new(), 1)]);
    }

    #[test]
    fn a_line_without_end_is_bounded_and_the_next_one_is_found() {
        let mut text = vec![b'x'; LINE_MAX as usize + 5];
        text.extend_from_slice(b"\nok\n");
        let found = lines(&text, 256 << 10);
        assert_eq!(found[0].1, LINE_MAX + 6);
        assert!(found[0].0.len() <= LINE_MAX as usize);
        assert_eq!(found[1], (b"ok".to_vec(), 3));
    }
}
