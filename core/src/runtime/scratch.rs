//! Where the state of each core goes that does not fit into its memory.
//!
//! The cold tier's directory is scratch: made when state first exceeds its budget, removed when the
//! run ends; what a run has left that was killed goes when the next one starts. A run within its
//! budget makes no file.

mod claim;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_net::Doorbell;

use self::claim::Claim;
use super::{RunOptions, SideCpus};
use crate::config::{Backend, state_home};
use crate::state::{OpenTier, StateMemory};

/// What the cores of a run share about their cold state.
#[derive(Clone)]
pub(crate) struct Scratch(Arc<Shared>);

struct Shared {
    /// The job's own directory.
    job: PathBuf,
    /// Bytes of one core's state; `None`: no bound is known.
    bytes: Option<usize>,
    backend: Backend,
    /// Whether it was said that the budget is exceeded.
    warned: Arc<AtomicBool>,
    /// Directories of cores that hold cold state of this run, and its claim on them.
    opened: Mutex<Opened>,
    #[cfg(feature = "rocksdb")]
    rocks: rocks::Shared,
}

#[derive(Default)]
struct Opened {
    claim: Option<Claim>,
    cores: Vec<PathBuf>,
}

impl Scratch {
    /// Decides where a run keeps cold state; makes nothing yet.
    pub(crate) fn new(options: &RunOptions) -> Self {
        let config = &options.runtime.state;
        let name = options.job_id.clone().unwrap_or_else(run_name);
        let bytes = config.bytes_per_core(options.parallelism);
        Self(Arc::new(Shared {
            job: config.directory.clone().unwrap_or_else(state_home).join(name),
            bytes,
            backend: config.backend,
            warned: Arc::default(),
            opened: Mutex::default(),
            #[cfg(feature = "rocksdb")]
            rocks: rocks::Shared::new(bytes.unwrap_or(usize::MAX), options.parallelism),
        }))
    }

    /// The memory of one core's state and the way to its cold tier.
    pub(crate) fn memory(&self, cpus: &SideCpus, doorbell: &Doorbell) -> StateMemory {
        let tier = match self.0.backend {
            Backend::Rocksdb => self.tier(cpus, doorbell),
            Backend::Hashmap => None,
        };
        let hint = match self.0.backend {
            Backend::Rocksdb => {
                "it stays in memory, since this build is without the feature \"rocksdb\"; build \
                 with it, or raise state.memory"
            }
            Backend::Hashmap => {
                "it stays in memory, since state.backend is hashmap; set it to rocksdb, or raise \
                 state.memory"
            }
        };
        let limit =
            self.0.bytes.map(|bytes| if tier.is_some() { self.table(bytes) } else { bytes });
        StateMemory { limit, eager: false, tier, hint, warned: Arc::clone(&self.0.warned) }
    }

    #[cfg(feature = "rocksdb")]
    fn table(&self, bytes: usize) -> usize {
        // A turn may add some rows above the bound before tasks with state stop.
        bytes - self.0.rocks.bytes_per_core().min(bytes / 2) - bytes / 16
    }

    #[cfg(not(feature = "rocksdb"))]
    fn table(&self, bytes: usize) -> usize {
        bytes
    }

    #[cfg(feature = "rocksdb")]
    fn tier(&self, cpus: &SideCpus, doorbell: &Doorbell) -> Option<OpenTier> {
        let (scratch, cpus, doorbell) = (self.clone(), cpus.clone(), doorbell.clone());
        Some(std::rc::Rc::new(move |core| {
            scratch.claim()?;
            let directory = scratch.directory().join(format!("core-{core}"));
            let tier = scratch.0.rocks.open(core, &directory, &cpus, doorbell.clone())?;
            scratch.opened().cores.push(directory);
            Ok(tier)
        }))
    }

    #[cfg(not(feature = "rocksdb"))]
    fn tier(&self, _cpus: &SideCpus, _doorbell: &Doorbell) -> Option<OpenTier> {
        None
    }

    /// Tells other runs that the directory is in use.
    #[cfg(feature = "rocksdb")]
    fn claim(&self) -> Result<(), thalweg_state::cold::ColdError> {
        let mut opened = self.opened();
        if opened.claim.is_none() {
            let claim = Claim::new(&self.0.job);
            opened.claim = Some(claim.map_err(|error| {
                let directory = self.directory();
                let what = format!("cannot claim the directory {}: {error}", directory.display());
                thalweg_state::cold::ColdError::new(what)
                    .with_hint("set data.dir to a directory that can be written")
            })?);
        }
        Ok(())
    }

    /// Removes the cold state of runs that were killed, here or anywhere below the same directory.
    pub(crate) fn sweep(&self) {
        let Some(home) = self.0.job.parent() else { return };
        let (runs, errors) = claim::sweep(home);
        if runs > 0 {
            let home = home.display();
            tracing::warn!("removed cold state that {runs} killed run(s) had left in {home}");
        }
        for error in errors {
            tracing::warn!("cannot remove cold state that a killed run has left in {error}");
        }
    }

    #[cfg(feature = "rocksdb")]
    fn directory(&self) -> PathBuf {
        self.0.job.join("state")
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.0.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes what the run has left; its tiers are closed. What another process keeps under the
    /// same name is left alone.
    pub(crate) fn remove(&self) {
        let Opened { claim, cores } = std::mem::take(&mut *self.opened());
        for directory in cores.into_iter().filter(|directory| directory.exists()) {
            if let Err(error) = std::fs::remove_dir_all(&directory) {
                let directory = directory.display();
                tracing::warn!("cannot remove the directory of cold state {directory}: {error}");
            }
        }
        // The directories above go, too, unless something else is kept there.
        if let Some(claim) = claim {
            claim.release();
        }
    }
}

/// A name for the directory of a run without an id.
fn run_name() -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    format!("run-{}-{number}", std::process::id())
}

#[cfg(feature = "rocksdb")]
mod rocks {
    //! RocksDB's part of the memory, and how a core's database is opened.

    use std::path::Path;
    use std::sync::{Arc, OnceLock};

    use thalweg_net::Doorbell;
    use thalweg_state::cold::{ColdError, ColdTier, RocksOptions, RocksShared, RocksTier};

    use crate::runtime::SideCpus;

    /// Least memory for filters and indexes.
    const CACHE_MIN: usize = 1 << 20;

    /// Bounds of the memory for rows that are in no file yet.
    const MEMTABLE: std::ops::RangeInclusive<usize> = 1 << 20..=16 << 20;

    /// What RocksDB's instances take, and share.
    pub(super) struct Shared {
        /// The cache that all share, made with the first of them.
        cache: OnceLock<RocksShared>,
        cache_bytes: usize,
        memtable_bytes: usize,
        cores: usize,
    }

    impl Shared {
        /// A sixteenth of the budget each for filters and for rows that are being written.
        pub(super) fn new(bytes_per_core: usize, cores: usize) -> Self {
            let memtable_bytes = (bytes_per_core / 16).clamp(*MEMTABLE.start(), *MEMTABLE.end());
            let cache_bytes = (bytes_per_core / 16).saturating_mul(cores).max(CACHE_MIN);
            Self { cache: OnceLock::new(), cache_bytes, memtable_bytes, cores }
        }

        /// One core's part.
        pub(super) fn bytes_per_core(&self) -> usize {
            self.cache_bytes / self.cores.max(1) + self.memtable_bytes / 2 * 3
        }

        pub(super) fn open(
            &self,
            core: usize,
            directory: &Path,
            cpus: &SideCpus,
            doorbell: Doorbell,
        ) -> Result<Box<dyn ColdTier>, ColdError> {
            let shared = self.cache.get_or_init(|| RocksShared::new(self.cache_bytes));
            let options = RocksOptions {
                core,
                cpus: cpus.list().to_vec(),
                memtable_bytes: self.memtable_bytes,
                ..RocksOptions::default()
            };
            let wake = Arc::new(move || doorbell.ring());
            Ok(Box::new(RocksTier::open(directory, shared, &options, wake)?))
        }
    }
}

#[cfg(all(test, feature = "rocksdb"))]
mod tests {
    use super::*;

    #[test]
    fn what_another_process_keeps_under_the_same_name_is_left_alone() {
        let directory = std::env::temp_dir().join(format!("thalweg-scratch-{}", run_name()));
        let mut options = RunOptions::new(1);
        options.job_id = Some("same".to_owned());
        options.runtime.state.directory = Some(directory.clone());
        let scratch = Scratch::new(&options);
        let (theirs, own) =
            (scratch.directory().join("core-0"), scratch.directory().join("core-1"));
        [&theirs, &own].iter().for_each(|path| std::fs::create_dir_all(path).unwrap());
        std::fs::write(theirs.join("000007.sst"), "rows").unwrap();
        scratch.claim().unwrap();
        scratch.opened().cores.push(own.clone());
        scratch.remove();
        assert!(theirs.join("000007.sst").exists() && !own.exists());
        std::fs::remove_dir_all(&theirs).unwrap();
        scratch.claim().unwrap();
        scratch.remove();
        assert!(directory.exists() && !directory.join("same").exists(), "empty ones go, too");
        std::fs::remove_dir(directory).unwrap();
    }
}
