//! Windowed streams: a keyed stream and how its records are grouped by time.

use std::rc::Rc;
use std::time::Duration;

use super::build::Flow;
use super::keyed::KeyedRoot;
use super::{KeyedStream, Stream, Tag};
use crate::graph::{NodeId, StateInfo};
use crate::operator::window::{LateOutput, Reducing, Settings, Windowed, millis};
use crate::operator::{AggregateFn, EventTimeTrigger, TimeWindow, Trigger, WindowAssigner};
use crate::record::Record;
use crate::time::Timestamp;
use thalweg_state::{Key, State};

/// A keyed stream in windows; ends in [`WindowedStream::aggregate`] or [`WindowedStream::reduce`].
#[must_use = "a windowed stream does nothing until it is aggregated"]
pub struct WindowedStream<K: Key, T: Record, A, G = EventTimeTrigger> {
    keyed: KeyedStream<K, T>,
    assigner: A,
    trigger: G,
    lateness_ms: i64,
    late: Option<MakeLate<T>>,
}

/// Makes the output of late records once the operator has its place in the graph.
type MakeLate<T> = Box<dyn FnOnce(&Flow, NodeId) -> LateOutput<T>>;

impl<K: Key, T: Record> KeyedStream<K, T> {
    /// Groups the records of each key into windows of event time.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// # use std::time::Duration;
    /// let out = thalweg::testing::outputs(|flow| {
    ///     flow.from_iter("t", [1i64, 5, 12])
    ///         .assign_timestamps(WatermarkStrategy::monotonous().with_timestamps(|t| *t))
    ///         .key_by(|_| 0u8)
    ///         .window(TumblingWindows::of(Duration::from_millis(10)))
    ///         .aggregate("n", Fold::new(|| 0, |n: &mut u64, _: i64| *n += 1), |_, w, n| (w.end,
    /// n)) });
    /// assert_eq!(out, [(10, 2), (20, 1)]);
    /// ```
    pub fn window<A: WindowAssigner>(self, assigner: A) -> WindowedStream<K, T, A> {
        if let Err(error) = assigner.validate() {
            self.flow.fail(error);
        }
        WindowedStream {
            keyed: self,
            assigner,
            trigger: EventTimeTrigger,
            lateness_ms: 0,
            late: None,
        }
    }
}

impl<K: Key, T: Record, A: WindowAssigner, G: Trigger> WindowedStream<K, T, A, G> {
    /// Keeps a window for `lateness` behind its end: a record that comes in that time fires it
    /// again.
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness_ms = millis(lateness);
        self
    }

    /// Emits when `trigger` says so instead of at the window's end.
    pub fn trigger<H: Trigger>(self, trigger: H) -> WindowedStream<K, T, A, H> {
        WindowedStream {
            keyed: self.keyed,
            assigner: self.assigner,
            trigger,
            lateness_ms: self.lateness_ms,
            late: self.late,
        }
    }

    /// Sends late records to a side output of the operator; without it they are dropped and
    /// counted.
    pub fn late_output(self, tag: &Tag<T>) -> Self {
        self.late_output_with(tag, |record, _watermark| record)
    }

    /// As [`WindowedStream::late_output`], with what `make` makes of a late record and the
    /// watermark that it was behind.
    pub fn late_output_with<S: 'static>(
        mut self,
        tag: &Tag<S>,
        mut make: impl FnMut(T, Timestamp) -> S + 'static,
    ) -> Self {
        let tag = tag.clone();
        self.late = Some(Box::new(move |flow, node| {
            let port = flow.side(node, &tag);
            Box::new(move |record, stamp, watermark| port.push(make(record, watermark), stamp))
        }));
        self
    }

    /// Folds the records of each key and window into an accumulator and emits what `emit` makes of
    /// the key, the window and the result, with the window's last millisecond as its timestamp.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// # use std::time::Duration;
    /// # fn hourly(purchases: KeyedStream<u64, (u64, u64)>) {
    /// let sum = Fold::new(|| 0u64, |sum: &mut u64, purchase: (u64, u64)| *sum += purchase.1);
    /// purchases
    ///     .window(TumblingWindows::of(Duration::from_secs(3600)))
    ///     .allowed_lateness(Duration::from_secs(60))
    ///     .aggregate("hourly", sum, |user, window, sum| (*user, window.start, sum))
    ///     .sink("out", Print::new());
    /// # }
    /// ```
    #[allow(clippy::type_complexity, reason = "the chain says how the stream was made")]
    pub fn aggregate<F, U, E>(
        self,
        name: &str,
        aggregate: F,
        emit: E,
    ) -> Stream<U, KeyedRoot<T, Windowed<K, T, A, G, F, E>>>
    where
        F: AggregateFn<T>,
        U: 'static,
        E: FnMut(&K, &TimeWindow, F::Out) -> U + 'static,
    {
        let Self { keyed, assigner, trigger, lateness_ms, late } = self;
        let states = vec![StateInfo {
            name: "window".to_owned(),
            kind: "window",
            fingerprint: <F::Acc as State>::FINGERPRINT,
        }];
        keyed.operate("window", name, states, |flow, node, name| {
            let late = late.map(|make| make(flow, node));
            let settings = Settings { assigner, trigger, lateness_ms, late, aggregate, emit };
            Windowed::new(name, Rc::clone(&flow.core), settings, flow.sides(node))
        })
    }

    /// Reduces the records of each key and window to one.
    ///
    /// ```
    /// # use thalweg::prelude::*;
    /// # use std::time::Duration;
    /// # fn largest(amounts: KeyedStream<u64, u64>) {
    /// amounts
    ///     .window(TumblingWindows::of(Duration::from_secs(60)))
    ///     .reduce("largest", |a, b| a.max(b))
    ///     .sink("out", Print::new());
    /// # }
    /// ```
    #[allow(clippy::type_complexity, reason = "the chain says how the stream was made")]
    pub fn reduce<F>(
        self,
        name: &str,
        reduce: F,
    ) -> Stream<T, KeyedRoot<T, Windowed<K, T, A, G, Reducing<F>, fn(&K, &TimeWindow, T) -> T>>>
    where
        T: Clone,
        F: Fn(T, T) -> T + 'static,
    {
        let emit: fn(&K, &TimeWindow, T) -> T = |_, _, record| record;
        self.aggregate(name, Reducing { reduce }, emit)
    }
}
