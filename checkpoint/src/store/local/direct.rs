//! Writing a large file past the page cache: the disk takes it from our memory.
//!
//! Through the page cache each byte is copied into pages that nobody reads again, which costs three
//! times the CPU and memory that others need. Here the bytes pass through one aligned buffer; the
//! thread sleeps while the disk works.

use std::io;
use std::path::Path;

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
            let again = write(&path, &[first]).unwrap_err();
            assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
