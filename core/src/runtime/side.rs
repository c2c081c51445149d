//! The side outputs of one operator on one core.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::Port;
use crate::dataflow::Tag;
use crate::error::Kind;
use crate::operator::{Feed, Snapshot, SplitEvent};
use crate::time::{Stamp, Timestamp};
use crate::{Error, Result};

/// The ports that somebody asked for, by tag. What goes to a tag that nobody asked for is dropped.
#[derive(Default)]
pub(crate) struct SideOutputs {
    ports: RefCell<Vec<(String, Rc<dyn SidePort>)>>,
    captured: Option<Rc<Captured>>,
}

impl SideOutputs {
    /// With `captured`, what no consumer takes is kept there.
    pub(crate) fn new(captured: Option<Rc<Captured>>) -> Self {
        Self { ports: RefCell::default(), captured }
    }

    /// The port of `tag`, made if it is not there.
    ///
    /// # Errors
    /// The tag was used with another type.
    pub(crate) fn port<T: 'static>(&self, tag: &Tag<T>) -> Result<Rc<Port<T>>> {
        if let Some(port) = self.find(tag)? {
            return Ok(port);
        }
        let port = Rc::new(Port::new());
        if let Some(captured) = &self.captured {
            port.fall_back_to(Capture(captured.of(tag)?));
        }
        self.ports.borrow_mut().push((tag.name().to_owned(), Rc::clone(&port) as _));
        Ok(port)
    }

    fn find<T: 'static>(&self, tag: &Tag<T>) -> Result<Option<Rc<Port<T>>>> {
        let ports = self.ports.borrow();
        let Some((_, port)) = ports.iter().find(|(name, _)| name == tag.name()) else {
            return Ok(None);
        };
        match Rc::clone(port).into_any().downcast::<Port<T>>() {
            Ok(port) => Ok(Some(port)),
            Err(_) => Err(two_types(tag.name())),
        }
    }

    /// Whether nobody has asked for any.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.ports.borrow().is_empty()
    }

    /// Sends a record to `tag`.
    pub(crate) fn push<T: 'static>(&self, tag: &Tag<T>, record: T, stamp: Stamp) -> Result<()> {
        match self.find(tag)? {
            Some(port) => port.push(record, stamp),
            None if self.captured.is_some() => self.port(tag)?.push(record, stamp),
            None => Ok(()),
        }
    }

    pub(crate) fn watermark(&self, watermark: Timestamp) -> Result<()> {
        self.each(|port| port.watermark(watermark))
    }
    pub(crate) fn idle(&self, idle: bool) -> Result<()> {
        self.each(|port| port.idle(idle))
    }
    pub(crate) fn flush(&self) -> Result<()> {
        self.each(SidePort::flush)
    }
    pub(crate) fn end(&self) -> Result<()> {
        self.each(SidePort::flush)?;
        self.each(SidePort::end)
    }

    pub(crate) fn snapshot(&self, snapshot: &mut Snapshot) -> Result<()> {
        let ports = self.ports.borrow();
        ports.iter().try_for_each(|(_, port)| port.snapshot(snapshot))
    }

    fn each(&self, call: impl Fn(&dyn SidePort) -> Result<()>) -> Result<()> {
        self.ports.borrow().iter().try_for_each(|(_, port)| call(&**port))
    }
}

#[cold]
fn two_types(tag: &str) -> Error {
    let message = format!("the side output \"{tag}\" is used with two types");
    Error::new(Kind::Graph, message).with_hint("give each type a tag of its own")
}

/// A port without its record type.
trait SidePort: Any {
    fn watermark(&self, watermark: Timestamp) -> Result<()>;
    fn idle(&self, idle: bool) -> Result<()>;
    fn flush(&self) -> Result<()>;
    fn end(&self) -> Result<()>;
    fn snapshot(&self, snapshot: &mut Snapshot) -> Result<()>;
    fn into_any(self: Rc<Self>) -> Rc<dyn Any>;
}

impl<T: 'static> SidePort for Port<T> {
    fn watermark(&self, watermark: Timestamp) -> Result<()> {
        Port::watermark(self, watermark)
    }
    fn idle(&self, idle: bool) -> Result<()> {
        Port::idle(self, idle)
    }
    fn flush(&self) -> Result<()> {
        Port::flush(self)
    }
    fn end(&self) -> Result<()> {
        Port::end(self)
    }
    fn snapshot(&self, snapshot: &mut Snapshot) -> Result<()> {
        Port::snapshot(self, snapshot)
    }
    fn into_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }
}

/// Records of side outputs that no consumer takes, for tests: by tag, over all operators and cores.
#[derive(Default)]
pub(crate) struct Captured(RefCell<BTreeMap<String, Rc<dyn Any>>>);

/// Records of one tag with their stamps.
type Records<T> = Rc<RefCell<Vec<(T, Stamp)>>>;

impl Captured {
    /// The records of `tag`, shared.
    pub(crate) fn of<T: 'static>(&self, tag: &Tag<T>) -> Result<Records<T>> {
        let mut all = self.0.borrow_mut();
        let records = all.entry(tag.name().to_owned());
        let records = records.or_insert_with(|| Records::<T>::default() as _);
        let records = Rc::clone(records).downcast();
        records.map_err(|_| two_types(tag.name()))
    }
}

struct Capture<T>(Records<T>);

impl<T: 'static> Feed<T> for Capture<T> {
    fn feed(&mut self, record: T, stamp: Stamp) -> Result<()> {
        self.0.borrow_mut().push((record, stamp));
        Ok(())
    }
    fn watermark(&mut self, _watermark: Timestamp) -> Result<()> {
        Ok(())
    }
    fn idle(&mut self, _idle: bool) -> Result<()> {
        Ok(())
    }
    fn split(&mut self, _event: SplitEvent) -> Result<()> {
        Ok(())
    }
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
    fn end(&mut self) -> Result<()> {
        Ok(())
    }
    fn snapshot(&mut self, _snapshot: &mut Snapshot) -> Result<()> {
        Ok(())
    }
}
