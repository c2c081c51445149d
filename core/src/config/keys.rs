//! The table of all keys: name, kind, default, description, Flink's names for it, and whether it
//! has an effect.
//!
//! Everything else about configuration reads this table: the layers, `config show`, `config
//! explain` and `docs/config.md`.

mod checkpoint;
mod later;

use super::value::Shape;
use super::value::Shape::{Choice, Cores, Count, Directory, Duration, Flag};
use super::value::Shape::{Share, Size};
use checkpoint::{CHECKPOINT, RESTART};
use later::REST_SERVER;

/// A key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Key {
    /// `section.name`.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// Its default as text.
    pub default: &'static str,
    /// A word that leaves the value to the engine or switches the feature off.
    pub auto: Option<&'static str>,
    /// What it does.
    pub about: &'static str,
    /// Flink's names for it.
    pub aliases: &'static [Alias],
    /// Whether setting it changes anything.
    pub effect: Effect,
}

/// Flink's name for a key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alias {
    /// The name.
    pub name: &'static str,
    /// How its value becomes the key's.
    pub reads: Reads,
}

/// How an alias's value becomes the key's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reads {
    /// As it is; a bare number of a duration is milliseconds.
    Same,
    /// A number of network buffers of 32 KiB.
    Buffers,
    /// With other words for the same: Flink's, ours.
    Words(&'static [(&'static str, &'static str)]),
}

/// Whether setting a key changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what it says.
    Works,
    /// Its feature is not built yet: the value is checked and kept, and a line says so.
    NotYet(&'static str),
    /// Setting it is refused: a job would rely on what is not there.
    Refused(&'static str),
    /// It never changes anything, and a line says why.
    Nothing(&'static str),
}

const BUDGET: Effect = Effect::NotYet("buffers are bounded by their number only in this version");

/// What Flink calls it, read as it is.
const fn flink(name: &'static str) -> Alias {
    Alias { name, reads: Reads::Same }
}

const fn key(
    name: &'static str,
    shape: Shape,
    default: &'static str,
    effect: Effect,
    about: &'static str,
    aliases: &'static [Alias],
) -> Key {
    Key { name, shape, default, auto: None, about, aliases, effect }
}

/// A key whose default is a word that leaves the value to the engine.
const fn auto(mut key: Key) -> Key {
    key.auto = Some(key.default);
    key
}

const ANY: Shape = Count { least: 0, most: u64::MAX };
/// All keys, section by section.
pub const KEYS: &[&[Key]] =
    &[JOB, RUNTIME, NETWORK, MEMORY, STATE, CHECKPOINT, RESTART, REST_SERVER];

const JOB: &[Key] = &[
    auto(key(
        "job.parallelism",
        Count { least: 1, most: 32_768 },
        "cores",
        Effect::Works,
        "On how many cores a job runs; `cores`: on all that it may use. The flag is `-p`.",
        &[flink("parallelism.default")],
    )),
    auto(key(
        "job.max-parallelism",
        Count { least: 1, most: 32_768 },
        "formula",
        Effect::Works,
        "Number of key groups, fixed for the life of a job's state; `formula`: 1.5 times the \
         parallelism, rounded up to a power of two, at least 128.",
        &[flink("pipeline.max-parallelism")],
    )),
    auto(key(
        "worker.cores",
        Cores,
        "all",
        Effect::Works,
        "CPUs that a job may use, as a number or a list; `all`: those that the process may use.",
        &[flink("taskmanager.numberOfTaskSlots")],
    )),
    auto(key(
        "data.dir",
        Directory,
        "state-home",
        Effect::Works,
        "Where jobs keep their files: for now cold state, which is removed at the end, or when \
         the next run starts if the job was killed; `state-home`: `$XDG_STATE_HOME/thalweg`. A \
         job's own directory is `<data.dir>/<job-id>`.",
        &[],
    )),
];

const RUNTIME: &[Key] = &[
    key(
        "runtime.idle",
        Choice(&["park", "spin"]),
        "park",
        Effect::Works,
        "What an idle core does: sleep after `runtime.spin`, or never sleep (lowest latency, a \
         whole CPU per core).",
        &[],
    ),
    key(
        "runtime.spin",
        Duration,
        "100us",
        Effect::Works,
        "How long an idle core spins before it sleeps.",
        &[],
    ),
    key(
        "runtime.warm-up",
        Duration,
        "0s",
        Effect::Works,
        "How long after the start a core begins to measure latency, turns and hiccups: for \
         measurements of a warm engine.",
        &[],
    ),
    key(
        "runtime.rim",
        Choice(&["glommio", "thread"]),
        "glommio",
        Effect::Works,
        "What a core's thread is: a glommio executor, which needs io_uring, or a plain pinned \
         thread, for containers that refuse it.",
        &[],
    ),
];

const NETWORK: &[Key] = &[
    key(
        "network.buffer-size",
        Size,
        "16KiB",
        Effect::Works,
        "Bytes of a buffer between two cores of a node, from 4KiB to 1MiB.",
        &[flink("taskmanager.memory.segment-size")],
    ),
    key(
        "network.buffers-per-channel",
        Count { least: 1, most: 1024 },
        "16",
        Effect::Works,
        "Buffers, that is credits, of a channel.",
        &[flink("taskmanager.network.memory.buffers-per-channel")],
    ),
    key(
        "network.floating-per-gate",
        ANY,
        "0",
        Effect::Nothing("there are no floating buffers: a channel's credits are its own"),
        "Accepted for configurations that come from Flink.",
        &[flink("taskmanager.network.memory.floating-buffers-per-gate")],
    ),
    key(
        "network.overdraft",
        Size,
        "64MiB",
        Effect::Works,
        "Bytes that one record may fill at most.",
        &[],
    ),
    key(
        "network.flush-after",
        Duration,
        "100us",
        Effect::Works,
        "When a partly filled buffer leaves a busy core; an idle one sends it at once.",
        &[],
    ),
    key(
        "network.memory",
        Share,
        "0.1",
        BUDGET,
        "Memory for buffers: a size, or a fraction of `memory.limit`.",
        &[
            flink("taskmanager.memory.network.fraction"),
            Alias { name: "taskmanager.network.numberOfBuffers", reads: Reads::Buffers },
        ],
    ),
];

const MEMORY: &[Key] = &[auto(key(
    "memory.limit",
    Size,
    "cgroup",
    Effect::Works,
    "Memory of the process, of which `state.memory` is a part; `cgroup`: the control group's \
     limit, else the physical memory.",
    &[flink("taskmanager.memory.process.size")],
))];

const STATE: &[Key] = &[
    key(
        "state.backend",
        Choice(&["rocksdb", "hashmap"]),
        "rocksdb",
        Effect::Works,
        "`rocksdb`: a table in memory above a cold tier on disk, which is opened when state first \
         exceeds `state.memory`; `hashmap`: the table only. A build without the feature `rocksdb` \
         has the table only.",
        &[flink("state.backend.type")],
    ),
    key(
        "state.memory",
        Share,
        "0.4",
        Effect::Works,
        "Memory for state of the whole process, shared equally by its cores: a size, or a fraction \
         of `memory.limit`. Tables, timers, what is on its way to and from the cold tier, and the \
         cold tier's write buffers and cache (about a sixth) count; its compactions and the \
         system's page cache do not. What does not fit goes to the cold tier; where there is none \
         it stays in memory, and a line says so once.",
        &[flink("taskmanager.memory.managed.fraction")],
    ),
    key(
        "state.memory-managed",
        Flag,
        "true",
        Effect::Nothing("state always stays within state.memory"),
        "Accepted for configurations that come from Flink.",
        &[flink("state.backend.rocksdb.memory.managed")],
    ),
    key(
        "state.ttl-compaction",
        Flag,
        "true",
        Effect::Nothing("expired values always leave memory and disk by themselves"),
        "Accepted for configurations that come from Flink.",
        &[flink("state.backend.rocksdb.ttl.compaction.filter.enabled")],
    ),
];

/// All keys in the order of the table.
pub fn keys() -> impl Iterator<Item = &'static Key> {
    KEYS.iter().copied().flatten()
}

/// The key of this name, if it is one of ours.
pub fn find(name: &str) -> Option<&'static Key> {
    keys().find(|key| key.name == name)
}

/// The key that Flink knows by this name.
pub fn find_alias(name: &str) -> Option<(&'static Key, &'static Alias)> {
    keys().find_map(|key| {
        let alias = key.aliases.iter().find(|alias| alias.name == name);
        alias.map(|alias| (key, alias))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_used_once_and_every_default_is_a_value() {
        let mut names: Vec<_> = keys().map(|key| key.name).collect();
        names.extend(keys().flat_map(|key| key.aliases).map(|alias| alias.name));
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all);
        for key in keys() {
            let fits = key.auto == Some(key.default) || key.shape.parse(key.default).is_ok();
            assert!(fits, "{}: {}", key.name, key.default);
            assert_eq!(key.name.split('.').count(), 2, "{}", key.name);
        }
    }
}
