//! A cut from its instant to its acknowledgement, and what the core remembers between two of them.
//!
//! At the instant everything of the core is recorded or set aside; what is left to do comes in
//! slices at the end of turns: the changed rows are encoded, frames that were sent before their
//! peer's cut are added as they arrive, files become durable. A higher number aborts what is open;
//! an abort forgets the recording and nothing else: the segment is encoded to its end and named by
//! the next checkpoint, sealed output waits for the next one's commit.

use std::collections::VecDeque;
use std::ops::Range;

use thalweg_checkpoint::coordinator::{Acknowledgement, ChannelCounts, Phases};
use thalweg_checkpoint::{FileInfo, fail_point};
use thalweg_net::Barrier;
use thalweg_state::segment::Block;

use super::Recording;
use super::merging::{MergeLimits, Size};
use super::messages::{Content, CutCommand, CutReport};

/// Segments between two cuts that may be on their way to the store.
const SPILLS_MAX: usize = 2;

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
    /// The number of the last segment.
    pub(super) number: u64,
    /// Which segments are being merged.
    merging: Option<Range<usize>>,
    limits: MergeLimits,
    /// Whether all state can be encoded, so that nothing has to be merged for its bulk.
    can_tell_all: bool,
    /// The epoch whose changes are being encoded.
    pub(super) encoding: Option<u64>,
    /// How long a turn usually takes, without the encoding, in nanoseconds.
    pub(super) usual_turn: u64,
    /// The checkpoint up to which output is being made visible.
    pub(super) committing: Option<u64>,
    /// Whether all sources have ended and the coordinator was told so.
    pub(super) told_end: bool,
    /// How long the sources are silent.
    pub(super) hold: Hold,
    /// The round of a drain that was not answered.
    pub(super) asked: Option<u64>,
    /// The cut behind which nothing is left to do.
    pub(super) last_cut: Option<u64>,
    /// Whether so much is encoded and not stored that no state may change.
    pub(crate) is_choked: bool,
    /// Whether the last checkpoint of the job is committed here.
    pub(super) finished: bool,
}

/// How long the sources of a core are silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Hold {
    /// They are not.
    #[default]
    No,
    UntilCut,
    UntilTold,
}

/// A cut whose instant has passed.
pub(super) struct OpenCut {
    trigger: Barrier,
    /// Peers whose barrier has yet to come.
    awaits: Vec<bool>,
    /// `None` when it was handed over.
    recording: Option<Recording>,
    counts: Vec<ChannelCounts>,
    image: Option<Handed>,
    /// Whether all was handed over, its state too.
    delivered: bool,
    times: Times,
}

/// When what was done, in engine nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Times {
    /// The instant: its beginning and its end.
    pub(super) from: u64,
    pub(super) to: u64,
    /// When state was encoded, and the last barrier was there.
    pub(super) encoded: u64,
    pub(super) recorded: u64,
    /// The longest slice.
    pub(super) slice: u64,
}

impl Times {
    fn phases(&self, now: u64) -> Phases {
        let since = |from: u64, to: u64| to.saturating_sub(from) / 1_000;
        let cut_us = since(self.from, self.to);
        Phases {
            cut_us,
            encode_us: since(self.to, self.encoded),
            recording_us: since(self.to, self.recorded),
            upload_us: since(self.encoded.max(self.recorded), now),
            pause_us: cut_us.max(self.slice / 1_000),
        }
    }
}

/// A file that was handed over to be stored.
pub(super) enum Handed {
    /// Not known to be durable: its number.
    Storing(u64),
    /// Durable, by this attempt or an earlier one.
    Stored(FileInfo),
}

/// A segment of the core's state.
pub(super) struct Segment {
    file: Handed,
    /// Whether it came out of a merge.
    is_sorted: bool,
    /// Whether an acknowledgement or a manifest has named it.
    is_named: bool,
}

impl Segment {
    /// One that was handed over as the file of this number.
    fn storing(number: u64) -> Self {
        Self { file: Handed::Storing(number), is_sorted: false, is_named: false }
    }

    /// What others were merged into.
    fn merged(file: FileInfo) -> Self {
        Self { file: Handed::Stored(file), is_sorted: true, is_named: false }
    }

    /// One of a checkpoint.
    pub(super) fn restored(file: FileInfo, is_sorted: bool) -> Self {
        Self { file: Handed::Stored(file), is_sorted, is_named: true }
    }
}

impl Handed {
    fn stored(&self) -> Option<&FileInfo> {
        match self {
            Handed::Stored(file) => Some(file),
            Handed::Storing(_) => None,
        }
    }
}

impl Cuts {
    pub(crate) fn new(enabled: bool, cores: usize, limits: MergeLimits) -> Self {
        Self { enabled, barriers: vec![None; cores], limits, ..Self::default() }
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
    pub(super) fn begin(
        &mut self,
        trigger: Barrier,
        recording: Recording,
        peers: Vec<bool>,
        times: Times,
    ) {
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
            delivered: false,
            times,
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
        let image = self.open.as_mut().and_then(|open| open.image.as_mut());
        let segments = self.segments.iter_mut().map(|segment| &mut segment.file);
        for handed in segments.chain(image) {
            if matches!(handed, Handed::Storing(storing) if *storing == number) {
                *handed = Handed::Stored(file.clone());
            }
        }
    }

    /// Whether the segment that ends now is to hold all state, where it can: merging would cost
    /// more than encoding it once.
    pub(super) fn tells_all(&mut self, can: bool) -> bool {
        self.can_tell_all = can;
        let (from, sizes) = self.named();
        let chosen = self.limits.worthwhile(&sizes);
        let bulky = chosen.is_some_and(|range| from + range.start == 0);
        can && bulky && self.merging.is_none()
    }

    /// The segment is encoded; `all`: it holds all state, and those before it are void.
    pub(super) fn encoded(&mut self, epoch: u64, blocks: Vec<Block>, all: bool) {
        self.encoding = None;
        if all && self.merging.is_none() {
            self.segments.clear();
        }
        if !blocks.is_empty() {
            self.number += 1;
            let number = self.store(Content::Segment { number: self.number, epoch, blocks });
            self.segments.push(Segment::storing(number));
            fail_point!("segment-handed-over");
        }
    }

    /// Whether what was encoded may become a segment now, between two cuts and behind the segment
    /// of the epoch before; and whether too much is on its way already.
    pub(super) fn may_spill(&self) -> (bool, bool) {
        let is_storing = |segment: &&Segment| segment.file.stored().is_none();
        let storing = self.segments.iter().rev().take_while(is_storing).count();
        let between = self.enabled && self.open.is_none() && self.encoding.is_none();
        (between && storing < SPILLS_MAX, storing >= SPILLS_MAX)
    }

    /// Some of an epoch that has not ended is a segment of its own.
    pub(super) fn spilled(&mut self, epoch: u64, blocks: Vec<Block>) {
        if blocks.is_empty() {
            return;
        }
        self.number += 1;
        let number = self.files;
        self.files += 1;
        let content = Content::Segment { number: self.number, epoch, blocks };
        self.tell(CutReport::Spill { number, content });
        self.segments.push(Segment::storing(number));
    }

    /// The first run of segments that an acknowledgement or a manifest has named, and their sizes:
    /// the coordinator knows of those only, and deletes them in the end.
    fn named(&self) -> (usize, Vec<Size>) {
        let from = self.segments.iter().position(|it| it.is_named).unwrap_or(self.segments.len());
        let size = |segment: &Segment| {
            let file = segment.file.stored().filter(|_| segment.is_named)?;
            Some(Size { bytes: file.bytes, is_sorted: segment.is_sorted })
        };
        (from, self.segments[from..].iter().map_while(size).collect())
    }

    /// Has segments merged if that pays.
    pub(super) fn merge_some(&mut self) {
        if self.merging.is_some() {
            return;
        }
        let (from, sizes) = self.named();
        let chosen = self.limits.choose(&sizes, self.can_tell_all && from == 0);
        let Some(range) = chosen.map(|it| from + it.start..from + it.end) else { return };
        let segments = self.segments[range.clone()].iter();
        let segments = segments.filter_map(|it| it.file.stored().cloned()).collect();
        self.tell(CutReport::Merge { segments, is_bottom: range.start == 0 });
        self.merging = Some(range);
    }

    /// The merged segments give way to what was made of them; the next merge may begin. One that
    /// failed is tried again when the next file is durable.
    pub(super) fn merged(&mut self, file: Option<FileInfo>) {
        let range = self.merging.take();
        if let (Some(range), Some(file)) = (range, file) {
            self.segments.splice(range, [Segment::merged(file)]);
            self.merge_some();
        }
    }

    /// Hands over what is left: the image once every barrier has come.
    pub(super) fn deliver(&mut self, now: u64) {
        self.hand_over_image(now);
        let encoded = self.encoding.is_none();
        if let Some(open) = self.open.as_mut().filter(|open| encoded && open.image.is_some())
            && !std::mem::replace(&mut open.delivered, true)
        {
            let checkpoint = open.trigger.checkpoint;
            self.tell(CutReport::Delivered(checkpoint));
        }
    }

    /// A slice of the cut's encoding has lasted from then to now.
    pub(super) fn note_slice(&mut self, from: u64, now: u64) {
        let Some(open) = &mut self.open else { return };
        open.times.slice = open.times.slice.max(now.saturating_sub(from));
        if self.encoding.is_none() {
            open.times.encoded = now;
        }
    }

    fn hand_over_image(&mut self, now: u64) {
        let Some(open) = &mut self.open else { return };
        if open.awaits.contains(&true) {
            return;
        }
        let Some(recording) = open.recording.take() else { return };
        open.times.recorded = now;
        let (image, counts) = recording.finish();
        let number = self.store(Content::Image(image));
        fail_point!("image-handed-over");
        if let Some(open) = &mut self.open {
            (open.counts, open.image) = (counts, Some(Handed::Storing(number)));
        }
    }

    /// Acknowledges the open cut once everything that it names is durable.
    pub(super) fn acknowledge(&mut self, core: usize, now: u64) {
        let Some(OpenCut { image: Some(Handed::Stored(image)), .. }) = &self.open else {
            return;
        };
        if self.encoding.is_some() {
            return;
        }
        let segments = self.segments.iter().map(|it| it.file.stored().cloned());
        let Some(segments) = segments.collect::<Option<Vec<_>>>() else { return };
        let image = image.clone();
        self.segments.iter_mut().for_each(|segment| segment.is_named = true);
        if let Some(OpenCut { trigger, counts, times, .. }) = self.open.take() {
            fail_point!("before-acknowledgement");
            let Barrier { checkpoint, term, .. } = trigger;
            let (core, part) = (core as u32, image);
            let (files, phases) = (segments, times.phases(now));
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
