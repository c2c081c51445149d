//! The beginning of an attempt: what the log says, what is restored, whose the next entry is.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use thalweg_checkpoint::coordinator::{Config, Start};
use thalweg_checkpoint::log::{Completed, Mark, VERSION};
use thalweg_checkpoint::manifest::{
    self, CoreEntry, FileInfo, JobIdentity, Manifest, OperatorIdentity, StateIdentity,
};
use thalweg_checkpoint::store::checksum;
use thalweg_checkpoint::{
    Append, Coordinator, Entry, History, Image, Log, RestoreError, Store, Verdict, What, fail_point,
};
use thalweg_state::group;
use thalweg_state::segment::{ColumnKind, SegmentError, SegmentStream};

use super::Keeper;
use crate::error::Kind;
use crate::graph::JobGraph;
use crate::runtime::{Restore, damaged};
use crate::state::UNION_LIST;
use crate::{Error, Result};

/// The job whose attempt begins.
#[derive(Debug, Clone)]
pub struct JobDescription {
    /// Its name.
    pub name: String,
    /// Names its directory in the store.
    pub id: String,
    /// Its graph.
    pub graph: JobGraph,
    /// On how many cores it runs.
    pub parallelism: usize,
}

/// An attempt whose entry is in the log.
pub struct Attempt {
    /// Its number.
    pub number: u64,
    /// Keeps its checkpoints.
    pub keeper: Keeper,
    /// The checkpoint that it goes on from.
    pub from: Option<u64>,
    /// What each core is restored from; none if it begins afresh.
    pub cores: Vec<Restore>,
    /// Whether an attempt was made before.
    pub is_resumed: bool,
}

/// From where a job begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartFrom {
    /// From its newest complete checkpoint.
    Newest,
    /// From the beginning of its input, whatever it has done before.
    Nothing,
}

/// How an attempt begins.
#[derive(Debug, Clone, Copy)]
pub struct Manner<'a> {
    /// When checkpoints are made and how many are kept.
    pub config: Config,
    /// From where.
    pub from: RestartFrom,
    /// Checkpoints that turned out to be damaged when they were restored.
    pub given_up: &'a BTreeSet<u64>,
    /// A sink that cannot take back what it has committed: then nobody goes back behind the newest
    /// checkpoint.
    pub keeps_output: Option<&'a str>,
}

impl Manner<'_> {
    /// From the newest checkpoint that is not damaged.
    pub fn newest(config: Config) -> Self {
        let (from, given_up) = (RestartFrom::Newest, const { &BTreeSet::new() });
        Self { config, from, given_up, keeps_output: None }
    }
}

/// What came of the wish to begin.
pub enum Begun {
    /// The job finished long ago.
    Finished,
    /// It goes on.
    Attempt(Box<Attempt>),
}

/// How often an entry is sent whose outcome is unknown.
const SENDINGS_MAX: usize = 10;

/// Begins the next attempt of a job: reads the log, reads what is restored, and owns the next
/// entry. `nonce` is a random number; `epoch_ms` is the wall clock at time 0 of the keeper's calls;
/// `prepare` is called before an attempt owns its entry that begins its output anew.
///
/// # Errors
/// The store, a damaged or missing file, a checkpoint of another job, or another attempt that was
/// quicker.
pub fn begin(
    store: &dyn Store,
    job: &JobDescription,
    manner: Manner<'_>,
    nonce: u64,
    epoch_ms: u64,
    prepare: &dyn Fn() -> Result<()>,
) -> Result<Begun> {
    let history = Log::read(store, &job.id).map_err(refused)?;
    let Manner { config, from, .. } = manner;
    let afresh = from == RestartFrom::Nothing;
    if history.is_finished() && !afresh {
        return Ok(Begun::Finished);
    }
    let identity = identity(job);
    let read = |completed: Completed| Log::manifest(store, &job.id, completed).map_err(refused);
    let point = match from {
        RestartFrom::Newest => restore_point(store, job, &identity, &history, manner)?,
        RestartFrom::Nothing => None,
    };
    let (from, cores) = point.unzip();
    let cores = cores.unwrap_or_default();
    let kept = if afresh { 0 } else { config.retained.get() };
    let retained = history.retained(kept).into_iter();
    // What lies behind the restore point is void from now on.
    let retained = retained.filter(|it| from.is_none_or(|from| it.checkpoint <= from)).map(read);
    let mut live: Vec<Completed> = history.live().collect();
    live.retain(|it| from.is_some_and(|from| it.checkpoint <= from));
    let (attempt, term) = (history.attempt() + 1, history.term() + 1);
    let first_id = history.next_id();
    let start = Start {
        key_groups: key_groups(job),
        job: identity,
        attempt,
        term,
        nonce,
        next_k: history.next() + 1,
        first_k: history.first(),
        live: live.into_iter().rev().collect(),
        next_id: first_id,
        newest: from,
        retained: retained.collect::<Result<_>>()?,
        found: store.list(&format!("{}/", job.id)).unwrap_or_default(),
        took_over: false,
        epoch_ms,
    };
    let is_resumed = history.next() > 0 && !afresh;
    if !is_resumed {
        prepare()?;
        fail_point!("outputs-prepared");
    }
    let what = What::Attempt { from, first_id };
    let entry = Entry { version: VERSION, attempt, term, nonce, what };
    fail_point!("before-attempt-entry");
    let after = history.last().map(Mark::writer);
    own(store, &Append::new(&job.id, history.next(), &entry, after))?;
    fail_point!("behind-attempt-entry");
    let coordinator = Coordinator::new(config, start);
    let keeper = Keeper::new(&job.id, attempt, coordinator, job.parallelism);
    Ok(Begun::Attempt(Box::new(Attempt { number: attempt, keeper, from, cores, is_resumed })))
}

/// The newest checkpoint whose files are what they were, and what each core is restored from; none
/// if none was complete.
fn restore_point(
    store: &dyn Store,
    job: &JobDescription,
    identity: &JobIdentity,
    history: &History,
    manner: Manner<'_>,
) -> Result<Option<(u64, Vec<Restore>)>> {
    let mut damage: Option<Error> = None;
    let retained = manner.config.retained.get() as usize;
    for (nth, completed) in history.live().take(retained).enumerate() {
        if nth > 0
            && let Some(sink) = manner.keeps_output
        {
            return Err(no_way_back(damage, sink));
        }
        if manner.given_up.contains(&completed.checkpoint) {
            continue;
        }
        let manifest = Log::manifest(store, &job.id, completed).map_err(refused)?;
        match restore(store, job, identity, &manifest) {
            Ok(cores) => {
                if nth > 0 {
                    let checkpoint = completed.checkpoint;
                    tracing::warn!(
                        checkpoint,
                        "the job goes back behind its newest checkpoint: output is taken back"
                    );
                }
                return Ok(Some((completed.checkpoint, cores)));
            }
            Err(error) if error.kind() == Kind::Damaged => {
                tracing::warn!("a checkpoint is damaged: {error}");
                damage.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match damage {
        Some(error) => Err(error),
        None if manner.given_up.is_empty() => Ok(None),
        None => Err(all_damaged()),
    }
}

#[cold]
fn no_way_back(damage: Option<Error>, sink: &str) -> Error {
    let hint = format!(
        "put the damaged files back, or pass --allow-output-replay: the job goes on from an older \
         checkpoint then, and sink {sink}, which cannot take back what it has committed since, \
         gets it again"
    );
    damage.unwrap_or_else(all_damaged).with_hint(hint)
}

#[cold]
fn all_damaged() -> Error {
    let what = "cannot restore the job: its newest checkpoint is damaged, and there is no way back";
    Error::new(Kind::Damaged, what).with_hint(
        "thalweg checkpoint verify names the damaged files: put them back, or begin afresh with \
         --restart-from none",
    )
}

fn own(store: &dyn Store, append: &Append) -> Result<()> {
    let mut refusal = None;
    for _ in 0..SENDINGS_MAX {
        match append.send(store) {
            Verdict::Ours => return Ok(()),
            Verdict::Superseded => return Err(superseded(&append.path())),
            Verdict::SendAgain => {}
            Verdict::NotWritten(error) => refusal = Some(error),
        }
    }
    Err(match refusal {
        Some(error) => refused(error),
        None => {
            Error::new(Kind::Io, format!("cannot begin: nobody knows who owns {}", append.path()))
                .with_hint("run the same command again once the store answers")
        }
    })
}

#[cold]
fn superseded(path: &str) -> Error {
    Error::new(Kind::Io, format!("cannot begin: another attempt of the job owns {path}"))
        .with_hint("end the other process, or give this job a --job-id of its own")
}

fn key_groups(job: &JobDescription) -> Vec<(u32, u32)> {
    let (cores, groups) = (job.parallelism as u32, job.graph.max_parallelism);
    let range = |core| {
        let range = group::range(core, cores, groups);
        (u32::from(*range.start()), range.len() as u32)
    };
    (0..cores).map(range).collect()
}

fn identity(job: &JobDescription) -> JobIdentity {
    let with_state = job.graph.nodes.iter().filter(|node| !node.states.is_empty());
    let operator = |node: &crate::graph::Node| OperatorIdentity {
        name: node.name.clone(),
        states: node.states.iter().map(state).collect(),
    };
    JobIdentity {
        name: job.name.clone(),
        id: job.id.clone(),
        graph_digest: job.graph.digest(),
        parallelism: job.parallelism as u32,
        max_parallelism: job.graph.max_parallelism,
        operators: with_state.map(operator).collect(),
    }
}

fn state(info: &crate::graph::StateInfo) -> StateIdentity {
    StateIdentity {
        name: info.name.clone(),
        kind: info.kind.to_owned(),
        fingerprint: info.fingerprint,
    }
}

/// Reads each core's part against its length and checksum; segments are read by their cores.
fn restore(
    store: &dyn Store,
    job: &JobDescription,
    identity: &JobIdentity,
    manifest: &Manifest,
) -> Result<Vec<Restore>> {
    manifest.check_job(identity).map_err(|error| {
        let RestoreError { checkpoint, what, hint } = error;
        Error::usage(format!("cannot restore checkpoint {checkpoint}: {what}")).with_hint(hint)
    })?;
    let core = |entry: &CoreEntry| {
        let image = Image::decode(&file(store, manifest, &entry.part)?);
        let damaged = |what: &str| damaged(manifest.checkpoint, &entry.part, what);
        let image = image.map_err(|error| damaged(&error.to_string()))?;
        let is_final = manifest.kind == manifest::Kind::Final;
        entry.files.iter().try_for_each(|named| is_there(store, manifest, named))?;
        let segments = entry.files.clone();
        Ok(Restore { image, segments, is_final, ..Restore::default() })
    };
    let mut cores = manifest.cores.iter().map(core).collect::<Result<Vec<_>>>()?;
    let mut states = job.graph.nodes.iter().flat_map(|node| &node.states);
    if states.any(|state| state.kind == UNION_LIST) {
        let unions = unions(store, manifest)?;
        cores.iter_mut().for_each(|core| core.unions = Arc::clone(&unions));
    }
    debug_assert_eq!(cores.len(), job.parallelism, "the manifest is of this parallelism");
    Ok(cores)
}

/// The blocks of union lists of all cores. Costs a look at all segments.
fn unions(store: &dyn Store, manifest: &Manifest) -> Result<Arc<[(u32, Box<[u8]>)]>> {
    let (mut unions, mut block) = (Vec::new(), Vec::new());
    for core in &manifest.cores {
        for named in &core.files {
            let missing = || damaged(manifest.checkpoint, named, "it is missing");
            let unreadable =
                |error: SegmentError| damaged(manifest.checkpoint, named, &error.found);
            let opened = store.read(&named.path, named.offset).map_err(refused)?;
            let opened = opened.ok_or_else(missing)?.take(named.bytes);
            let mut stream = SegmentStream::open(opened, block).map_err(unreadable)?;
            while let Some(read) = stream.next_block().map_err(unreadable)? {
                if read.kind() == ColumnKind::UnionList {
                    unions.push((core.core, read.bytes().into()));
                }
            }
            block = stream.into_block();
        }
    }
    Ok(unions.into())
}

fn file(store: &dyn Store, manifest: &Manifest, named: &FileInfo) -> Result<Vec<u8>> {
    let bytes = store.get_range(&named.path, named.offset, named.bytes).map_err(refused)?;
    let bytes = bytes.ok_or_else(|| damaged(manifest.checkpoint, named, "it is missing"))?;
    match named.complaint(bytes.len() as u64, checksum(&bytes)) {
        Some(seen) => Err(damaged(manifest.checkpoint, named, &seen)),
        None => Ok(bytes),
    }
}

/// Looks whether a file is there in its full length; its core reads it later.
fn is_there(store: &dyn Store, manifest: &Manifest, named: &FileInfo) -> Result<()> {
    let size = store.size(&named.path).map_err(refused)?;
    let size = size.ok_or_else(|| damaged(manifest.checkpoint, named, "it is missing"))?;
    match named.bytes_in(size) {
        bytes if bytes == named.bytes => Ok(()),
        bytes => {
            let seen = named.complaint(bytes, named.checksum).unwrap_or_default();
            Err(damaged(manifest.checkpoint, named, &seen))
        }
    }
}

/// An error of the store or of the log, its hint apart.
#[cold]
pub(crate) fn refused(error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    match text.split_once("\nhint: ") {
        Some((what, hint)) => Error::new(Kind::Io, what).with_hint(hint),
        None => Error::new(Kind::Io, text),
    }
}
