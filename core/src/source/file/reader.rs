//! Reads the files of one core in turns.

use std::collections::VecDeque;
use std::rc::Rc;

use super::bad_line::{Letters, Refused};
use super::cutter::{Cut, Cutter, Cutting, LINE_MAX, without_mark};
use super::disk::{CHUNK, Chunk, Disk, ReadChunk};
use super::{FilePosition, FileSplit, LineParser};
use crate::error::Kind;
use crate::operator::SplitEvent;
use crate::runtime::{Core, SideThread};
use crate::source::{SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::time::MIN;
use crate::{Error, Result};

/// Files that are open at a time; the others wait, and hold the watermark meanwhile.
const OPEN_MAX: usize = 16;

/// Lines of a file before the next one has its turn.
const TURN: usize = 256;

/// Lines in one poll, also if none of them is a record.
const LINES_MAX: usize = 2048;

/// Reads the files of one core.
pub struct FileReader<P> {
    splits: Vec<Split<P>>,
    /// Open files in the order of their turns.
    turns: VecDeque<usize>,
    /// The next file to open.
    next: usize,
    disk: SideThread<Disk>,
    letters: Option<Rc<Letters>>,
    core: Rc<Core>,
    chunk: usize,
}

struct Split<P> {
    id: u32,
    position: FilePosition,
    parser: P,
    cutter: Cutter,
    /// Read ahead while the cutter's chunk is parsed.
    ahead: Option<Vec<u8>>,
    asked: bool,
    opened: bool,
    at_end: bool,
}

/// What came of a turn.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Read,
    Waiting,
    Finished,
}

impl<P: LineParser> FileReader<P> {
    pub(super) fn new(
        splits: Vec<(u32, FileSplit<P::State>)>,
        parser: &dyn Fn(&str) -> P,
        letters: Option<Rc<Letters>>,
        cx: SourceContext,
    ) -> Result<Self> {
        let split = |(id, (position, state)): (u32, FileSplit<P::State>)| {
            let mut parser = parser(&position.path);
            parser.restore(state);
            Split::new(id, position, parser)
        };
        let splits: Vec<Split<P>> = splits.into_iter().map(split).collect();
        Ok(Self {
            splits,
            turns: VecDeque::new(),
            next: 0,
            disk: SideThread::start(Disk::default(), cx.aside)?,
            letters,
            core: cx.core,
            chunk: CHUNK,
        })
    }

    /// Opens files while there is room, and asks for their first chunks.
    fn open_more(&mut self) {
        while self.turns.len() < OPEN_MAX && self.next < self.splits.len() {
            if !self.splits[self.next].position.finished {
                self.turns.push_back(self.next);
                self.ask(self.next, Vec::new());
            }
            self.next += 1;
        }
    }

    /// Asks for the next chunk of a file, unless its end was seen or one is on its way.
    fn ask(&mut self, which: usize, buffer: Vec<u8>) {
        let split = &mut self.splits[which];
        if split.at_end || split.asked || split.ahead.is_some() {
            return;
        }
        split.asked = true;
        let open = (!split.opened).then(|| split.position.clone());
        split.opened = true;
        self.disk.order(ReadChunk { split: which, open, buffer, size: self.chunk });
    }

    fn receive(&mut self) -> Result<()> {
        self.disk.has_room();
        while let Some(Chunk { split, bytes, head }) = self.disk.outcome()? {
            let split = &mut self.splits[split];
            split.asked = false;
            if let Some((bytes, hash)) = head {
                (split.position.head_bytes, split.position.head_hash) = (bytes, hash);
            }
            split.at_end = bytes.is_empty();
            split.ahead = Some(bytes).filter(|bytes| !bytes.is_empty());
        }
        Ok(())
    }

    /// Gives the cutter of a file its next chunk; false: it is not there yet.
    fn feed(&mut self, which: usize) -> Result<bool> {
        if self.splits[which].ahead.is_none() {
            self.ask(which, Vec::new());
            self.receive()?;
        }
        let split = &mut self.splits[which];
        if let Some(chunk) = split.ahead.take() {
            let spare = split.cutter.feed(chunk);
            self.ask(which, spare);
            return Ok(true);
        }
        if split.at_end {
            split.cutter.end();
        }
        Ok(split.at_end)
    }

    /// Reads some lines of one file.
    fn turn<O: SourceOutput<P::Out>>(
        &mut self,
        which: usize,
        lines: &mut usize,
        out: &mut O,
    ) -> Result<Turn> {
        let letters = self.letters.clone();
        let mut read = 0;
        while read < TURN && *lines > 0 && !out.is_full() {
            let Split { position, parser, cutter, .. } = &mut self.splits[which];
            match cutter.cut() {
                Cut::Line(cutting) => {
                    read += 1;
                    *lines -= 1;
                    let record = take(&self.core, letters.as_deref(), position, parser, cutting)?;
                    if let Some(record) = record {
                        let now = out.now();
                        out.collect(record, MIN, now)?;
                    }
                }
                Cut::Wanted => {
                    if !self.feed(which)? {
                        return Ok(if read > 0 { Turn::Read } else { Turn::Waiting });
                    }
                }
                Cut::End => {
                    if position.lines == 0 {
                        let header = parser.header(None);
                        header.map_err(|error| no_header(&position.path, error))?;
                    }
                    position.finished = true;
                    return Ok(Turn::Finished);
                }
            }
        }
        Ok(Turn::Read)
    }
}

impl<P> Split<P> {
    fn new(id: u32, position: FilePosition, parser: P) -> Self {
        Self {
            id,
            position,
            parser,
            cutter: Cutter::default(),
            ahead: None,
            asked: false,
            opened: false,
            at_end: false,
        }
    }
}

/// Makes a record of a line and moves the position behind it.
#[inline]
fn take<P: LineParser>(
    core: &Core,
    letters: Option<&Letters>,
    position: &mut FilePosition,
    parser: &mut P,
    cutting: Cutting<'_>,
) -> Result<Option<P::Out>> {
    let mut text = cutting.line;
    let first = position.lines == 0;
    position.lines += 1;
    position.offset += cutting.bytes;
    if first {
        text = without_mark(text);
        let header = parser.header(Some(text));
        if header.map_err(|error| no_header(&position.path, error))? {
            return Ok(None);
        }
    }
    let parsed = if cutting.too_long() {
        parser.skipped();
        Err(too_long())
    } else {
        parser.parse(text)
    };
    match parsed {
        Ok(record) => Ok(record),
        Err(error) => {
            let (file, line) = (&*position.path, position.lines);
            Refused { file, line, text, error }.settle(letters, core)?;
            Ok(None)
        }
    }
}

#[cold]
fn too_long() -> crate::BoxError {
    format!("line is longer than {} MiB", LINE_MAX >> 20).into()
}

#[cold]
fn no_header(path: &str, error: crate::BoxError) -> Error {
    Error::new(Kind::User, format!("cannot read \"{path}\": its header is not the expected one"))
        .with_source(error)
}

impl<P: LineParser> SourceReader for FileReader<P> {
    type Out = P::Out;
    type Split = FileSplit<P::State>;

    fn open<O: SourceOutput<P::Out>>(&mut self, out: &mut O) -> Result<()> {
        let open = self.splits.iter().filter(|split| !split.position.finished);
        let open: Vec<u32> = open.map(|split| split.id).collect();
        for id in &open {
            out.split(SplitEvent::Added(*id))?;
        }
        self.open_more();
        if open.is_empty() { out.idle(true) } else { Ok(()) }
    }

    fn poll<O: SourceOutput<P::Out>>(&mut self, out: &mut O) -> Result<SourceStatus> {
        self.receive()?;
        let mut lines = LINES_MAX;
        let mut waiting = 0;
        while !out.is_full() && lines > 0 {
            if waiting == self.turns.len() {
                let all = self.turns.is_empty();
                return Ok(if all { SourceStatus::Finished } else { SourceStatus::Wait });
            }
            let Some(which) = self.turns.pop_front() else { break };
            let id = self.splits[which].id;
            out.split(SplitEvent::Current(id))?;
            match self.turn(which, &mut lines, out)? {
                Turn::Finished => {
                    out.split(SplitEvent::Finished(id))?;
                    self.splits[which].cutter = Cutter::default();
                    self.open_more();
                    waiting = 0;
                    continue;
                }
                Turn::Waiting => waiting += 1,
                Turn::Read => waiting = 0,
            }
            self.turns.push_back(which);
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<(u32, FileSplit<P::State>)> {
        let state = |split: &Split<P>| (split.position.clone(), split.parser.snapshot());
        self.splits.iter().map(|split| (split.id, state(split))).collect()
    }
}
