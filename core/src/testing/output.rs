//! The sink of a harness: keeps what arrives and, if asked to, takes few records at a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::Result;
use crate::runtime::Core;
use crate::sink::{Sink, SinkContext, SinkWriter};
use crate::time::{MIN, Stamp, Timestamp};

/// What has arrived, over all cores.
pub(super) struct Arrived<U> {
    pub(super) records: RefCell<Vec<(U, Timestamp)>>,
    /// Watermark, idleness and end by core.
    pub(super) cores: RefCell<Vec<CoreState>>,
}

/// How far one core's output has got.
#[derive(Debug, Clone, Copy)]
pub(super) struct CoreState {
    pub(super) watermark: Timestamp,
    pub(super) idle: bool,
}

impl<U> Arrived<U> {
    pub(super) fn new(cores: usize) -> Self {
        let state = CoreState { watermark: MIN, idle: false };
        Self { records: RefCell::default(), cores: RefCell::new(vec![state; cores]) }
    }
}

pub(super) struct Output<U> {
    pub(super) arrived: Rc<Arrived<U>>,
    pub(super) budget: Option<usize>,
}

impl<U: 'static> Sink<U> for Output<U> {
    type Writer = Writer<U>;

    fn kind(&self) -> &'static str {
        "harness"
    }
    fn writer(self, cx: SinkContext) -> Result<Writer<U>> {
        let left = Cell::new(self.budget.unwrap_or(usize::MAX));
        Ok(Writer { output: self, core: cx.core, left, is_cut: false })
    }
}

pub(super) struct Writer<U> {
    output: Output<U>,
    core: Rc<Core>,
    /// Records that this turn may still bring.
    left: Cell<usize>,
    /// Whether a cut was made. The job begins again from it, so what comes behind it comes again.
    is_cut: bool,
}

impl<U: 'static> Writer<U> {
    fn change(&self, change: impl FnOnce(&mut CoreState)) -> Result<()> {
        if !self.is_cut {
            change(&mut self.output.arrived.cores.borrow_mut()[self.core.index()]);
        }
        Ok(())
    }
}

impl<U: 'static> SinkWriter<U> for Writer<U> {
    type Committable = ();

    fn ready(&mut self) -> Result<bool> {
        self.left.set(self.output.budget.unwrap_or(usize::MAX));
        Ok(true)
    }
    fn write(&mut self, record: U, stamp: Stamp) -> Result<()> {
        if !self.is_cut {
            self.output.arrived.records.borrow_mut().push((record, stamp.timestamp));
        }
        self.left.set(self.left.get().saturating_sub(1));
        if self.left.get() == 0 {
            self.core.pressure.set(true);
        }
        Ok(())
    }
    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.change(|core| {
            let before = core.watermark;
            assert!(watermark > before, "watermark {watermark} comes behind {before}");
            core.watermark = watermark;
        })
    }
    fn idle(&mut self, idle: bool) -> Result<()> {
        self.change(|core| core.idle = idle)
    }
    fn seal(&mut self, _checkpoint: u64) -> Result<Vec<()>> {
        self.is_cut = true;
        Ok(Vec::new())
    }
    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
}
