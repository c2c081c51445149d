//! Keepers of attempts that are over and do not know it: they go on with what they had to do while
//! the next attempt begins and runs, and must find out from the log.

use std::cell::RefCell;
use std::collections::VecDeque;

use thalweg::control::{Action, Keeper, Work};
use thalweg_checkpoint::{Created, MemoryStore, Store, StoreError};

use super::Random;
use crate::seen;

/// A store in which zombies act between any two operations.
pub struct Haunted {
    /// The store itself.
    pub store: MemoryStore,
    job: String,
    inner: RefCell<Inner>,
}

struct Inner {
    zombies: Vec<Zombie>,
    random: Random,
    /// Percentage of operations before which one acts.
    acts: u64,
}

struct Zombie {
    keeper: Keeper,
    work: VecDeque<Work>,
    now_ms: u64,
}

impl Haunted {
    /// A store without zombies.
    pub fn new(job: &str, mut random: Random) -> Self {
        let acts = random.pick(&[2, 20, 60]);
        let inner = RefCell::new(Inner { zombies: Vec::new(), random, acts });
        Self { store: MemoryStore::new(), job: job.to_owned(), inner }
    }

    /// A keeper goes on with its work although its cores are dead.
    pub fn add(&self, keeper: Keeper, work: Vec<Work>, now_ms: u64) {
        let work = work.into();
        self.inner.borrow_mut().zombies.push(Zombie { keeper, work, now_ms });
    }

    fn stir(&self) {
        let Inner { zombies, random, acts } = &mut *self.inner.borrow_mut();
        if zombies.is_empty() || !random.chance(*acts) {
            return;
        }
        let at = random.below(zombies.len() as u64) as usize;
        if !zombies[at].act(&self.store, &self.job) {
            zombies.swap_remove(at);
        }
    }
}

impl Zombie {
    /// Does a piece of work; false: it knows that it is over, or has nothing to do any more.
    fn act(&mut self, store: &MemoryStore, job: &str) -> bool {
        self.now_ms += 1;
        let mut actions = self.keeper.tick(self.now_ms);
        if let Some(work) = self.work.pop_front() {
            seen!("a zombie went on with its work");
            let done = work.carry_out(store, job);
            actions.extend(self.keeper.did(self.now_ms, done));
        }
        for action in actions {
            match action {
                Action::Do(work) => self.work.push_back(work),
                Action::Fail { is_final, .. } => {
                    seen!("a zombie found that it was superseded", if is_final);
                    return false;
                }
                Action::Tell(..)
                | Action::Kept
                | Action::NotKept(_)
                | Action::Answer(..)
                | Action::Finished => {}
            }
        }
        !self.work.is_empty() || self.keeper.wake_at().is_some_and(|at| at < self.now_ms + 10_000)
    }
}

impl Store for Haunted {
    fn create_of(&self, path: &str, pieces: &[&[u8]]) -> Result<Created, StoreError> {
        self.stir();
        self.store.create_of(path, pieces)
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.stir();
        self.store.get(path)
    }

    fn get_range(
        &self,
        path: &str,
        offset: u64,
        bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        self.stir();
        self.store.get_range(path, offset, bytes)
    }

    fn show(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.stir();
        self.store.show(path, bytes)
    }

    fn size(&self, path: &str) -> Result<Option<u64>, StoreError> {
        self.store.size(path)
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        self.stir();
        self.store.list(prefix)
    }

    fn delete(&self, path: &str) -> Result<(), StoreError> {
        self.stir();
        self.store.delete(path)
    }
}
