//! Which checkpoint is meant: a job's id, its directory, a `chk-N` directory or a `_metadata` file.
//!
//! Where a log is, the log decides, and a copy beside it is only compared. A copy alone is
//! believed: somebody may have taken one checkpoint out of its directory.

use std::path::{Path, PathBuf};

use thalweg_checkpoint::{LocalStore, Manifest, Store, paths};

use super::super::Context;
use super::super::cli::Which;
use super::shelf::{Shelf, Standing, is_job};
use crate::control::{Bad, refused};
use crate::error::Kind;
use crate::{Error, Result};

/// A checkpoint that was found.
pub(super) struct Found {
    pub(super) store: LocalStore,
    pub(super) manifest: Manifest,
    /// What the log says of it; `None` without a log.
    pub(super) told: Option<Told>,
}

/// What only a log can tell.
pub(super) struct Told {
    pub(super) standing: Standing,
    pub(super) finished: bool,
    pub(super) new_bytes: u64,
}

/// Where a checkpoint lies.
#[derive(Debug, PartialEq, Eq)]
struct Spot {
    root: PathBuf,
    job_id: String,
    checkpoint: Option<u64>,
}

impl Context<'_> {
    /// Finds the checkpoint that is meant.
    pub(super) fn find(&self, which: &Which) -> Result<Found> {
        let mut spot = self.spot(which)?;
        match (spot.checkpoint, which.id) {
            (Some(named), Some(id)) if named != id => {
                let what = format!("\"{}\" is checkpoint {named}, not {id}", which.what);
                return Err(Error::usage(what).with_hint("leave the number out"));
            }
            (named, id) => spot.checkpoint = named.or(id),
        }
        let has_log = is_job(&spot.root.join(&spot.job_id));
        if has_log { self.by_the_log(&spot) } else { by_the_copy(&spot) }
    }

    fn spot(&self, which: &Which) -> Result<Spot> {
        let what = Path::new(&which.what);
        if !is_id(&which.what) || what.is_dir() {
            return spot(what);
        }
        let root = self.checkpoint_directory(&which.shelf)?;
        if !root.join(what).is_dir() {
            return Err(self.unknown_job(&root, &which.what));
        }
        spot(&root.join(what))
    }

    fn by_the_log(&self, spot: &Spot) -> Result<Found> {
        let shelf = Shelf::read(&spot.root, &spot.job_id)?;
        let job = &spot.job_id;
        let row = match spot.checkpoint {
            Some(checkpoint) => shelf.row(checkpoint).ok_or_else(|| {
                let what = format!("checkpoint {checkpoint} is not in the log of job {job}");
                let hint = match (shelf.rows.first(), shelf.rows.last()) {
                    (Some(first), Some(last)) => {
                        format!("it has {} to {}", first.checkpoint, last.checkpoint)
                    }
                    _ => "none is complete".to_owned(),
                };
                Error::new(Kind::NotFound, what).with_hint(hint)
            }),
            None => shelf.newest().ok_or_else(|| {
                let what = format!("no checkpoint of job {job} is complete");
                let hint = "a restart begins at the beginning; name a number to see an older one";
                Error::new(Kind::NotFound, what).with_hint(hint)
            }),
        }?;
        let manifest = shelf.manifest(row)?;
        let (standing, new_bytes) = (row.standing, row.new_bytes);
        let finished = shelf.history.is_finished();
        let told = Some(Told { standing, finished, new_bytes });
        Ok(Found { manifest, told, store: shelf.store })
    }
}

impl Found {
    /// Where the manifest's copy lies.
    fn copy_path(&self) -> String {
        paths::metadata(&self.manifest.job.id, self.manifest.checkpoint)
    }

    /// What is wrong with the manifest's copy; that it is missing is nothing wrong.
    pub(super) fn copy_complaint(&self) -> Option<Bad> {
        let path = self.copy_path();
        let what = match self.store.get(&path) {
            Ok(None) => return None,
            Ok(Some(bytes)) => match Manifest::parse(&bytes) {
                Ok(copy) if copy == self.manifest => return None,
                Ok(_) => "it says something else than the log, which decides".to_owned(),
                Err(seen) => format!("{seen}; the log decides"),
            },
            Err(error) => error.what,
        };
        Some(Bad { path, what })
    }
}

/// Whether a word has the form of a job's id.
fn is_id(word: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    word.len() == 32 && word.bytes().all(is_digit)
}

/// What a path names.
fn spot(given: &Path) -> Result<Spot> {
    let shown = given.display();
    let path = given.canonicalize().map_err(|error| {
        let what = format!("cannot find a checkpoint at {shown}");
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        let kind = if missing { Kind::NotFound } else { Kind::Io };
        let hint = "name a job's id, its directory, a chk-N directory or a _metadata file";
        Error::new(kind, what).with_source(error).with_hint(hint)
    })?;
    if path.is_file() {
        let folder = path.parent().filter(|_| path.ends_with("_metadata"));
        let spot = folder.and_then(chk);
        return spot.ok_or_else(|| {
            let what = "it is a file, and no _metadata in a chk-N directory";
            unusable(given, what, "name the job's directory, chk-N in it, or its _metadata")
        });
    }
    if is_job(&path)
        && let Some((root, job_id)) = split(&path)
    {
        return Ok(Spot { root, job_id, checkpoint: None });
    }
    if let Some(spot) = chk(&path) {
        return Ok(spot);
    }
    let jobs = Shelf::jobs(&path)?;
    Err(match jobs.first() {
        Some(job) => {
            let (count, end) = (jobs.len(), if jobs.len() == 1 { "" } else { "s" });
            let what = format!("it holds the checkpoints of {count} job{end}");
            unusable(given, &what, &format!("name one of them: {}", given.join(job).display()))
        }
        None => unusable(
            given,
            "it is no checkpoint directory: neither log/ nor chk-N/ is in it",
            "name <checkpoint.dir>/<job id>, or chk-N in it",
        ),
    })
}

/// A `chk-N` directory in a job's directory.
fn chk(folder: &Path) -> Option<Spot> {
    let (job, name) = split(folder)?;
    let (root, job_id) = split(&job)?;
    // The one form of the number is known where paths are.
    let checkpoint = paths::parse_metadata("job", &format!("job/{name}/_metadata"))?;
    Some(Spot { root, job_id, checkpoint: Some(checkpoint) })
}

/// A path's folder and its own name, if a store can have it.
fn split(path: &Path) -> Option<(PathBuf, String)> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?.to_owned();
    paths::complaint(name).is_none().then(|| (folder, name.to_owned()))
}

/// A checkpoint that has only the copy of its manifest.
fn by_the_copy(spot: &Spot) -> Result<Found> {
    let Spot { root, job_id, checkpoint } = spot;
    let folder = root.join(job_id);
    let Some(checkpoint) = *checkpoint else {
        let what = "its log has no entry 0, so nothing is complete";
        return Err(unusable(&folder, what, "name a chk-N directory to look at its copy alone"));
    };
    let store = LocalStore::existing(root).map_err(refused)?;
    let path = paths::metadata(job_id, checkpoint);
    let bytes = store.get(&path).map_err(refused)?.ok_or_else(|| {
        let what =
            format!("cannot find checkpoint {checkpoint}: neither a log nor {path} is there");
        Error::new(Kind::NotFound, what)
            .with_hint("copies go when a checkpoint is no longer kept: name a newer one")
    })?;
    let unreadable = |seen: String| {
        Error::new(Kind::Io, format!("cannot use the manifest {path}: {seen}"))
            .with_hint("the log has the original; or restore the file from a copy of the store")
    };
    let manifest = Manifest::parse(&bytes).map_err(unreadable)?;
    if (&manifest.job.id, manifest.checkpoint) != (job_id, checkpoint) {
        let seen = format!("it is checkpoint {} of {:?}", manifest.checkpoint, manifest.job.id);
        return Err(unreadable(seen));
    }
    Ok(Found { store, manifest, told: None })
}

#[cold]
fn unusable(path: &Path, what: &str, hint: &str) -> Error {
    Error::usage(format!("cannot use {}: {what}", path.display())).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_job_a_checkpoint_or_nothing() {
        let root = std::env::temp_dir().join(format!("thalweg-find-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        for folder in ["shelf/job/log", "shelf/job/chk-7", "shelf/job/chk-07", "empty"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let root = root.canonicalize().unwrap();
        std::fs::write(root.join("shelf/job/chk-7/_metadata"), "").unwrap();
        let at = |path: &str| spot(&root.join(path)).map(|spot| (spot.job_id, spot.checkpoint));
        assert_eq!(at("shelf/job").unwrap(), ("job".to_owned(), None));
        assert_eq!(at("shelf/job/chk-7").unwrap(), ("job".to_owned(), Some(7)));
        assert_eq!(at("shelf/job/chk-7/_metadata").unwrap(), ("job".to_owned(), Some(7)));
        let refused = |path: &str| at(path).unwrap_err().report();
        assert!(refused("shelf").contains("of 1 job\n") && refused("shelf").contains("shelf/job"));
        assert!(refused("empty").contains("neither log/ nor chk-N/"));
        assert!(refused("shelf/job/chk-07").contains("no checkpoint directory"));
        assert!(refused("none").contains("error[THW-0002]"));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
