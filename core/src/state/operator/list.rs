//! Lists of an operator: elements that belong to no key.
//!
//! An element is known by its number in the list of its core. So the lists of all cores, one behind
//! the other in the order of cores, are one list that can be cut into any number of parts.

use std::cell::{Ref, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use thalweg_state::segment::Op;
use thalweg_state::{Key, State};

use super::table::{Rows, Table};
use crate::Result;

/// Methods that both kinds of list have.
macro_rules! list_methods {
    ($list:ident) => {
        /// Adds an element at the end. Costs its encoding, for the next checkpoint.
        pub fn push(&mut self, value: V) {
            let table = &mut *self.table.borrow_mut();
            let number = table.rows.$list().values.len() as u64;
            table.note(&number, &value);
            table.rows.$list().push(value);
        }

        /// Adds elements at the end.
        pub fn extend(&mut self, values: impl IntoIterator<Item = V>) {
            values.into_iter().for_each(|value| self.push(value));
        }

        /// The elements of this core in the order in which they were added.
        pub fn read(&self) -> Ref<'_, [V]> {
            Ref::map(self.table.borrow(), |table| table.rows.values())
        }

        /// Number of elements of this core.
        pub fn len(&self) -> usize {
            self.read().len()
        }

        /// Whether this core has no element.
        pub fn is_empty(&self) -> bool {
            self.read().is_empty()
        }

        /// Removes all elements of this core and returns them in order.
        pub fn take(&mut self) -> Vec<V> {
            let table = &mut *self.table.borrow_mut();
            let gone = std::mem::take(table.rows.$list());
            (0..gone.values.len() as u64).for_each(|number| table.bury(&number));
            gone.values
        }

        /// Removes all elements of this core.
        pub fn clear(&mut self) {
            drop(self.take());
        }
    };
}

/// A list of an operator on this core; after a restore it holds what this core's had.
///
/// ```
/// use thalweg::prelude::*;
/// # fn f(waiting: &mut OperatorList<u64>) {
/// waiting.extend([3, 4]);
/// if waiting.len() > 100 {
///     let batch: Vec<u64> = waiting.take();
/// }
/// # }
/// ```
pub struct OperatorList<V: State> {
    table: Rc<RefCell<Table<Elements<V>>>>,
}

impl<V: State> OperatorList<V> {
    pub(super) fn new(table: Rc<RefCell<Table<Elements<V>>>>) -> Self {
        Self { table }
    }

    list_methods!(own_mut);
}

/// A list of an operator on this core that every core hears of at a restore.
///
/// [`UnionList::restored`] has the elements of all cores, in the order of cores; it is of the
/// checkpoint that was restored, and no part of the state from then on. The other methods speak of
/// this core's own list, which goes on as it was.
pub struct UnionList<V: State> {
    table: Rc<RefCell<Table<Union<V>>>>,
}

impl<V: State> UnionList<V> {
    pub(super) fn new(table: Rc<RefCell<Table<Union<V>>>>) -> Self {
        Self { table }
    }

    /// The elements that all cores had at the checkpoint that was restored, those of core 0 first;
    /// none if the job began afresh.
    pub fn restored(&self) -> Ref<'_, [V]> {
        Ref::map(self.table.borrow(), |table| &table.rows.restored[..])
    }

    list_methods!(own_mut);
}

/// Elements by number.
pub(super) struct Elements<V> {
    values: Vec<V>,
    heap: usize,
    /// What is replayed: not every number is there all the time.
    replayed: BTreeMap<u64, V>,
}

impl<V> Default for Elements<V> {
    fn default() -> Self {
        Self { values: Vec::new(), heap: 0, replayed: BTreeMap::new() }
    }
}

impl<V: State> Elements<V> {
    fn own_mut(&mut self) -> &mut Self {
        self
    }

    fn values(&self) -> &[V] {
        &self.values
    }

    fn push(&mut self, value: V) {
        self.heap += value.heap_bytes();
        self.values.push(value);
    }
}

impl<V: State> Rows for Elements<V> {
    fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
    fn bytes(&self) -> usize {
        self.heap + self.values.capacity() * size_of::<V>()
    }
    fn replay(&mut self, op: Op<'_>) -> Result<()> {
        let number = <u64 as Key>::decode(op.key)?;
        match op.value {
            Some(value) => drop(self.replayed.insert(number, V::decode(value)?)),
            None => drop(self.replayed.remove(&number)),
        }
        Ok(())
    }
    fn end_replay(&mut self) {
        std::mem::take(&mut self.replayed).into_values().for_each(|value| self.push(value));
    }
}

/// The elements of this core, and those that all cores had.
pub(super) struct Union<V> {
    own: Elements<V>,
    restored: Vec<V>,
    heap: usize,
    /// What is replayed, by core and number.
    replayed: BTreeMap<(u32, u64), V>,
}

impl<V> Default for Union<V> {
    fn default() -> Self {
        let (own, restored, replayed) = (Elements::default(), Vec::new(), BTreeMap::new());
        Self { own, restored, heap: 0, replayed }
    }
}

impl<V: State> Union<V> {
    fn own_mut(&mut self) -> &mut Elements<V> {
        &mut self.own
    }

    fn values(&self) -> &[V] {
        &self.own.values
    }
}

impl<V: State> Rows for Union<V> {
    fn is_empty(&self) -> bool {
        self.own.is_empty()
    }
    fn bytes(&self) -> usize {
        self.own.bytes() + self.heap + self.restored.capacity() * size_of::<V>()
    }
    fn replay(&mut self, op: Op<'_>) -> Result<()> {
        self.own.replay(op)
    }
    fn replay_of(&mut self, core: u32, op: Op<'_>) -> Result<()> {
        let number = <u64 as Key>::decode(op.key)?;
        match op.value {
            Some(value) => drop(self.replayed.insert((core, number), V::decode(value)?)),
            None => drop(self.replayed.remove(&(core, number))),
        }
        Ok(())
    }
    fn end_replay(&mut self) {
        self.own.end_replay();
        self.restored = std::mem::take(&mut self.replayed).into_values().collect();
        self.heap = self.restored.iter().map(V::heap_bytes).sum();
    }
}
