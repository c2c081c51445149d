//! To own an entry of the log: sent once or often, read back, and held against what is around it.

use super::{ENTRY_BYTES_MAX, Entry};
use crate::paths;
use crate::store::{Created, Store, StoreError};

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

/// Who wrote an entry: no two coordinators are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Writer {
    /// See [`Entry::attempt`].
    pub attempt: u64,
    /// See [`Entry::term`].
    pub term: u64,
    /// See [`Entry::nonce`].
    pub nonce: u64,
}

/// The wish to own one entry: the same bytes however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    job: String,
    k: u64,
    bytes: Vec<u8>,
    /// Who wrote the entry before it; none before the first.
    after: Option<Writer>,
}

impl Append {
    /// The wish to own entry `k` of the job's log, behind an entry of `after`.
    pub fn new(job: &str, k: u64, entry: &Entry, after: Option<Writer>) -> Self {
        Self { job: job.to_owned(), k, bytes: entry.to_bytes(), after }
    }

    /// The entry's path.
    pub fn path(&self) -> String {
        paths::log_entry(&self.job, self.k)
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

    /// Sends it once, reads back where that is needed, and looks whether it is the log's last.
    pub fn send(&self, store: &dyn Store) -> Verdict {
        match self.create(store) {
            Verdict::Ours => self.confirm(store).unwrap_or(Verdict::SendAgain),
            other => other,
        }
    }

    fn create(&self, store: &dyn Store) -> Verdict {
        let path = self.path();
        if self.bytes.len() > ENTRY_BYTES_MAX {
            let what = format!("cannot write {path}: {} bytes are too many", self.bytes.len());
            return Verdict::NotWritten(StoreError::failed(
                what,
                "retain fewer files per checkpoint",
            ));
        }
        match store.create(&path, &self.bytes) {
            Ok(Created::Written) => return Verdict::Ours,
            Ok(Created::Exists) => {}
            Err(error) if error.unknown => {}
            Err(error) => return Verdict::NotWritten(error),
        }
        match store.get(&path) {
            Ok(read_back) => self.decide(read_back.as_deref()),
            Err(_) => Verdict::SendAgain,
        }
    }

    /// Whether what was created is the log's end, or the number of an entry that was deleted long
    /// ago: whoever slept that long is superseded.
    ///
    /// Entries are deleted upwards and the newest stay, so behind a deleted one there is either
    /// nothing, or a straggler; and beyond it there are later ones. Either sign alone would do,
    /// were lists never late and requests never later still.
    fn confirm(&self, store: &dyn Store) -> Result<Verdict, StoreError> {
        let goes_on = match self.k.checked_sub(1) {
            None => store.size(&paths::log_pruned(&self.job))?.is_none(),
            Some(before) => {
                let path = paths::log_entry(&self.job, before);
                let entry = store.get(&path)?.and_then(|bytes| Entry::parse(&path, &bytes).ok());
                entry.map(|entry| entry.writer()) == self.after
            }
        };
        let listed = store.list(&paths::log_prefix(&self.job))?;
        let mut numbers = listed.iter().filter_map(|path| paths::parse_log_entry(&self.job, path));
        Ok(match goes_on && numbers.all(|k| k <= self.k) {
            true => Verdict::Ours,
            false => Verdict::Superseded,
        })
    }
}
