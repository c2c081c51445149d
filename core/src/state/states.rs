//! The builder with which a process declares its states.

use std::cell::Cell;
use std::marker::PhantomData;
use std::rc::Rc;

use thalweg_state::macros::fingerprint;
use thalweg_state::{Key, KeyRef, State};

use super::list::ListCell;
use super::map::MapCell;
use super::value::ValueCell;
use super::{AggregatingState, ListState, MapState, ReducingState, ValueState};
use super::{ColdState, Held, Journalled, Scope, StateSpec};
use crate::graph::{StateInfo, graph_error};
use crate::metrics::{Counter, Distribution};
use crate::operator::AggregateFn;
use crate::runtime::Core;
use crate::{Error, Result};

/// Declares the states of a keyed process: names are unique within it.
///
/// A name alone declares a state that lives for ever; a [`StateSpec`] adds a time to live.
pub struct States<K: Key> {
    core: Rc<Core>,
    operator: String,
    scope: Rc<Scope>,
    infos: Vec<StateInfo>,
    tables: Vec<Rc<dyn StateTable>>,
    key: PhantomData<fn() -> K>,
}

impl<K: Key> States<K> {
    pub(crate) fn new(core: Rc<Core>, operator: &str) -> Self {
        Self {
            core,
            operator: operator.to_owned(),
            scope: Rc::new(Scope::new()),
            infos: Vec::new(),
            tables: Vec::new(),
            key: PhantomData,
        }
    }

    /// A value per key.
    pub fn value<S: State>(&mut self, spec: impl Into<StateSpec>) -> ValueState<S> {
        self.value_of_kind("value", &spec.into())
    }

    /// A list per key.
    pub fn list<V: State>(&mut self, spec: impl Into<StateSpec>) -> ListState<V> {
        let spec = spec.into();
        self.infos.push(spec.info("list", V::FINGERPRINT));
        let cell = ListCell::<K, V>::new(Rc::clone(&self.scope), &self.core, &self.operator, &spec);
        let cell = Rc::new(cell);
        self.tables.push(Rc::clone(&cell) as _);
        ListState::new(cell)
    }

    /// A map per key.
    pub fn map<E: Key, V: State>(&mut self, spec: impl Into<StateSpec>) -> MapState<E, V> {
        let spec = spec.into();
        let width = E::WIDTH.map_or(u64::MAX, |width| width as u64);
        let shape = fingerprint("map", &[("key", width), ("value", V::FINGERPRINT)]);
        self.infos.push(spec.info("map", shape));
        let cell =
            MapCell::<K, E, V>::new(Rc::clone(&self.scope), &self.core, &self.operator, &spec);
        let cell = Rc::new(cell);
        self.tables.push(Rc::clone(&cell) as _);
        MapState::new(cell)
    }

    /// Values per key, reduced to one by `reduce`.
    pub fn reducing<V: State + Clone>(
        &mut self,
        spec: impl Into<StateSpec>,
        reduce: impl Fn(V, V) -> V + 'static,
    ) -> ReducingState<V> {
        ReducingState {
            value: self.value_of_kind("reducing", &spec.into()),
            reduce: Rc::new(reduce),
        }
    }

    /// Records per key, aggregated.
    pub fn aggregating<In, A: AggregateFn<In>>(
        &mut self,
        spec: impl Into<StateSpec>,
        aggregate: A,
    ) -> AggregatingState<In, A> {
        AggregatingState {
            value: self.value_of_kind("aggregating", &spec.into()),
            aggregate,
            input: PhantomData,
        }
    }

    /// The counter `name` of this core, to be kept by the process.
    pub fn counter(&self, name: &str) -> Rc<Counter> {
        self.core.metrics.counter(name)
    }

    /// The histogram `name` of this core, to be kept by the process.
    pub fn histogram(&self, name: &str) -> Rc<Distribution> {
        self.core.metrics.histogram(name)
    }

    fn value_of_kind<S: State>(&mut self, kind: &'static str, spec: &StateSpec) -> ValueState<S> {
        self.infos.push(spec.info(kind, S::FINGERPRINT));
        let scope = Rc::clone(&self.scope);
        let cell = Rc::new(ValueCell::<K, S>::new(scope, &self.core, &self.operator, spec));
        self.tables.push(Rc::clone(&cell) as _);
        ValueState::new(cell)
    }

    /// Ends the declarations.
    pub(crate) fn finish(self) -> (StateTables, Vec<StateInfo>, Result<()>) {
        let checked = unique(&self.infos);
        let tables = StateTables {
            core: self.core,
            scope: self.scope,
            deep: self.tables.iter().filter(|table| table.is_deep()).cloned().collect(),
            tables: self.tables,
            hashes: Vec::new(),
            round_at: Cell::new(i64::MAX),
        };
        (tables, self.infos, checked)
    }
}

pub(super) fn unique(infos: &[StateInfo]) -> Result<()> {
    for (index, info) in infos.iter().enumerate() {
        if infos[..index].iter().any(|other| other.name == info.name) {
            return Err(twice(&info.name));
        }
    }
    Ok(())
}

fn twice(name: &str) -> Error {
    graph_error(format!("two states of the operator are named \"{name}\""))
        .with_hint("names identify state: give each state its own")
}

/// A table of declared state, as its operator sees it.
pub(crate) trait StateTable {
    /// Brings the rows of these keys into the cache.
    fn prefetch(&self, hashes: &[u64]);
    /// Brings what lies behind the row of a key into the cache; its line is there.
    fn prefetch_entry(&self, _hash: u64) {}
    /// Whether anything lies behind its rows.
    fn is_deep(&self) -> bool {
        false
    }
    /// Memory that the state takes up.
    fn bytes(&self) -> usize;
    /// When a round of sweeping is due, in milliseconds; `i64::MAX`: none is.
    fn round_at(&self) -> i64;
    /// Does a slice of a round that is due.
    fn sweep_slice(&self);
    /// Whether some rows may be cold.
    fn is_cold(&self) -> bool;
    /// Whether what is declared of a key can be used without waiting; otherwise the next
    /// [`StateTable::ask`] asks for it.
    fn ready(&self, key: KeyRef<'_>) -> bool;
    /// Asks for what was found to be missing.
    fn ask(&self);
    /// Holds what is declared of a key in the table.
    fn hold(&self, key: KeyRef<'_>, held: &mut Held);
    /// Calls `visit` with each store.
    fn stores(&self, visit: &mut dyn FnMut(&mut dyn ColdState));
    /// Calls `visit` with each store, for its journal.
    fn journals(&self, visit: &mut dyn FnMut(&mut dyn Journalled));
}

/// All tables of one operator and the key that their handles refer to.
pub(crate) struct StateTables {
    core: Rc<Core>,
    pub(crate) scope: Rc<Scope>,
    tables: Vec<Rc<dyn StateTable>>,
    /// Those whose rows have more behind them.
    deep: Vec<Rc<dyn StateTable>>,
    hashes: Vec<u64>,
    /// When the next round of sweeping is due, as of the end of the last turn.
    round_at: Cell<i64>,
}

impl StateTables {
    /// Brings the rows of the keys with these hashes into the cache.
    #[inline]
    pub(crate) fn prefetch(&mut self, hashes: impl Iterator<Item = u64>) {
        self.hashes.clear();
        self.hashes.extend(hashes);
        for table in &self.tables {
            table.prefetch(&self.hashes);
        }
    }

    /// Brings what lies behind the row of a key into the cache; its line is there.
    #[inline]
    pub(crate) fn prefetch_entry(&self, hash: u64) {
        for table in &self.deep {
            table.prefetch_entry(hash);
        }
    }

    /// Calls `visit` with each store, for its journal.
    pub(crate) fn journals(&self, visit: &mut dyn FnMut(&mut dyn Journalled)) {
        self.tables.iter().for_each(|table| table.journals(visit));
    }

    pub(crate) fn bytes(&self) -> usize {
        self.tables.iter().map(|table| table.bytes()).sum()
    }

    /// Looks again when sweeping is due: at the end of a turn.
    pub(crate) fn refresh(&self) {
        let rounds = self.tables.iter().map(|table| table.round_at());
        self.round_at.set(rounds.min().unwrap_or(i64::MAX));
    }

    /// Whether some rows may be cold.
    #[inline]
    pub(crate) fn is_cold(&self) -> bool {
        self.core.budget.is_cold() && self.tables.iter().any(|table| table.is_cold())
    }

    /// Whether what is declared of a key can be used without waiting; otherwise the next
    /// [`StateTables::ask`] asks for it.
    pub(crate) fn ready(&self, key: KeyRef<'_>) -> bool {
        let mut ready = true;
        self.tables.iter().for_each(|table| ready &= table.ready(key));
        ready
    }

    /// Asks for what was found to be missing.
    pub(crate) fn ask(&self) {
        self.tables.iter().for_each(|table| table.ask());
    }

    /// Holds what is declared of a key.
    pub(crate) fn hold(&self, key: KeyRef<'_>, held: &mut Held) {
        self.tables.iter().for_each(|table| table.hold(key, held));
    }

    /// When sweeping is due.
    #[inline]
    pub(crate) fn round_at(&self) -> i64 {
        self.round_at.get()
    }

    /// Does a slice of every round that is due at `now`.
    pub(crate) fn sweep(&self, now: i64) {
        if self.round_at.get() > now {
            return;
        }
        for table in self.tables.iter().filter(|table| table.round_at() <= now) {
            table.sweep_slice();
        }
        self.refresh();
    }
}

impl ColdState for StateTables {
    fn settle(&mut self) -> Result<()> {
        let mut settled = Ok(());
        self.stores(|store| {
            if settled.is_ok() {
                settled = store.settle();
            }
        });
        settled
    }

    fn has_leavers(&self) -> bool {
        let mut found = false;
        self.stores(|store| found |= store.has_leavers());
        found
    }

    fn evict(&mut self, held: &Held) -> Result<bool> {
        let mut more = Ok(false);
        self.stores(|store| {
            if let Ok(so_far) = more {
                more = store.evict(held).map(|more| more || so_far);
            }
        });
        more
    }

    fn is_choked(&self) -> bool {
        let mut choked = false;
        self.stores(|store| choked |= store.is_choked());
        choked
    }
}

impl StateTables {
    fn stores(&self, mut visit: impl FnMut(&mut dyn ColdState)) {
        self.tables.iter().for_each(|table| table.stores(&mut visit));
    }
}
