//! The cut of a core: what is recorded of it, and what it is restored from.
//!
//! A cut takes a whole core between two batches: its state, its queued input, its unsent output,
//! its positions and its sealed output, in one instant. Frames that arrive behind the instant and
//! before their link's barrier are recorded as they come. Everything recorded is a copy: nothing
//! that goes on changes it.

mod drain;
mod merging;
mod messages;
mod open;
mod outline;
mod replay;
mod restore;
mod segments;
mod worker;

pub use merging::MergeLimits;
pub use messages::{Content, CutCommand, CutReport};
pub(crate) use open::Cuts;
pub use outline::{ChannelOutline, Outline, SinkOutline, SourceOutline};
pub use restore::{Restore, Restores};
pub(crate) use restore::{Restoring, damaged, invalid};

use thalweg_checkpoint::coordinator::ChannelCounts;
use thalweg_checkpoint::{Image, Section, SectionKind};
use thalweg_net::{Body, recorded};

use self::messages::count_of;
use crate::error::Kind;
use crate::operator::Snapshot;
use crate::{Error, Result};

/// A core's image while it is being recorded.
pub(crate) struct Recording {
    checkpoint: u64,
    image: Image,
    /// Where the section of each channel that leads here is, by edge and sending core.
    inputs: Vec<(u32, u32, usize)>,
    counts: Vec<ChannelCounts>,
}

impl Recording {
    pub(crate) fn new(core: usize, checkpoint: u64) -> Self {
        let image = Image { core: core as u32, checkpoint, sections: Vec::new() };
        Self { checkpoint, image, inputs: Vec::new(), counts: Vec::new() }
    }

    /// An empty snapshot of a task.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::of_cut(self.checkpoint)
    }

    /// A snapshot with its length in front; frames may follow.
    pub(crate) fn headed(snapshot: Snapshot) -> Result<Vec<u8>> {
        let head = snapshot.finish()?;
        let mut bytes = Vec::with_capacity(4 + head.len());
        bytes.extend_from_slice(&(head.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&head);
        Ok(bytes)
    }

    pub(crate) fn add(
        &mut self,
        kind: SectionKind,
        name: &str,
        edge: u32,
        peer: u32,
        bytes: Vec<u8>,
    ) {
        let name = name.to_owned();
        self.image.sections.push(Section { kind, name, edge, peer, bytes });
    }

    /// Adds a channel that leads here: what arrives before its barrier will follow.
    pub(crate) fn add_input(&mut self, name: &str, edge: u32, from: u32, bytes: Vec<u8>) {
        self.inputs.push((edge, from, self.image.sections.len()));
        self.add(SectionKind::Input, name, edge, from, bytes);
    }

    /// Records a frame that was sent before the peer's cut and arrives behind this core's.
    pub(crate) fn add_frame(&mut self, edge: u32, from: u32, body: &Body) -> Result<()> {
        let mut inputs = self.inputs.iter();
        let found = inputs.find(|(of, by, _)| (*of, *by) == (edge, from));
        let Some((_, _, at)) = found else {
            let channel = format!("of edge {edge} from core {from}");
            let what = format!("cannot record a frame {channel}: the cut knows no such channel");
            return Err(Error::new(Kind::Invariant, what));
        };
        let records = recorded::record(body, &mut self.image.sections[*at].bytes);
        let to = self.image.core as usize;
        let count = count_of(&mut self.counts, edge, from as usize, to);
        count.recorded += records;
        Ok(())
    }

    /// Counts what a receiver has of a channel.
    pub(crate) fn count_received(&mut self, edge: u32, from: usize, consumed: u64, recorded: u64) {
        let to = self.image.core as usize;
        let count = count_of(&mut self.counts, edge, from, to);
        (count.consumed, count.recorded) = (consumed, recorded);
    }

    /// Counts what a sender has of a channel.
    pub(crate) fn count_sent(&mut self, edge: u32, to: usize, sent: u64, unsent: u64) {
        let from = self.image.core as usize;
        let count = count_of(&mut self.counts, edge, from, to);
        (count.sent, count.unsent) = (sent, unsent);
    }

    pub(crate) fn finish(self) -> (Image, Vec<ChannelCounts>) {
        (self.image, self.counts)
    }
}
