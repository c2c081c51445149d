//! Durable, consistent cuts of a job: what is written where, under which name, and what that name
//! promises.
//!
//! Pure rules without I/O, clock or threads of their own; the engine carries them out. It is no
//! store of records and knows nothing of streams: it speaks of cores, checkpoints, files and bytes.

#![forbid(unsafe_code)]

pub mod image;
pub mod part;

pub use image::{Image, ImageError, Section, SectionKind};
pub use part::{HiddenPart, PartName};
