//! Files of lines: JSON or CSV, in parts.
//!
//! A core writes parts of its own. A part has a hidden name until it is committed, and is never
//! written to afterwards, so whoever reads the directory and skips hidden names sees whole,
//! committed parts only.

mod encode;
mod parts;
#[cfg(test)]
mod tests;
mod writer;

pub use parts::SealedPart;
pub use writer::FileWriter;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thalweg_checkpoint::{HiddenPart, PartName, disk, fail_point, part};

use self::encode::Format;
use self::parts::{failed, sync};
use super::{Sink, SinkContext};
use crate::{Error, Result};

/// Part size at which the next one is begun.
const ROLL_BYTES: u64 = 128 << 20;

/// Age at which the next part is begun.
const ROLL_AFTER: Duration = Duration::from_secs(60);

/// A sink that writes records as lines to files `part-<checkpoint>-<core>-<number>.jsonl` or `.csv`
/// in a directory, which it makes. The order of the names is the order of any one key's records.
///
/// With checkpoints a part becomes visible when the checkpoint that holds it is complete. Without,
/// and in the mode `at-least-once`, it does when it is full or old enough, at a checkpoint, and at
/// the end. Unless it may be overwritten, the
/// directory must be empty or absent.
///
/// ```
/// # use thalweg::prelude::*;
/// # let directory = std::env::temp_dir().join(format!("out-{}", std::process::id()));
/// # let sink = FileSink::json_lines(&directory).overwrite(true);
/// let job = move |flow: &Dataflow, _: &Args| {
///     flow.from_iter("n", 1..3u64).sink("numbers", sink.clone());
///     Ok(())
/// };
/// thalweg::run_local(job, 1).unwrap();
/// let part = directory.join("part-0000000000-00000-00000000.jsonl");
/// assert_eq!(std::fs::read_to_string(part).unwrap(), "1\n2\n");
/// ```
#[derive(Debug, Clone)]
pub struct FileSink {
    directory: PathBuf,
    root: PathBuf,
    format: Format,
    overwrite: bool,
    roll_bytes: u64,
    roll_after: Duration,
}

impl FileSink {
    /// Writes each record as a line of JSON.
    pub fn json_lines(directory: impl Into<PathBuf>) -> Self {
        Self::new(directory.into(), Format::JsonLines)
    }

    /// Writes each record as a line of comma-separated values below a header of its field names.
    pub fn csv(directory: impl Into<PathBuf>) -> Self {
        Self::new(directory.into(), Format::Csv)
    }

    fn new(directory: PathBuf, format: Format) -> Self {
        let (roll_bytes, roll_after) = (ROLL_BYTES, ROLL_AFTER);
        let root = directory.clone();
        Self { directory, root, format, overwrite: false, roll_bytes, roll_after }
    }

    /// Replaces what is in the directory: parts of earlier runs are removed before anything is
    /// written, other files are left alone.
    #[must_use]
    pub fn overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }

    /// Says that the directory is one of several below `root`: then `root` is what must be empty or
    /// absent.
    #[must_use]
    pub fn below(mut self, root: impl Into<PathBuf>) -> Self {
        self.root = root.into();
        self
    }

    /// Begins a new part once one has this many bytes (128 MiB by default).
    #[must_use]
    pub fn roll_bytes(mut self, bytes: u64) -> Self {
        self.roll_bytes = bytes;
        self
    }

    /// Begins a new part once one is this old (a minute by default).
    #[must_use]
    pub fn roll_after(mut self, age: Duration) -> Self {
        self.roll_after = age;
        self
    }
}

impl FileSink {
    /// A number above those of all parts that a core has committed before: where nobody says which
    /// of them count, none may be written again.
    fn next_number(&self, core: usize) -> Result<u64> {
        let names = entries(&self.directory)?;
        let parts = names.iter().filter_map(|name| PartName::parse(name));
        let own = parts.filter(|part| part.core as usize == core);
        Ok(own.map(|part| part.number + 1).max().unwrap_or(0))
    }
}

impl<T: Serialize + 'static> Sink<T> for FileSink {
    type Writer = FileWriter<T>;

    fn kind(&self) -> &'static str {
        "file"
    }

    fn validate(&self) -> Result<()> {
        entries(&self.root).and(entries(&self.directory)).map(drop)
    }

    fn directory(&self) -> Option<&Path> {
        Some(&self.directory)
    }

    fn vacant(&self) -> Result<()> {
        // An attempt that died before it began may have made directories.
        let empty = |name: &String| entries(&self.root.join(name)).is_ok_and(|it| it.is_empty());
        let mut found = entries(&self.root)?;
        found.retain(|name| !empty(name));
        if found.is_empty() || self.overwrite {
            return Ok(());
        }
        let unfinished = found.iter().filter(|name| part::is_hidden(name)).count();
        let more = if unfinished == found.len() { ", if only of hidden files" } else { "" };
        let attempt = format!("cannot write to \"{}\"", self.root.display());
        Err(Error::usage(format!("{attempt}: the directory is not empty{more}"))
            .with_hint("choose another directory, or pass --overwrite"))
    }

    fn prepare(&self) -> Result<()> {
        let directory = &self.directory;
        disk::make_directories(directory).map_err(|error| failed("make", directory, error))?;
        if !self.overwrite {
            return Ok(());
        }
        for name in entries(directory)?.iter().filter(|name| part::is_ours(name)) {
            let path = directory.join(name);
            disk::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
        }
        sync(directory)
    }

    fn can_take_back(&self) -> bool {
        true
    }

    fn resume(&self, attempt: u64, checkpoint: u64) -> Result<()> {
        let directory = &self.directory;
        disk::make_directories(directory).map_err(|error| failed("make", directory, error))?;
        let names = entries(directory)?;
        for name in &names {
            if HiddenPart::parse(name).is_some_and(|part| part.attempt < attempt) {
                fail_point!("before-hidden-part-goes");
                let path = directory.join(name);
                disk::remove_file(&path).map_err(|error| failed("remove", &path, error))?;
            }
        }
        let parts = names.iter().filter_map(|name| Some((name, PartName::parse(name)?)));
        let mut taken_back = 0;
        for (name, part) in parts.filter(|(_, part)| part.checkpoint > checkpoint) {
            let (from, to) = (directory.join(name), directory.join(part.taken_back().to_string()));
            disk::rename(&from, &to).map_err(|error| failed("take back", &from, error))?;
            taken_back += 1;
        }
        if taken_back > 0 {
            let directory = directory.display();
            tracing::warn!(
                "{taken_back} parts behind checkpoint {checkpoint} are taken back: {directory}"
            );
        }
        sync(directory)
    }

    fn writer(self, cx: SinkContext) -> Result<FileWriter<T>> {
        FileWriter::new(self, cx)
    }
}

/// Names in a directory; none if it is not there.
fn entries(directory: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let shown = directory.display();
            let error = Error::usage(format!("cannot write to \"{shown}\": it is no directory"));
            return Err(error.with_hint("name a directory; it is made if it is not there"));
        }
        entries => entries.map_err(|error| failed("look into", directory, error))?,
    };
    let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
    let names = entries.map(|entry| entry.map(name)).collect::<std::io::Result<_>>();
    names.map_err(|error| failed("look into", directory, error))
}
