//! Operators whose user code may fail.
//!
//! An error ends the attempt, or, with `or_dead_letter`, sends the record and the error's text to a
//! side output while the job goes on.

use std::marker::PhantomData;
use std::rc::Rc;

use super::{Blame, Chain, Feed, Snapshot, SplitEvent, named};
use crate::runtime::{Core, Port};
use crate::time::{Stamp, Timestamp};
use crate::{BoxError, Error, Result};

/// A record that user code refused, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected<T> {
    /// The record as it came.
    pub record: T,
    /// The error's text with its causes.
    pub error: String,
}

/// Where refused records go: nowhere (the attempt ends) or to a port.
pub(crate) struct Letters<T> {
    port: Option<(Rc<Port<Rejected<T>>>, Rc<Core>)>,
}

impl<T: 'static> Letters<T> {
    pub(crate) fn none() -> Self {
        Self { port: None }
    }

    pub(crate) fn send_to(&mut self, port: Rc<Port<Rejected<T>>>, core: Rc<Core>) {
        self.port = Some((port, core));
    }

    /// Decides what an error does; the record goes with it to the dead letters.
    #[cold]
    fn refuse(&self, name: &str, record: T, stamp: Stamp, error: BoxError) -> Result<()> {
        match &self.port {
            Some((port, core)) => {
                core.metrics.dead_letters.add(1);
                port.push(Rejected { record, error: chain_text(&*error) }, stamp)
            }
            None => Err(Error::user(error).in_operator(name)),
        }
    }

    fn control(&self, call: impl FnOnce(&Port<Rejected<T>>) -> Result<()>) -> Result<()> {
        self.port.as_ref().map_or(Ok(()), |(port, _)| call(port))
    }
}

/// An error's text with its causes, on one line.
pub(crate) fn chain_text(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A chain followed by a function that makes any number of records from one, or fails.
pub struct TryFlatMap<C, T, F> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) user: F,
    pub(crate) letters: Letters<T>,
}

impl<C, T, I, E, F> Chain<I::Item> for TryFlatMap<C, T, F>
where
    C: Chain<T>,
    T: 'static,
    I: IntoIterator + 'static,
    E: Into<BoxError> + 'static,
    F: FnMut(&T) -> Result<I, E> + 'static,
{
    fn install<N: Feed<I::Item>>(self, next: N) {
        self.chain.install(TryFlatMapFeed {
            name: self.name,
            user: self.user,
            letters: self.letters,
            output: PhantomData,
            next,
        });
    }
    named!();
}

struct TryFlatMapFeed<T, F, I, E, N> {
    name: Rc<str>,
    user: F,
    letters: Letters<T>,
    output: PhantomData<fn(I, E)>,
    next: N,
}

/// Passes control events to the dead letters and to the main output.
macro_rules! pass_control_to_both {
    () => {
        fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
            self.letters.control(|port| port.watermark(watermark))?;
            self.next.watermark(watermark)
        }
        fn idle(&mut self, idle: bool) -> Result<()> {
            self.letters.control(|port| port.idle(idle))?;
            self.next.idle(idle)
        }
        fn split(&mut self, event: SplitEvent) -> Result<()> {
            self.next.split(event)
        }
        fn flush(&mut self) -> Result<()> {
            self.letters.control(|port| port.flush())?;
            self.next.flush()
        }
        fn end(&mut self) -> Result<()> {
            self.letters.control(|port| port.end())?;
            self.next.end()
        }
        fn snapshot(&mut self, snapshot: &mut Snapshot) -> Result<()> {
            self.letters.control(|port| port.snapshot(snapshot))?;
            self.next.snapshot(snapshot)
        }
    };
}

impl<T, I, E, F, N> Feed<T> for TryFlatMapFeed<T, F, I, E, N>
where
    T: 'static,
    I: IntoIterator + 'static,
    E: Into<BoxError> + 'static,
    F: FnMut(&T) -> Result<I, E> + 'static,
    N: Feed<I::Item>,
{
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        match Blame::call(&self.name, || (self.user)(&record)) {
            Ok(outputs) => {
                let mut outputs = Blame::call(&self.name, || outputs.into_iter());
                while let Some(output) = Blame::call(&self.name, || outputs.next()) {
                    self.next.feed(output, stamp)?;
                }
                Ok(())
            }
            Err(error) => self.letters.refuse(&self.name, record, stamp, error.into()),
        }
    }
    pass_control_to_both!();
}

/// A chain of which only some records go on, as decided by a function that may fail.
pub struct TryFilter<C, T, F> {
    pub(crate) chain: C,
    pub(crate) name: Rc<str>,
    pub(crate) user: F,
    pub(crate) letters: Letters<T>,
}

impl<C, T, E, F> Chain<T> for TryFilter<C, T, F>
where
    C: Chain<T>,
    T: 'static,
    E: Into<BoxError> + 'static,
    F: FnMut(&T) -> Result<bool, E> + 'static,
{
    fn install<N: Feed<T>>(self, next: N) {
        self.chain.install(TryFilterFeed {
            name: self.name,
            user: self.user,
            letters: self.letters,
            output: PhantomData,
            next,
        });
    }
    named!();
}

struct TryFilterFeed<T, F, E, N> {
    name: Rc<str>,
    user: F,
    letters: Letters<T>,
    output: PhantomData<fn(E)>,
    next: N,
}

impl<T, E, F, N> Feed<T> for TryFilterFeed<T, F, E, N>
where
    T: 'static,
    E: Into<BoxError> + 'static,
    F: FnMut(&T) -> Result<bool, E> + 'static,
    N: Feed<T>,
{
    #[inline(always)]
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        match Blame::call(&self.name, || (self.user)(&record)) {
            Ok(true) => self.next.feed(record, stamp),
            Ok(false) => Ok(()),
            Err(error) => self.letters.refuse(&self.name, record, stamp, error.into()),
        }
    }
    pass_control_to_both!();
}
