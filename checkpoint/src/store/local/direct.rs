//! Writing and reading a large file past the page cache: the disk takes it from our memory, or puts
//! it there.
//!
//! Through the page cache each byte is copied into pages that nobody reads again, which costs three
//! times the CPU and memory that others need. Here the bytes pass through one aligned buffer; the
//! thread sleeps while the disk works.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::disk::NewFile;

/// From so many bytes on it pays.
pub(super) const LEAST: usize = 256 << 10;

/// What the disk gets at once: its copying keeps the CPU for about 100 µs.
const CHUNK: usize = 1 << 20;

/// Offset, length and address are multiples of this, which all file systems accept.
const ALIGNMENT: usize = 4096;

/// What a file system says that has no direct writes, or wants another alignment.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

/// A file that is written past the page cache, front to back; through it if it is small, or if the
/// file system has no other way.
pub(super) struct DirectWriter {
    file: NewFile,
    memory: Vec<u8>,
    /// Where in `memory` the chunk begins, and how much of it waits to be written.
    chunk: usize,
    filled: usize,
    /// Whether bytes go past the page cache, and whether some have.
    is_direct: bool,
    has_written: bool,
}

impl DirectWriter {
    /// Makes a file; fails if its name is taken.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        let (file, is_direct) = match NewFile::create_direct(path) {
            Err(error) if is_refusal(&error) => (NewFile::create(path)?, false),
            opened => (opened?, true),
        };
        let memory = vec![0; CHUNK + ALIGNMENT];
        let chunk = memory.as_ptr().align_offset(ALIGNMENT);
        Ok(Self { file, memory, chunk, filled: 0, is_direct, has_written: false })
    }

    /// Writes what waits; the caller makes the file durable.
    pub(super) fn finish(mut self) -> io::Result<NewFile> {
        // The rest of a large file goes the way of the rest, up to what no alignment fits.
        let is_large = self.has_written || self.filled >= LEAST;
        let aligned = if is_large { self.filled / ALIGNMENT * ALIGNMENT } else { 0 };
        self.write_out(0..aligned)?;
        if aligned < self.filled {
            self.end_direct()?;
            self.write_out(aligned..self.filled)?;
        }
        Ok(self.file)
    }

    /// Writes a part of the chunk.
    fn write_out(&mut self, part: Range<usize>) -> io::Result<()> {
        if part.is_empty() {
            return Ok(());
        }
        let bytes = &self.memory[self.chunk + part.start..self.chunk + part.end];
        match self.file.write_all(bytes) {
            // At the first bytes the file system says what it can do.
            Err(error) if self.is_direct && is_refusal(&error) && self.file.is_empty()? => {
                self.file.end_direct()?;
                self.is_direct = false;
                self.file.write_all(bytes)?;
            }
            written => written?,
        }
        self.has_written = true;
        Ok(())
    }

    fn end_direct(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_direct) { self.file.end_direct() } else { Ok(()) }
    }
}

impl Write for DirectWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(CHUNK - self.filled);
        let from = self.chunk + self.filled;
        self.memory[from..from + count].copy_from_slice(&bytes[..count]);
        self.filled += count;
        if self.filled == CHUNK {
            self.write_out(0..CHUNK)?;
            self.filled = 0;
        }
        Ok(count)
    }

    /// Nothing: only whole chunks are written before the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A file that is read past the page cache, front to back.
pub(super) struct DirectReader {
    file: File,
    memory: Vec<u8>,
    /// Where in `memory` the chunk begins, and what of it was not handed on.
    chunk: usize,
    unread: Range<usize>,
    /// Bytes of a chunk, and where the next one begins in the file.
    bytes: usize,
    next: u64,
}

impl DirectReader {
    /// Opens a file to be read from `offset` on in pieces of about so many bytes; `None` if the
    /// file system only reads through its cache.
    pub(super) fn open(path: &Path, offset: u64, piece: usize) -> io::Result<Option<Self>> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(direct).open(path) {
            Err(error) if is_refusal(&error) => return Ok(None),
            opened => opened?,
        };
        let bytes = piece.clamp(ALIGNMENT, CHUNK) / ALIGNMENT * ALIGNMENT;
        let memory = vec![0; bytes + ALIGNMENT];
        let chunk = memory.as_ptr().align_offset(ALIGNMENT);
        let (skipped, next) = (offset % ALIGNMENT as u64, offset / ALIGNMENT as u64);
        let next = next * ALIGNMENT as u64;
        let mut reader = Self { file, memory, chunk, unread: 0..0, bytes, next };
        match reader.fill() {
            Err(error) if is_refusal(&error) => return Ok(None),
            filled => filled?,
        }
        reader.unread.start = reader.unread.end.min(skipped as usize);
        Ok(Some(reader))
    }

    fn fill(&mut self) -> io::Result<()> {
        let chunk = &mut self.memory[self.chunk..self.chunk + self.bytes];
        let read = match self.next.is_multiple_of(ALIGNMENT as u64) {
            true => self.file.read_at(chunk, self.next)?,
            // Only the end of a file is no multiple.
            false => 0,
        };
        (self.unread, self.next) = (0..read, self.next + read as u64);
        Ok(())
    }
}

impl Read for DirectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.unread.is_empty() && !into.is_empty() {
            self.fill()?;
        }
        let count = into.len().min(self.unread.len());
        let from = self.chunk + self.unread.start;
        into[..count].copy_from_slice(&self.memory[from..from + count]);
        self.unread.start += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_written_whole() {
        let path = std::env::temp_dir().join(format!("thalweg-direct-{}", std::process::id()));
        let bytes: Vec<u8> = (0..2 * CHUNK + 5_000).map(|at| (at / 251) as u8).collect();
        for length in [0, 1, ALIGNMENT, LEAST, LEAST + 1, CHUNK - 1, CHUNK, CHUNK + 1, bytes.len()]
        {
            let mut file = DirectWriter::create(&path).unwrap();
            let is_direct = file.is_direct;
            let (first, second) = bytes[..length].split_at(length / 3);
            [first, &[], second].iter().for_each(|piece| file.write_all(piece).unwrap());
            file.finish().unwrap().sync_all().unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes[..length], "{length} bytes");
            let again = DirectWriter::create(&path).err().unwrap();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            for offset in [0, 1, ALIGNMENT - 1, ALIGNMENT, CHUNK + 7, length, length + 1] {
                for piece in [1, 70_000, 2 * CHUNK] {
                    let reader = DirectReader::open(&path, offset as u64, piece).unwrap();
                    let Some(mut reader) = reader else {
                        assert!(!is_direct, "written past the cache and not read so");
                        continue;
                    };
                    let mut read = Vec::new();
                    reader.read_to_end(&mut read).unwrap();
                    assert!(read == bytes[offset.min(length)..length], "{length} from {offset}");
                }
            }
            std::fs::remove_file(&path).unwrap();
        }
    }

    /// Where a file system refuses direct writes, which is told by the first of them.
    #[test]
    fn who_has_no_direct_writes_gets_the_same_bytes() {
        let path = std::env::temp_dir().join(format!("thalweg-refused-{}", std::process::id()));
        let mut file = DirectWriter::create(&path).unwrap();
        // No file system accepts this address.
        file.chunk += 1;
        file.memory.push(0);
        file.write_all(&[7; CHUNK]).unwrap();
        file.write_all(&[8; 9]).unwrap();
        file.finish().unwrap();
        let read = std::fs::read(&path).unwrap();
        assert!(read == [&[7; CHUNK][..], &[8; 9]].concat());
        std::fs::remove_file(&path).unwrap();
    }
}
