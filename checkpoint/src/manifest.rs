//! What one complete checkpoint is: which files, of which job, cut by whom.
//!
//! A manifest describes itself: with it and the files that it names a job is restored, or refused
//! with a sentence that says what differs. A format that this build does not know is refused by
//! its number, before anything else of it is believed.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::hex;

/// The format that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`FORMAT`].
    pub format: u32,
    /// Its number, above all earlier ones of the job.
    pub checkpoint: u64,
    /// What it was made for.
    pub kind: Kind,
    /// The attempt whose cores cut it.
    pub attempt: u64,
    /// The term of the coordinator that completed it.
    pub term: u64,
    /// When it was triggered, in milliseconds of the wall clock since 1970.
    pub started_ms: u64,
    /// When the last core had acknowledged it.
    pub completed_ms: u64,
    /// The job that was cut.
    pub job: JobIdentity,
    /// What each core stored, by core: 0, 1, 2, …
    pub cores: Vec<CoreEntry>,
    /// Every split discovered by then. What no core's part names is unassigned, and starts here.
    pub splits: Vec<Split>,
}

/// What a checkpoint was made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// For recovery; deleted when newer ones are retained.
    Checkpoint,
    /// For the user; never deleted by the engine.
    Savepoint,
    /// The last one of a job whose sources have ended.
    Final,
}

/// What two runs must share for one to restore the other's checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobIdentity {
    /// The job's name.
    pub name: String,
    /// The id under which its checkpoints lie.
    pub id: String,
    /// The digest of its graph, which leaves parallelism out.
    #[serde(with = "hex")]
    pub graph_digest: u64,
    /// The number of cores.
    pub parallelism: u32,
    /// The number of key groups.
    pub max_parallelism: u32,
    /// Operators that hold state.
    pub operators: Vec<OperatorIdentity>,
}

/// An operator that holds state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorIdentity {
    /// Its name, which finds it again in a changed program.
    pub name: String,
    /// Its states.
    pub states: Vec<StateIdentity>,
}

/// One state of an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateIdentity {
    /// Its name.
    pub name: String,
    /// `value`, `list`, `map`, `window`, …
    pub kind: String,
    /// Of the type of what it holds.
    #[serde(with = "hex")]
    pub fingerprint: u64,
}

/// What one core stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoreEntry {
    /// Its number.
    pub core: u32,
    /// Its first key group.
    pub first_key_group: u32,
    /// The number of its key groups.
    pub key_group_count: u32,
    /// The file that says everything else about it.
    pub part: FileInfo,
    /// The files that the part names.
    pub files: Vec<FileInfo>,
}

/// A stored file, as a range of a pack, and how to know it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileInfo {
    /// The path of the pack in the store.
    pub path: String,
    /// Where in the pack it begins.
    pub offset: u64,
    /// Its length.
    pub bytes: u64,
    /// See [`checksum`](crate::store::checksum).
    #[serde(with = "hex")]
    pub checksum: u64,
}

impl FileInfo {
    /// How many of its bytes are in a pack of so many.
    pub fn bytes_in(&self, pack: u64) -> u64 {
        pack.saturating_sub(self.offset).min(self.bytes)
    }

    /// Where it lies.
    fn place(&self) -> (&str, u64) {
        (&self.path, self.offset)
    }
}

/// A split of a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Split {
    /// The source's name.
    pub source: String,
    /// Its number within the source.
    pub number: u32,
    /// Where reading starts, as the source writes it.
    #[serde(with = "hex::bytes")]
    pub start: Vec<u8>,
}

/// Why a checkpoint cannot be restored into a job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot restore checkpoint {checkpoint}: {what}\nhint: {hint}")]
pub struct RestoreError {
    /// The checkpoint.
    pub checkpoint: u64,
    /// What differs.
    pub what: String,
    /// What the user can do.
    pub hint: String,
}

impl FileInfo {
    /// What is wrong with a file that has this length and checksum in this one's place.
    pub fn complaint(&self, bytes: u64, checksum: u64) -> Option<String> {
        if bytes != self.bytes {
            let from = match self.offset {
                0 => String::new(),
                offset => format!(" from {offset} on"),
            };
            return Some(format!("it has {bytes} bytes of {}{from}", self.bytes));
        }
        let expected = self.checksum;
        (checksum != expected)
            .then(|| format!("its checksum is {checksum:016x} and should be {expected:016x}"))
    }
}

impl Manifest {
    /// Reads a manifest's copy; an error says what was seen.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let Format { format } = serde_json::from_slice(bytes)
            .map_err(|why| format!("no format can be read in it: {why}"))?;
        if format != FORMAT {
            return Err(format!("its format is {format}, and this build reads {FORMAT}"));
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|why| why.to_string())?;
        manifest.check_itself().map(|()| manifest)
    }

    /// Every file that must exist for it, parts first.
    pub fn all_files(&self) -> impl Iterator<Item = &FileInfo> {
        let parts = self.cores.iter().map(|core| &core.part);
        parts.chain(self.cores.iter().flat_map(|core| &core.files))
    }

    /// What all its files hold together, in bytes; a file named twice counts once.
    pub fn bytes(&self) -> u64 {
        let once: BTreeMap<(&str, u64), u64> =
            self.all_files().map(|it| (it.place(), it.bytes)).collect();
        once.values().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Whether the job may be restored from this checkpoint, and if not, what differs.
    pub fn check_job(&self, other: &JobIdentity) -> Result<(), RestoreError> {
        self.check_format()?;
        self.check_same_job(other)?;
        let ours: BTreeMap<&str, &OperatorIdentity> =
            other.operators.iter().map(|operator| (operator.name.as_str(), operator)).collect();
        for operator in &self.job.operators {
            let Some(now) = ours.get(operator.name.as_str()) else {
                let what = format!("operator {:?} has state but is not in the job", operator.name);
                return self.refuse(
                    what,
                    "keep the operator's name, or begin afresh: --restart-from none",
                );
            };
            self.check_states(operator, now)?;
        }
        // Names match and the digest does not: an edge, a partitioner or a stateless operator.
        if self.job.graph_digest != other.graph_digest {
            let (then, now) = (self.job.graph_digest, other.graph_digest);
            let what = format!("its graph is {then:016x} and the job's is {now:016x}");
            return self.refuse(what, "run the build that wrote it, or take a savepoint with it");
        }
        Ok(())
    }

    /// Whether everything that it says agrees with itself.
    pub fn check_itself(&self) -> Result<(), String> {
        let count = u32::try_from(self.cores.len()).unwrap_or(u32::MAX);
        if count != self.job.parallelism {
            return Err(format!("it has {count} cores of {}", self.job.parallelism));
        }
        let mut next_group = 0;
        for (at, core) in self.cores.iter().enumerate() {
            if core.core as usize != at {
                return Err(format!("core {} stands at place {at}", core.core));
            }
            if core.first_key_group != next_group {
                let first = core.first_key_group;
                return Err(format!("core {at} begins at key group {first}, not {next_group}"));
            }
            next_group = core.first_key_group.saturating_add(core.key_group_count);
        }
        if next_group != self.job.max_parallelism {
            let groups = self.job.max_parallelism;
            return Err(format!("its cores hold {next_group} key groups of {groups}"));
        }
        let splits: BTreeSet<_> =
            self.splits.iter().map(|split| (&split.source, split.number)).collect();
        if splits.len() != self.splits.len() {
            return Err("it names a split twice".to_owned());
        }
        let mut known = BTreeMap::new();
        for file in self.all_files() {
            if let Some(complaint) = crate::paths::complaint(&file.path) {
                return Err(format!("it names the file {:?}: {complaint}", file.path));
            }
            if file.offset.checked_add(file.bytes).is_none() {
                return Err(format!("it names a range of {:?} that has no end", file.path));
            }
            if known.insert(file.place(), file).is_some_and(|before| before != file) {
                let (path, offset) = file.place();
                return Err(format!("it names the file {path:?} from {offset} on in two ways"));
            }
        }
        Ok(())
    }

    fn check_format(&self) -> Result<(), RestoreError> {
        if self.format == FORMAT {
            return Ok(());
        }
        let what = format!("its format is {}, and this build reads {FORMAT}", self.format);
        self.refuse(what, "run the build that wrote it, or a newer one")
    }

    fn check_same_job(&self, other: &JobIdentity) -> Result<(), RestoreError> {
        let (then, now) = (&self.job, other);
        if (&then.name, &then.id) != (&now.name, &now.id) {
            let of = |job: &JobIdentity| format!("job {:?} with id {:?}", job.name, job.id);
            let what = format!("it is of {}, and this is {}", of(then), of(now));
            return self.refuse(what, "give the id of the job that wrote it: --job-id");
        }
        if then.max_parallelism != now.max_parallelism {
            let (then, now) = (then.max_parallelism, now.max_parallelism);
            let what = format!("its keys are in {then} key groups, and the job has {now}");
            return self.refuse(what, format!("set job.max-parallelism to {then}"));
        }
        if then.parallelism != now.parallelism {
            let (then, now) = (then.parallelism, now.parallelism);
            let what = format!("it is of {then} cores, and the job runs on {now}");
            return self.refuse(what, format!("pass -p {then}: rescaling is not available yet"));
        }
        Ok(())
    }

    fn check_states(
        &self,
        then: &OperatorIdentity,
        now: &OperatorIdentity,
    ) -> Result<(), RestoreError> {
        let operator = &then.name;
        for state in &then.states {
            let name = &state.name;
            let Some(other) = now.states.iter().find(|other| other.name == *name) else {
                let what = format!("operator {operator:?} no longer declares state {name:?}");
                return self.refuse(what, "keep the state's name, or declare it again");
            };
            if other.kind != state.kind {
                let (then, now) = (&state.kind, &other.kind);
                let what = format!("state {name:?} of {operator:?} was a {then} and is a {now}");
                return self.refuse(what, "give the new state another name");
            }
            if other.fingerprint != state.fingerprint {
                let (then, now) = (state.fingerprint, other.fingerprint);
                let what = format!(
                    "what state {name:?} of {operator:?} holds has another type: \
                     {then:016x} before, {now:016x} now"
                );
                return self.refuse(what, "restore the type, or give the new state another name");
            }
        }
        let declared = |name: &str| then.states.iter().any(|state| state.name == name);
        if let Some(new) = now.states.iter().find(|state| !declared(&state.name)) {
            let what = format!("operator {operator:?} has a new state {:?}", new.name);
            return self.refuse(what, "give the operator another name, or leave the state out");
        }
        Ok(())
    }

    fn refuse(&self, what: String, hint: impl Into<String>) -> Result<(), RestoreError> {
        Err(RestoreError { checkpoint: self.checkpoint, what, hint: hint.into() })
    }
}

#[cfg(test)]
pub(crate) mod tests;
