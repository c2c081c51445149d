//! Checkpoints in a directory that every node of the job reaches.
//!
//! An object is written under a hidden name beside its final one, made durable, and only then
//! linked to the final name, which fails if that is taken: a half-written object never has a final
//! name. One synchronisation for the file and one for its directory; a directory's own name is
//! settled once, before its first object.

mod direct;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use self::direct::{DirectReader, DirectWriter};
use crate::disk::{self, NewFile};
use crate::fail_point;
use crate::store::{Created, Fill, Store, StoreError, check, check_prefix};

/// What a name that is not final begins with: no path of a store does.
const TEMPORARY: &str = ".tmp-";

/// How often a creation starts again when others take its names or remove its directory.
const TRIES_MAX: u32 = 64;

/// A directory as a store.
#[derive(Debug)]
pub struct LocalStore {
    root: PathBuf,
    temporary_count: AtomicU64,
    folders: Mutex<Folders>,
}

/// What this process knows of the directories below the root.
#[derive(Debug, Default)]
struct Folders {
    /// Those that are durable themselves, up to the root.
    settled: BTreeSet<PathBuf>,
    /// Those whose synchronisation failed: names that they show may be lost in a power failure.
    doubtful: BTreeSet<PathBuf>,
}

impl LocalStore {
    /// Opens a directory as a store and makes it if need be.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        disk::make_directories(&root).map_err(|error| failed("make", &root, &error))?;
        let root = root.canonicalize().map_err(|error| failed("open", &root, &error))?;
        let folders = Mutex::new(Folders::default());
        Ok(Self { root, temporary_count: AtomicU64::new(0), folders })
    }

    /// Opens a directory as a store to read from, and makes nothing.
    pub fn existing(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        let kind = fs::metadata(&root).map_err(|error| failed("open", &root, &error))?;
        if !kind.is_dir() {
            let error = io::Error::from(ErrorKind::NotADirectory);
            return Err(failed("open", &root, &error));
        }
        Self::open(root)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Removes everything of a job: all at once for whoever reads it, then file by file.
    pub fn discard(&self, job: &str) -> Result<(), StoreError> {
        let (target, _) = self.place(job)?;
        let number = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        let aside = self.root.join(format!("{TEMPORARY}{}-{number}", process::id()));
        match fs::rename(&target, &aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(|error| failed("remove", &target, &error))?,
        }
        self.synchronise(&self.root)?;
        self.folders().settled.retain(|folder| !folder.starts_with(&target));
        fs::remove_dir_all(&aside).map_err(|error| failed("remove", &aside, &error))
    }

    /// Removes what crashed writers left half written below `prefix`, and says how many files that
    /// were. A writer that still lives fails its creation: call it where the older attempts are
    /// known to be fenced.
    pub fn sweep(&self, prefix: &str) -> Result<u64, StoreError> {
        check_prefix(prefix)?;
        let mut swept = 0;
        self.walk(prefix, &mut |path, name| {
            if !name.starts_with(TEMPORARY) {
                return Ok(());
            }
            match disk::remove_file(path) {
                Ok(()) => swept += 1,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(failed("remove", path, &error)),
            }
            Ok(())
        })?;
        Ok(swept)
    }

    fn folders(&self) -> MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The full path of an object and that of its directory.
    fn place(&self, path: &str) -> Result<(PathBuf, PathBuf), StoreError> {
        check(path)?;
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root).to_path_buf();
        Ok((target, folder))
    }

    /// Makes a directory with those above it, durably.
    fn settle(&self, folder: &Path) -> Result<(), StoreError> {
        if self.folders().settled.contains(folder) {
            return Ok(());
        }
        disk::make_directories(folder).map_err(|error| failed("make", folder, &error))?;
        for above in folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root)) {
            self.synchronise(above)?;
        }
        self.folders().settled.insert(folder.to_path_buf());
        Ok(())
    }

    /// Makes the names in a directory durable. A failure is remembered: until a later one
    /// succeeds, nothing that the directory shows is believed.
    fn synchronise(&self, folder: &Path) -> Result<(), StoreError> {
        match disk::sync_directory(folder) {
            Ok(()) => {
                self.folders().doubtful.remove(folder);
                Ok(())
            }
            Err(error) => {
                self.folders().doubtful.insert(folder.to_path_buf());
                Err(StoreError { unknown: true, ..failed("synchronise", folder, &error) })
            }
        }
    }

    /// Makes a temporary file with `make`, under names that nobody has. Who has removed the
    /// directory meanwhile, or taken the name, is met again and again, but not for ever.
    fn make_aside<T>(
        &self,
        target: &Path,
        folder: &Path,
        mut make: impl FnMut(&Path) -> io::Result<T>,
    ) -> Result<(PathBuf, T), StoreError> {
        for _ in 0..TRIES_MAX {
            self.settle(folder)?;
            let number = self.temporary_count.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{TEMPORARY}{}-{number}", process::id()));
            match make(&path) {
                Ok(made) => return Ok((path, made)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.folders().settled.remove(folder);
                }
                Err(error) => {
                    let _ = disk::remove_file(&path);
                    return Err(failed("write", &path, &error));
                }
            }
        }
        Err(StoreError::failed(
            format!("cannot create {}: others took {TRIES_MAX} temporary names", target.display()),
            "remove the .tmp- files beside it",
        ))
    }

    /// Gives a durable temporary file its final name, unless that is taken.
    fn link(&self, aside: &Path, target: &Path, folder: &Path) -> Result<Created, StoreError> {
        fail_point!("file-synchronised");
        let linked = disk::hard_link(aside, target);
        fail_point!("file-linked");
        let _ = disk::remove_file(aside);
        fail_point!("file-alone");
        let created = match linked {
            Ok(()) => Created::Written,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Created::Exists,
            Err(error) => {
                let lost = [Errno::IO, Errno::TIMEDOUT, Errno::STALE].map(Errno::raw_os_error);
                let unknown = error.raw_os_error().is_some_and(|it| lost.contains(&it));
                return Err(StoreError { unknown, ..failed("link", target, &error) });
            }
        };
        self.synchronise(folder)?;
        fail_point!("file-durable");
        Ok(created)
    }

    /// Calls `each` with every file below `prefix`, hidden ones too, in the order of their names.
    fn walk(
        &self,
        prefix: &str,
        each: &mut dyn FnMut(&Path, &str) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let top = prefix.rfind('/').map_or("", |slash| &prefix[..slash]);
        let mut open = vec![self.root.join(top)];
        while let Some(folder) = open.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("list", &folder, &error)),
            };
            for entry in entries {
                let entry = entry.map_err(|error| failed("list", &folder, &error))?;
                let kind = entry.file_type().map_err(|error| failed("list", &folder, &error))?;
                let path = entry.path();
                let inside = relative(&self.root, &path).is_some_and(|it| it.starts_with(prefix));
                let name = entry.file_name().to_string_lossy().into_owned();
                if kind.is_dir() && inside {
                    open.push(path);
                } else if kind.is_file() && inside {
                    each(&path, &name)?;
                }
            }
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn create_of(&self, path: &str, pieces: &[&[u8]]) -> Result<Created, StoreError> {
        let (target, folder) = self.place(path)?;
        self.settle(&folder)?;
        if fs::symlink_metadata(&target).is_ok() {
            // Whoever reads it back relies on it, so its name is made durable first.
            self.synchronise(&folder)?;
            return Ok(Created::Exists);
        }
        let write = |aside: &Path| write_durably(aside, pieces);
        let (aside, ()) = self.make_aside(&target, &folder, write)?;
        self.link(&aside, &target, &folder)
    }

    fn create_streamed(&self, path: &str, fill: &mut Fill<'_>) -> Result<Created, StoreError> {
        let (target, folder) = self.place(path)?;
        let (aside, mut file) = self.make_aside(&target, &folder, DirectWriter::create)?;
        fail_point!("file-created");
        let filled = fill(&mut file).and_then(|()| {
            let file = file.finish()?;
            fail_point!("file-written");
            file.sync_all()
        });
        if let Err(error) = filled {
            let _ = disk::remove_file(&aside);
            return Err(StoreError::from_io(error, |error| failed("write", &aside, error)));
        }
        self.link(&aside, &target, &folder)
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let (target, folder) = self.place(path)?;
        if self.folders().doubtful.contains(&folder) {
            self.synchronise(&folder)?;
        }
        absent_is_none(fs::read(&target)).map_err(|error| failed("read", &target, &error))
    }

    fn read_by(
        &self,
        path: &str,
        offset: u64,
        piece: usize,
    ) -> Result<Option<Box<dyn Read>>, StoreError> {
        let (target, _) = self.place(path)?;
        let open = || {
            let mut file = File::open(&target)?;
            if file.metadata()?.len().saturating_sub(offset) >= direct::LEAST as u64
                && let Some(reader) = DirectReader::open(&target, offset, piece)?
            {
                return Ok(Box::new(reader) as Box<dyn Read>);
            }
            file.seek(SeekFrom::Start(offset))?;
            Ok(Box::new(file) as Box<dyn Read>)
        };
        absent_is_none(open()).map_err(|error| failed("read", &target, &error))
    }

    fn get_range(
        &self,
        path: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (target, folder) = self.place(path)?;
        if self.folders().doubtful.contains(&folder) {
            self.synchronise(&folder)?;
        }
        let read = || {
            let mut file = File::open(&target)?;
            file.seek(SeekFrom::Start(offset))?;
            // What a damaged manifest asks for may be more than there is memory.
            let there = file.metadata()?.len().saturating_sub(offset).min(bytes);
            let mut read = Vec::with_capacity(usize::try_from(there).unwrap_or(0));
            file.take(bytes).read_to_end(&mut read)?;
            Ok(read)
        };
        absent_is_none(read()).map_err(|error| failed("read", &target, &error))
    }

    fn show(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let (target, folder) = self.place(path)?;
        fs::create_dir_all(&folder).map_err(|error| failed("make", &folder, &error))?;
        let number = self.temporary_count.fetch_add(1, Ordering::Relaxed);
        let aside = folder.join(format!("{TEMPORARY}{}-{number}", process::id()));
        let written = fs::write(&aside, bytes).and_then(|()| fs::rename(&aside, &target));
        written.map_err(|error| {
            let _ = fs::remove_file(&aside);
            failed("write", &target, &error)
        })
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        let (target, _) = self.place(path)?;
        let size = fs::metadata(&target).and_then(|metadata| match metadata.is_file() {
            true => Ok(metadata.len()),
            false => Err(io::Error::other("it is no file")),
        });
        absent_is_none(size).map_err(|error| failed("look at", &target, &error))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        check_prefix(prefix)?;
        let mut paths = Vec::new();
        self.walk(prefix, &mut |path, _| {
            let ours = relative(&self.root, path).filter(|path| check(path).is_ok());
            paths.extend(ours.filter(|path| path.starts_with(prefix)));
            Ok(())
        })?;
        paths.sort_unstable();
        Ok(paths)
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        let (target, folder) = self.place(path)?;
        absent_is_none(disk::remove_file(&target)).map_err(|e| failed("remove", &target, &e))?;
        fail_point!("behind-deletion");
        // Emptied directories go as well; a writer that meets this makes its directory again.
        let below = |above: &&Path| *above != self.root && above.starts_with(&self.root);
        for above in folder.ancestors().take_while(below) {
            if disk::remove_directory(above).is_err() {
                break;
            }
            self.folders().settled.remove(above);
        }
        Ok(())
    }
}

/// Creates a file with these bytes, durable but for its name.
fn write_durably(path: &Path, pieces: &[&[u8]]) -> io::Result<()> {
    let length: usize = pieces.iter().map(|piece| piece.len()).sum();
    let file = if length >= direct::LEAST {
        let mut file = DirectWriter::create(path)?;
        fail_point!("file-created");
        pieces.iter().try_for_each(|piece| file.write_all(piece))?;
        file.finish()?
    } else {
        let mut file = NewFile::create(path)?;
        fail_point!("file-created");
        pieces.iter().try_for_each(|piece| file.write_all(piece))?;
        file
    };
    fail_point!("file-written");
    file.sync_all()
}

/// A path below the root as the store's users write it; `None` if it is no text.
fn relative(root: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(root).ok()?.to_str()?.to_owned())
}

fn absent_is_none<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The error of an operation that took no effect.
fn failed(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let limit = |errno: Errno| error.raw_os_error() == Some(errno.raw_os_error());
    let hint = match error.kind() {
        ErrorKind::StorageFull => "free some space there, or retain fewer checkpoints",
        ErrorKind::QuotaExceeded => "the user's quota is used up; raise it or free some space",
        ErrorKind::ReadOnlyFilesystem => "the file system is mounted read-only; remount it",
        _ if limit(Errno::PERM) => "the file system must allow hard links",
        ErrorKind::PermissionDenied => "the job's user needs rights to read and write there",
        ErrorKind::NotADirectory => "a file stands where a directory should; move it away",
        ErrorKind::CrossesDevices => "the store must lie in one file system",
        _ if limit(Errno::MFILE) => "too many files are open; raise `ulimit -n`",
        _ if limit(Errno::NFILE) => "too many files are open on this machine; see fs.file-max",
        _ if limit(Errno::OPNOTSUPP) => "the file system must allow hard links",
        _ if limit(Errno::IO) => "the disk reports a fault; see `dmesg`",
        _ => "",
    };
    StoreError::failed(format!("cannot {verb} {}: {error}", path.display()), hint)
}
