//! The two ends of a channel: what may be sent, and what was received in which order.
//!
//! A credit is the right to fill one buffer at the receiver. Within a node the credit is the empty
//! buffer itself: it leaves as a page and comes home. Pure: no I/O, no clock, no thread.

mod input;
mod output;

pub use input::{InputChannel, Received};
pub use output::{ChannelCounts, OutputChannel, OutputState};

#[cfg(test)]
mod tests;
