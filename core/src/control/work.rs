//! Work on a checkpoint store that may take long: given out, carried out anywhere, answered.

use thalweg_checkpoint::coordinator::Event;
use thalweg_checkpoint::manifest::{FileInfo, Manifest};
use thalweg_checkpoint::paths::{self, CoreFile, FileKind};
use thalweg_checkpoint::store::{checksum, checksum_of};
use thalweg_checkpoint::{Append, Created, Entry, Store, StoreError, What, fail_point};
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
}

impl Merge {
    pub(super) fn new(
        job: &str,
        attempt: u64,
        core: usize,
        number: u64,
        segments: Vec<FileInfo>,
    ) -> Self {
        let file = CoreFile { attempt, core: core as u32, number, kind: FileKind::Segment };
        Self { core, path: file.path(job), segments }
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
        fail_point!("merge-read");
        let segments: Vec<_> = segments.iter().map(Vec::as_slice).collect();
        let merged = merge(&segments, true)
            .map_err(|error| StoreError::failed(error.to_string(), error.hint))?;
        let file = write(store, &self.path, &[&merged])?;
        fail_point!("merge-written");
        Ok(file)
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
    /// Nobody waits for it.
    Nothing,
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
                let is_end = entry.what == What::Finished;
                if is_end {
                    fail_point!("before-end-entry")
                } else {
                    fail_point!("before-log-entry")
                }
                let verdict = Append::new(job, k, &entry).send(store);
                if is_end {
                    fail_point!("behind-end-entry")
                } else {
                    fail_point!("behind-log-entry")
                }
                Done::Heard(Event::LogAnswer { k, verdict })
            }
            Work::CopyManifest(manifest) => {
                let copy = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
                fail_point!("before-manifest-copy");
                // Readers can do without it: the log has it.
                let _ = store.create(&paths::metadata(job, manifest.checkpoint), &copy);
                fail_point!("behind-manifest-copy");
                Done::Nothing
            }
            Work::Delete(paths) => {
                fail_point!("before-deletions");
                let gone = paths.into_iter().filter(|path| store.delete(path).is_ok());
                Done::Heard(Event::Deleted { paths: gone.collect() })
            }
        }
    }
}
