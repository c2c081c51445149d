//! Valid bytes: checkpoints of every simulated job.

use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg::config::NetworkConfig;
use thalweg::control::{Begun, JobDescription, Manner, begin};
use thalweg::runtime::{Restore, Restores};
use thalweg::testing::{Cluster, ClusterOptions};
use thalweg::time::ManualClock;
use thalweg_checkpoint::coordinator::Config;
use thalweg_checkpoint::manifest::CoreEntry;
use thalweg_checkpoint::{FileInfo, Image, Log, MemoryStore, Store};

use crate::crash::Episode;
use crate::crash::episode::JOB_ID;
use crate::sim::Random;
use crate::sim::jobs::{CASES, Case, Instance};

const CORES: usize = 2;

/// The checkpoint that the corpus is taken from.
const CHECKPOINT: u64 = 3;

/// Records that a task takes in a turn: few, so that much is on its way.
const BUDGET: usize = 7;

/// A job in the middle of its run.
pub struct Stored {
    /// The job.
    pub case: &'static Case,
    /// How its cores are built.
    pub options: ClusterOptions,
    /// What is in its store, by path.
    pub objects: BTreeMap<String, Vec<u8>>,
    /// What its cores are restored from.
    pub cores: Vec<Restore>,
    /// Where in the packs that lies.
    pub files: Vec<FileInfo>,
}

impl Stored {
    /// Runs a job until it has made some checkpoints; `None` if it has finished before.
    ///
    /// # Panics
    /// If it fails.
    pub fn of(case: &'static Case, seed: u64) -> Option<Self> {
        let instance = (case.make)(&Random::new(seed));
        let clock = ManualClock::new(1_700_000_000_000);
        let network = NetworkConfig { buffer_size: 512, credits: 2, ..NetworkConfig::default() };
        let clock_of_job = clock.clone();
        let options = ClusterOptions {
            network,
            clock: clock_of_job,
            checkpoints: true,
            ..ClusterOptions::new(CORES)
        };
        let store = MemoryStore::new();
        let afresh = Restores { cores: &[], store: &store };
        let mut cluster = cluster(&instance, &options, afresh).expect("the job is built");
        cluster.workers.iter_mut().for_each(|worker| worker.set_budget(BUDGET));
        let Begun::Attempt(attempt) = begun(&store, &cluster).expect("an attempt begins") else {
            return None;
        };
        let (keeper, kept) = (attempt.keeper, Box::new(store.clone()));
        let mut episode = Episode::start(cluster, keeper, kept, &clock, None).expect("it starts");
        for turn in 0.. {
            if episode.turn(turn).expect("the job runs") {
                return None;
            }
            if episode.newest() >= Some(CHECKPOINT) {
                break;
            }
        }
        let objects = objects(&store);
        let (cores, files) = restores(&store);
        Some(Self { case, options, objects, cores, files })
    }

    /// One of every job.
    ///
    /// # Panics
    /// If a job has finished before it made enough checkpoints, whatever its seed.
    pub fn all() -> Vec<Self> {
        let some = |case| (0..100).find_map(|seed| Self::of(case, seed));
        CASES.iter().map(|case| some(case).expect("a job that takes a while")).collect()
    }

    /// The bytes of a file.
    pub fn bytes(&self, file: &FileInfo) -> &[u8] {
        &self.objects[&file.path][file.offset as usize..][..file.bytes as usize]
    }

    /// The images of its cores.
    pub fn images(&self) -> impl Iterator<Item = Vec<u8>> {
        self.cores.iter().map(|core| core.image.encode())
    }

    /// All segments of its cores.
    pub fn segments(&self) -> impl Iterator<Item = &[u8]> {
        self.cores.iter().flat_map(|core| &core.segments).map(|file| self.bytes(file))
    }

    /// The log's entries.
    pub fn entries(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.objects.iter().filter(|(path, _)| path.contains("/log/")).map(|(_, it)| it)
    }

    /// Makes the job's cores from `cores`.
    ///
    /// # Errors
    /// They are damaged.
    pub fn restore(&self, cores: &[Rc<Restore>], store: &MemoryStore) -> thalweg::Result<Cluster> {
        let restores = Restores { cores, store };
        cluster(&(self.case.make)(&Random::new(0)), &self.options, restores)
    }

    /// A store with what the job has stored.
    pub fn store(&self) -> MemoryStore {
        let store = MemoryStore::new();
        self.objects.iter().for_each(|(path, bytes)| store.overwrite(path, bytes));
        store
    }

    /// Begins the next attempt from a store, and makes its cores.
    ///
    /// # Errors
    /// What is in it is damaged.
    pub fn begin(&self, store: &MemoryStore, cluster: &Cluster) -> thalweg::Result<()> {
        let Begun::Attempt(attempt) = begun(store, cluster)? else { return Ok(()) };
        let cores: Vec<_> = attempt.cores.into_iter().map(Rc::new).collect();
        self.restore(&cores, store).map(drop)
    }
}

fn cluster(
    instance: &Instance,
    options: &ClusterOptions,
    restores: Restores<'_>,
) -> thalweg::Result<Cluster> {
    Cluster::restored(&*instance.job, &instance.args, options, restores)
}

fn begun(store: &MemoryStore, cluster: &Cluster) -> thalweg::Result<Begun> {
    let job = JobDescription {
        name: "corpus".to_owned(),
        id: JOB_ID.to_owned(),
        graph: cluster.graph.clone(),
        parallelism: CORES,
    };
    let config = Config { interval_ms: Some(5), ..Config::default() };
    // No way leads back: what is damaged is refused.
    let manner = Manner { keeps_output: Some("out"), ..Manner::newest(config) };
    begin(store, &job, manner, 7, 0, &|| Ok(()))
}

fn objects(store: &MemoryStore) -> BTreeMap<String, Vec<u8>> {
    let paths = store.list("").expect("a list");
    let read = |path: String| store.get(&path).expect("an answer").map(|bytes| (path, bytes));
    paths.into_iter().filter_map(read).collect()
}

fn restores(store: &MemoryStore) -> (Vec<Restore>, Vec<FileInfo>) {
    let history = Log::read(store, JOB_ID).expect("a log");
    let point = history.restore_point().expect("a checkpoint");
    let manifest = Log::manifest(store, JOB_ID, point).expect("its manifest");
    let read = |file: &FileInfo| {
        let bytes = store.get_range(&file.path, file.offset, file.bytes);
        bytes.expect("an answer").expect("a file of a checkpoint")
    };
    let restore = |core: &CoreEntry| Restore {
        image: Image::decode(&read(&core.part)).expect("an image"),
        segments: core.files.clone(),
        is_final: false,
        ..Restore::default()
    };
    let cores = manifest.cores.iter().map(restore).collect();
    (cores, manifest.all_files().cloned().collect())
}
