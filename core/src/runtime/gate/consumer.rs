//! What reads a gate's pages: a keyed operator, a sink, a chain behind an exchange.

use std::ops::Range;

use thalweg_net::{Head, PageView};
use thalweg_state::segment::{Block, BlockReader};

use crate::Result;
use crate::operator::Snapshot;
use crate::record::Record;
use crate::state::{ColdState, Held, Journalled};
use crate::time::Timestamp;

/// Records of a page that a consumer takes in one call.
#[derive(Debug, Clone)]
pub struct Run {
    /// The records.
    pub range: Range<usize>,
    /// Event time moves on between records, as they say themselves, but not beyond this: it is how
    /// far the gate's other inputs are.
    pub until: Timestamp,
}

impl Run {
    /// The watermark before a record of the run, unless the consumer has seen a later one.
    #[inline(always)]
    pub fn watermark(&self, head: &Head) -> Timestamp {
        head.watermark.min(self.until)
    }
}

/// A consumer of a gate's pages.
///
/// `consume` and `advance` may stop early when an output is out of credit, and `consume` in front
/// of a record whose watermark makes a timer fire: the gate then calls `advance` first. It calls
/// them again with what is left. `prepare` comes before the first run of a page, and again when
/// rows have left their table since; `flush` after the last run of a turn.
pub trait PageConsumer<T: Record> {
    /// Makes sure that the keys of the page's records from `from` on can be served without waiting;
    /// false: they are on their way, try again when something has arrived.
    fn prepare(&mut self, _page: &PageView<'_, T>, _from: usize) -> Result<bool> {
        Ok(true)
    }
    /// Names the rows that those records need: they stay.
    fn hold(&self, _page: &PageView<'_, T>, _from: usize, _held: &mut Held) {}
    /// Names the rows that timers wait for, and those that pages of another gate need.
    fn hold_timers(&self, _held: &mut Held) {}
    /// Its state, if it has any whose rows may be cold.
    fn cold_state(&mut self) -> Option<&mut dyn ColdState> {
        None
    }
    /// Calls `visit` with each of its states and sets of timers, for their journals; always in the
    /// same order.
    fn journals(&mut self, _visit: &mut dyn FnMut(&mut dyn Journalled)) {}
    /// Looks again when something is due: its state was restored.
    fn restored(&mut self) {}
    /// Ends the core's epoch for its state, just before [`Core::epoch`](crate::runtime::Core) moves
    /// on; the blocks of the epoch before were taken. Moves no row.
    fn end_segment(&mut self, all: bool) {
        self.journals(&mut |part| part.end_segment(all));
    }
    /// Whether a segment may hold all of its state, changed or not.
    fn can_tell_all(&mut self) -> bool {
        let mut can = true;
        self.journals(&mut |part| can &= part.can_tell_all());
        can
    }
    /// Encodes rows that changed in the epoch that ended, at most `rows`; true if none is left.
    fn advance_segment(&mut self, rows: usize) -> Result<bool> {
        let (mut left, mut done) = (rows, Ok(true));
        self.journals(&mut |part| {
            if matches!(done, Ok(true)) {
                done = part.advance_segment(&mut left);
            }
        });
        done
    }
    /// Gives the blocks of the epoch that ended away; after [`PageConsumer::advance_segment`] is
    /// done. True if they hold all that there was then.
    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        let mut all = true;
        self.journals(&mut |part| all &= part.take_blocks(out));
        all
    }
    /// Memory of what was encoded before its epoch has ended, in bytes.
    fn encoded_bytes(&mut self) -> usize {
        let mut bytes = 0;
        self.journals(&mut |part| bytes += part.encoded_bytes());
        bytes
    }
    /// Gives that away; after [`PageConsumer::take_blocks`] of the epoch before.
    fn take_encoded(&mut self, out: &mut Vec<Block>) {
        self.journals(&mut |part| part.take_encoded(out));
    }
    /// Takes a block in if it belongs to its state; before the first record, oldest first.
    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool> {
        let mut found = Ok(false);
        self.journals(&mut |part| {
            if matches!(found, Ok(false)) {
                found = part.restore_block(block);
            }
        });
        found
    }
    /// The last block was taken in.
    fn end_restore(&mut self) -> Result<()> {
        let mut ended = Ok(());
        self.journals(&mut |part| {
            if ended.is_ok() {
                ended = part.end_restore();
            }
        });
        self.restored();
        ended
    }
    /// Asks for what these records need: the first ones of a page. Later ones are up to `consume`.
    fn prefetch(&mut self, _page: &PageView<'_, T>, _range: Range<usize>) {}
    /// Takes the run's records in order; returns the first that it has not taken. What stands
    /// behind has heard of the last watermark by then.
    fn consume(&mut self, page: &PageView<'_, T>, run: Run) -> Result<usize>;
    /// Moves event time on; false when it has to be called again. Does nothing if a run has moved
    /// it as far.
    fn advance(&mut self, watermark: Timestamp) -> Result<bool>;
    /// Whether it has to be called by [`PageConsumer::advance`] though this gate has no news: the
    /// other input of its operator has moved event time.
    fn lags(&self) -> bool {
        false
    }
    /// Fires processing-time timers due at `now` (milliseconds); false when it has to be called
    /// again.
    fn advance_processing(&mut self, _now: i64) -> Result<bool> {
        Ok(true)
    }
    /// The next processing-time timer, in milliseconds since the epoch.
    fn next_processing_timer(&self) -> Option<i64> {
        None
    }
    /// Memory that its state takes up.
    fn state_bytes(&self) -> usize {
        0
    }
    /// Engine time may have moved on; called in every turn.
    fn tick(&mut self) -> Result<()> {
        Ok(())
    }
    fn idle(&mut self, idle: bool) -> Result<()>;
    fn flush(&mut self) -> Result<()>;
    fn end(&mut self) -> Result<()>;
    /// Writes what it keeps outside declared state at a cut, or reads it back; so for all that
    /// stands behind it.
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()>;
}
