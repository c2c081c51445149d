//! Reads every record and keeps none.

use super::{Sink, SinkContext, SinkWriter};
use crate::Result;
use crate::time::Stamp;

/// A sink that hands each record to a function and drops it: for measurements, where the function
/// should read every field. Latency is measured as in every sink.
#[derive(Debug, Clone)]
pub struct Blackhole<F> {
    read: F,
}

impl<F> Blackhole<F> {
    /// Reads each record with `read`.
    pub fn new(read: F) -> Self {
        Self { read }
    }
}

impl<T: 'static, F: FnMut(&T) + 'static> Sink<T> for Blackhole<F> {
    type Writer = Self;

    fn kind(&self) -> &'static str {
        "blackhole"
    }
    fn can_take_back(&self) -> bool {
        true
    }
    fn writer(self, _cx: SinkContext) -> Result<Self> {
        Ok(self)
    }
}

impl<T: 'static, F: FnMut(&T) + 'static> SinkWriter<T> for Blackhole<F> {
    type Committable = ();

    #[inline(always)]
    fn write(&mut self, record: T, _stamp: Stamp) -> Result<()> {
        (self.read)(&record);
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
}
