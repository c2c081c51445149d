//! The job's log: one sequence of entries that decides who is the attempt, which checkpoints
//! exist and whether the job has finished.
//!
//! To begin, take over, complete or finish is to own the next number. Entries are created once and
//! never overwritten; whoever finds the next one taken by another stops. A creation whose outcome
//! is not known is read back before anything else is done, and the tail is found by reading entry
//! after entry; a list only says where to begin.
//!
//! Old entries are deleted, upwards. A checkpoint's entry says from where on the log stays
//! (`first`) before anything goes; the entry that it names is itself a live checkpoint's, which is
//! enough to begin with. So the number of an old entry may be free again: [`Append::send`] tells
//! whoever comes that late.

mod append;
mod history;
mod read;

pub use append::{Append, Verdict, Writer};
pub use history::{Completed, History, Mark, Step};
pub use read::Log;

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::manifest::Manifest;
use crate::store::StoreError;

/// The format that this build writes, and the newest that it reads.
pub const VERSION: u32 = 1;

/// The longest entry that is read or written.
pub const ENTRY_BYTES_MAX: usize = 64 << 20;

/// One entry of the log: who wrote it, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// See [`VERSION`].
    pub version: u32,
    /// The attempt of the writer.
    pub attempt: u64,
    /// The term of the writer.
    pub term: u64,
    /// The writer's own number, drawn by it at random: no two coordinators write equal entries.
    #[serde(with = "hex")]
    pub nonce: u64,
    /// What it says.
    #[serde(flatten)]
    pub what: What,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub enum What {
    /// The entry's attempt begins.
    Attempt {
        /// The checkpoint that it restores.
        from: Option<u64>,
        /// The first id that its checkpoints may have.
        first_id: u64,
    },
    /// A coordinator takes the entry's attempt over, under the entry's term.
    TakeOver,
    /// A checkpoint is complete.
    Complete {
        /// Its id.
        checkpoint: u64,
        /// The first entry that stays: those before it may be deleted from now on.
        #[serde(default)]
        first: u64,
        /// Everything about it.
        manifest: Box<Manifest>,
    },
    /// The job has finished; nothing follows.
    Finished,
}

/// The log cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An entry is not what this build can read.
    #[error("cannot use the log entry {path}: {seen}\nhint: {hint}")]
    Entry {
        /// The entry's file.
        path: String,
        /// What was seen in it.
        seen: String,
        /// What the user can do.
        hint: &'static str,
    },
}

const DAMAGED: &str = "restore the file from a copy of the store, or start under another --job-id";
const NEWER: &str = "run the build that wrote it, or a newer one";

impl Entry {
    /// Who wrote it.
    pub fn writer(&self) -> Writer {
        let Self { attempt, term, nonce, .. } = *self;
        Writer { attempt, term, nonce }
    }

    /// Its bytes in the store: one line of JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(self).expect("an entry holds nothing that JSON cannot");
        bytes.push(b'\n');
        bytes
    }

    /// Reads an entry that stood at `path`.
    pub fn parse(path: &str, bytes: &[u8]) -> Result<Self, LogError> {
        let error = |seen: String, hint| LogError::Entry { path: path.to_owned(), seen, hint };
        if bytes.len() > ENTRY_BYTES_MAX {
            let seen = format!("it has {} bytes, and {ENTRY_BYTES_MAX} at most", bytes.len());
            return Err(error(seen, DAMAGED));
        }
        let Some(line) = bytes.strip_suffix(b"\n") else {
            let seen = format!("its line does not end: {} bytes are there, torn", bytes.len());
            return Err(error(seen, DAMAGED));
        };
        let version: Version = serde_json::from_slice(line)
            .map_err(|why| error(format!("no version can be read in it: {why}"), DAMAGED))?;
        if version.version != VERSION {
            let seen =
                format!("its version is {}, and this build reads {VERSION}", version.version);
            return Err(error(seen, NEWER));
        }
        let inside: Inside = serde_json::from_slice(line).unwrap_or_default();
        if let Some(format) = inside.manifest.map(|manifest| manifest.format)
            && format != crate::manifest::FORMAT
        {
            let ours = crate::manifest::FORMAT;
            let seen = format!("its manifest's format is {format}, and this build reads {ours}");
            return Err(error(seen, NEWER));
        }
        let entry: Self =
            serde_json::from_slice(line).map_err(|why| error(why.to_string(), DAMAGED))?;
        if let What::Complete { checkpoint, manifest, .. } = &entry.what {
            let said = (manifest.checkpoint, manifest.attempt, manifest.term);
            if said != (*checkpoint, entry.attempt, entry.term) {
                let seen = format!("its manifest is of another checkpoint: {said:?}");
                return Err(error(seen, DAMAGED));
            }
            manifest.check_itself().map_err(|seen| error(seen, DAMAGED))?;
        }
        Ok(entry)
    }
}

/// What is read first of every entry.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

/// What is read next: the format of the manifest in it, if there is one.
#[derive(Default, Deserialize)]
struct Inside {
    manifest: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

#[cfg(test)]
mod tests;
