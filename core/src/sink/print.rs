//! Prints records to standard output, a line each.

use std::fmt::Debug;
use std::io::Write;

use super::{Sink, SinkContext, SinkWriter};
use crate::time::Stamp;
use crate::{Error, Result};

/// A sink that prints the `Debug` form of each record. At least once: after a restart lines may come again.
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
    fn writer(self, _cx: SinkContext) -> Result<Printing> {
        Ok(Printing { staged: Vec::new() })
    }
}

/// Stages a batch of lines.
#[derive(Debug)]
pub struct Printing {
    staged: Vec<u8>,
}

impl<T: Debug + 'static> SinkWriter<T> for Printing {
    type Committable = ();

    fn write(&mut self, record: T, _stamp: Stamp) -> Result<()> {
        writeln!(self.staged, "{record:?}").map_err(|error| Error::io("cannot print", error))
    }
    fn flush(&mut self) -> Result<()> {
        let result = std::io::stdout().lock().write_all(&self.staged);
        self.staged.clear();
        result.map_err(|error| Error::io("cannot print to standard output", error))
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
}
