//! Work on a checkpoint store that may take long: given out, carried out anywhere, answered.

use std::fmt::Display;
use std::io;

use thalweg_checkpoint::coordinator::Event;
use thalweg_checkpoint::manifest::{FileInfo, Manifest};
use thalweg_checkpoint::paths::{self, Pack};
use thalweg_checkpoint::store::{Checked, checksum_of};
use thalweg_checkpoint::{
    Append, Created, Entry, Log, Store, StoreError, Verdict, What, fail_point,
};
use thalweg_state::segment::{Block, SegmentHeader};

use super::merge::{Merge, MergedFile};
use crate::runtime::Content;

/// A file of a core on its way to the store.
#[derive(Debug)]
pub struct Upload {
    /// The core.
    pub core: usize,
    /// The core's own count of files.
    pub number: u64,
    /// What is in it; encoded when it is carried out.
    pub content: Content,
    /// Whether no checkpoint waits for it yet.
    pub is_spill: bool,
}

impl Upload {
    /// Whether a later checkpoint needs it, should that fail for which it was made.
    pub(super) fn outlasts_its_checkpoint(&self) -> bool {
        matches!(self.content, Content::Segment { .. })
    }

    /// What stands in front of its blocks, or all of it.
    fn head(&self) -> Vec<u8> {
        match &self.content {
            Content::Image(image) => image.encode(),
            Content::Segment { number, epoch, blocks } => {
                let core = self.core as u32;
                SegmentHeader { core, number: *number, epoch: *epoch }.head(blocks).to_vec()
            }
        }
    }

    fn pieces<'a>(&'a self, head: &'a [u8]) -> impl Iterator<Item = &'a [u8]> {
        let blocks = match &self.content {
            Content::Image(_) => &[][..],
            Content::Segment { blocks, .. } => blocks,
        };
        std::iter::once(head).chain(blocks.iter().map(Block::bytes))
    }
}

/// What the cores have for a checkpoint, on its way to the store as one file: it costs one
/// synchronisation whatever is in it.
#[derive(Debug)]
pub struct Packing {
    /// Its path in the store.
    path: String,
    /// What is in it, in order.
    pub(super) uploads: Vec<Upload>,
}

impl Packing {
    pub(super) fn new(job: &str, pack: Pack, uploads: Vec<Upload>) -> Self {
        Self { path: pack.path(job), uploads }
    }

    /// Writes the pack; returns where each upload is in it.
    fn store(&self, store: &dyn Store) -> Result<Vec<FileInfo>, StoreError> {
        let heads: Vec<_> = self.uploads.iter().map(Upload::head).collect();
        let (mut pieces, mut files, mut offset) = (Vec::new(), Vec::new(), 0);
        for (upload, head) in self.uploads.iter().zip(&heads) {
            let from = pieces.len();
            pieces.extend(upload.pieces(head));
            let own = &pieces[from..];
            let bytes = own.iter().map(|piece| piece.len() as u64).sum();
            let (path, checksum) = (self.path.clone(), checksum_of(own));
            files.push(FileInfo { path, offset, bytes, checksum });
            offset += bytes;
        }
        write(store, &self.path, &pieces)?;
        Ok(files)
    }
}

/// Writes a file.
fn write(store: &dyn Store, path: &str, pieces: &[&[u8]]) -> Result<(), StoreError> {
    if store.create_of(path, pieces)? == Created::Exists {
        check_same(store, path, checksum_of(pieces))?;
    }
    Ok(())
}

/// A name is never used for other bytes: what is there already is what was to be written.
pub(super) fn check_same(store: &dyn Store, path: &str, expected: u64) -> Result<(), StoreError> {
    let failed = |what: &dyn Display| {
        let hint = "let each job have a --job-id of its own";
        StoreError::failed(format!("cannot write {path}: {what}"), hint)
    };
    let there = store.read(path, 0)?.ok_or_else(|| failed(&"it was there, and is gone"))?;
    let mut there = Checked::new(there);
    io::copy(&mut there, &mut io::sink()).map_err(|error| failed(&error))?;
    match there.checksum() == expected {
        true => Ok(()),
        false => Err(failed(&"another file has its name")),
    }
}

/// Something to be done with the store.
#[derive(Debug)]
pub enum Work {
    /// Make one segment of several.
    Merge(Merge),
    /// Make files durable, in one pack.
    Pack(Packing),
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
    /// Delete old entries of the log.
    Prune {
        /// The first that stays.
        first: u64,
    },
}

/// What came of it.
#[derive(Debug)]
pub enum Done {
    /// Segments of a core are merged, or not.
    Merged(usize, Result<MergedFile, StoreError>),
    /// These files are durable, or not.
    Packed(Vec<Upload>, Result<Vec<FileInfo>, StoreError>),
    /// Something that the coordinator hears of.
    Heard(Event),
    /// Readers have their copy of a manifest, or not: the log has it anyway.
    Copied(Result<(), StoreError>),
    /// Old entries of the log are deleted, or not all of them.
    Pruned(Result<(), StoreError>),
}

impl Done {
    /// What went wrong without harm, and should be known nevertheless.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Done::Merged(core, Err(error)) => {
                Some(format!("segments of core {core} stay unmerged: {error}"))
            }
            Done::Packed(uploads, Err(error)) if uploads.iter().all(|it| it.is_spill) => {
                Some(format!("state waits in memory until it can be stored: {error}"))
            }
            Done::Copied(Err(error)) => {
                Some(format!("a manifest is in the log only, without a copy: {error}"))
            }
            Done::Pruned(Err(error)) => Some(format!("old entries of the log stay: {error}")),
            Done::Heard(Event::LogAnswer { k, verdict: Verdict::SendAgain }) => {
                Some(format!("nobody knows whether log entry {k} is written: it is sent again"))
            }
            _ => None,
        }
    }
}

impl Work {
    /// Whether no checkpoint waits for it.
    pub fn can_wait(&self) -> bool {
        matches!(
            self,
            Work::Merge(_) | Work::CopyManifest(_) | Work::Delete(_) | Work::Prune { .. }
        )
    }

    /// Does it; may block.
    pub fn carry_out(self, store: &dyn Store, job: &str) -> Done {
        self.carry_out_while(store, job, &|| true)
    }

    /// As [`Work::carry_out`]; a merge, which may take minutes, is given up when `goes_on` says no.
    pub fn carry_out_while(self, store: &dyn Store, job: &str, goes_on: &dyn Fn() -> bool) -> Done {
        match self {
            Work::Merge(merge) => Done::Merged(merge.core(), merge.carry_out(store, goes_on)),
            Work::Pack(packing) => {
                let stored = packing.store(store);
                Done::Packed(packing.uploads, stored)
            }
            Work::Append { k, entry } => {
                let is_end = entry.what == What::Finished;
                if is_end {
                    fail_point!("before-end-entry")
                } else {
                    fail_point!("before-log-entry")
                }
                // Behind its attempt's own entry a coordinator writes all by itself.
                let verdict = Append::new(job, k, &entry, Some(entry.writer())).send(store);
                if is_end {
                    fail_point!("behind-end-entry")
                } else {
                    fail_point!("behind-log-entry")
                }
                Done::Heard(Event::LogAnswer { k, verdict })
            }
            Work::CopyManifest(manifest) => {
                let copy = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
                let path = paths::metadata(job, manifest.checkpoint);
                fail_point!("before-manifest-copy");
                let shown = store.show(&path, &copy);
                fail_point!("behind-manifest-copy");
                Done::Copied(shown)
            }
            Work::Delete(paths) => {
                fail_point!("before-deletions");
                let gone = paths.into_iter().filter(|path| store.delete(path).is_ok());
                Done::Heard(Event::Deleted { paths: gone.collect() })
            }
            Work::Prune { first } => {
                fail_point!("before-pruning");
                Done::Pruned(Log::prune(store, job, first))
            }
        }
    }
}
