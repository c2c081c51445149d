//! Durable, consistent cuts of a job: what is written where, under which name, and what that name
//! promises.
//!
//! Pure rules without clock, threads or randomness of their own; the engine carries them out. Only
//! the local store does input and output. The crate is no store of records and knows nothing of
//! streams: it speaks of cores, checkpoints, files and bytes.

#![forbid(unsafe_code)]

pub mod coordinator;
pub mod disk;
pub mod fail;
mod hex;
pub mod image;
pub mod log;
pub mod manifest;
pub mod part;
pub mod paths;
pub mod restart;
pub mod retention;
pub mod store;

pub use coordinator::Coordinator;
pub use image::{Image, ImageError, Section, SectionKind};
pub use log::{Append, Entry, History, Log, LogError, Verdict, What, Writer};
pub use manifest::{FileInfo, JobIdentity, Kind, Manifest, RestoreError};
pub use part::{HiddenPart, PartName};
pub use retention::Retention;
pub use store::{Created, LocalStore, MemoryStore, Store, StoreError};
