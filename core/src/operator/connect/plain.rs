//! A stream and a broadcast one, without a key.

use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use crate::Result;
use crate::operator::plain::{Plain, PlainDriver, StreamContext};
use crate::operator::{Chain, Feed, Snapshot, SplitEvent};
use crate::runtime::{Change, Valve};
use crate::state::{MayWrite, Sealed};
use crate::time::{Stamp, Timestamp};

/// User code that is called for every record of a stream and for every element of a broadcast
/// stream, on each core.
///
/// As [`KeyedBroadcastProcess`](super::KeyedBroadcastProcess) without a key, and so without keyed
/// state and timers.
///
/// ```
/// use thalweg::prelude::*;
/// struct Allowed { words: BroadcastState<String, ()> }
/// impl BroadcastProcess<String, String> for Allowed {
///     type Out = String;
///     fn process(&mut self, word: String, cx: &mut StreamContext<String>) -> thalweg::Result<()> {
///         if self.words.contains(&word) {
///             cx.emit(word);
///         }
///         Ok(())
///     }
///     fn process_broadcast(
///         &mut self,
///         word: String,
///         cx: &mut StreamBroadcastContext<String>,
///     ) -> thalweg::Result<()> {
///         self.words.write(cx).insert(word, ());
///         Ok(())
///     }
/// }
/// ```
pub trait BroadcastProcess<In, B>: 'static {
    /// What it emits.
    type Out: 'static;

    /// Takes a record.
    fn process(&mut self, record: In, cx: &mut StreamContext<'_, Self::Out>) -> Result<()>;

    /// Takes an element of the broadcast stream. Every core must change broadcast state in the same
    /// way: by the element, not by time, chance or lists.
    fn process_broadcast(
        &mut self,
        element: B,
        cx: &mut StreamBroadcastContext<'_, Self::Out>,
    ) -> Result<()>;
}

/// The surroundings of one call of [`BroadcastProcess::process_broadcast`]: those of a record, and
/// it may write broadcast state.
pub struct StreamBroadcastContext<'a, O>(StreamContext<'a, O>);

impl<O> MayWrite for StreamBroadcastContext<'_, O> {}
impl<O> Sealed for StreamBroadcastContext<'_, O> {}

impl<'a, O> Deref for StreamBroadcastContext<'a, O> {
    type Target = StreamContext<'a, O>;
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<O> DerefMut for StreamBroadcastContext<'_, O> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Two chains followed by a process of both.
pub struct PlainPair<C, D, A, B, P> {
    pub(crate) first: C,
    pub(crate) second: D,
    pub(crate) plain: Plain<P>,
    pub(crate) inputs: PhantomData<fn(A, B)>,
}

impl<C, D, A, B, P> Chain<P::Out> for PlainPair<C, D, A, B, P>
where
    C: Chain<A>,
    D: Chain<B>,
    A: 'static,
    B: 'static,
    P: BroadcastProcess<A, B>,
{
    fn install<N: Feed<P::Out>>(self, next: N) {
        let shared = Rc::new(RefCell::new(Shared {
            driver: PlainDriver::new(self.plain, next),
            valve: Valve::new(2),
            seen: Cell::new(0),
        }));
        let first: Call<A, P, P::Out> = P::process;
        let second: Call<B, P, P::Out> =
            |process, element, cx| process.process_broadcast(element, &mut with_rights(cx));
        self.first.install(PairFeed { shared: Rc::clone(&shared), input: 0, call: first });
        self.second.install(PairFeed { shared, input: 1, call: second });
    }
}

fn with_rights<'a, O>(cx: &'a mut StreamContext<'_, O>) -> StreamBroadcastContext<'a, O> {
    StreamBroadcastContext(cx.reborrow())
}

/// How a process takes a record of an input.
type Call<T, P, O> = fn(&mut P, T, &mut StreamContext<'_, O>) -> Result<()>;

/// What both inputs share.
struct Shared<P, O, N> {
    driver: PlainDriver<P, O, N>,
    valve: Valve,
    /// The last cut that it took part in.
    seen: Cell<u64>,
}

impl<P, O, N: Feed<O>> Shared<P, O, N> {
    fn apply(&mut self, change: Change) -> Result<()> {
        if let Some(watermark) = change.watermark {
            self.driver.advance(watermark, |_, _| Ok(()))?;
        }
        change.idle.map_or(Ok(()), |idle| self.driver.downstream.idle(idle))
    }
}

/// One of the two inputs.
struct PairFeed<T, P, O, N> {
    shared: Rc<RefCell<Shared<P, O, N>>>,
    input: usize,
    call: Call<T, P, O>,
}

impl<T: 'static, P: 'static, O: 'static, N: Feed<O>> Feed<T> for PairFeed<T, P, O, N> {
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let (shared, call) = (&mut *self.shared.borrow_mut(), self.call);
        shared.driver.call(stamp, |process, cx| call(process, record, cx))
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        let change = shared.valve.watermark(self.input, watermark);
        shared.apply(change)
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        let change = shared.valve.idle(self.input, idle);
        shared.apply(change)
    }
    fn split(&mut self, event: SplitEvent) -> Result<()> {
        // The splits are those of the sources in front, but time moves on for all.
        if event != SplitEvent::Tick {
            return Ok(());
        }
        self.shared.borrow_mut().driver.downstream.split(event)
    }
    fn flush(&mut self) -> Result<()> {
        self.shared.borrow_mut().driver.downstream.flush()
    }
    fn end(&mut self) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        let change = shared.valve.end(self.input);
        shared.apply(change)?;
        if shared.valve.all_ended() { shared.driver.downstream.end() } else { Ok(()) }
    }
    fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        let shared = &mut *self.shared.borrow_mut();
        if !snapshot.is_new_to(&shared.seen) {
            return Ok(());
        }
        shared.valve.snapshot(snapshot)?;
        shared.driver.snapshot(snapshot)
    }
}
