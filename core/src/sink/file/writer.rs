//! Writes the parts of one core.

use std::marker::PhantomData;
use std::rc::Rc;

use serde::Serialize;
use thalweg_checkpoint::HiddenPart;

use super::FileSink;
use super::encode::Encoder;
use super::parts::{PartFiles, PartOrder, SealedPart};
use crate::Result;
use crate::runtime::{Core, SideThread};
use crate::sink::{SinkContext, SinkWriter};
use crate::time::Stamp;

/// Bytes that go to the disk at once.
const BLOCK: usize = 256 << 10;

/// Stages records in blocks and has them written.
pub struct FileWriter<T> {
    core: Rc<Core>,
    sink: FileSink,
    files: SideThread<PartFiles>,
    encoder: Encoder,
    block: Vec<u8>,
    spare: Vec<Vec<u8>>,
    part: Option<Part>,
    /// Closed parts that no checkpoint has sealed.
    rolled: Vec<HiddenPart>,
    number: u64,
    checkpoint: u64,
    /// Whether there are checkpoints, and whether parts wait for them.
    checkpoints: bool,
    waits: bool,
    attempt: u64,
    input: PhantomData<fn(T)>,
}

/// The open part.
struct Part {
    name: HiddenPart,
    bytes: u64,
    /// Engine time of its first record.
    since: u64,
}

impl<T: Serialize> FileWriter<T> {
    pub(super) fn new(sink: FileSink, cx: SinkContext) -> Result<Self> {
        let waits = cx.checkpoints && !cx.write_through;
        let first = cx.attempt == 1 || waits;
        let number = if first { 0 } else { sink.next_number(cx.core.index())? };
        let files =
            SideThread::start(PartFiles::new(sink.directory.clone(), cx.attempt), cx.aside)?;
        Ok(Self {
            core: cx.core,
            encoder: Encoder::new(sink.format),
            sink,
            files,
            block: Vec::with_capacity(BLOCK + BLOCK / 4),
            spare: Vec::new(),
            part: None,
            rolled: Vec::new(),
            number,
            checkpoint: 0,
            checkpoints: cx.checkpoints,
            waits,
            attempt: cx.attempt,
            input: PhantomData,
        })
    }

    #[cold]
    fn begin(&mut self) {
        let checkpoint = if self.checkpoints { self.checkpoint + 1 } else { 0 };
        let core = self.core.index() as u32;
        let name = HiddenPart { checkpoint, core, number: self.number, attempt: self.attempt };
        self.number += 1;
        self.encoder = Encoder::new(self.sink.format);
        self.part = Some(Part { name, bytes: 0, since: self.core.now() });
    }

    /// Hands the block over.
    fn send(&mut self) {
        let Some(part) = self.part.as_ref().filter(|_| !self.block.is_empty()) else { return };
        let next = self.spare.pop().unwrap_or_default();
        let block = std::mem::replace(&mut self.block, next);
        self.files.order(PartOrder::Write { part: part.name, block });
    }

    /// Ends the open part.
    fn roll(&mut self) {
        self.send();
        let Some(part) = self.part.take() else { return };
        self.files.order(PartOrder::Close);
        if self.waits {
            self.rolled.push(part.name);
        } else {
            let sealed = self.sealed(part.name, part.name.checkpoint);
            self.files.order(PartOrder::Commit(vec![sealed]));
        }
    }

    fn sealed(&self, part: HiddenPart, checkpoint: u64) -> SealedPart {
        let committed = part.committed(checkpoint, self.sink.format.suffix()).to_string();
        SealedPart { hidden: part.to_string(), committed }
    }

    /// Takes the side thread's outcomes.
    fn receive(&mut self) -> Result<()> {
        while let Some(outcome) = self.files.outcome()? {
            self.spare.extend(outcome);
        }
        Ok(())
    }
}

impl<T: Serialize + 'static> SinkWriter<T> for FileWriter<T> {
    type Committable = SealedPart;

    fn ready(&mut self) -> Result<bool> {
        self.receive()?;
        let age = self.sink.roll_after.as_nanos() as u64;
        let old = |part: &Part| self.core.now().saturating_sub(part.since) >= age;
        if self.part.as_ref().is_some_and(old) {
            self.roll();
        }
        Ok(self.files.has_room())
    }

    #[inline]
    fn write(&mut self, record: T, _stamp: Stamp) -> Result<()> {
        if self.part.is_none() {
            self.begin();
        }
        let before = self.block.len();
        self.encoder.encode(&record, &mut self.block)?;
        let Some(part) = &mut self.part else { return Ok(()) };
        part.bytes += (self.block.len() - before) as u64;
        if part.bytes >= self.sink.roll_bytes {
            self.roll();
        } else if self.block.len() >= BLOCK {
            self.send();
        }
        Ok(())
    }

    fn restored(&mut self, checkpoint: u64) {
        self.checkpoint = checkpoint;
    }

    fn seal(&mut self, checkpoint: u64) -> Result<Vec<SealedPart>> {
        let last = std::mem::replace(&mut self.checkpoint, checkpoint);
        assert!(checkpoint > last, "checkpoint {checkpoint} after checkpoint {last}");
        self.roll();
        let rolled = std::mem::take(&mut self.rolled);
        Ok(rolled.into_iter().map(|part| self.sealed(part, checkpoint)).collect())
    }

    fn commit(&mut self, committables: Vec<SealedPart>) -> Result<()> {
        if !committables.is_empty() {
            self.files.order(PartOrder::Commit(committables));
        }
        Ok(())
    }

    fn settled(&mut self) -> Result<bool> {
        self.files.has_room();
        self.receive()?;
        Ok(self.files.outstanding() == 0)
    }

    fn end(&mut self) -> Result<()> {
        if !self.waits {
            self.roll();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<bool> {
        self.settled()
    }
}
