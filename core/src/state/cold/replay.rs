//! Rows of segments for which the table has no room: they go to the cold tier at once.
//!
//! A restore has nothing else to do, so it waits for the tier where that cannot keep up.

use thalweg_state::table::RUNS_MAX;
use thalweg_state::{Key, KeyRef};

use super::Cold;
use super::leave::RUN_ROWS;
use crate::Result;

impl<K: Key> Cold<K> {
    /// Takes in what a segment says of a key that is not in the table.
    pub(crate) fn replay(&mut self, key: KeyRef<'_>, value: Option<&[u8]>) -> Result<()> {
        self.has_left = true;
        // Of a row that was removed from the table before.
        self.lay(key);
        let (column, budget) = (self.column, &self.core.budget);
        let run = self.replaying.get_or_insert_with(|| budget.run(column));
        run.push(key.bytes, value);
        if run.len() >= RUN_ROWS || run.bytes() >= budget.run_bytes_max() {
            self.send_replayed();
            self.wait_for_runs(RUNS_MAX.into())?;
        }
        Ok(())
    }

    /// The last row was taken in: waits until all of them can be read.
    pub(crate) fn end_replay(&mut self) -> Result<()> {
        self.send_replayed();
        self.wait_for_runs(0)
    }

    fn send_replayed(&mut self) {
        if let Some(run) = self.replaying.take() {
            self.core.budget.counts.evicted.add(run.len() as u64);
            self.core.budget.store(run, self.core.wall_millis());
        }
    }

    fn wait_for_runs(&mut self, most: usize) -> Result<()> {
        let budget = &self.core.budget;
        while budget.runs_under_way() > most {
            budget.wait()?;
        }
        // The table knows none of these runs.
        drop(budget.answers_for(self.column));
        Ok(())
    }
}
