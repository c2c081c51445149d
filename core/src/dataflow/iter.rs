//! The smallest source and sink: an iterator, and a vector that the caller keeps.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Result;
use crate::operator::SplitEvent;
use crate::sink::{Sink, SinkContext, SinkWriter};
use crate::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus};
use crate::time::{MIN, Stamp};

/// A source that reads an iterator on core 0.
pub struct FromIter<I> {
    items: I,
}

impl<I> FromIter<I> {
    pub(crate) fn new(items: I) -> Self {
        Self { items }
    }
}

impl<I> Source for FromIter<I>
where
    I: IntoIterator + 'static,
    I::IntoIter: 'static,
    I::Item: 'static,
{
    type Out = I::Item;
    type Split = u64;
    type Reader = IterReader<I::IntoIter>;

    fn kind(&self) -> &'static str {
        "iterator"
    }
    fn bounded(&self) -> bool {
        true
    }
    fn splits(&self, _parallelism: usize) -> Result<Vec<u64>> {
        Ok(vec![0])
    }
    fn reader(self, splits: Vec<(u32, u64)>, _cx: SourceContext) -> Result<Self::Reader> {
        let mut items = self.items.into_iter();
        let read = splits.first().map(|(_, position)| *position);
        if let Some(skip) = read.filter(|skip| *skip > 0) {
            items.nth(skip as usize - 1);
        }
        Ok(IterReader { items, read })
    }
}

/// Reads an iterator.
pub struct IterReader<I> {
    items: I,
    /// How many items were read; `None` on cores without the split.
    read: Option<u64>,
}

impl<I: Iterator + 'static> SourceReader for IterReader<I>
where
    I::Item: 'static,
{
    type Out = I::Item;
    type Split = u64;

    fn open<O: SourceOutput<I::Item>>(&mut self, out: &mut O) -> Result<()> {
        if self.read.is_none() {
            return out.idle(true);
        }
        out.split(SplitEvent::Added(0))?;
        out.split(SplitEvent::Current(0))
    }

    fn poll<O: SourceOutput<I::Item>>(&mut self, out: &mut O) -> Result<SourceStatus> {
        let Some(read) = &mut self.read else {
            return Ok(SourceStatus::Finished);
        };
        while !out.is_full() {
            let Some(item) = self.items.next() else {
                return Ok(SourceStatus::Finished);
            };
            *read += 1;
            let now = out.now();
            out.collect(item, MIN, now)?;
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<(u32, u64)> {
        self.read.map(|read| (0, read)).into_iter().collect()
    }
}

/// A sink that keeps everything for its caller; clones share the same vector.
///
/// ```
/// use thalweg::prelude::*;
/// let all = Collected::new();
/// let out = all.clone();
/// let job = move |flow: &Dataflow, _: &Args| {
///     flow.from_iter("numbers", 0..3u64).collect_into("all", &out);
///     Ok(())
/// };
/// thalweg::run_local(job, 1).unwrap();
/// assert_eq!(all.take(), [0, 1, 2]);
/// ```
pub struct Collected<T>(Arc<Mutex<Vec<T>>>);

impl<T> Collected<T> {
    /// An empty vector.
    pub fn new() -> Self {
        Self(Arc::default())
    }

    /// Everything so far, in the order of arrival per core; leaves the vector empty.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for Collected<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Sink<T> for Collected<T> {
    type Writer = Collecting<T>;

    fn kind(&self) -> &'static str {
        "collect"
    }
    fn writer(self, _cx: SinkContext) -> Result<Collecting<T>> {
        Ok(Collecting { all: self, staged: Vec::new() })
    }
}

/// Stages a batch, so that the lock is taken once for it.
pub struct Collecting<T> {
    all: Collected<T>,
    staged: Vec<T>,
}

impl<T: Send + 'static> SinkWriter<T> for Collecting<T> {
    type Committable = ();

    fn write(&mut self, record: T, _stamp: Stamp) -> Result<()> {
        self.staged.push(record);
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.append(&mut self.staged);
        Ok(())
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        SinkWriter::flush(self)
    }
}
