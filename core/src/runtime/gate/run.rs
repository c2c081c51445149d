//! How a gate reads a page: in runs, until the page, the budget or the credit ends.
//!
//! A consumer sees before each record the watermark that the merged inputs have by then. It follows
//! the record's own while that alone holds the gate back; where it does not, a run ends in front of
//! a newer one.

use thalweg_net::{Page, PageView};

use super::Gate;
use super::consumer::Run;
use super::input::{Cursor, Prepared};
use super::watched::Watched;
use crate::Result;
use crate::record::Record;
use crate::runtime::poison::{Head, Warden};
use crate::time::{MAX, MIN, Timestamp};

/// How many records a consumer gets at once, at most.
const RUN: usize = 256;

impl<T: Record> Gate<T> {
    /// Consumes runs of the open page; returns how many records were taken by all consumers.
    pub(super) fn run_page(&mut self, index: usize, budget: usize) -> Result<usize> {
        let Some(mut open) = self.inputs[index].open.take() else {
            return Ok(0);
        };
        let start = open.cursor.at;
        let finished = self.run_records(index, &open.page, &mut open.cursor, budget)?;
        let taken = open.cursor.at - start;
        if taken > 0 {
            self.inputs[index].seen = open.page.typed::<T>().head(open.cursor.at - 1).timestamp;
        }
        self.inputs[index].records += taken as u64;
        if !finished {
            self.inputs[index].open = Some(open);
            return Ok(taken);
        }
        if !open.restored {
            self.returns.push_back((index, self.channel, open.page.into_buffer()));
        }
        if open.trailing > self.inputs[index].watermark {
            let change = self.raise(index, open.trailing);
            self.apply(change)?;
        }
        Ok(taken)
    }

    /// Consumes runs until the page, the budget or the credit ends; true when the page is consumed.
    fn run_records(
        &mut self,
        index: usize,
        page: &Page,
        cursor: &mut Cursor,
        budget: usize,
    ) -> Result<bool> {
        let page = page.typed::<T>();
        let len = page.len();
        if cursor.prepared != Prepared::Yes(self.core.budget.departures())
            && !self.prepare(&page, cursor)?
        {
            return Ok(false);
        }
        let stop = len.min(cursor.at + budget);
        let watched = self.warden().is_some();
        while cursor.at < stop {
            if self.stopped() {
                return Ok(false);
            }
            let (start, watermark) = (cursor.at, page.head(cursor.at).watermark);
            // The last watermark closes an input instead of moving it on.
            // Where records are watched it stands still while one is handed on: what fails then is
            // no timer.
            let until = self.valve.bound(index).filter(|_| !watched);
            let until = until.filter(|_| page.head(len - 1).watermark < MAX);
            if until.is_none() && !self.reach(index, watermark)? {
                return Ok(false);
            }
            let end = match until {
                Some(_) => start + RUN,
                None => run_end(&page, start, watermark),
            };
            let ahead = self.inputs[index].cursors.iter().copied().max().unwrap_or(0);
            let range = start..end.min(stop).max(ahead);
            let run = Run { range, until: until.unwrap_or(MIN) };
            let complete = self.run_consumers(index, &page, cursor, run)?;
            // A consumer that was ahead has seen less if the other inputs were not as far then.
            if until.is_some()
                && cursor.at > start
                && !self.reach(index, page.head(cursor.at - 1).watermark)?
            {
                return Ok(false);
            }
            if !complete && !self.can_go_on(index, page.head(cursor.at).watermark)? {
                return Ok(false);
            }
        }
        Ok(cursor.at == len)
    }

    /// Who watches the records of this gate, if anybody does.
    fn warden(&self) -> Option<&Warden> {
        let head = Head::Input(self.channel.0);
        self.core.warden().filter(|warden| warden.watches(head))
    }

    /// Moves event time on to what it was before a record; false while a consumer has yet to do so.
    fn reach(&mut self, index: usize, watermark: Timestamp) -> Result<bool> {
        if watermark > self.inputs[index].watermark {
            let change = self.raise(index, watermark);
            self.apply(change)?;
        }
        Ok(self.advancing.is_none())
    }

    /// Whether the consumer that stopped in front of a record goes on: it waited for event time to
    /// move on there, and that has happened.
    fn can_go_on(&mut self, index: usize, watermark: Timestamp) -> Result<bool> {
        let waits_for_time = !self.stopped() && watermark > self.inputs[index].watermark;
        Ok(waits_for_time && self.reach(index, watermark)?)
    }

    /// Hands one run to every consumer that has not taken it yet; true when all of them have.
    ///
    /// Where one stops the others do, unless they were ahead of it already.
    fn run_consumers(
        &mut self,
        index: usize,
        page: &PageView<'_, T>,
        open: &mut Cursor,
        mut run: Run,
    ) -> Result<bool> {
        let end = run.range.end;
        let head = Head::Input(self.channel.0);
        let warden = self.core.warden().filter(|warden| warden.watches(head));
        let cursors = &mut self.inputs[index].cursors;
        let consumers = self.consumers.iter_mut().zip(cursors.iter_mut());
        for (part, (consumer, cursor)) in (0u32..).zip(consumers) {
            *cursor = (*cursor).max(open.at);
            run.range.start = *cursor;
            if !run.range.is_empty() {
                *cursor = match warden {
                    None => consumer.consume(page, run.clone())?,
                    Some(warden) => {
                        let watched = Watched { warden, head, part };
                        watched.consume(&mut **consumer, page, run.clone())?
                    }
                };
                run.range.end = run.range.end.min(*cursor);
            }
        }
        open.at = cursors.iter().copied().min().unwrap_or(end).min(end);
        if open.at == end {
            cursors.fill(0);
        }
        Ok(open.at == end)
    }
}

/// The end of the run that starts at `start`: at most [`RUN`] records, none behind a newer
/// watermark.
#[inline]
fn run_end<T: Record>(page: &PageView<'_, T>, start: usize, watermark: Timestamp) -> usize {
    let limit = page.len().min(start + RUN);
    let mut end = start + 1;
    while end < limit && page.head(end).watermark <= watermark {
        end += 1;
    }
    end
}
