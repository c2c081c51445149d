//! The beginning of an attempt: what the log says, what is restored, whose the next entry is.

use std::sync::Arc;

use thalweg_checkpoint::coordinator::{Config, Start};
use thalweg_checkpoint::log::{Completed, VERSION};
use thalweg_checkpoint::manifest::{
    self, CoreEntry, FileInfo, JobIdentity, Manifest, OperatorIdentity, StateIdentity,
};
use thalweg_checkpoint::store::checksum;
use thalweg_checkpoint::{
    Append, Coordinator, Entry, Image, Log, RestoreError, Store, Verdict, What, fail_point,
};
use thalweg_state::group;
use thalweg_state::segment::{ColumnKind, SegmentReader};

use super::Keeper;
use crate::error::Kind;
use crate::graph::JobGraph;
use crate::runtime::Restore;
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
    (config, whence): (Config, RestartFrom),
    nonce: u64,
    epoch_ms: u64,
    prepare: &dyn Fn() -> Result<()>,
) -> Result<Begun> {
    let history = Log::read(store, &job.id).map_err(refused)?;
    let afresh = whence == RestartFrom::Nothing;
    if history.is_finished() && !afresh {
        return Ok(Begun::Finished);
    }
    let identity = identity(job);
    let read = |completed: Completed| Log::manifest(store, &job.id, completed).map_err(refused);
    let point = history.restore_point().filter(|_| !afresh).map(read).transpose()?;
    let cores = match &point {
        Some(manifest) => restore(store, job, &identity, manifest)?,
        None => Vec::new(),
    };
    let kept = if afresh { 0 } else { config.retained.get() };
    let retained = history.retained(kept).into_iter().map(read);
    let (attempt, term) = (history.attempt() + 1, history.term() + 1);
    let (from, first_id) = (point.as_ref().map(|point| point.checkpoint), history.next_id());
    let start = Start {
        key_groups: key_groups(job),
        job: identity,
        attempt,
        term,
        nonce,
        next_k: history.next() + 1,
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
    own(store, &Append::new(&job.id, history.next(), &entry))?;
    fail_point!("behind-attempt-entry");
    let coordinator = Coordinator::new(config, start);
    let keeper = Keeper::new(&job.id, attempt, coordinator, job.parallelism);
    Ok(Begun::Attempt(Box::new(Attempt { number: attempt, keeper, from, cores, is_resumed })))
}

fn own(store: &dyn Store, append: &Append) -> Result<()> {
    let mut refusal = None;
    for _ in 0..SENDINGS_MAX {
        match append.send(store) {
            Verdict::Ours => return Ok(()),
            Verdict::Superseded => return Err(superseded(append.path())),
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

/// Reads each core's part, every file against its length and checksum.
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
        let image = image.map_err(|error| damaged(manifest, &entry.part, &error.to_string()))?;
        let segments = entry.files.iter();
        let segments = segments.map(|named| Ok((named.clone(), file(store, manifest, named)?)));
        let is_final = manifest.kind == manifest::Kind::Final;
        let segments = segments.collect::<Result<_>>()?;
        Ok(Restore { image, segments, is_final, ..Restore::default() })
    };
    let mut cores = manifest.cores.iter().map(core).collect::<Result<Vec<_>>>()?;
    let mut states = job.graph.nodes.iter().flat_map(|node| &node.states);
    if states.any(|state| state.kind == UNION_LIST) {
        let unions = unions(&cores)?;
        cores.iter_mut().for_each(|core| core.unions = Arc::clone(&unions));
    }
    debug_assert_eq!(cores.len(), job.parallelism, "the manifest is of this parallelism");
    Ok(cores)
}

/// The blocks of union lists of all cores. Costs a look at all segments.
fn unions(cores: &[Restore]) -> Result<Arc<[(u32, Box<[u8]>)]>> {
    let mut unions = Vec::new();
    for (number, core) in (0u32..).zip(cores) {
        for (_, bytes) in &core.segments {
            for block in SegmentReader::new(bytes)?.blocks() {
                let block = block?;
                if block.kind() == ColumnKind::UnionList {
                    unions.push((number, block.bytes().into()));
                }
            }
        }
    }
    Ok(unions.into())
}

fn file(store: &dyn Store, manifest: &Manifest, named: &FileInfo) -> Result<Vec<u8>> {
    let bytes = store.get_range(&named.path, named.offset, named.bytes).map_err(refused)?;
    let bytes = bytes.ok_or_else(|| damaged(manifest, named, "it is missing"))?;
    match named.complaint(bytes.len() as u64, checksum(&bytes)) {
        Some(seen) => Err(damaged(manifest, named, &seen)),
        None => Ok(bytes),
    }
}

#[cold]
fn damaged(manifest: &Manifest, named: &FileInfo, seen: &str) -> Error {
    let checkpoint = manifest.checkpoint;
    let what = format!("cannot restore checkpoint {checkpoint}: {}: {seen}", named.path);
    Error::new(Kind::Io, what).with_hint("put the file back from a copy of the store")
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
