//! What a core is made from at a restore.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use thalweg_checkpoint::{FileInfo, Image, SectionKind, Store};
use thalweg_net::{Body, recorded};

use crate::error::Kind;
use crate::operator::Snapshot;
use crate::record::Record;
use crate::{Error, Result};

/// A core's part of a checkpoint, read from the store.
#[derive(Debug, Clone, Default)]
pub struct Restore {
    /// What was recorded.
    pub image: Image,
    /// All segments of its state, the oldest first: the core reads them by itself.
    pub segments: Vec<FileInfo>,
    /// Blocks of union lists, of all cores: the core of each and its bytes, in the order of cores
    /// and then of age.
    pub unions: Arc<[(u32, Box<[u8]>)]>,
    /// Whether it was the job's last checkpoint: then only its output is left to be committed.
    pub is_final: bool,
}

impl Restore {
    /// Bytes of its state and of what was recorded.
    pub(crate) fn bytes(&self) -> u64 {
        let segments: u64 = self.segments.iter().map(|file| file.bytes).sum();
        segments + self.image.payload_bytes() as u64
    }
}

/// What the cores of a job are restored from.
#[derive(Clone, Copy)]
pub struct Restores<'a> {
    /// Each core's part; none if it begins afresh.
    pub cores: &'a [Rc<Restore>],
    /// Where their segments are.
    pub store: &'a dyn Store,
}

/// An image while tasks read their parts of it.
pub(crate) struct Restoring<'a> {
    image: &'a Image,
    /// The least size of the buffers that pages are put into.
    pub(crate) buffer_bytes: usize,
}

impl<'a> Restoring<'a> {
    pub(crate) fn new(image: &'a Image, buffer_bytes: usize) -> Self {
        Self { image, buffer_bytes }
    }

    /// The checkpoint that is restored.
    pub(crate) fn checkpoint(&self) -> u64 {
        self.image.checkpoint
    }

    pub(crate) fn section(&self, kind: SectionKind, edge: u32, peer: u32) -> Result<&'a [u8]> {
        let section = self.find(kind, edge, peer);
        section.ok_or_else(|| invalid("a part of the job is not in it"))
    }

    /// The bytes of a section, if it is there.
    pub(crate) fn find(&self, kind: SectionKind, edge: u32, peer: u32) -> Option<&'a [u8]> {
        self.image.section(kind, edge, peer).map(|section| &section.bytes[..])
    }

    /// The frames in the rest of a section.
    pub(crate) fn frames<T: Record>(&self, mut bytes: &[u8]) -> Result<VecDeque<Body>> {
        let mut bodies = VecDeque::new();
        while !bytes.is_empty() {
            let body = recorded::read::<T>(&mut bytes, self.buffer_bytes);
            bodies.push_back(body.map_err(|error| invalid("a frame").with_source(error))?);
        }
        Ok(bodies)
    }

    pub(crate) fn snapshot(&self, bytes: Vec<u8>) -> Snapshot {
        Snapshot::to_restore(self.image.checkpoint, bytes)
    }

    /// A snapshot and the frames behind it.
    pub(crate) fn split_head(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
        let (length, rest) = bytes.split_first_chunk().ok_or_else(cut_short)?;
        rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(cut_short)
    }
}

fn cut_short() -> Error {
    invalid("a section is cut short")
}

/// A file of a checkpoint is not what the manifest says.
#[cold]
pub(crate) fn damaged(checkpoint: u64, named: &FileInfo, seen: &str) -> Error {
    let what = format!("cannot restore checkpoint {checkpoint}: {}: {seen}", named.path);
    Error::new(Kind::Damaged, what).with_hint("put the file back from a copy of the store")
}

#[cold]
pub(crate) fn invalid(reason: &str) -> Error {
    Error::new(Kind::Io, format!("cannot restore a core from its image: {reason}"))
        .with_hint("restore an older checkpoint, or run the program that wrote this one")
}
