//! A cut from its instant to its acknowledgement, and what the core remembers between two of them.
//!
//! At the instant everything of the core is recorded or set aside; what is left to do comes in
//! slices at the end of turns: the changed rows are encoded, frames that were sent before their
//! peer's cut are added as they arrive, files become durable. A higher number aborts what is open;
//! an abort forgets the recording and nothing else: the segment is encoded to its end and named by
//! the next checkpoint, sealed output waits for the next one's commit.

use std::collections::VecDeque;

use thalweg_checkpoint::coordinator::{Acknowledgement, ChannelCounts, Phases};
use thalweg_checkpoint::{FileInfo, fail_point};
use thalweg_net::Barrier;

use super::Recording;
use super::messages::{Content, CutCommand, CutReport};

/// Rows that a turn encodes, more or less: some 50 µs.
pub(super) const ROWS_PER_TURN: usize = 512;

/// Segments behind the first from which on they are merged whatever they hold: every checkpoint
/// names all of them.
const SEGMENTS_MAX: usize = 64;

/// The cuts of one core.
#[derive(Default)]
pub(crate) struct Cuts {
    /// Whether there are checkpoints at all.
    pub(super) enabled: bool,
    /// The highest checkpoint that was heard of: lower ones are ignored.
    pub(super) last: u64,
    pub(super) open: Option<OpenCut>,
    /// The barrier that each link has yet to take.
    pub(super) barriers: Vec<Option<Barrier>>,
    pub(super) commands: VecDeque<CutCommand>,
    reports: VecDeque<CutReport>,
    /// Files that were handed over so far.
    files: u64,
    /// The segments that state consists of, the oldest first.
    pub(super) segments: Vec<Segment>,
    /// How many of the oldest segments are being merged; 0: none.
    merging: usize,
    /// Bytes behind the first segment from which on it pays to merge.
    merge_bytes: u64,
    /// The epoch whose changes are being encoded.
    pub(super) encoding: Option<u64>,
    /// The checkpoint up to which output is being made visible.
    pub(super) committing: Option<u64>,
    /// Whether all sources have ended and the coordinator was told so.
    pub(super) told_end: bool,
    /// The cut behind which nothing is left to do.
    pub(super) last_cut: Option<u64>,
    /// Whether the last checkpoint of the job is committed here.
    pub(super) finished: bool,
}

/// A cut whose instant has passed.
pub(super) struct OpenCut {
    trigger: Barrier,
    /// Peers whose barrier has yet to come.
    awaits: Vec<bool>,
    /// `None` when it was handed over.
    recording: Option<Recording>,
    counts: Vec<ChannelCounts>,
    image: Option<FileState>,
}

pub(super) enum Segment {
    /// In the files of this attempt, or of an earlier one.
    Stored(FileInfo),
    /// Being stored as this file.
    Storing(u64),
}

enum FileState {
    Storing(u64),
    Stored(FileInfo),
}

impl Cuts {
    pub(crate) fn new(enabled: bool, cores: usize, merge_bytes: u64) -> Self {
        Self { enabled, barriers: vec![None; cores], merge_bytes, ..Self::default() }
    }

    pub(crate) fn command(&mut self, command: CutCommand) {
        self.commands.push_back(command);
    }

    pub(crate) fn report(&mut self) -> Option<CutReport> {
        self.reports.pop_front()
    }

    /// Whether a barrier has to leave on the link to a core before anything else does.
    pub(crate) fn barrier_waits(&self, peer: usize) -> bool {
        self.barriers[peer].is_some()
    }

    /// Whether something is to be done once the sinks have settled.
    pub(super) fn waits_for_sinks(&self) -> bool {
        self.open.is_some() || self.committing.is_some()
    }

    pub(super) fn tell(&mut self, report: CutReport) {
        self.reports.push_back(report);
    }

    /// Hands a file over.
    pub(super) fn store(&mut self, content: Content) -> u64 {
        let number = self.files;
        self.files += 1;
        self.tell(CutReport::Store { number, content });
        number
    }

    /// Whether frames of this peer are still recorded.
    #[inline]
    pub(crate) fn records(&self, peer: usize) -> bool {
        self.open.as_ref().is_some_and(|open| open.awaits[peer])
    }

    pub(crate) fn recording(&mut self) -> Option<&mut Recording> {
        self.open.as_mut()?.recording.as_mut()
    }

    /// Whether a checkpoint is news: then it is to be cut for.
    pub(super) fn is_news(&self, checkpoint: u64) -> bool {
        checkpoint > self.last
    }

    /// Opens a cut: frames of `peers` are recorded until their barriers come.
    pub(super) fn begin(&mut self, trigger: Barrier, recording: Recording, peers: Vec<bool>) {
        assert!(self.is_news(trigger.checkpoint), "checkpoint {} again", trigger.checkpoint);
        self.last = trigger.checkpoint;
        for (barrier, is_linked) in self.barriers.iter_mut().zip(&peers) {
            *barrier = is_linked.then_some(trigger);
        }
        self.open = Some(OpenCut {
            trigger,
            awaits: peers,
            recording: Some(recording),
            counts: Vec::new(),
            image: None,
        });
    }

    /// A peer's barrier has come: its later frames are not recorded. One of an older checkpoint
    /// says nothing.
    pub(super) fn close_link(&mut self, peer: usize, checkpoint: u64) {
        if let Some(open) = self.open.as_mut().filter(|open| open.trigger.checkpoint == checkpoint)
        {
            open.awaits[peer] = false;
        }
    }

    /// Forgets what was recorded for a checkpoint.
    pub(super) fn abort(&mut self, checkpoint: u64) {
        self.open.take_if(|open| open.trigger.checkpoint <= checkpoint);
        // A barrier that has not left must not: nobody would answer it. What peers have heard of
        // they abort by themselves.
        for barrier in &mut self.barriers {
            barrier.take_if(|barrier| barrier.checkpoint <= checkpoint);
        }
        self.last = self.last.max(checkpoint);
    }

    /// A file is durable.
    pub(super) fn stored(&mut self, number: u64, file: &FileInfo) {
        for segment in &mut self.segments {
            if matches!(segment, Segment::Storing(storing) if *storing == number) {
                *segment = Segment::Stored(file.clone());
            }
        }
        if let Some(open) = &mut self.open
            && matches!(open.image, Some(FileState::Storing(storing)) if storing == number)
        {
            open.image = Some(FileState::Stored(file.clone()));
        }
    }

    /// Has the oldest segments merged once those behind the first are twice as large as it: so what
    /// is kept is bounded by the state, and each byte is merged a few times at the most.
    pub(super) fn merge_some(&mut self) {
        if self.merging > 0 {
            return;
        }
        let stored = |segment: &Segment| match segment {
            Segment::Stored(file) => Some(file.clone()),
            Segment::Storing(_) => None,
        };
        let segments: Vec<_> = self.segments.iter().map_while(stored).collect();
        let Some((first, behind)) = segments.split_first() else { return };
        let bytes: u64 = behind.iter().map(|file| file.bytes).sum();
        let few = behind.len() < SEGMENTS_MAX;
        if few && (behind.is_empty() || bytes < self.merge_bytes.max(2 * first.bytes)) {
            return;
        }
        self.merging = segments.len();
        let number = self.files;
        self.files += 1;
        self.tell(CutReport::Merge { number, segments });
    }

    /// The merged segments take the place of those that they were made of.
    pub(super) fn merged(&mut self, file: Option<FileInfo>) {
        let count = std::mem::take(&mut self.merging);
        if let Some(file) = file {
            self.segments.splice(..count, [Segment::Stored(file)]);
        }
    }

    /// Hands the image over once every barrier has come.
    pub(super) fn hand_over_image(&mut self) {
        let Some(open) = &mut self.open else { return };
        if open.awaits.contains(&true) {
            return;
        }
        let Some(recording) = open.recording.take() else { return };
        let (image, counts) = recording.finish();
        let number = self.store(Content::Image(image));
        fail_point!("image-handed-over");
        if let Some(open) = &mut self.open {
            (open.counts, open.image) = (counts, Some(FileState::Storing(number)));
        }
    }

    /// Acknowledges the open cut once everything that it names is durable.
    pub(super) fn acknowledge(&mut self, core: usize) {
        let Some(OpenCut { image: Some(FileState::Stored(image)), .. }) = &self.open else {
            return;
        };
        if self.encoding.is_some() {
            return;
        }
        let stored = |segment: &Segment| match segment {
            Segment::Stored(file) => Some(file.clone()),
            Segment::Storing(_) => None,
        };
        let Some(segments) = self.segments.iter().map(stored).collect::<Option<Vec<_>>>() else {
            return;
        };
        let image = image.clone();
        if let Some(OpenCut { trigger, counts, .. }) = self.open.take() {
            fail_point!("before-acknowledgement");
            let Barrier { checkpoint, term, .. } = trigger;
            let (core, part) = (core as u32, image);
            let (files, phases) = (segments, Phases::default());
            self.tell(CutReport::Acknowledged(Acknowledgement {
                core,
                checkpoint,
                term,
                part,
                files,
                counts,
                phases,
            }));
        }
    }
}
