//! State of an operator that belongs to no key: broadcast state, lists and union lists.
//!
//! Each core has rows of its own, in an order that follows from the rows alone. All of them stay in
//! memory: there are few, and they do not leave for the cold tier.

mod broadcast;
mod list;
mod states;
mod table;

pub use broadcast::{BroadcastMut, BroadcastState, MayWrite};
pub use list::{OperatorList, UnionList};
pub use states::{BroadcastStates, OperatorStates};

pub(crate) use broadcast::sealed::Sealed;
pub(crate) use states::UNION_LIST;
pub(crate) use table::OperatorState;
