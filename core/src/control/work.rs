//! Work on a checkpoint store that may take long: given out, carried out anywhere, answered.

use thalweg_checkpoint::coordinator::Event;
use thalweg_checkpoint::manifest::{FileInfo, Manifest};
use thalweg_checkpoint::paths::{self, CoreFile, FileKind};
use thalweg_checkpoint::store::checksum;
use thalweg_checkpoint::{Append, Created, Entry, Store, StoreError};
use thalweg_state::segment::SegmentHeader;

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

    fn encode(&self) -> Vec<u8> {
        match &self.content {
            Content::Image(image) => image.encode(),
            Content::Segment { epoch, blocks } => {
                let core = self.core as u32;
                SegmentHeader { core, number: *epoch, epoch: *epoch }.segment(blocks)
            }
        }
    }

    /// Stores the file. A name is never used for other bytes, so what is there already is this.
    fn store(&self, store: &dyn Store) -> Result<FileInfo, StoreError> {
        let bytes = self.encode();
        let checksum = checksum(&bytes);
        let created = store.create(&self.path, &bytes)?;
        if created == Created::Exists && store.get(&self.path)?.as_deref() != Some(&bytes) {
            let what = format!("cannot write {}: another file has its name", self.path);
            return Err(StoreError::failed(what, "let each job have a --job-id of its own"));
        }
        Ok(FileInfo { path: self.path.clone(), bytes: bytes.len() as u64, checksum })
    }
}

/// Something to be done with the store.
#[derive(Debug)]
pub enum Work {
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
                // Readers can do without it: the log has it.
                let _ = store.create(&paths::metadata(job, manifest.checkpoint), &copy);
                Done::Nothing
            }
            Work::Delete(paths) => {
                let gone = paths.into_iter().filter(|path| store.delete(path).is_ok());
                Done::Heard(Event::Deleted { paths: gone.collect() })
            }
        }
    }
}
