//! What changed in a store, and a store rebuilt from that.

use std::collections::VecDeque;

use thalweg_state::segment::{Block, BlockReader, Op};
use thalweg_state::{Key, KeyRef, Table};

use super::super::cold::{Cold, key_bytes};
use super::super::encoding::Row;
use super::super::{Journalled, is_of};
use super::{Rows, Store, with_table};
use crate::error::Kind;
use crate::{Error, Result};

/// How many operations ahead of its replay a row's line is asked for.
const AHEAD: usize = 16;

impl<K: Key, V: Row> Journalled for Store<K, V> {
    fn can_tell_all(&self) -> bool {
        !self.cold.as_ref().is_some_and(|cold| cold.has_left())
    }

    fn end_segment(&mut self, all: bool) {
        let epoch = self.core.epoch.get();
        self.was_cold = !self.can_tell_all();
        with_table!(&mut self.rows, table => table.end_epoch(epoch, all));
    }

    fn advance_segment(&mut self, rows: &mut usize) -> Result<bool> {
        Ok(with_table!(&mut self.rows, table => table.encode_ended(rows))?)
    }

    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        with_table!(&mut self.rows, table => table.take_blocks(out)) && !self.was_cold
    }

    fn encoded_bytes(&self) -> usize {
        match &self.rows {
            Rows::Plain(table) => table.encoded_bytes(),
            Rows::Expiring(rows) => rows.table.encoded_bytes(),
        }
    }

    fn take_encoded(&mut self, out: &mut Vec<Block>) {
        with_table!(&mut self.rows, table => table.take_encoded(out));
    }

    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool> {
        if !is_of(block, &self.column)? {
            return Ok(false);
        }
        let (rows, seed) = (block.rows(), self.core.wall_millis() as u64);
        with_table!(&mut self.rows, table => table.expect(rows, seed));
        let overflows = self.core.budget.overflows();
        if overflows && self.cold.is_none() {
            self.cold = Some(Box::new(Cold::new(&self.core, &self.column.name, self.lone_ttl())?));
        }
        let (cold, place) = (self.cold.as_deref_mut(), self.places.row);
        let replayed =
            with_table!(&mut self.rows, table => replay_all(table, cold, block, place, overflows));
        replayed.map_err(|error| {
            let what = format!("cannot restore a row of state {}", self.column.name);
            Error::new(Kind::State, what).with_source(error)
        })?;
        Ok(true)
    }

    fn end_restore(&mut self) -> Result<()> {
        if let Some(cold) = &mut self.cold {
            cold.end_replay()?;
        }
        let now = self.core.wall_millis();
        if let Rows::Expiring(rows) = &mut self.rows {
            rows.begin_now(now);
        }
        Ok(())
    }
}

/// An operation and where its row is.
struct Coming<'a, K> {
    owner: K,
    key: KeyRef<'a>,
    value: Option<&'a [u8]>,
}

/// Does what the operations of a block say; asks for the lines of those that come soon.
fn replay_all<K: Key, R: Row>(
    table: &mut Table<K, R>,
    mut cold: Option<&mut Cold<K>>,
    block: &BlockReader<'_>,
    place: fn(&K, u64) -> u64,
    overflows: bool,
) -> Result<()> {
    let (mut ops, mut coming) = (block.ops(), VecDeque::with_capacity(AHEAD));
    loop {
        while coming.len() < AHEAD
            && let Some(Op { key_hash, key, value }) = ops.next()
        {
            let owner = K::decode(key)?;
            let key = KeyRef { hash: place(&owner, key_hash), bytes: key };
            table.prefetch(key.hash);
            coming.push_back(Coming { owner, key, value });
        }
        let Some(next) = coming.pop_front() else { return Ok(()) };
        replay(table, cold.as_deref_mut(), next, overflows)?;
    }
}

/// Does what an operation says. Where memory `overflows` a key that is not in the table stays out
/// of it.
fn replay<K: Key, R: Row>(
    table: &mut Table<K, R>,
    mut cold: Option<&mut Cold<K>>,
    Coming { owner, key, value }: Coming<'_, K>,
    overflows: bool,
) -> Result<()> {
    if let Some(cold) = cold.as_deref_mut().filter(|cold| overflows || cold.has_left())
        && table.get(key).is_none()
    {
        value.map(R::decode).transpose()?;
        return cold.replay(key, value);
    }
    let Some(bytes) = value else {
        match (table.replay_removal(key), cold) {
            (None, None) => {}
            (None, Some(cold)) => drop(cold.discard(key)),
            (Some((row, stored)), cold) => {
                cold.into_iter().for_each(|cold| cold.removed(key, stored));
                table.adjust_heap(-((row.heap_bytes() + key_bytes::<K>(key)) as isize));
            }
        }
        return Ok(());
    };
    let row = R::decode(bytes)?;
    let heap = row.heap_bytes();
    let stored = cold.is_some_and(|cold| cold.replayed(key));
    let gone = match table.replay(key, row, stored) {
        Some(before) => before.heap_bytes() as isize,
        None => -(owner.heap_bytes() as isize),
    };
    table.adjust_heap(heap as isize - gone);
    Ok(())
}
