//! The builders with which an operator declares states that belong to no key.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use thalweg_state::macros::fingerprint;
use thalweg_state::segment::ColumnKind;
use thalweg_state::{Key, State};

use super::table::{OperatorState, Table};
use super::{BroadcastState, OperatorList, UnionList};
use crate::Result;
use crate::graph::StateInfo;
use crate::metrics::{Counter, Distribution};
use crate::runtime::Core;
use crate::state::encoding::key_shape;
use crate::state::states::unique;
use crate::state::{StateTables, States};

/// The kind of state by which a restore knows that every core is to hear of all.
pub(crate) const UNION_LIST: &str = "union list";

/// Declares the states of an operator without a key: names are unique within it.
pub struct OperatorStates {
    core: Rc<Core>,
    operator: String,
    infos: Vec<StateInfo>,
    tables: Vec<Rc<dyn OperatorState>>,
}

impl OperatorStates {
    pub(crate) fn new(core: Rc<Core>, operator: &str) -> Self {
        Self { core, operator: operator.to_owned(), infos: Vec::new(), tables: Vec::new() }
    }

    /// A list per core. After a restore each core has its own again.
    pub fn list<V: State>(&mut self, name: &str) -> OperatorList<V> {
        self.declare(name, "operator list", V::FINGERPRINT);
        let table = Table::new::<u64, V>(&self.core, &self.operator, name, ColumnKind::List);
        self.tables.push(Rc::clone(&table) as _);
        OperatorList::new(table)
    }

    /// A list per core; after a restore each core has its own again and is told of all of them.
    pub fn union_list<V: State>(&mut self, name: &str) -> UnionList<V> {
        self.declare(name, UNION_LIST, V::FINGERPRINT);
        let table = Table::new::<u64, V>(&self.core, &self.operator, name, ColumnKind::UnionList);
        self.tables.push(Rc::clone(&table) as _);
        UnionList::new(table)
    }

    pub(super) fn broadcast<K: Key, V: State>(&mut self, name: &str) -> BroadcastState<K, V> {
        let types = [("key", key_shape::<K>()), ("value", V::FINGERPRINT)];
        self.declare(name, "broadcast", fingerprint("broadcast", &types));
        let table = Table::new::<K, V>(&self.core, &self.operator, name, ColumnKind::Broadcast);
        self.tables.push(Rc::clone(&table) as _);
        BroadcastState::new(table)
    }

    fn declare(&mut self, name: &str, kind: &'static str, fingerprint: u64) {
        self.infos.push(StateInfo { name: name.to_owned(), kind, fingerprint });
    }

    /// The counter `name` of this core, to be kept by the process.
    pub fn counter(&self, name: &str) -> Rc<Counter> {
        self.core.metrics.counter(name)
    }

    /// The histogram `name` of this core, to be kept by the process.
    pub fn histogram(&self, name: &str) -> Rc<Distribution> {
        self.core.metrics.histogram(name)
    }

    /// Ends the declarations.
    pub(crate) fn finish(self) -> (Vec<Rc<dyn OperatorState>>, Vec<StateInfo>, Result<()>) {
        let checked = unique(&self.infos);
        (self.tables, self.infos, checked)
    }
}

/// Declares the states of an operator that hears a broadcast stream: broadcast state, and beside it
/// whatever `S` declares: [`States`] of a key, or [`OperatorStates`]. Names are unique in all of
/// them.
pub struct BroadcastStates<S> {
    others: S,
    broadcast: OperatorStates,
}

impl<S> BroadcastStates<S> {
    /// A map that every core has.
    pub fn broadcast<K: Key, V: State>(&mut self, name: &str) -> BroadcastState<K, V> {
        self.broadcast.broadcast(name)
    }
}

impl<S> Deref for BroadcastStates<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.others
    }
}

impl<S> DerefMut for BroadcastStates<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.others
    }
}

/// What was declared: states of a key, states without one, and whether their names are unique.
pub(crate) type Declared<T> = (T, Vec<Rc<dyn OperatorState>>, Vec<StateInfo>, Result<()>);

impl<K: Key> BroadcastStates<States<K>> {
    pub(crate) fn keyed(core: &Rc<Core>, operator: &str) -> Self {
        let others = States::new(Rc::clone(core), operator);
        Self { others, broadcast: OperatorStates::new(Rc::clone(core), operator) }
    }

    /// Ends the declarations.
    pub(crate) fn finish(self) -> Declared<StateTables> {
        let (tables, mut infos, _) = self.others.finish();
        let (broadcast, more, _) = self.broadcast.finish();
        infos.extend(more);
        let checked = unique(&infos);
        (tables, broadcast, infos, checked)
    }
}

impl BroadcastStates<OperatorStates> {
    pub(crate) fn without_key(core: &Rc<Core>, operator: &str) -> Self {
        let others = OperatorStates::new(Rc::clone(core), operator);
        Self { others, broadcast: OperatorStates::new(Rc::clone(core), operator) }
    }

    /// Ends the declarations.
    pub(crate) fn finish(self) -> Declared<()> {
        let (mut tables, mut infos, _) = self.others.finish();
        let (broadcast, more, _) = self.broadcast.finish();
        tables.extend(broadcast);
        infos.extend(more);
        let checked = unique(&infos);
        ((), tables, infos, checked)
    }
}
