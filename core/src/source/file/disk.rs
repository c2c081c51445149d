//! Reads the files of one core, chunk by chunk, on a side thread.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use super::FilePosition;
use crate::error::Kind;
use crate::runtime::Chore;
use crate::{Error, Result};

/// Bytes that are read at once.
pub(super) const CHUNK: usize = 256 << 10;

/// How much of a file's beginning tells it from another one.
const HEAD: usize = 4096;

/// The open files of one core, by their place in the reader.
#[derive(Debug, Default)]
pub(super) struct Disk {
    files: Vec<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    path: String,
    file: File,
}

/// Asks for the next chunk of a file.
#[derive(Debug)]
pub(super) struct ReadChunk {
    pub(super) split: usize,
    /// With the first order for a file: where to begin.
    pub(super) open: Option<FilePosition>,
    /// Filled and handed back.
    pub(super) buffer: Vec<u8>,
    /// How many bytes to read at the most.
    pub(super) size: usize,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) split: usize,
    /// Empty: the file's end.
    pub(super) bytes: Vec<u8>,
    /// With the first chunk of a file: what it begins with.
    pub(super) head: Option<(u32, u64)>,
}

impl Chore for Disk {
    type Order = ReadChunk;
    type Outcome = Chunk;
    const NAME: &'static str = "read";
    // A read from a pipe may last for ever.
    const JOIN: bool = false;

    fn carry_out(&mut self, order: ReadChunk) -> Result<Chunk> {
        let ReadChunk { split, open, mut buffer, size } = order;
        if self.files.len() <= split {
            self.files.resize_with(split + 1, || None);
        }
        let mut head = None;
        let begins = open.as_ref().is_some_and(|position| position.offset == 0);
        if let Some(position) = open {
            let file = open_at(&position)?;
            head = Some((position.head_bytes, position.head_hash));
            self.files[split] = Some(Open { path: position.path, file });
        }
        let Some(open) = &mut self.files[split] else {
            return Err(Error::new(Kind::Invariant, format!("split {split} is not open")));
        };
        buffer.resize(size, 0);
        let read = read_some(&mut open.file, &mut buffer);
        let read = read.map_err(|error| failed(&open.path, error))?;
        buffer.truncate(read);
        if begins {
            let beginning = &buffer[..read.min(HEAD)];
            head = Some((beginning.len() as u32, thalweg_state::key::hash(beginning)));
        }
        if read == 0 {
            self.files[split] = None;
        }
        Ok(Chunk { split, bytes: buffer, head })
    }
}

/// As much as there is: a pipe gives less than was asked for.
fn read_some(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

/// Opens the file that was read up to this position, and no other.
fn open_at(position: &FilePosition) -> Result<File> {
    let path = &position.path;
    let mut file = File::open(path).map_err(|error| failed(path, error))?;
    if position.offset == 0 {
        return Ok(file);
    }
    let size = file.metadata().map_err(|error| failed(path, error))?.len();
    if size < position.offset {
        return Err(changed(path, &format!("it has {size} bytes, {} were read", position.offset)));
    }
    let mut beginning = vec![0; position.head_bytes as usize];
    file.read_exact_at(&mut beginning, 0).map_err(|error| failed(path, error))?;
    if thalweg_state::key::hash(&beginning) != position.head_hash {
        return Err(changed(path, "it begins with other bytes"));
    }
    file.seek(SeekFrom::Start(position.offset)).map_err(|error| failed(path, error))?;
    Ok(file)
}

#[cold]
fn failed(path: &str, error: std::io::Error) -> Error {
    let attempt = format!("cannot read \"{path}\"");
    match error.kind() {
        ErrorKind::NotFound => Error::new(Kind::NotFound, attempt).with_source(error),
        _ => Error::io(attempt, error),
    }
}

#[cold]
fn changed(path: &str, how: &str) -> Error {
    Error::new(Kind::Io, format!("cannot go on reading \"{path}\": the file has changed: {how}"))
        .with_hint("put the file back that the checkpoint was made with, or start without it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Folder;

    fn read(disk: &mut Disk, open: Option<FilePosition>) -> Result<Chunk> {
        disk.carry_out(ReadChunk { split: 0, open, buffer: Vec::new(), size: 4 })
    }

    #[test]
    fn a_file_is_read_in_chunks_to_its_end() {
        let folder = Folder::new("disk-chunks");
        let path = folder.file("a", "abcdef");
        let mut disk = Disk::default();
        let first = read(&mut disk, Some(FilePosition::start(path))).unwrap();
        assert_eq!((first.bytes, first.head.map(|head| head.0)), (b"abcd".to_vec(), Some(4)));
        assert_eq!(read(&mut disk, None).unwrap().bytes, b"ef");
        assert!(read(&mut disk, None).unwrap().bytes.is_empty());
    }

    #[test]
    fn reading_goes_on_only_in_the_file_that_was_read() {
        let folder = Folder::new("disk-changed");
        let path = folder.file("a", "abcdef");
        let start = FilePosition::start(path);
        let head = read(&mut Disk::default(), Some(start.clone())).unwrap().head;
        let (head_bytes, head_hash) = head.unwrap();
        let position = FilePosition { offset: 5, head_bytes, head_hash, ..start };
        let again = |text: &str| {
            folder.file("a", text);
            read(&mut Disk::default(), Some(position.clone())).map(|chunk| chunk.bytes)
        };
        assert_eq!(again("abcdefgh").unwrap(), b"fgh");
        assert!(again("abcd").unwrap_err().to_string().contains("has 4 bytes, 5 were read"));
        assert!(again("abxdefgh").unwrap_err().to_string().contains("begins with other bytes"));
    }
}
