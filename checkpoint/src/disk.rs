//! What is done to a disk, one operation a function: so a test can see all of it, in order.
//!
//! Each function does what its namesake of the standard library does and then tells whoever
//! [records](record) the calling thread. What was written is durable once its file is synchronised,
//! a name once its directory is: nothing else may be counted on after a power failure.

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::OFlags;

/// An operation that has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// A directory was made.
    MakeDirectory(PathBuf),
    /// An empty file was made.
    Create(PathBuf),
    /// Bytes were added to a file's end.
    Write(PathBuf, Vec<u8>),
    /// A file's bytes were made durable.
    Synchronise(PathBuf),
    /// A file has got another name, the second one.
    Link(PathBuf, PathBuf),
    /// A file has the second name instead of the first.
    Rename(PathBuf, PathBuf),
    /// A name of a file was removed.
    Remove(PathBuf),
    /// An empty directory was removed.
    RemoveDirectory(PathBuf),
    /// The names in a directory were made durable.
    SynchroniseDirectory(PathBuf),
}

thread_local! {
    static RECORDED: RefCell<Option<Vec<Operation>>> = const { RefCell::new(None) };
}

/// Does something and says what this thread has done to the disk meanwhile: for tests.
pub fn record<R>(body: impl FnOnce() -> R) -> (R, Vec<Operation>) {
    RECORDED.with(|recorded| recorded.replace(Some(Vec::new())));
    let result = body();
    let operations = RECORDED.with(RefCell::take).unwrap_or_default();
    (result, operations)
}

fn note(operation: impl FnOnce() -> Operation) {
    RECORDED.with(|recorded| {
        if let Some(operations) = &mut *recorded.borrow_mut() {
            operations.push(operation());
        }
    });
}

/// Synchronisations of files and directories that have succeeded.
static SYNCHRONISED: AtomicU64 = AtomicU64::new(0);

/// How many files and directories this process has synchronised so far: for measurements.
pub fn synchronised_count() -> u64 {
    SYNCHRONISED.load(Ordering::Relaxed)
}

/// A file that is being written.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: File,
}

impl NewFile {
    /// Makes a file; fails if its name is taken.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        note(|| Operation::Create(path.to_owned()));
        Ok(Self::of(path.to_owned(), file))
    }

    /// As [`NewFile::create`], for writes that go past the page cache: of aligned memory, in
    /// multiples of its alignment.
    pub fn create_direct(path: &Path) -> io::Result<Self> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).custom_flags(direct).open(path)?;
        note(|| Operation::Create(path.to_owned()));
        Ok(Self::of(path.to_owned(), file))
    }

    /// A file that was opened elsewhere.
    pub fn of(path: PathBuf, file: File) -> Self {
        Self { path, file }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds bytes at its end.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        note(|| Operation::Write(self.path.clone(), bytes.to_vec()));
        Ok(())
    }

    /// Whether nothing was written, not even by a write that has failed.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() == 0)
    }

    /// From now on writes go through the page cache, of any memory and length.
    pub fn end_direct(&self) -> io::Result<()> {
        Ok(rustix::fs::fcntl_setfl(&self.file, OFlags::empty())?)
    }

    /// Makes its bytes durable, but not its name.
    pub fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()?;
        SYNCHRONISED.fetch_add(1, Ordering::Relaxed);
        note(|| Operation::Synchronise(self.path.clone()));
        Ok(())
    }
}

/// Makes a directory with those above it, and the names of those that were not there durable; that
/// of the last one in any case, as far as the directory above it can be read.
pub fn make_directories(path: &Path) -> io::Result<()> {
    let missing = path.ancestors().take_while(|it| !it.as_os_str().is_empty() && !it.exists());
    let missing: Vec<&Path> = missing.collect();
    for folder in missing.iter().rev() {
        match fs::create_dir(folder) {
            Ok(()) => note(|| Operation::MakeDirectory((*folder).to_owned())),
            Err(error) if error.kind() == ErrorKind::AlreadyExists && folder.is_dir() => {}
            Err(error) => return Err(error),
        }
        sync_directory(above(folder))?;
    }
    if missing.is_empty() {
        match sync_directory(above(path)) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            done => done?,
        }
    }
    if path.is_dir() { Ok(()) } else { Err(ErrorKind::NotADirectory.into()) }
}

fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

/// Makes the names in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    SYNCHRONISED.fetch_add(1, Ordering::Relaxed);
    note(|| Operation::SynchroniseDirectory(path.to_owned()));
    Ok(())
}

/// Gives a file another name; fails if that is taken.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    fs::hard_link(from, to)?;
    note(|| Operation::Link(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Gives a file another name instead of its own.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    note(|| Operation::Rename(from.to_owned(), to.to_owned()));
    Ok(())
}

/// Removes a file.
pub fn remove_file(path: &Path) -> io::Result<()> {
    fs::remove_file(path)?;
    note(|| Operation::Remove(path.to_owned()));
    Ok(())
}

/// Removes an empty directory.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)?;
    note(|| Operation::RemoveDirectory(path.to_owned()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_thread_does_is_recorded_in_order_and_only_meanwhile() {
        let root = std::env::temp_dir().join(format!("thalweg-disk-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (folder, a, b) = (root.join("x/y"), root.join("x/y/a"), root.join("x/y/b"));
        fs::create_dir_all(&root).unwrap();
        let (done, operations) = record(|| -> io::Result<()> {
            make_directories(&folder)?;
            let mut file = NewFile::create(&a)?;
            file.write_all(b"1")?;
            file.sync_all()?;
            hard_link(&a, &b)?;
            remove_file(&a)?;
            rename(&b, &a)?;
            assert!(NewFile::create(&a).is_err() && hard_link(&b, &a).is_err());
            remove_file(&a)?;
            remove_directory(&folder)
        });
        done.unwrap();
        let expected = [
            Operation::MakeDirectory(root.join("x")),
            Operation::SynchroniseDirectory(root.clone()),
            Operation::MakeDirectory(folder.clone()),
            Operation::SynchroniseDirectory(root.join("x")),
            Operation::Create(a.clone()),
            Operation::Write(a.clone(), b"1".to_vec()),
            Operation::Synchronise(a.clone()),
            Operation::Link(a.clone(), b.clone()),
            Operation::Remove(a.clone()),
            Operation::Rename(b, a.clone()),
            Operation::Remove(a),
            Operation::RemoveDirectory(folder.clone()),
        ];
        assert_eq!(operations, expected);
        make_directories(&folder).unwrap();
        assert_eq!(record(|| ()).1, []);
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn a_file_in_the_way_of_a_directory_is_an_error() {
        let path = std::env::temp_dir().join(format!("thalweg-way-{}", std::process::id()));
        fs::write(&path, "").unwrap();
        assert!(make_directories(&path).is_err());
        assert!(make_directories(&path.join("below")).is_err());
        fs::remove_file(&path).unwrap();
    }
}
