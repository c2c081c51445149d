//! Work on a checkpoint store that may take long: given out, carried out anywhere, answered.

use thalweg_checkpoint::coordinator::Event;
use thalweg_checkpoint::manifest::{FileInfo, Manifest};
use thalweg_checkpoint::paths::{self, CoreFile, FileKind};
use thalweg_checkpoint::store::{checksum, checksum_of};
use thalweg_checkpoint::{Append, Created, Entry, Store, StoreError, Verdict};
use thalweg_state::segment::{Block, SegmentHeader, merge};

use crate::runtime::Content;

/// A file of a core on its way to the store.
#[derive(Debug)]
pub struct Upload {
    /// The core.
    pub core: usize,
    /// The core's own count of files.
    pub number: u64,
    /// Its path in the store.
    pub path: String,
    /// What is in it; encoded when it is carried out.
    pub content: Content,
}

impl Upload {
    pub(super) fn new(job: &str, attempt: u64, core: usize, number: u64, content: Content) -> Self {
        let kind = match content {
            Content::Image(_) => FileKind::Part,
            Content::Segment { .. } => FileKind::Segment,
        };
        let path = CoreFile { attempt, core: core as u32, number, kind }.path(job);
        Self { core, number, path, content }
    }

    fn store(&self, store: &dyn Store) -> Result<FileInfo, StoreError> {
        match &self.content {
            Content::Image(image) => write(store, &self.path, &[&image.encode()]),
            Content::Segment { epoch, blocks } => {
                let core = self.core as u32;
                let head = SegmentHeader { core, number: *epoch, epoch: *epoch }.head(blocks);
                let blocks = blocks.iter().map(Block::bytes);
                let pieces: Vec<_> = std::iter::once(&head[..]).chain(blocks).collect();
                write(store, &self.path, &pieces)
            }
        }
    }
}

/// Whether a file has another checksum.
fn is_other(store: &dyn Store, path: &str, expected: u64) -> Result<bool, StoreError> {
    Ok(store.get(path)?.is_none_or(|found| checksum(&found) != expected))
}

/// Writes a file. A name is never used for other bytes, so what is there already is this.
fn write(store: &dyn Store, path: &str, pieces: &[&[u8]]) -> Result<FileInfo, StoreError> {
    let created = store.create_of(path, pieces)?;
    let checksum = checksum_of(pieces);
    if created == Created::Exists && is_other(store, path, checksum)? {
        let what = format!("cannot write {path}: another file has its name");
        return Err(StoreError::failed(what, "let each job have a --job-id of its own"));
    }
    let bytes = pieces.iter().map(|piece| piece.len() as u64).sum();
    Ok(FileInfo { path: path.to_owned(), bytes, checksum })
}

/// Segments of a core that become one.
#[derive(Debug)]
pub struct Merge {
    core: usize,
    path: String,
    segments: Vec<FileInfo>,
    is_bottom: bool,
}

impl Merge {
    pub(super) fn new(
        job: &str,
        attempt: u64,
        (core, number): (usize, u64),
        segments: Vec<FileInfo>,
        is_bottom: bool,
    ) -> Self {
        let file = CoreFile { attempt, core: core as u32, number, kind: FileKind::Segment };
        Self { core, path: file.path(job), segments, is_bottom }
    }

    fn carry_out(&self, store: &dyn Store) -> Result<FileInfo, StoreError> {
        let read = |file: &FileInfo| {
            let missing =
                || StoreError::failed(format!("cannot merge {}: it is gone", file.path), "");
            let bytes = store.get(&file.path)?.ok_or_else(missing)?;
            let what = format!("cannot merge {}: it is damaged", file.path);
            if checksum(&bytes) == file.checksum {
                Ok(bytes)
            } else {
                Err(StoreError::failed(what, ""))
            }
        };
        let segments = self.segments.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let segments: Vec<_> = segments.iter().map(Vec::as_slice).collect();
        let merged = merge(&segments, self.is_bottom)
            .map_err(|error| StoreError::failed(error.to_string(), error.hint))?;
        write(store, &self.path, &[&merged])
    }
}

/// Something to be done with the store.
#[derive(Debug)]
pub enum Work {
    /// Make one segment of several.
    Merge(Merge),
    /// Make a file durable.
    Upload(Box<Upload>),
    /// Send an entry of the log.
    Append {
        /// Its number.
        k: u64,
        /// The entry.
        entry: Box<Entry>,
    },
    /// Write a manifest's copy for readers.
    CopyManifest(Box<Manifest>),
    /// Delete these paths.
    Delete(Vec<String>),
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Segments of a core are merged, or not.
    Merged(usize, Result<FileInfo, StoreError>),
    /// A file is durable, or not.
    Uploaded(Box<Upload>, Result<FileInfo, StoreError>),
    /// Something that the coordinator hears of.
    Heard(Event),
    /// Readers have their copy of a manifest, or not: the log has it anyway.
    Copied(Result<(), StoreError>),
}

impl Done {
    /// What went wrong without harm, and should be known nevertheless.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Done::Merged(core, Err(error)) => {
                Some(format!("segments of core {core} stay unmerged: {error}"))
            }
            Done::Copied(Err(error)) => {
                Some(format!("a manifest is in the log only, without a copy: {error}"))
            }
            Done::Heard(Event::LogAnswer { k, verdict: Verdict::SendAgain }) => {
                Some(format!("nobody knows whether log entry {k} is written: it is sent again"))
            }
            _ => None,
        }
    }
}

impl Work {
    /// Does it; may block.
    pub fn carry_out(self, store: &dyn Store, job: &str) -> Done {
        match self {
            Work::Merge(merge) => Done::Merged(merge.core, merge.carry_out(store)),
            Work::Upload(upload) => {
                let stored = upload.store(store);
                Done::Uploaded(upload, stored)
            }
            Work::Append { k, entry } => {
                let verdict = Append::new(job, k, &entry).send(store);
                Done::Heard(Event::LogAnswer { k, verdict })
            }
            Work::CopyManifest(manifest) => {
                let copy = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
                let path = paths::metadata(job, manifest.checkpoint);
                Done::Copied(store.create(&path, &copy).map(drop))
            }
            Work::Delete(paths) => {
                let gone = paths.into_iter().filter(|path| store.delete(path).is_ok());
                Done::Heard(Event::Deleted { paths: gone.collect() })
            }
        }
    }
}
