//! Declared state, as operators and user code hold it.
//!
//! Every state has one table per core. Handles refer to the key of the record or timer that is
//! being processed; the operator sets it, prefetches the tables and lets expired values go.

mod budget;
mod change_log;
mod cold;
mod encoding;
mod folding;
mod held;
mod journalled;
mod list;
mod map;
#[cfg(test)]
mod model;
mod operator;
mod row;
mod scope;
mod states;
mod store;
mod value;
mod window;

pub use folding::{AggregatingState, ReducingState};
pub use list::{ListIter, ListState};
pub use map::{MapIter, MapState};
pub use operator::{
    BroadcastMut, BroadcastState, BroadcastStates, MayWrite, OperatorList, OperatorStates,
    UnionList,
};
pub use states::States;
pub use thalweg_state::{Ttl, UpdateType, Visibility};
pub use value::{StateMut, ValueState};

pub(crate) use budget::{Budget, OpenTier, StateMemory};
pub(crate) use change_log::ChangeLog;
pub(crate) use held::Held;
pub(crate) use journalled::{Journalled, is_of};
pub(crate) use operator::{OperatorState, Sealed, UNION_LIST};
pub(crate) use row::{Places, RowKey, row_hash};
pub(crate) use scope::Scope;
pub(crate) use states::StateTables;
pub(crate) use store::Store;
pub(crate) use window::WindowRow;

use std::marker::PhantomData;

use thalweg_state::State;

use crate::Result;
use crate::graph::StateInfo;

/// State whose rows may be cold, as its gate sees it between two runs.
pub trait ColdState {
    /// Takes in what the cold tier has answered.
    fn settle(&mut self) -> Result<()>;
    /// Whether [`ColdState::evict`] has something to do.
    fn has_leavers(&self) -> bool;
    /// Lets some rows leave, none that is held; true if it made progress and is not done.
    fn evict(&mut self, held: &Held) -> Result<bool>;
    /// Whether it had better not be used until rows that are on their way have left.
    fn is_choked(&self) -> bool;
}

/// A state of a key whose keys can be visited: see
/// [`BroadcastContext::apply_to_keyed_state`](crate::operator::BroadcastContext).
pub trait KeyedState {
    /// Adds the encodings of the keys that have something in it on this core, some of them twice,
    /// and maybe some whose rows have expired. Costs a walk over all of it, cold rows included.
    ///
    /// # Errors
    /// The cold tier cannot be read.
    fn keys(&self, out: &mut Vec<Vec<u8>>) -> Result<()>;
    /// Whether the current key has something in it.
    fn is_present(&mut self) -> bool;
}

/// Declares a state of a keyed process; a string is a declaration with nothing but a name.
///
/// ```
/// use thalweg::prelude::*;
/// use std::time::Duration;
/// let seen = StateSpec::new("seen").with_ttl(Ttl::of(Duration::from_secs(60)));
/// # let _ = seen;
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSpec {
    pub(crate) name: String,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) keys: usize,
    /// Rows come and go in turns, as those of windows do.
    pub(crate) in_turns: bool,
    /// Rows hang together, as the entries of a map do: with an expired one more goes than a row.
    pub(crate) hang_together: bool,
    /// Which of a state's tables it is, where there are two.
    pub(crate) part: &'static str,
}

impl StateSpec {
    /// A state with this name, unique in its operator.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ttl: None,
            keys: 0,
            in_turns: false,
            hang_together: false,
            part: "",
        }
    }

    /// Lets values expire (processing time); lists and maps per entry.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Makes room for this many keys per core at once instead of growing step by step.
    #[must_use]
    pub fn expect_keys(mut self, keys: usize) -> Self {
        self.keys = keys;
        self
    }

    /// The rows of a list or map that hold it together: they do not expire by themselves.
    pub(crate) fn heads(&self) -> Self {
        Self { part: "/heads", ttl: None, ..self.clone() }
    }

    /// The rows that those hold together.
    pub(crate) fn entries(&self) -> Self {
        Self { hang_together: true, ..self.clone() }
    }

    pub(crate) fn info(&self, kind: &'static str, fingerprint: u64) -> StateInfo {
        StateInfo { name: self.name.clone(), kind, fingerprint }
    }
}

impl From<&str> for StateSpec {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

/// Declares a value per key.
///
/// ```
/// use thalweg::prelude::*;
/// let seen: ValueSpec<u64> = ValueSpec::new("seen").expect_keys(1_000_000);
/// # let _ = seen;
/// ```
pub struct ValueSpec<S> {
    spec: StateSpec,
    value: PhantomData<fn() -> S>,
}

impl<S: State> ValueSpec<S> {
    /// A state with this name, unique in its operator.
    pub fn new(name: &str) -> Self {
        Self { spec: StateSpec::new(name), value: PhantomData }
    }

    /// Lets values expire (processing time): an expired value starts anew.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.spec = self.spec.with_ttl(ttl);
        self
    }

    /// Makes room for this many keys per core at once instead of growing step by step.
    #[must_use]
    pub fn expect_keys(mut self, keys: usize) -> Self {
        self.spec = self.spec.expect_keys(keys);
        self
    }

    pub(crate) fn info(&self, kind: &'static str) -> StateInfo {
        self.spec.info(kind, S::FINGERPRINT)
    }
}

impl<S> From<ValueSpec<S>> for StateSpec {
    fn from(spec: ValueSpec<S>) -> Self {
        spec.spec
    }
}
