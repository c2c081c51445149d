//! The stateless operators: map, filter, flat map, inspect.

use std::marker::PhantomData;
use std::rc::Rc;

use super::{Blame, Chain, Feed, named, pass_control};
use crate::Result;
use crate::time::Stamp;

/// A chain followed by a function of each record.
pub struct Map<C, T, F> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) user: F,
    pub(crate) input: PhantomData<fn(T)>,
}

impl<C, T, U, F> Chain<U> for Map<C, T, F>
where
    C: Chain<T>,
    T: 'static,
    U: 'static,
    F: FnMut(T) -> U + 'static,
{
    fn install<N: Feed<U>>(self, next: N) {
        self.chain.install(MapFeed { name: self.name, user: self.user, output: PhantomData, next });
    }
    named!();
}

struct MapFeed<F, U, N> {
    name: Rc<str>,
    user: F,
    output: PhantomData<fn(U)>,
    next: N,
}

impl<T, U: 'static, F: FnMut(T) -> U + 'static, N: Feed<U>> Feed<T> for MapFeed<F, U, N> {
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let output = Blame::call(&self.name, || (self.user)(record));
        self.next.feed(output, stamp)
    }
    pass_control!();
}

/// A chain of which only some records go on.
pub struct Filter<C, F> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) user: F,
}

impl<T, C, F> Chain<T> for Filter<C, F>
where
    C: Chain<T>,
    F: FnMut(&T) -> bool + 'static,
{
    fn install<N: Feed<T>>(self, next: N) {
        self.chain.install(FilterFeed { name: self.name, user: self.user, next });
    }
    named!();
}

struct FilterFeed<F, N> {
    name: Rc<str>,
    user: F,
    next: N,
}

impl<T, F: FnMut(&T) -> bool + 'static, N: Feed<T>> Feed<T> for FilterFeed<F, N> {
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        if Blame::call(&self.name, || (self.user)(&record)) {
            self.next.feed(record, stamp)?;
        }
        Ok(())
    }
    pass_control!();
}

/// A chain followed by a function that makes any number of records from one.
pub struct FlatMap<C, T, F> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) user: F,
    pub(crate) input: PhantomData<fn(T)>,
}

impl<C, T, I, F> Chain<I::Item> for FlatMap<C, T, F>
where
    C: Chain<T>,
    T: 'static,
    I: IntoIterator + 'static,
    F: FnMut(T) -> I + 'static,
{
    fn install<N: Feed<I::Item>>(self, next: N) {
        let feed = FlatMapFeed { name: self.name, user: self.user, output: PhantomData, next };
        self.chain.install(feed);
    }
    named!();
}

struct FlatMapFeed<F, I, N> {
    name: Rc<str>,
    user: F,
    output: PhantomData<fn(I)>,
    next: N,
}

impl<T, I, F, N> Feed<T> for FlatMapFeed<F, I, N>
where
    I: IntoIterator + 'static,
    F: FnMut(T) -> I + 'static,
    N: Feed<I::Item>,
{
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        let mut outputs = Blame::call(&self.name, || (self.user)(record).into_iter());
        while let Some(output) = Blame::call(&self.name, || outputs.next()) {
            self.next.feed(output, stamp)?;
        }
        Ok(())
    }
    pass_control!();
}

/// A chain whose records are looked at on the way.
pub struct Inspect<C, F> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) user: F,
}

impl<T, C, F> Chain<T> for Inspect<C, F>
where
    C: Chain<T>,
    F: FnMut(&T) + 'static,
{
    fn install<N: Feed<T>>(self, next: N) {
        self.chain.install(InspectFeed { name: self.name, user: self.user, next });
    }
    named!();
}

struct InspectFeed<F, N> {
    name: Rc<str>,
    user: F,
    next: N,
}

impl<T, F: FnMut(&T) + 'static, N: Feed<T>> Feed<T> for InspectFeed<F, N> {
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        Blame::call(&self.name, || (self.user)(&record));
        self.next.feed(record, stamp)
    }
    pass_control!();
}
