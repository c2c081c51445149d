//! A store in memory whose faults are chosen by the caller: for the simulator and for tests.
//!
//! It does what stores far away do: fail, take effect and lose the answer, lose the request, or
//! let a creation land long after everybody gave it up. Whatever lands obeys create-if-absent at
//! that moment.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::{Created, Store, StoreError, check, check_prefix};

/// What the store was asked, as its fault hook sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A creation of this path.
    Create(&'a str),
    /// A read of this path, or of its size.
    Get(&'a str),
    /// A list of this prefix.
    List(&'a str),
    /// A deletion of this path.
    Delete(&'a str),
}

/// What happens to one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// It succeeds.
    #[default]
    None,
    /// It fails without effect, and the caller knows.
    Fail,
    /// It takes effect, and the caller does not know.
    LostAnswer,
    /// It takes no effect, and the caller does not know.
    LostRequest,
    /// A creation lands at [`MemoryStore::land_one`], and the caller does not know. Like
    /// [`Fault::LostRequest`] for everything else.
    Delayed,
    /// A list lacks the newest so many objects. Like [`Fault::None`] for everything else.
    Stale(usize),
}

/// Objects in memory; clones share them.
#[derive(Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
}

type Hook = Box<dyn FnMut(Operation<'_>) -> Fault + Send>;

#[derive(Default)]
struct Inner {
    /// Bytes by path, with the count of creations at their own.
    objects: BTreeMap<String, (u64, Vec<u8>)>,
    created_count: u64,
    delayed: VecDeque<(String, Vec<u8>)>,
    hook: Option<Hook>,
}

impl MemoryStore {
    /// An empty store without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks `hook` for the fault of every operation from now on.
    pub fn set_faults(&self, hook: impl FnMut(Operation<'_>) -> Fault + Send + 'static) {
        self.inner().hook = Some(Box::new(hook));
    }

    /// Ends all faults; delayed creations still wait.
    pub fn heal(&self) {
        self.inner().hook = None;
    }

    /// How many creations have not landed yet.
    pub fn delayed_count(&self) -> usize {
        self.inner().delayed.len()
    }

    /// Lets the oldest delayed creation land, if there is one: it writes, or finds the path taken.
    pub fn land_one(&self) -> Option<(String, Created)> {
        let mut inner = self.inner();
        let (path, bytes) = inner.delayed.pop_front()?;
        let created = inner.create(&path, &bytes);
        Some((path, created))
    }

    /// Damages an object as a test wants it.
    pub fn overwrite(&self, path: &str, bytes: &[u8]) {
        let mut inner = self.inner();
        inner.objects.remove(path);
        inner.create(path, bytes);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn fault(&mut self, operation: Operation<'_>) -> Fault {
        self.hook.as_mut().map_or(Fault::None, |hook| hook(operation))
    }

    fn create(&mut self, path: &str, bytes: &[u8]) -> Created {
        if self.objects.contains_key(path) {
            return Created::Exists;
        }
        self.created_count += 1;
        self.objects.insert(path.to_owned(), (self.created_count, bytes.to_vec()));
        Created::Written
    }

    /// The fault of an operation that only reads: no answer is an error that is known.
    fn reads(&mut self, operation: Operation<'_>) -> Result<Fault, StoreError> {
        match self.fault(operation) {
            fault @ (Fault::None | Fault::Stale(_)) => Ok(fault),
            Fault::Fail | Fault::LostAnswer | Fault::LostRequest | Fault::Delayed => {
                Err(StoreError::failed(format!("no answer to {operation:?}"), "an injected fault"))
            }
        }
    }
}

impl Store for MemoryStore {
    fn create_of(&self, path: &str, pieces: &[&[u8]]) -> Result<Created, StoreError> {
        let bytes = &pieces.concat()[..];
        check(path)?;
        let mut inner = self.inner();
        let operation = Operation::Create(path);
        match inner.fault(operation) {
            Fault::None | Fault::Stale(_) => Ok(inner.create(path, bytes)),
            Fault::Fail => Err(refused(operation)),
            Fault::LostAnswer => {
                inner.create(path, bytes);
                Err(silent(operation))
            }
            Fault::LostRequest => Err(silent(operation)),
            Fault::Delayed => {
                inner.delayed.push_back((path.to_owned(), bytes.to_vec()));
                Err(silent(operation))
            }
        }
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        check(path)?;
        let mut inner = self.inner();
        inner.reads(Operation::Get(path))?;
        Ok(inner.objects.get(path).map(|(_, bytes)| bytes.clone()))
    }

    fn get_range(
        &self,
        path: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let whole = self.get(path)?;
        let within = |whole: Vec<u8>| {
            let range = whole.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
            range.take(usize::try_from(bytes).unwrap_or(usize::MAX)).collect()
        };
        Ok(whole.map(within))
    }

    fn show(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        check(path)?;
        let mut inner = self.inner();
        let operation = Operation::Create(path);
        match inner.fault(operation) {
            Fault::None | Fault::Stale(_) | Fault::LostAnswer => {
                inner.objects.remove(path);
                inner.create(path, bytes);
                Ok(())
            }
            Fault::Fail => Err(refused(operation)),
            Fault::LostRequest | Fault::Delayed => Err(silent(operation)),
        }
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        check(path)?;
        let mut inner = self.inner();
        inner.reads(Operation::Get(path))?;
        Ok(inner.objects.get(path).map(|(_, bytes)| bytes.len() as u64))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        check_prefix(prefix)?;
        let mut inner = self.inner();
        let missing = match inner.reads(Operation::List(prefix))? {
            Fault::Stale(missing) => missing as u64,
            _ => 0,
        };
        let seen = inner.created_count.saturating_sub(missing);
        let from = inner.objects.range(prefix.to_owned()..);
        let ours = from.take_while(|(path, _)| path.starts_with(prefix));
        Ok(ours.filter(|(_, (at, _))| *at <= seen).map(|(path, _)| path.clone()).collect())
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        check(path)?;
        let mut inner = self.inner();
        let operation = Operation::Delete(path);
        match inner.fault(operation) {
            Fault::None | Fault::Stale(_) => {
                inner.objects.remove(path);
                Ok(())
            }
            Fault::Fail => Err(refused(operation)),
            Fault::LostAnswer => {
                inner.objects.remove(path);
                Err(silent(operation))
            }
            Fault::LostRequest | Fault::Delayed => Err(silent(operation)),
        }
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.inner();
        let paths: Vec<&String> = inner.objects.keys().collect();
        f.debug_struct("MemoryStore")
            .field("paths", &paths)
            .field("delayed", &inner.delayed.len())
            .finish_non_exhaustive()
    }
}

fn refused(operation: Operation<'_>) -> StoreError {
    StoreError::failed(format!("the store refused {operation:?}"), "an injected fault")
}

fn silent(operation: Operation<'_>) -> StoreError {
    StoreError::unknown(format!("no answer to {operation:?}"), "an injected fault")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store_with(fault: Fault) -> MemoryStore {
        let store = MemoryStore::new();
        store.set_faults(move |_| fault);
        store
    }

    #[test]
    fn without_faults_it_is_a_store() {
        let store = MemoryStore::new();
        assert_eq!(store.create("b/1", b"one"), Ok(Created::Written));
        assert_eq!(store.create("b/1", b"other"), Ok(Created::Exists));
        assert_eq!(store.clone().get("b/1"), Ok(Some(b"one".to_vec())));
        assert_eq!((store.size("b/1"), store.size("a")), (Ok(Some(3)), Ok(None)));
        store.create("b/0", b"").unwrap();
        store.create("c", b"").unwrap();
        assert_eq!(store.list("b/").unwrap(), ["b/0", "b/1"]);
        assert_eq!((store.delete("b/1"), store.delete("b/1")), (Ok(()), Ok(())));
        assert_eq!(store.list("").unwrap(), ["b/0", "c"]);
        assert!(store.create("../x", b"").is_err() && store.get("/x").is_err());
    }

    #[test]
    fn faults_tell_what_is_known_and_do_what_they_say() {
        for (fault, unknown, lands) in [
            (Fault::Fail, false, false),
            (Fault::LostAnswer, true, true),
            (Fault::LostRequest, true, false),
            (Fault::Delayed, true, false),
        ] {
            let store = store_with(fault);
            assert_eq!(store.create("a", b"x").unwrap_err().unknown, unknown);
            assert!(store.get("a").is_err() && store.list("").is_err());
            store.heal();
            assert_eq!(store.get("a").unwrap().is_some(), lands, "{fault:?}");
            assert_eq!(store.delayed_count(), usize::from(fault == Fault::Delayed));
        }
    }

    #[test]
    fn a_delayed_creation_lands_unless_the_path_is_taken_by_then() {
        let store = store_with(Fault::Delayed);
        store.create("a", b"late").unwrap_err();
        store.create("b", b"late").unwrap_err();
        store.heal();
        assert_eq!(store.create("a", b"early"), Ok(Created::Written));
        assert_eq!(store.land_one(), Some(("a".to_owned(), Created::Exists)));
        assert_eq!(store.land_one(), Some(("b".to_owned(), Created::Written)));
        assert_eq!(store.land_one(), None);
        assert_eq!(store.get("a"), Ok(Some(b"early".to_vec())));
        assert_eq!(store.get("b"), Ok(Some(b"late".to_vec())));
    }

    #[test]
    fn a_stale_list_lacks_the_newest() {
        let store = MemoryStore::new();
        for path in ["a", "c", "b"] {
            store.create(path, b"").unwrap();
        }
        store.set_faults(|_| Fault::Stale(1));
        assert_eq!(store.list("").unwrap(), ["a", "c"]);
        assert_eq!(store.get("b"), Ok(Some(Vec::new())), "reads are never stale");
    }
}
