//! How records cross from one core to another: pages, rings, frames and credits.
//!
//! A record is archived once into a page, the page changes hands through a ring, and the empty
//! buffer comes home as the credit for the next one. The crate does no I/O but the wake-up of a
//! sleeping core, reads no clock and starts no thread.
//!
//! From the bottom up: [`pool`] owns memory, [`batch`] lays records out in it, [`frame`] and
//! [`channel`] order and pay for pages, [`mod@ring`] and [`doorbell`] move them between two
//! threads, [`mod@link`] puts these together.

pub mod batch;
pub mod channel;
pub mod doorbell;
pub mod error;
pub mod frame;
pub mod link;
pub mod pool;
pub mod recorded;
pub mod ring;

mod sync;

pub use batch::{Head, Page, PageFull, PageView, PageWriter, RecordView, Slot};
pub use channel::{InputChannel, OutputChannel};
pub use doorbell::Doorbell;
pub use error::ChannelError;
pub use frame::{Barrier, Body, ChannelId, Frame, Parcel};
pub use link::{LinkReceiver, LinkSender, link};
pub use pool::Buffer;
pub use ring::{Consumer, Producer, ring};
