//! Prints records to standard output, a line each.

use std::fmt::Debug;
use std::io::Write;

use super::{Sink, SinkContext, SinkWriter};
use crate::runtime::{Chore, SideThread};
use crate::time::Stamp;
use crate::{Error, Result};

/// A sink that prints the `Debug` form of each record. At least once: after a restart lines may
/// come again. A slow reader of standard output holds the job up, but no core.
#[derive(Debug, Clone, Default)]
pub struct Print {}

impl Print {
    /// Prints to standard output.
    pub fn new() -> Self {
        Self {}
    }
}

impl<T: Debug + 'static> Sink<T> for Print {
    type Writer = Printing;

    fn kind(&self) -> &'static str {
        "print"
    }
    fn guarantee(&self) -> Option<String> {
        Some("print shows records again after a restart: at least once".to_owned())
    }
    // It shows records again after any restart.
    fn can_take_back(&self) -> bool {
        true
    }
    fn writer(self, cx: SinkContext) -> Result<Printing> {
        let console = SideThread::start(Console, cx.aside)?;
        Ok(Printing { staged: Vec::new(), spare: Vec::new(), console })
    }
}

/// Stages a batch of lines.
pub struct Printing {
    staged: Vec<u8>,
    spare: Vec<Vec<u8>>,
    console: SideThread<Console>,
}

impl Printing {
    fn receive(&mut self) -> Result<()> {
        while let Some(block) = self.console.outcome()? {
            self.spare.push(block);
        }
        Ok(())
    }
}

impl<T: Debug + 'static> SinkWriter<T> for Printing {
    type Committable = ();

    fn ready(&mut self) -> Result<bool> {
        self.receive()?;
        Ok(self.console.has_room())
    }
    fn write(&mut self, record: T, _stamp: Stamp) -> Result<()> {
        writeln!(self.staged, "{record:?}").map_err(|error| Error::io("cannot print", error))
    }
    fn flush(&mut self) -> Result<()> {
        if !self.staged.is_empty() {
            let next = self.spare.pop().unwrap_or_default();
            self.console.order(std::mem::replace(&mut self.staged, next));
        }
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
    fn finish(&mut self) -> Result<bool> {
        self.console.has_room();
        self.receive()?;
        Ok(self.console.outstanding() == 0)
    }
}

/// Standard output.
#[derive(Debug)]
struct Console;

impl Chore for Console {
    type Order = Vec<u8>;
    /// The block, to fill again.
    type Outcome = Vec<u8>;
    const NAME: &'static str = "print";
    // Nobody may ever read the other end of a pipe.
    const JOIN: bool = false;

    fn carry_out(&mut self, mut block: Vec<u8>) -> Result<Vec<u8>> {
        let mut out = std::io::stdout().lock();
        let printed = out.write_all(&block).and_then(|()| out.flush());
        printed.map_err(|error| Error::io("cannot print to standard output", error))?;
        block.clear();
        Ok(block)
    }
}
