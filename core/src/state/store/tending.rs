//! Cold rows of a store: asked for ahead of their use, taken in, let go.

use thalweg_state::{Key, KeyRef};

use super::super::cold::{Cold, wanted};
use super::super::encoding::Row;
use super::super::{ColdState, Held};
use super::{Rows, Store, with_table};
use crate::Result;

impl<K: Key, V: Row> Store<K, V> {
    /// Whether some rows may be cold.
    #[inline]
    pub(crate) fn is_cold(&self) -> bool {
        self.cold.as_ref().is_some_and(|cold| cold.has_left())
    }

    /// Makes sure that a row is in the table if there is one: may wait for it.
    #[inline]
    pub(crate) fn bring(&mut self, key: KeyRef<'_>) {
        if self.cold.is_some() {
            self.bring_cold(key);
        }
    }

    #[cold]
    fn bring_cold(&mut self, key: KeyRef<'_>) {
        let Some(cold) = &mut self.cold else { return };
        with_table!(&mut self.rows, table => cold.bring(table, key));
        self.begin_rounds();
    }

    /// Rows that came back may expire.
    fn begin_rounds(&mut self) {
        if let Rows::Expiring(rows) = &mut self.rows {
            rows.begin_rounds(self.core.wall_millis());
        }
    }

    /// Whether a row can be used without waiting, be it that there is none; otherwise the next
    /// [`Store::ask`] asks for it.
    #[inline]
    pub(crate) fn ready(&mut self, key: KeyRef<'_>) -> bool {
        match &mut self.cold {
            None => true,
            Some(cold) => with_table!(&mut self.rows, table => cold.ready(table, key)),
        }
    }

    /// Adds the encodings of all keys, those of expired rows too; some come twice.
    pub(crate) fn keys(&mut self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        let mut add = |key: &K| key.with_encoded(|bytes| out.push(bytes.to_vec()));
        with_table!(&mut self.rows, table => table.iter().for_each(|(key, _)| add(key)));
        self.cold.as_ref().map_or(Ok(()), |cold| cold.keys(out))
    }

    /// Asks for the rows that were found to be missing.
    pub(crate) fn ask(&mut self) {
        if let Some(cold) = &mut self.cold {
            cold.ask();
        }
    }
}

impl<K: Key, V: Row> ColdState for Store<K, V> {
    fn settle(&mut self) -> Result<()> {
        if let Some(cold) = &mut self.cold {
            with_table!(&mut self.rows, table => cold.settle(table))?;
            self.begin_rounds();
        }
        Ok(())
    }

    fn has_leavers(&self) -> bool {
        let budget = &self.core.budget;
        match (&self.cold, &self.rows) {
            (None, Rows::Plain(table)) => wanted(budget, table, 0, false) > 0,
            (None, Rows::Expiring(rows)) => wanted(budget, &rows.table, 0, false) > 0,
            (Some(cold), Rows::Plain(table)) => cold.has_leavers(table),
            (Some(cold), Rows::Expiring(rows)) => cold.has_leavers(&rows.table),
        }
    }

    fn evict(&mut self, held: &Held) -> Result<bool> {
        if !self.has_leavers() {
            return Ok(false);
        }
        if self.cold.is_none() {
            self.cold = Some(Box::new(Cold::new(&self.core, &self.column.name, self.lone_ttl())?));
        }
        match &mut self.cold {
            None => Ok(false),
            Some(cold) => with_table!(&mut self.rows, table => cold.evict(table, held)),
        }
    }

    fn is_choked(&self) -> bool {
        match (&self.cold, &self.rows) {
            (None, _) => false,
            (Some(cold), Rows::Plain(table)) => cold.is_choked(table),
            (Some(cold), Rows::Expiring(rows)) => cold.is_choked(&rows.table),
        }
    }
}
