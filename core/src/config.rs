//! Configuration: the table of keys, the layers they are read from, and what the runtime makes of
//! them.
//!
//! [`Config`] holds every key with its value and origin; nothing else reads files or environment
//! for settings.

mod checkpoints;
pub mod keys;
mod layers;
mod page;
mod poison;
mod settings;
mod state;
mod value;

pub use checkpoints::CheckpointConfig;
pub use layers::Sources;
pub use page::{explain, page};
pub use poison::PoisonConfig;
pub use settings::{Config, Setting};
pub(crate) use state::state_home;
pub use state::{Backend, Share, StateConfig};
pub use value::{Shape, Value};

/// Buffers and credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Bytes of a buffer within a node.
    pub buffer_size: usize,
    /// Buffers, that is credits, per channel.
    pub credits: usize,
    /// Bytes that one record may fill at most.
    pub overdraft: usize,
    /// Engine nanoseconds after which a partly filled buffer leaves a busy core.
    pub flush_after: u64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { buffer_size: 16 << 10, credits: 16, overdraft: 64 << 20, flush_after: 100_000 }
    }
}

/// What a core does when there is nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idle {
    /// Spin for a while, then sleep until something comes.
    Park,
    /// Never sleep.
    Spin,
}

/// What a core's thread is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rim {
    /// A glommio executor (needs io_uring).
    Glommio,
    /// A plain pinned thread.
    Thread,
}

/// Which CPUs a job may use, of those that the process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cpus {
    /// All of them.
    All,
    /// At most so many.
    Count(usize),
    /// These, by number.
    List(Vec<usize>),
}

/// How cores run.
#[derive(Debug, Clone, PartialEq)]
pub struct RuntimeConfig {
    /// Buffers and credits.
    pub network: NetworkConfig,
    /// What an idle core does.
    pub idle: Idle,
    /// How long an idle core spins before it sleeps.
    pub spin: std::time::Duration,
    /// How long after its start a core begins to measure latency and turns.
    pub warm_up: std::time::Duration,
    /// What a core's thread is.
    pub rim: Rim,
    /// Which CPUs may be used.
    pub cpus: Cpus,
    /// Number of key groups; `None`: by the formula for the parallelism.
    pub max_parallelism: Option<u32>,
    /// Memory for state, and what becomes of the rest.
    pub state: StateConfig,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self {
            network: NetworkConfig::default(),
            idle: Idle::Park,
            spin: std::time::Duration::from_micros(100),
            warm_up: std::time::Duration::ZERO,
            rim: Rim::Glommio,
            cpus: Cpus::All,
            max_parallelism: None,
            state: StateConfig::default(),
        }
    }
}
