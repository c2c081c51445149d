//! Keyed state of one shard: what a key is, where it lives, and when it ends.
//!
//! A shard belongs to one core and is touched by nobody else, so nothing in here locks, does input
//! or output, or reads a clock: time and epochs are arguments. Only the cold tier keeps files, with
//! threads of its own. The crate knows keys, values and bytes; streams and operators are the
//! concern of the crates above.

pub mod codec;
pub mod cold;
pub mod group;
pub mod key;
pub mod macros;
pub mod segment;
pub mod table;
pub mod timers;
pub mod ttl;

pub use codec::{CodecError, Encoder, State};
pub use group::{OwnerTable, key_group};
pub use key::{Key, KeyError, KeyRef, KeySink};
pub use rkyv;
pub use table::{Room, Table};
pub use thalweg_derive::{Key, record};
pub use timers::{Timer, TimerRef, Timers};
pub use ttl::{Ttl, UpdateType, Visibility};
