//! The job's log: one sequence of entries that decides who is the attempt, which checkpoints
//! exist and whether the job has finished.
//!
//! To begin, take over, complete or finish is to own the next number. Entries are created once and
//! never overwritten; whoever finds the next one taken by another stops. A creation whose outcome
//! is not known is read back before anything else is done, and the tail is found by reading entry
//! after entry, never by a list.

mod history;

pub use history::{Completed, History, Mark, Step};

use serde::{Deserialize, Serialize};

use crate::hex;
use crate::manifest::Manifest;
use crate::paths;
use crate::store::{Created, Store, StoreError};

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

/// What became of an attempt to own an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The entry is ours, durably.
    Ours,
    /// Another owns it: whoever wanted it stops.
    Superseded,
    /// Nobody knows; our bytes may yet land. The same bytes are sent again.
    SendAgain,
    /// The store refused: this sending did not land.
    NotWritten(StoreError),
}

/// The wish to own one entry: the same bytes however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    path: String,
    bytes: Vec<u8>,
}

/// The log of one job in a store.
#[derive(Debug, Clone, Copy)]
pub struct Log;

const DAMAGED: &str = "restore the file from a copy of the store, or start under another --job-id";
const NEWER: &str = "run the build that wrote it, or a newer one";

impl Log {
    /// Reads a job's whole log, entry by entry until one is absent.
    pub fn read(store: &dyn Store, job: &str) -> Result<History, LogError> {
        Self::read_with(store, job, &mut |_, _| {})
    }

    /// As [`Log::read`]; `each` sees every entry with its number, once it agrees with those before.
    pub fn read_with(
        store: &dyn Store,
        job: &str,
        each: &mut dyn FnMut(u64, Entry),
    ) -> Result<History, LogError> {
        let mut history = History::default();
        while let Some(bytes) = store.get(&paths::log_entry(job, history.next()))? {
            let path = paths::log_entry(job, history.next());
            let entry = Entry::parse(&path, &bytes)?;
            let k = history.next();
            history.push(&entry).map_err(|seen| LogError::Entry { path, seen, hint: DAMAGED })?;
            each(k, entry);
        }
        Ok(history)
    }

    /// Reads the manifest of a checkpoint that the history names.
    pub fn manifest(
        store: &dyn Store,
        job: &str,
        completed: Completed,
    ) -> Result<Manifest, LogError> {
        let path = paths::log_entry(job, completed.k);
        let damaged = |path, seen| LogError::Entry { path, seen, hint: DAMAGED };
        let Some(bytes) = store.get(&path)? else {
            return Err(damaged(path, "it was there and is gone".to_owned()));
        };
        match Entry::parse(&path, &bytes)?.what {
            What::Complete { checkpoint, manifest } if checkpoint == completed.checkpoint => {
                Ok(*manifest)
            }
            _ => Err(damaged(path, format!("checkpoint {} is not in it", completed.checkpoint))),
        }
    }
}

impl Entry {
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
        if let What::Complete { checkpoint, manifest } = &entry.what {
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

impl Append {
    /// The wish to own entry `k` of the job's log.
    pub fn new(job: &str, k: u64, entry: &Entry) -> Self {
        Self { path: paths::log_entry(job, k), bytes: entry.to_bytes() }
    }

    /// The entry's path.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What follows from what was read back after "exists" and after an unknown outcome. Attempt,
    /// term and nonce are in the bytes, so equal bytes are ours.
    pub fn decide(&self, read_back: Option<&[u8]>) -> Verdict {
        match read_back {
            Some(bytes) if bytes == self.bytes => Verdict::Ours,
            Some(_) => Verdict::Superseded,
            None => Verdict::SendAgain,
        }
    }

    /// Sends it once and reads back where that is needed.
    pub fn send(&self, store: &dyn Store) -> Verdict {
        if self.bytes.len() > ENTRY_BYTES_MAX {
            let what =
                format!("cannot write {}: {} bytes are too many", self.path, self.bytes.len());
            return Verdict::NotWritten(StoreError::failed(
                what,
                "retain fewer files per checkpoint",
            ));
        }
        match store.create(&self.path, &self.bytes) {
            Ok(Created::Written) => return Verdict::Ours,
            Ok(Created::Exists) => {}
            Err(error) if error.unknown => {}
            Err(error) => return Verdict::NotWritten(error),
        }
        match store.get(&self.path) {
            Ok(read_back) => self.decide(read_back.as_deref()),
            Err(_) => Verdict::SendAgain,
        }
    }
}

#[cfg(test)]
mod tests;
