//! Cold rows of a gate's operators: asked for before a page is read, held while it is.

use thalweg_net::PageView;

use super::Gate;
use super::input::{Cursor, Prepared};
use crate::Result;
use crate::operator::keyed::AHEAD;
use crate::record::Record;
use crate::state::{ColdState, Held};

/// Queued pages of a channel whose cold rows are asked for ahead of their turn.
const PAGES_AHEAD: usize = 4;

impl<T: Record> Gate<T> {
    /// Makes sure of the rows of a page's rest; false while some are on their way.
    #[cold]
    pub(super) fn prepare(&mut self, page: &PageView<'_, T>, cursor: &mut Cursor) -> Result<bool> {
        let (answers, departures) = (self.core.budget.answers(), self.core.budget.departures());
        let mut ready = cursor.prepared != Prepared::Waits(answers);
        if ready {
            for consumer in &mut self.consumers {
                ready &= consumer.prepare(page, cursor.at)?;
            }
        }
        if !ready {
            cursor.prepared = Prepared::Waits(answers);
            self.core.budget.note_wait();
            return Ok(false);
        }
        let first = cursor.at..page.len().min(cursor.at + AHEAD);
        self.consumers.iter_mut().for_each(|consumer| consumer.prefetch(page, first.clone()));
        cursor.prepared = Prepared::Yes(departures);
        Ok(true)
    }

    /// Asks for the cold rows of an input's next pages, so that they come while others are read.
    #[cold]
    pub(super) fn look_ahead(&mut self, index: usize) -> Result<()> {
        let most = self.core.budget.rows_ahead_max() / self.inputs.len();
        let input = &mut self.inputs[index];
        let (mut rows, mut looked) = (0, input.ahead);
        for (at, page) in input.queued_pages().take(PAGES_AHEAD).enumerate() {
            rows += page.count();
            if rows > most {
                break;
            }
            if at >= looked {
                for consumer in &mut self.consumers {
                    consumer.prepare(&page.typed::<T>(), 0)?;
                }
                looked += 1;
            }
        }
        input.ahead = looked;
        Ok(())
    }

    /// Takes in what the cold tier has answered.
    pub(super) fn settle_states(&mut self) -> Result<()> {
        self.states().try_for_each(|state| state.settle())
    }

    /// Lets some rows leave, if there are too many; true if it made progress and is not done.
    pub(super) fn evict_rows(&mut self) -> Result<bool> {
        if !self.states().any(|state| state.has_leavers()) {
            return Ok(false);
        }
        self.hold();
        let mut more = false;
        for state in self.consumers.iter_mut().filter_map(|consumer| consumer.cold_state()) {
            more |= state.evict(&self.needed)?;
        }
        Ok(more)
    }

    pub(super) fn states(&mut self) -> impl Iterator<Item = &mut dyn ColdState> {
        self.consumers.iter_mut().filter_map(|consumer| consumer.cold_state())
    }

    /// Names the rows that open pages, pages that were looked at and due timers need.
    fn hold(&mut self) {
        let mut needed = std::mem::replace(&mut self.needed, Held::new());
        needed.clear();
        self.hold_pages(&mut needed);
        self.consumers.iter().for_each(|consumer| consumer.hold_timers(&mut needed));
        needed.seal();
        self.needed = needed;
    }
}

/// A gate whose pages need rows of a state that another gate lets go.
pub(crate) trait HoldPages {
    /// Names the rows that open pages and pages that were looked at need.
    fn hold_pages(&self, held: &mut Held);
}

impl<T: Record> HoldPages for Gate<T> {
    fn hold_pages(&self, held: &mut Held) {
        for input in &self.inputs {
            let open = input.open.iter().map(|open| (&open.page, open.cursor.at));
            let ahead = input.queued_pages().take(input.ahead).map(|page| (page, 0));
            for (page, from) in open.chain(ahead) {
                let page = page.typed::<T>();
                self.consumers.iter().for_each(|consumer| consumer.hold(&page, from, held));
            }
        }
    }
}
