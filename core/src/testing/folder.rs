//! A directory of a test's own.

use std::path::{Path, PathBuf};

/// A directory below the system's temporary one, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// An empty directory; `name` must be one that no other test uses.
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("thalweg-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file and says where it is.
    pub(crate) fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).expect("a temporary file");
        path.to_str().expect("a temporary directory with a name of UTF-8").to_owned()
    }

    /// Names below a directory of it, sorted, hidden ones included.
    pub(crate) fn names(&self, directory: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(directory)).expect("the directory is there");
        let name = |entry: std::fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let mut names: Vec<String> = entries.map(|entry| name(entry.expect("an entry"))).collect();
        names.sort();
        names
    }

    /// The text of all files of a directory in the order of their names.
    pub(crate) fn text(&self, directory: &str) -> String {
        let names = self.names(directory);
        let path = |name: &String| self.path(directory).join(name);
        let read = |path: &Path| std::fs::read_to_string(path).expect("a file of text");
        names.iter().map(|name| read(&path(name))).collect()
    }
}

/// How many CPUs this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
