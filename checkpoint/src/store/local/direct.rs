//! Writing and reading a large file past the page cache: the disk takes it from our memory, or puts
//! it there.
//!
//! Through the page cache each byte is copied into pages that nobody reads again, which costs three
//! times the CPU and memory that others need. Here the bytes pass through one aligned buffer; the
//! thread sleeps while the disk works.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::disk::{self, NewFile};

/// From so many bytes on it pays.
pub(super) const LEAST: usize = 256 << 10;

/// What the disk gets at once: its copying keeps the CPU for about 100 µs.
const CHUNK: usize = 1 << 20;

/// Offset, length and address are multiples of this, which all file systems accept.
const ALIGNMENT: usize = 4096;

/// Writes the pieces into a file that it creates, which the caller makes durable; `None` if the
/// file system only writes through its cache, and then no file is left.
pub(super) fn write(path: &Path, pieces: &[&[u8]]) -> io::Result<Option<NewFile>> {
    let mut file = match NewFile::create_direct(path) {
        Err(error) if is_refusal(&error) => return Ok(None),
        opened => opened?,
    };
    match fill(&mut file, pieces) {
        Err(error) if is_refusal(&error) => {
            disk::remove_file(path)?;
            Ok(None)
        }
        filled => filled.map(|()| Some(file)),
    }
}

/// What a file system says that has no direct writes, or wants another alignment.
fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput
}

fn fill(file: &mut NewFile, pieces: &[&[u8]]) -> io::Result<()> {
    let mut memory = vec![0; CHUNK + ALIGNMENT];
    let from = memory.as_ptr().align_offset(ALIGNMENT);
    let chunk = &mut memory[from..from + CHUNK];
    let mut filled = 0;
    for mut piece in pieces.iter().copied() {
        while !piece.is_empty() {
            let (now, rest) = piece.split_at(piece.len().min(CHUNK - filled));
            chunk[filled..filled + now.len()].copy_from_slice(now);
            filled += now.len();
            piece = rest;
            if filled == CHUNK {
                file.write_all(chunk)?;
                filled = 0;
            }
        }
    }
    let aligned = filled / ALIGNMENT * ALIGNMENT;
    file.write_all(&chunk[..aligned])?;
    if aligned < filled {
        file.end_direct()?;
        file.write_all(&chunk[aligned..filled])?;
    }
    Ok(())
}

/// A file that is read past the page cache, front to back.
pub(super) struct DirectReader {
    file: File,
    memory: Vec<u8>,
    /// Where in `memory` the chunk begins, and what of it was not handed on.
    chunk: usize,
    unread: std::ops::Range<usize>,
    /// Where the next chunk begins in the file.
    next: u64,
}

impl DirectReader {
    /// Opens a file to be read from `offset` on; `None` if the file system only reads through its
    /// cache.
    pub(super) fn open(path: &Path, offset: u64) -> io::Result<Option<Self>> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let file = match OpenOptions::new().read(true).custom_flags(direct).open(path) {
            Err(error) if is_refusal(&error) => return Ok(None),
            opened => opened?,
        };
        let memory = vec![0; CHUNK + ALIGNMENT];
        let chunk = memory.as_ptr().align_offset(ALIGNMENT);
        let (skipped, next) = (offset % ALIGNMENT as u64, offset / ALIGNMENT as u64);
        let next = next * ALIGNMENT as u64;
        let mut reader = Self { file, memory, chunk, unread: 0..0, next };
        match reader.fill() {
            Err(error) if is_refusal(&error) => return Ok(None),
            filled => filled?,
        }
        reader.unread.start = reader.unread.end.min(skipped as usize);
        Ok(Some(reader))
    }

    fn fill(&mut self) -> io::Result<()> {
        let chunk = &mut self.memory[self.chunk..self.chunk + CHUNK];
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
        for length in [1, ALIGNMENT, ALIGNMENT + 1, CHUNK - 1, CHUNK, CHUNK + 1, bytes.len()] {
            let (first, second) = bytes[..length].split_at(length / 3);
            let Some(file) = write(&path, &[first, &[], second]).unwrap() else {
                println!("skipped: the file system has no direct writes");
                return;
            };
            file.sync_all().unwrap();
            assert!(std::fs::read(&path).unwrap() == bytes[..length], "{length} bytes");
            for offset in [0, 1, ALIGNMENT - 1, ALIGNMENT, CHUNK + 7, length, length + 1] {
                let mut reader = DirectReader::open(&path, offset as u64).unwrap().unwrap();
                let mut read = Vec::new();
                reader.read_to_end(&mut read).unwrap();
                assert!(read == bytes[offset.min(length)..length], "{length} from {offset}");
            }
            let again = write(&path, &[first]).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
