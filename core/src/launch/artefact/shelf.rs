//! The checkpoints of one job as its log tells them.
//!
//! An entry of the log outlives the files that it names: which of them are there is looked up, and
//! only those checkpoints are kept whole in memory.

use std::collections::BTreeSet;
use std::path::Path;

use thalweg_checkpoint::log::Completed;
use thalweg_checkpoint::{Entry, History, Kind, LocalStore, Log, Manifest, Store};
use thalweg_checkpoint::{What, paths};

use super::clean;
use crate::control::refused;
use crate::{Error, Result};

/// A job's checkpoints.
pub(super) struct Shelf {
    pub(super) store: LocalStore,
    pub(super) job_id: String,
    pub(super) history: History,
    /// Complete ones in the order of the log.
    pub(super) rows: Vec<Row>,
}

/// A complete checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The entry of the log that holds its manifest.
    pub(super) k: u64,
    pub(super) checkpoint: u64,
    pub(super) kind: Kind,
    pub(super) job: String,
    pub(super) attempt: u64,
    pub(super) started_ms: u64,
    pub(super) completed_ms: u64,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Bytes of files that the checkpoint before it does not name.
    pub(super) new_bytes: u64,
    /// What it is to the job; known when the whole log was read.
    pub(super) standing: Standing,
}

/// What a checkpoint is to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// A restart goes on from it.
    Restart,
    /// The job has finished with it.
    Finished,
    /// Older, its files are there.
    Kept,
    /// An attempt has gone back behind it.
    Void,
    /// Its files were deleted.
    Gone,
}

impl Shelf {
    /// Reads a job's log.
    ///
    /// # Errors
    /// The store, or a damaged entry.
    pub(super) fn read(root: &Path, job_id: &str) -> Result<Self> {
        let store = LocalStore::existing(root).map_err(refused)?;
        let mut rows: Vec<Row> = Vec::new();
        let mut before = BTreeSet::new();
        let history = Log::read_with(&store, job_id, &mut |k, entry: Entry| {
            rows.retain(|row| row.k < k);
            if let What::Complete { manifest, .. } = entry.what {
                let is_there = manifest
                    .all_files()
                    .next()
                    .is_some_and(|file| store.size(&file.path).is_ok_and(|size| size.is_some()));
                rows.push(Row::new(k, &manifest, &before, is_there));
                before = manifest.all_files().map(|file| file.path.clone()).collect();
            }
        });
        let history = history.map_err(refused)?;
        let (restored, is_finished) = (history.restore_point(), history.is_finished());
        let live: BTreeSet<u64> = history.live().map(|live| live.k).collect();
        for row in &mut rows {
            row.standing = match (restored.is_some_and(|newest| newest.k == row.k), is_finished) {
                (true, true) => Standing::Finished,
                (true, false) => Standing::Restart,
                _ if row.standing == Standing::Kept && !live.contains(&row.k) => Standing::Void,
                _ => row.standing,
            };
        }
        Ok(Self { store, job_id: job_id.to_owned(), history, rows })
    }

    /// The row of a checkpoint.
    pub(super) fn row(&self, checkpoint: u64) -> Option<&Row> {
        self.rows.iter().find(|row| row.checkpoint == checkpoint)
    }

    /// The checkpoint that a restart goes on from; of a finished job the last one.
    pub(super) fn newest(&self) -> Option<&Row> {
        self.row(self.history.restore_point()?.checkpoint)
    }

    /// The manifest of a row.
    pub(super) fn manifest(&self, row: &Row) -> Result<Manifest> {
        let completed = Completed { checkpoint: row.checkpoint, k: row.k };
        let manifest = Log::manifest(&self.store, &self.job_id, completed).map_err(refused)?;
        if manifest.job.id == self.job_id {
            return Ok(manifest);
        }
        let (path, id) = (paths::log_entry(&self.job_id, row.k), clean(&manifest.job.id));
        let what = format!("cannot use the log entry {path}: it is of the job \"{id}\"");
        Err(Error::new(crate::error::Kind::Io, what)
            .with_hint("the directory of a job has the job's id for its name: give it back"))
    }

    /// The jobs in a directory of checkpoints, by their ids.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub(super) fn jobs(root: &Path) -> Result<Vec<String>> {
        let failed = |error: std::io::Error| {
            let what = format!("cannot list the checkpoints in {}", root.display());
            match error.kind() {
                std::io::ErrorKind::NotFound => Error::new(crate::error::Kind::NotFound, what)
                    .with_source(error)
                    .with_hint("--dir and checkpoint.dir say where to look"),
                _ => Error::io(what, error),
            }
        };
        let mut jobs = Vec::new();
        for entry in std::fs::read_dir(root).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str().filter(|name| paths::complaint(name).is_none()) else {
                continue;
            };
            if is_job(&root.join(name)) {
                jobs.push(name.to_owned());
            }
        }
        jobs.sort_unstable();
        Ok(jobs)
    }
}

/// Whether a directory has a job's log.
pub(super) fn is_job(directory: &Path) -> bool {
    directory.join("log").is_dir()
}

impl Row {
    fn new(k: u64, manifest: &Manifest, before: &BTreeSet<String>, is_there: bool) -> Self {
        let new = manifest.all_files().filter(|file| !before.contains(&file.path));
        Self {
            k,
            checkpoint: manifest.checkpoint,
            kind: manifest.kind,
            job: clean(&manifest.job.name),
            attempt: manifest.attempt,
            started_ms: manifest.started_ms,
            completed_ms: manifest.completed_ms,
            files: manifest.all_files().count() as u64,
            bytes: manifest.bytes(),
            new_bytes: new.fold(0, |sum, file| sum.saturating_add(file.bytes)),
            standing: if is_there { Standing::Kept } else { Standing::Gone },
        }
    }
}

impl Standing {
    /// In a word or two.
    pub(super) fn text(self) -> &'static str {
        match self {
            Standing::Restart => "restart",
            Standing::Finished => "finished",
            Standing::Kept => "kept",
            Standing::Void => "void",
            Standing::Gone => "gone",
        }
    }

    /// In a sentence.
    pub(super) fn sentence(self) -> &'static str {
        match self {
            Standing::Restart => "a restart goes on from it",
            Standing::Finished => "the job has finished with it",
            Standing::Kept => "kept; a restart goes on from a newer one",
            Standing::Void => "void: an attempt has gone back behind it",
            Standing::Gone => "gone: its files were deleted when newer ones were kept",
        }
    }
}

/// A kind as it stands in a manifest.
pub(super) fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Checkpoint => "checkpoint",
        Kind::Savepoint => "savepoint",
        Kind::Final => "final",
    }
}
