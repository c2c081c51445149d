//! Writes, closes and commits parts, on a side thread.
//!
//! A part is durable, with its name, before anybody is told so. One that was not closed is removed
//! at the end: nothing names it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use thalweg_checkpoint::disk::{self, NewFile};
use thalweg_checkpoint::{HiddenPart, fail_point};

use super::entries;

use crate::error::Kind;
use crate::runtime::Chore;
use crate::{Error, Result};

/// A closed part that a commit makes visible: what a checkpoint holds of it.
#[thalweg::record]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPart {
    /// Its name until then.
    pub hidden: String,
    /// Its name from then on, in the same directory.
    pub committed: String,
}

/// What the writer asks for.
#[derive(Debug)]
pub(super) enum PartOrder {
    /// Append to this part, which is opened at its first block.
    Write { part: HiddenPart, block: Vec<u8> },
    /// End the open part and make it durable.
    Close,
    /// Make closed parts visible.
    Commit(Vec<SealedPart>),
}

/// The parts that one core writes to one directory.
#[derive(Debug)]
pub(super) struct PartFiles {
    directory: PathBuf,
    open: Option<Open>,
    /// The attempt that writes.
    attempt: u64,
    /// Whether parts may be there that were taken back: they go once newer ones are visible.
    clears: bool,
}

#[derive(Debug)]
struct Open {
    part: HiddenPart,
    file: NewFile,
}

impl PartFiles {
    pub(super) fn new(directory: PathBuf, attempt: u64) -> Self {
        Self { directory, open: None, attempt, clears: attempt > 1 }
    }

    fn write(&mut self, part: HiddenPart, block: &[u8]) -> Result<()> {
        if self.open.is_none() {
            let path = self.directory.join(part.to_string());
            let file = NewFile::create(&path).map_err(|error| failed("create", &path, error))?;
            fail_point!("part-created");
            self.open = Some(Open { part, file });
        }
        let Some(open) = &mut self.open else { return Ok(()) };
        assert!(open.part == part, "a block of {part} while {} is open", open.part);
        let written = open.file.write_all(block);
        written.map_err(|error| failed("write", open.file.path(), error))?;
        fail_point!("part-written");
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        if let Some(open) = &self.open {
            open.file.sync_all().map_err(|error| failed("write", open.file.path(), error))?;
            fail_point!("part-synchronised");
            sync(&self.directory)?;
            fail_point!("part-durable");
        }
        self.open = None;
        Ok(())
    }

    fn commit(&mut self, parts: &[SealedPart]) -> Result<()> {
        for SealedPart { hidden, committed } in parts {
            let (from, to) = (self.directory.join(hidden), self.directory.join(committed));
            fail_point!("before-rename");
            match disk::rename(&from, &to) {
                Ok(()) => fail_point!("behind-rename"),
                // Committed before: the answer, or the attempt, was lost.
                Err(error) if error.kind() == ErrorKind::NotFound && to.exists() => {}
                Err(error) if error.kind() == ErrorKind::NotFound => return Err(lost(&from, &to)),
                Err(error) => return Err(failed("commit", &from, error)),
            }
        }
        sync(&self.directory)?;
        fail_point!("commit-durable");
        let own = |part: &SealedPart| {
            HiddenPart::parse(&part.hidden).is_some_and(|part| part.attempt == self.attempt)
        };
        if self.clears && parts.iter().any(own) {
            self.clears = false;
            self.clear();
        }
        Ok(())
    }

    /// Removes parts that were taken back. What stays goes with the next attempt.
    fn clear(&self) {
        let Ok(names) = entries(&self.directory) else { return };
        let taken_back =
            |name: &&String| HiddenPart::parse(name).is_some_and(|it| it.is_taken_back());
        for name in names.iter().filter(taken_back) {
            let _ = disk::remove_file(&self.directory.join(name));
        }
    }
}

impl Chore for PartFiles {
    type Order = PartOrder;
    /// A block to fill again.
    type Outcome = Option<Vec<u8>>;
    const NAME: &'static str = "write";
    // Nothing of an attempt is written once it has ended.
    const JOIN: bool = true;
    const URGENT: bool = true;

    fn carry_out(&mut self, order: PartOrder) -> Result<Option<Vec<u8>>> {
        match order {
            PartOrder::Write { part, mut block } => {
                self.write(part, &block)?;
                block.clear();
                Ok(Some(block))
            }
            PartOrder::Close => self.close().map(|()| None),
            PartOrder::Commit(parts) => self.commit(&parts).map(|()| None),
        }
    }
}

impl Drop for PartFiles {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            // Without it an unfinished part stays behind, which harms nobody.
            let _ = disk::remove_file(open.file.path());
        }
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync(directory: &Path) -> Result<()> {
    disk::sync_directory(directory).map_err(|error| failed("write", directory, error))
}

#[cold]
pub(super) fn failed(attempt: &str, path: &Path, error: std::io::Error) -> Error {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "free some space there",
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            "choose a directory that this user may write to"
        }
        ErrorKind::AlreadyExists => "let each sink and each job have a directory of its own",
        _ => return Error::io(format!("cannot {attempt} \"{}\"", path.display()), error),
    };
    Error::io(format!("cannot {attempt} \"{}\"", path.display()), error).with_hint(hint)
}

#[cold]
fn lost(from: &Path, to: &Path) -> Error {
    let (from, to) = (from.display(), to.display());
    Error::new(Kind::Io, format!("cannot commit \"{from}\" as \"{to}\": neither is there"))
        .with_hint("somebody else has removed it: go back to an earlier checkpoint")
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use super::*;
    use crate::testing::Folder;

    const PART: HiddenPart = HiddenPart { checkpoint: 0, core: 0, number: 0, attempt: 1 };

    fn write(files: &mut PartFiles, text: &str) -> Result<Option<Vec<u8>>> {
        files.carry_out(PartOrder::Write { part: PART, block: text.as_bytes().to_vec() })
    }

    fn sealed() -> SealedPart {
        let committed = PART.committed(3, "jsonl").to_string();
        SealedPart { hidden: PART.to_string(), committed }
    }

    #[test]
    fn a_commit_can_be_repeated_and_a_lost_part_is_named() {
        let folder = Folder::new("parts-commit");
        let mut files = PartFiles::new(folder.path(""), 1);
        write(&mut files, "a\n").unwrap();
        write(&mut files, "b\n").unwrap();
        files.carry_out(PartOrder::Close).unwrap();
        assert_eq!(folder.names(""), [PART.to_string()]);
        for _ in 0..2 {
            files.carry_out(PartOrder::Commit(vec![sealed()])).unwrap();
            assert_eq!(folder.names(""), [sealed().committed]);
        }
        assert_eq!(folder.text(""), "a\nb\n");
        std::fs::remove_file(folder.path(&sealed().committed)).unwrap();
        let error = files.carry_out(PartOrder::Commit(vec![sealed()])).unwrap_err().to_string();
        assert!(error.contains(&sealed().hidden) && error.contains(&sealed().committed), "{error}");
    }

    #[test]
    fn a_part_that_was_not_closed_goes_and_a_closed_one_stays() {
        let folder = Folder::new("parts-drop");
        let mut files = PartFiles::new(folder.path(""), 1);
        write(&mut files, "a\n").unwrap();
        drop(files);
        assert!(folder.names("").is_empty());
        let mut files = PartFiles::new(folder.path(""), 1);
        write(&mut files, "a\n").unwrap();
        files.carry_out(PartOrder::Close).unwrap();
        drop(files);
        assert_eq!(folder.names(""), [PART.to_string()]);
        let error = write(&mut PartFiles::new(folder.path(""), 1), "b\n").unwrap_err();
        assert!(error.hint().unwrap().contains("a directory of its own"));
    }

    #[test]
    fn a_full_disk_is_an_error_that_names_the_part() {
        let folder = Folder::new("parts-full");
        let mut files = PartFiles::new(folder.path(""), 1);
        let path = folder.path(&PART.to_string());
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        files.open = Some(Open { part: PART, file: NewFile::of(path.clone(), file) });
        let error = write(&mut files, "a\n").unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write \"{}\"", path.display()));
        assert_eq!((error.kind(), error.hint()), (Kind::Io, Some("free some space there")));
    }
}
