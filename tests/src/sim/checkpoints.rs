//! The coordinator, the store and the network between them and the cores, as a seed wants them:
//! triggers arrive at different times, answers are late, messages that may be lost are.

use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg::Result;
use thalweg::runtime::{Acknowledgement, ChannelCount, Content, CutCommand, CutReport};
use thalweg::runtime::{Restore, StoredFile, Worker};
use thalweg_checkpoint::Image;
use thalweg_net::Barrier;
use thalweg_state::segment::SegmentHeader;

use super::Random;
use crate::seen;

/// How a seed treats checkpoints.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Percentage of steps behind which a checkpoint is triggered, if none is open.
    pub triggers: u64,
    /// Percentage of steps behind which an open one is aborted.
    pub aborts: u64,
    /// Percentage of waiting messages and files that arrive in a step.
    pub arrives: u64,
    /// Percentage of commits and aborts that are lost.
    pub loses: u64,
}

impl Manner {
    /// Draws a manner.
    pub fn draw(random: &mut Random) -> Self {
        Self {
            triggers: random.pick(&[1, 3, 10, 50]),
            aborts: random.pick(&[0, 0, 1, 5]),
            arrives: random.pick(&[5, 30, 100]),
            loses: random.pick(&[0, 0, 30, 90]),
        }
    }

    /// Everything arrives, nothing is lost.
    pub fn kind() -> Self {
        Self { triggers: 5, aborts: 0, arrives: 100, loses: 0 }
    }
}

/// What outlives an attempt.
#[derive(Debug, Default)]
pub struct Durable {
    files: BTreeMap<String, Vec<u8>>,
    /// The newest complete checkpoint: its number and each core's part.
    complete: Option<(u64, Vec<Acknowledgement>)>,
    /// The highest number of a checkpoint so far.
    highest: u64,
    /// How many attempts have begun.
    pub attempts: u64,
}

impl Durable {
    /// Each core's part of the newest complete checkpoint; none if there is no such checkpoint.
    ///
    /// # Errors
    /// A file of it does not read back.
    pub fn restore(&self) -> Result<Vec<Rc<Restore>>, String> {
        let Some((_, parts)) = &self.complete else { return Ok(Vec::new()) };
        let bytes = |file: &StoredFile| {
            let bytes = self.files.get(&file.path).ok_or(format!("{} is missing", file.path))?;
            let found = thalweg::key::hash(bytes);
            let same = (bytes.len() as u64, found) == (file.bytes, file.checksum);
            if same { Ok(bytes.clone()) } else { Err(format!("{} is damaged", file.path)) }
        };
        let core = |part: &Acknowledgement| {
            let image = Image::decode(&bytes(&part.image)?).map_err(|error| error.to_string())?;
            let segments = part.segments.iter().map(|file| Ok((file.clone(), bytes(file)?)));
            let segments = segments.collect::<Result<_, String>>()?;
            Ok(Rc::new(Restore { image, segments }))
        };
        parts.iter().map(core).collect()
    }
}

/// The coordinator of one attempt, and all that is under way in it.
pub struct Coordinator {
    attempt: u64,
    open: Option<Open>,
    /// What waits to arrive at each core, in order.
    mail: Vec<Vec<CutCommand>>,
    /// Files under way to the store.
    uploads: Vec<Upload>,
    ended: Vec<bool>,
    /// The first checkpoint that was triggered when all cores had ended.
    last: Option<u64>,
    committed: Vec<u64>,
}

struct Open {
    checkpoint: u64,
    parts: Vec<Option<Acknowledgement>>,
}

struct Upload {
    core: usize,
    number: u64,
    content: Content,
}

impl Coordinator {
    /// The coordinator of the next attempt.
    pub fn begin(durable: &mut Durable, cores: usize) -> Self {
        durable.attempts += 1;
        Self {
            attempt: durable.attempts,
            open: None,
            mail: vec![Vec::new(); cores],
            uploads: Vec::new(),
            ended: vec![false; cores],
            last: None,
            committed: vec![0; cores],
        }
    }

    /// Delivers mail to a core before its step.
    pub fn before_step(&mut self, worker: &mut Worker, manner: Manner, random: &mut Random) {
        let mail = &mut self.mail[worker.core().index()];
        while !mail.is_empty() && random.chance(manner.arrives) {
            worker.command(mail.remove(0));
        }
    }

    /// Takes what a core says after its step, and goes on with what is under way.
    ///
    /// # Errors
    /// A record was lost or doubled on a channel.
    pub fn after_step(
        &mut self,
        worker: &mut Worker,
        durable: &mut Durable,
        manner: Manner,
        random: &mut Random,
    ) -> Result<(), String> {
        let core = worker.core().index();
        while let Some(report) = worker.report() {
            match report {
                CutReport::Store { number, content } => {
                    self.uploads.push(Upload { core, number, content });
                }
                CutReport::Acknowledged(part) => self.acknowledged(part, durable)?,
                CutReport::Committed(checkpoint) => self.committed[core] = checkpoint,
                CutReport::Ended => self.ended[core] = true,
            }
        }
        while !self.uploads.is_empty() && random.chance(manner.arrives) {
            let at = random.below(self.uploads.len() as u64) as usize;
            let upload = self.uploads.remove(at);
            self.store(upload, durable);
        }
        self.decide(durable, manner, random);
        Ok(())
    }

    fn store(&mut self, Upload { core, number, content }: Upload, durable: &mut Durable) {
        let (suffix, bytes) = match content {
            Content::Image(image) => ("image", image.encode()),
            Content::Segment { epoch, blocks } => {
                let head = SegmentHeader { core: core as u32, number: epoch, epoch };
                ("segment", head.segment(&blocks))
            }
        };
        let path = format!("att-{}/core-{core}/{number}.{suffix}", self.attempt);
        let (length, checksum) = (bytes.len() as u64, thalweg::key::hash(&bytes));
        let before = durable.files.insert(path.clone(), bytes);
        assert!(before.is_none(), "{path} was written twice");
        let file = StoredFile { path, bytes: length, checksum };
        self.mail[core].push(CutCommand::Stored(number, file));
    }

    fn acknowledged(&mut self, part: Acknowledgement, durable: &mut Durable) -> Result<(), String> {
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.checkpoint != part.checkpoint {
            seen!("an aborted checkpoint was acknowledged");
            return Ok(());
        }
        let core = part.core;
        assert!(open.parts[core].replace(part).is_none(), "core {core} acknowledged twice");
        if open.parts.contains(&None) {
            return Ok(());
        }
        let Some(Open { checkpoint, parts }) = self.open.take() else { return Ok(()) };
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        let counts = parts.iter().flat_map(|part| part.counts.iter().copied());
        ChannelCount::check(counts).map_err(|lost| format!("checkpoint {checkpoint}: {lost:?}"))?;
        let all = || parts.iter().flat_map(|part| &part.counts);
        seen!("a cut recorded frames at their receiver", if all().any(|c| c.recorded > 0));
        seen!("a cut recorded frames at their sender", if all().any(|c| c.unsent > 0));
        durable.complete = Some((checkpoint, parts));
        Ok(())
    }

    /// Triggers, aborts, and sends commits again.
    fn decide(&mut self, durable: &mut Durable, manner: Manner, random: &mut Random) {
        let newest = durable.complete.as_ref().map_or(0, |(checkpoint, _)| *checkpoint);
        for core in 0..self.mail.len() {
            let waits = self.mail[core].iter().any(|mail| matches!(mail, CutCommand::Commit(_)));
            let is_late = self.committed[core] < newest && !waits;
            if is_late && random.chance(manner.arrives) && !random.chance(manner.loses) {
                self.mail[core].push(CutCommand::Commit(newest));
            }
        }
        if let Some(open) = &self.open {
            if random.chance(manner.aborts) {
                let checkpoint = open.checkpoint;
                self.open = None;
                seen!("a checkpoint was aborted");
                for mail in &mut self.mail {
                    if !random.chance(manner.loses) {
                        mail.push(CutCommand::Abort(checkpoint));
                    }
                }
            }
            return;
        }
        let at_end = self.ended.iter().all(|ended| *ended);
        let last_is_missing = at_end && self.last.is_none_or(|last| last > newest);
        if !last_is_missing && (at_end || !random.chance(manner.triggers)) {
            return;
        }
        durable.highest += 1;
        let checkpoint = durable.highest;
        if at_end {
            self.last.get_or_insert(checkpoint);
        }
        let parts = vec![None; self.mail.len()];
        self.open = Some(Open { checkpoint, parts });
        let trigger = Barrier { term: 1, checkpoint, kind: 0, started_ms: 0 };
        self.mail.iter_mut().for_each(|mail| mail.push(CutCommand::Trigger(trigger)));
    }

    /// Whether something is under way.
    pub fn is_busy(&self) -> bool {
        self.open.is_some()
            || !self.uploads.is_empty()
            || self.mail.iter().any(|mail| !mail.is_empty())
    }
}
