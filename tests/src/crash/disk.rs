//! What a power failure leaves of a disk: every state that the operations before it allow.
//!
//! Bytes of a file that was not synchronised since may be there, be cut short, or be missing; a
//! name in a directory that was not synchronised since may be there or not, each for itself.
//! Nothing else is ever lost.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

use thalweg_checkpoint::disk::Operation;

use crate::sim::Random;

/// What becomes of an operation that is not durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is there.
    Kept,
    /// It is not.
    Lost,
    /// Of bytes only the first half is there; a name is there.
    Torn,
}

/// Files and directories.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tree {
    folders: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// Operations from an empty directory on.
#[derive(Debug)]
pub struct History {
    base: PathBuf,
    operations: Vec<Operation>,
}

/// Random choices of what is lost, for each prefix.
const RANDOM_CHOICES: usize = 4;

impl History {
    /// What was done below `base`, which was empty.
    pub fn new(base: &Path, operations: Vec<Operation>) -> Self {
        Self { base: base.to_owned(), operations }
    }

    /// How many operations there are.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The operation behind which a prefix of this length ends.
    pub fn last(&self, prefix: usize) -> Option<&Operation> {
        prefix.checked_sub(1).and_then(|at| self.operations.get(at))
    }

    /// The length of the shortest prefix behind which the name that `is_it` knows is durable.
    pub fn durable(&self, is_it: impl Fn(&Path) -> bool) -> Option<usize> {
        let named = self.operations.iter().position(|operation| match operation {
            Operation::Link(_, to) | Operation::Rename(_, to) => is_it(to),
            _ => false,
        })?;
        let pending = |prefix: &usize| !self.pending(*prefix).contains(&named);
        (named + 1..=self.len()).find(pending)
    }

    /// Operations of a prefix that are not durable.
    pub fn pending(&self, prefix: usize) -> BTreeSet<usize> {
        let mut pending = BTreeSet::new();
        let mut truth = Truth::default();
        for (at, operation) in self.operations[..prefix].iter().enumerate() {
            let file = truth.follow(at, operation);
            match operation {
                Operation::Synchronise(_) => {
                    pending.retain(|earlier| truth.written.get(earlier) != file.as_ref());
                }
                Operation::SynchroniseDirectory(folder) => {
                    let is_in = |earlier: &usize| {
                        folder_of(&self.operations[*earlier]) == Some(folder.as_path())
                    };
                    pending.retain(|earlier| !is_in(earlier));
                }
                _ => drop(pending.insert(at)),
            }
        }
        pending
    }

    /// What is there if the power fails behind a prefix; `fate` is asked of what is not durable.
    pub fn tree(&self, prefix: usize, fate: &dyn Fn(usize) -> Fate) -> Tree {
        let pending = self.pending(prefix);
        let fate_of = |at: usize| if pending.contains(&at) { fate(at) } else { Fate::Kept };
        let mut truth = Truth::default();
        let mut names: BTreeMap<&Path, usize> = BTreeMap::new();
        let mut folders = BTreeSet::from([self.base.clone()]);
        let mut bytes: BTreeMap<usize, Bytes> = BTreeMap::new();
        for (at, operation) in self.operations[..prefix].iter().enumerate() {
            let file = truth.follow(at, operation).unwrap_or(usize::MAX);
            if let Operation::Write(_, written) = operation {
                bytes.entry(file).or_default().add(written, fate_of(at));
                continue;
            }
            if fate_of(at) == Fate::Lost {
                continue;
            }
            match operation {
                Operation::MakeDirectory(path) => drop(folders.insert(path.clone())),
                Operation::RemoveDirectory(path) => drop(folders.remove(path)),
                Operation::Create(path) | Operation::Link(_, path) => {
                    names.insert(path, file);
                }
                Operation::Rename(from, to) => {
                    names.remove(from.as_path());
                    names.insert(to, file);
                }
                Operation::Remove(path) => drop(names.remove(path.as_path())),
                _ => {}
            }
        }
        let is_there = |path: &Path| {
            path.ancestors()
                .skip(1)
                .take_while(|it| it.starts_with(&self.base))
                .all(|above| folders.contains(above))
        };
        let below = |path: &Path| path.strip_prefix(&self.base).unwrap_or(path).to_owned();
        let files = names.iter().filter(|(path, _)| is_there(path));
        let content = |file: &usize| bytes.get(file).map_or_else(Vec::new, Bytes::whole);
        Tree {
            files: files.map(|(path, file)| (below(path), content(file))).collect(),
            folders: folders.iter().filter(|path| is_there(path)).map(|path| below(path)).collect(),
        }
    }

    /// Every state in which a power failure behind a prefix may leave the disk, by a rule each, the
    /// same state once.
    pub fn trees(&self, prefix: usize, random: &mut Random) -> Vec<(String, Tree)> {
        let pending: Vec<usize> = self.pending(prefix).into_iter().collect();
        let is_write = |at: usize| matches!(self.operations[at], Operation::Write(..));
        let lose = |is_lost: bool| if is_lost { Fate::Lost } else { Fate::Kept };
        let tear = |is_torn: bool| if is_torn { Fate::Torn } else { Fate::Kept };
        let mut found = vec![
            ("all is there".to_owned(), self.tree(prefix, &|_| Fate::Kept)),
            ("all is lost".to_owned(), self.tree(prefix, &|_| Fate::Lost)),
            ("all bytes are lost".to_owned(), self.tree(prefix, &|at| lose(is_write(at)))),
            ("all names are lost".to_owned(), self.tree(prefix, &|at| lose(!is_write(at)))),
            ("all bytes are torn".to_owned(), self.tree(prefix, &|at| tear(is_write(at)))),
        ];
        for &one in &pending {
            let what = &self.operations[one];
            let what = format!("{what:?}").chars().take(160).collect::<String>();
            found.push((format!("lost: {what}"), self.tree(prefix, &|at| lose(at == one))));
            found.push((format!("kept: {what}"), self.tree(prefix, &|at| lose(at != one))));
            if is_write(one) {
                found.push((format!("torn: {what}"), self.tree(prefix, &|at| tear(at == one))));
            }
        }
        for _ in 0..RANDOM_CHOICES {
            let mut fate = || random.pick(&[Fate::Kept, Fate::Lost, Fate::Torn]);
            let fates: BTreeMap<usize, Fate> = pending.iter().map(|at| (*at, fate())).collect();
            found.push((format!("{fates:?}"), self.tree(prefix, &|at| fates[&at])));
        }
        let mut seen = BTreeSet::new();
        found.retain(|(_, tree)| seen.insert(tree.hash()));
        found
    }
}

impl Tree {
    /// A number that trees with other files, bytes or directories do not have.
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        Hash::hash(self, &mut hasher);
        hasher.finish()
    }

    /// Whether there is a file at a path.
    pub fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// Makes it below a directory that is not there.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn make(&self, base: &Path) {
        std::fs::create_dir_all(base).expect("a directory for a state");
        for folder in &self.folders {
            std::fs::create_dir_all(base.join(folder)).expect("a directory of a state");
        }
        for (path, bytes) in &self.files {
            std::fs::write(base.join(path), bytes).expect("a file of a state");
        }
    }
}

/// What is so as long as the power does not fail.
#[derive(Default)]
struct Truth<'a> {
    /// Files by name; a file is known by the operation that created it.
    names: BTreeMap<&'a Path, usize>,
    /// The file that an operation has written to.
    written: BTreeMap<usize, usize>,
}

impl<'a> Truth<'a> {
    /// Does an operation and tells the file that it is about.
    fn follow(&mut self, at: usize, operation: &'a Operation) -> Option<usize> {
        match operation {
            Operation::Create(path) => drop(self.names.insert(path, at)),
            Operation::Link(from, to) => {
                let file = *self.names.get(from.as_path())?;
                self.names.insert(to, file);
                return Some(file);
            }
            Operation::Rename(from, to) => {
                let file = self.names.remove(from.as_path())?;
                self.names.insert(to, file);
                return Some(file);
            }
            Operation::Remove(path) => return self.names.remove(path.as_path()),
            Operation::Write(path, _) => {
                let file = *self.names.get(path.as_path())?;
                self.written.insert(at, file);
                return Some(file);
            }
            Operation::Synchronise(path) => return self.names.get(path.as_path()).copied(),
            Operation::MakeDirectory(_)
            | Operation::RemoveDirectory(_)
            | Operation::SynchroniseDirectory(_) => return None,
        }
        Some(at)
    }
}

/// The directory whose names an operation changes.
fn folder_of(operation: &Operation) -> Option<&Path> {
    match operation {
        Operation::MakeDirectory(path)
        | Operation::Create(path)
        | Operation::Link(_, path)
        | Operation::Rename(_, path)
        | Operation::Remove(path)
        | Operation::RemoveDirectory(path) => path.parent(),
        Operation::Write(..) | Operation::Synchronise(_) | Operation::SynchroniseDirectory(_) => {
            None
        }
    }
}

/// What is there of a file's bytes.
#[derive(Default)]
struct Bytes {
    written: Vec<u8>,
    /// Behind this length nothing is there.
    end: usize,
}

impl Bytes {
    fn add(&mut self, bytes: &[u8], fate: Fate) {
        let there = match fate {
            Fate::Kept => bytes.len(),
            Fate::Lost => 0,
            Fate::Torn => bytes.len() / 2,
        };
        let start = self.written.len();
        self.written.extend_from_slice(&bytes[..there]);
        self.written.resize(start + bytes.len(), 0);
        if there > 0 {
            self.end = start + there;
        }
    }

    fn whole(&self) -> Vec<u8> {
        self.written[..self.end].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history() -> History {
        let path = |name: &str| PathBuf::from("/b").join(name);
        let operations = vec![
            Operation::MakeDirectory(path("d")),
            Operation::Create(path("d/t")),
            Operation::Write(path("d/t"), b"abcd".to_vec()),
            Operation::Synchronise(path("d/t")),
            Operation::Link(path("d/t"), path("d/a")),
            Operation::Remove(path("d/t")),
            Operation::SynchroniseDirectory(path("d")),
            Operation::SynchroniseDirectory(path("")),
        ];
        History::new(Path::new("/b"), operations)
    }

    fn files(tree: &Tree) -> Vec<(&str, &[u8])> {
        tree.files.iter().map(|(path, bytes)| (path.to_str().unwrap(), &bytes[..])).collect()
    }

    #[test]
    fn what_was_not_synchronised_may_be_lost_and_nothing_else() {
        let history = history();
        let pending = |prefix| history.pending(prefix).into_iter().collect::<Vec<_>>();
        assert_eq!(pending(3), [0, 1, 2]);
        assert_eq!(pending(4), [0, 1]);
        assert_eq!(pending(6), [0, 1, 4, 5]);
        assert_eq!((pending(7), pending(8)), (vec![0], vec![]));
        assert_eq!(files(&history.tree(3, &|_| Fate::Torn)), [("d/t", &b"ab"[..])]);
        let lost = |one: usize| move |at: usize| if at == one { Fate::Lost } else { Fate::Kept };
        assert_eq!(files(&history.tree(3, &lost(2))), [("d/t", &b""[..])]);
        assert_eq!(files(&history.tree(6, &lost(5))), [("d/a", &b"abcd"[..]), ("d/t", b"abcd")]);
        assert_eq!(files(&history.tree(6, &lost(4))), []);
        assert_eq!(files(&history.tree(7, &|_| Fate::Lost)), [], "its directory has no name");
        assert_eq!(files(&history.tree(8, &|_| Fate::Lost)), [("d/a", &b"abcd"[..])]);
        assert_eq!(history.durable(|path| path.ends_with("a")), Some(7));
    }

    #[test]
    fn each_state_comes_once() {
        let history = history();
        let mut random = Random::new(1);
        assert_eq!(history.trees(8, &mut random).len(), 1);
        assert!(history.trees(6, &mut random).len() > 4);
    }
}
