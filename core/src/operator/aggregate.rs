//! Incremental aggregation: records folded into an accumulator.

use std::marker::PhantomData;

use thalweg_state::State;

/// Folds records into an accumulator.
///
/// ```
/// use thalweg::prelude::*;
/// struct Mean;
/// impl AggregateFn<u64> for Mean {
///     type Acc = (u64, u64);
///     type Out = f64;
///     fn create(&self) -> (u64, u64) {
///         (0, 0)
///     }
///     fn add(&self, acc: &mut (u64, u64), n: u64) {
///         *acc = (acc.0 + n, acc.1 + 1);
///     }
///     fn result(&self, acc: &(u64, u64)) -> f64 {
///         acc.0 as f64 / acc.1 as f64
///     }
/// }
/// ```
pub trait AggregateFn<In>: 'static {
    /// What is kept per key, or per key and window.
    type Acc: State;
    /// What comes out.
    type Out: 'static;

    /// An accumulator without records.
    fn create(&self) -> Self::Acc;
    /// Takes a record in.
    fn add(&self, acc: &mut Self::Acc, record: In);
    /// The result of the records so far.
    fn result(&self, acc: &Self::Acc) -> Self::Out;
    /// Takes the records of another accumulator in; only windows that merge need it.
    ///
    /// # Panics
    /// If it is not implemented.
    fn merge(&self, _acc: &mut Self::Acc, _other: Self::Acc) {
        panic!("these windows merge: implement AggregateFn::merge for the aggregate");
    }
}

/// An aggregate made of two closures; its result is a copy of the accumulator.
///
/// ```
/// use thalweg::prelude::*;
/// let sum = Fold::new(|| 0u64, |sum: &mut u64, n: u64| *sum += n);
/// # fn takes<A: AggregateFn<u64>>(_: A) {}
/// # takes(sum);
/// ```
pub struct Fold<I, F, Acc> {
    create: I,
    add: F,
    acc: PhantomData<fn() -> Acc>,
}

impl<I: Fn() -> Acc, F, Acc> Fold<I, F, Acc> {
    /// Starts at what `create` returns; `add` takes a record in.
    pub fn new<In>(create: I, add: F) -> Self
    where
        F: Fn(&mut Acc, In),
    {
        Self { create, add, acc: PhantomData }
    }
}

impl<In, I, F, Acc> AggregateFn<In> for Fold<I, F, Acc>
where
    I: Fn() -> Acc + 'static,
    F: Fn(&mut Acc, In) + 'static,
    Acc: State + Clone,
{
    type Acc = Acc;
    type Out = Acc;

    fn create(&self) -> Acc {
        (self.create)()
    }
    #[inline]
    fn add(&self, acc: &mut Acc, record: In) {
        (self.add)(acc, record);
    }
    fn result(&self, acc: &Acc) -> Acc {
        acc.clone()
    }
}
