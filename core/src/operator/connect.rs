//! Operators with two inputs: two streams of one key, or a stream and one that every core hears.
//!
//! The two inputs are two gates of one core that share an operator. Each keeps its order; between
//! them there is none. Event time is the lower one of both, an idle or ended input left out, and
//! whichever gate runs goes on with timers that are due.

mod clock;
mod context;
mod keyed;
mod plain;

pub use context::BroadcastContext;
pub use keyed::{KeyedBroadcast, KeyedPair};
pub use plain::{BroadcastProcess, PlainPair, StreamBroadcastContext};

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use thalweg_state::Key;

use super::{Feed, ProcessContext, Timer};
use crate::Result;
use crate::record::Record;
use crate::runtime::{Gate, HoldPages, PageConsumer};
use crate::state::Held;

/// User code that is called for every record of a key, for every element of a broadcast stream, and
/// for every timer.
///
/// States are declared when the process is made (see `KeyedBroadcastStreams::process`). An error
/// ends the attempt. Elements reach all cores; a record may come before or behind an element,
/// on each core as it happens, unless the job makes sure of an order by itself.
///
/// ```
/// use thalweg::prelude::*;
/// /// Counts records and knows what each rule, known by its name, adds to a count.
/// struct Count {
///     count: ValueState<u64>,
///     rules: BroadcastState<String, u64>,
/// }
/// impl KeyedBroadcastProcess<u64, u64, (String, u64)> for Count {
///     type Out = (u64, u64);
///     fn process(
///         &mut self,
///         _: u64,
///         cx: &mut ProcessContext<u64, (u64, u64)>,
///     ) -> thalweg::Result<()> {
///         let more: u64 = self.rules.read().values().sum();
///         let count = self.count.update(|count| { *count += 1; *count });
///         cx.emit((*cx.key(), count + more));
///         Ok(())
///     }
///     fn process_broadcast(
///         &mut self,
///         (name, adds): (String, u64),
///         cx: &mut BroadcastContext<u64, (u64, u64)>,
///     ) -> thalweg::Result<()> {
///         self.rules.write(cx).insert(name, adds);
///         // A new rule: all keys begin anew.
///         cx.apply_to_keyed_state(&mut self.count, |count, _cx| {
///             count.clear();
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait KeyedBroadcastProcess<K: Key, In, B>: 'static {
    /// What it emits.
    type Out: 'static;

    /// Takes a record of the current key.
    fn process(&mut self, record: In, cx: &mut ProcessContext<'_, K, Self::Out>) -> Result<()>;

    /// Takes an element of the broadcast stream. There is no current key, so keyed state is reached
    /// by [`BroadcastContext::apply_to_keyed_state`] only.
    ///
    /// Every core must change broadcast state in the same way: by the element, not by time, chance
    /// or keyed state.
    fn process_broadcast(
        &mut self,
        element: B,
        cx: &mut BroadcastContext<'_, K, Self::Out>,
    ) -> Result<()>;

    /// A timer of the current key fires: see [`KeyedProcess::on_timer`](super::KeyedProcess).
    fn on_timer(
        &mut self,
        _timer: Timer,
        _cx: &mut ProcessContext<'_, K, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
}

/// User code that is called for every record of a key in two streams, and for every timer. Both
/// share the states of the key.
///
/// ```
/// use thalweg::prelude::*;
/// /// Joins an order with its payment, whichever comes first.
/// struct Pay { order: ValueState<String>, cents: ValueState<u64> }
/// impl KeyedCoProcess<u64, (u64, String), (u64, u64)> for Pay {
///     type Out = (String, u64);
///     fn process_first(
///         &mut self,
///         (_, order): (u64, String),
///         cx: &mut ProcessContext<u64, Self::Out>,
///     ) -> thalweg::Result<()> {
///         match self.cents.take() {
///             Some(cents) => cx.emit((order, cents)),
///             None => drop(self.order.set(order)),
///         }
///         Ok(())
///     }
///     fn process_second(
///         &mut self,
///         (_, cents): (u64, u64),
///         cx: &mut ProcessContext<u64, Self::Out>,
///     ) -> thalweg::Result<()> {
///         match self.order.take() {
///             Some(order) => cx.emit((order, cents)),
///             None => drop(self.cents.set(cents)),
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait KeyedCoProcess<K: Key, A, B>: 'static {
    /// What it emits.
    type Out: 'static;

    /// Takes a record of the first stream.
    fn process_first(&mut self, record: A, cx: &mut ProcessContext<'_, K, Self::Out>)
    -> Result<()>;

    /// Takes a record of the second stream.
    fn process_second(
        &mut self,
        record: B,
        cx: &mut ProcessContext<'_, K, Self::Out>,
    ) -> Result<()>;

    /// A timer of the current key fires: see [`KeyedProcess::on_timer`](super::KeyedProcess).
    fn on_timer(
        &mut self,
        _timer: Timer,
        _cx: &mut ProcessContext<'_, K, Self::Out>,
    ) -> Result<()> {
        Ok(())
    }
}

/// Consumers of two gates, in the order of the inputs.
pub type Consumers<A, B> = (Box<dyn PageConsumer<A>>, Box<dyn PageConsumer<B>>);

/// An operator with two gates that waits for what comes behind it.
pub trait IntoConsumers<A: Record, B: Record, U>: Sized + 'static {
    /// Puts the operator in front of `next`; `partner` is the gate of its second input.
    fn into_consumers<N: Feed<U>>(self, next: N, partner: Partner) -> Consumers<A, B>;
}

/// The gate of an operator's second input, as the first one sees it.
pub struct Partner(Option<Weak<RefCell<dyn HoldPages>>>);

impl Partner {
    /// Nobody, if a stream is connected with itself.
    pub(crate) fn of<A: Record, B: Record>(
        first: &Rc<RefCell<Gate<A>>>,
        second: &Rc<RefCell<Gate<B>>>,
    ) -> Self {
        if Rc::as_ptr(first).cast::<()>() == Rc::as_ptr(second).cast::<()>() {
            return Self(None);
        }
        let second: Weak<RefCell<dyn HoldPages>> = Rc::<RefCell<Gate<B>>>::downgrade(second);
        Self(Some(second))
    }

    /// Names the rows that its pages need.
    fn hold_pages(&self, held: &mut Held) {
        if let Some(gate) = self.0.as_ref().and_then(Weak::upgrade) {
            gate.borrow().hold_pages(held);
        }
    }
}
