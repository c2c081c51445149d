//! States that fold what is added to them: reducing and aggregating.

use std::rc::Rc;

use thalweg_state::State;

use super::{KeyedState, ValueState};
use crate::Result;
use crate::operator::AggregateFn;

/// How two values become one.
pub(super) type ReduceFn<V> = Rc<dyn Fn(V, V) -> V>;

/// The current key's values, reduced to one.
pub struct ReducingState<V> {
    pub(super) value: ValueState<V>,
    pub(super) reduce: ReduceFn<V>,
}

impl<V: State + Clone> ReducingState<V> {
    /// Takes a value in.
    pub fn add(&mut self, value: V) {
        if let Some(mut present) = self.value.get_mut() {
            *present = (self.reduce)(present.clone(), value);
            return;
        }
        self.value.set(value);
    }

    /// What the values have become; `None` if there are none.
    pub fn get(&mut self) -> Option<V> {
        self.value.value()
    }

    /// Forgets all values.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}

/// The current key's records, aggregated by `A`.
pub struct AggregatingState<In, A: AggregateFn<In>> {
    pub(super) value: ValueState<A::Acc>,
    pub(super) aggregate: A,
    pub(super) input: std::marker::PhantomData<fn(In)>,
}

impl<In, A: AggregateFn<In>> AggregatingState<In, A> {
    /// Takes a record in.
    pub fn add(&mut self, record: In) {
        if let Some(mut acc) = self.value.get_mut() {
            self.aggregate.add(&mut acc, record);
            return;
        }
        let mut acc = self.aggregate.create();
        self.aggregate.add(&mut acc, record);
        self.value.set(acc);
    }

    /// The result so far; `None` if there are no records.
    pub fn get(&mut self) -> Option<A::Out> {
        let acc = self.value.get()?;
        Some(self.aggregate.result(&acc))
    }

    /// Forgets all records.
    pub fn clear(&mut self) {
        self.value.clear();
    }
}

impl<V: State + Clone> KeyedState for ReducingState<V> {
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.value.keys(out)
    }
    fn is_present(&mut self) -> bool {
        self.value.is_present()
    }
}

impl<In, A: AggregateFn<In>> KeyedState for AggregatingState<In, A> {
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()> {
        self.value.keys(out)
    }
    fn is_present(&mut self) -> bool {
        self.value.is_present()
    }
}
