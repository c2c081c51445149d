//! The rows of one state on one core, with a log of what changes.

use std::cell::RefCell;
use std::rc::Rc;

use thalweg_state::macros::fingerprint;
use thalweg_state::segment::{Block, BlockReader, Column, ColumnKind, Op};
use thalweg_state::{Encoder, Key, State};

use crate::error::Kind;
use crate::runtime::Core;
use crate::state::encoding::key_shape;
use crate::state::{ChangeLog, Journalled, is_of};
use crate::{Error, Result};

/// Rows belong to no key of a stream, so they have no hash.
const NO_HASH: u64 = 0;

/// The state of an operator as its worker sees it between two turns.
pub(crate) trait OperatorState {
    /// Memory that it takes up.
    fn bytes(&self) -> usize;
    /// Lends it to `visit`, for its log.
    fn journal(&self, visit: &mut dyn FnMut(&mut dyn Journalled));
    /// Takes a block of any core in, this one's too, if it is one of its column and it wants to
    /// know what all cores had; before [`Journalled::end_restore`].
    fn restore_of(&self, core: u32, block: &BlockReader<'_>) -> Result<()>;
}

/// How rows are kept.
pub(super) trait Rows: Default + 'static {
    fn is_empty(&self) -> bool;
    fn bytes(&self) -> usize;
    /// Does what an operation of this core says; operations come in their order.
    fn replay(&mut self, op: Op<'_>) -> Result<()>;
    /// As [`replay`](Self::replay) for an operation of any core.
    fn replay_of(&mut self, _core: u32, _op: Op<'_>) -> Result<()> {
        Ok(())
    }
    /// The last operation was replayed.
    fn end_replay(&mut self) {}
}

/// The rows of one state and the log of their changes.
pub(super) struct Table<R> {
    pub(super) rows: R,
    log: ChangeLog,
    key: Vec<u8>,
    value: Vec<u8>,
    encoder: Encoder,
    /// Why a row could not be encoded.
    failure: Option<Error>,
}

impl<R: Rows> Table<R> {
    /// Empty rows with keys and values of these types; `operator` and the state's name together
    /// name them on their core.
    pub(super) fn new<K: Key, V: State>(
        core: &Core,
        operator: &str,
        name: &str,
        kind: ColumnKind,
    ) -> Rc<RefCell<Self>> {
        let types = [("key", key_shape::<K>()), ("value", V::FINGERPRINT)];
        // In quotes, as that of a state with a key.
        let name = format!("{operator:?}/{name:?}").into();
        let column =
            Column { name, kind, fingerprint: fingerprint("operator", &types), hash_of_key: false };
        Rc::new(RefCell::new(Self {
            rows: R::default(),
            log: ChangeLog::new(core, column),
            key: Vec::new(),
            value: Vec::new(),
            encoder: Encoder::new(),
            failure: None,
        }))
    }

    /// Notes that a row is there, with this value.
    pub(super) fn note<K: Key, V: State>(&mut self, key: &K, value: &V) {
        if !self.log.is_kept() {
            return;
        }
        self.key.clear();
        key.encode(&mut self.key);
        self.value.clear();
        match self.encoder.encode(value, &mut self.value) {
            Ok(()) => self.log.put(NO_HASH, &self.key, &self.value),
            Err(error) => drop(self.failure.get_or_insert(error.into())),
        }
    }

    /// Notes that a row is there no more.
    pub(super) fn bury<K: Key>(&mut self, key: &K) {
        if self.log.is_kept() {
            self.key.clear();
            key.encode(&mut self.key);
            self.log.bury(NO_HASH, &self.key);
        }
    }

    fn replay(&mut self, block: &BlockReader<'_>, of: Option<u32>) -> Result<()> {
        for op in block.ops() {
            let replayed = match of {
                None => self.rows.replay(op),
                Some(core) => self.rows.replay_of(core, op),
            };
            replayed.map_err(|error| {
                let what = format!("cannot restore a row of state {}", block.name());
                Error::new(Kind::State, what).with_source(error)
            })?;
        }
        Ok(())
    }
}

impl<R: Rows> Journalled for Table<R> {
    /// A log says what happened, not what there is.
    fn can_tell_all(&self) -> bool {
        self.rows.is_empty()
    }
    fn end_segment(&mut self, _all: bool) {
        self.log.end_segment(self.rows.is_empty());
    }
    fn advance_segment(&mut self, _rows: &mut usize) -> Result<bool> {
        self.failure.take().map_or(Ok(true), Err)
    }
    fn take_blocks(&mut self, out: &mut Vec<Block>) -> bool {
        self.log.take_blocks(out)
    }
    fn encoded_bytes(&self) -> usize {
        self.log.encoded_bytes()
    }
    fn take_encoded(&mut self, out: &mut Vec<Block>) {
        self.log.take_encoded(out);
    }
    fn restore_block(&mut self, block: &BlockReader<'_>) -> Result<bool> {
        if !is_of(block, self.log.column())? {
            return Ok(false);
        }
        self.replay(block, None)?;
        Ok(true)
    }
    fn end_restore(&mut self) -> Result<()> {
        self.rows.end_replay();
        Ok(())
    }
}

impl<R: Rows> OperatorState for RefCell<Table<R>> {
    fn bytes(&self) -> usize {
        let table = self.borrow();
        table.rows.bytes() + table.key.capacity() + table.value.capacity()
    }
    fn journal(&self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        visit(&mut *self.borrow_mut());
    }
    fn restore_of(&self, core: u32, block: &BlockReader<'_>) -> Result<()> {
        let table = &mut *self.borrow_mut();
        if is_of(block, table.log.column())? { table.replay(block, Some(core)) } else { Ok(()) }
    }
}
