//! What all operators of a core share: its number, its time, its counters.
//!
//! Owned by one thread; everything is a plain cell.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;

use thalweg_state::segment::BlockPool;

use super::poison::Warden;
use crate::metrics::CoreMetrics;
use crate::state::Budget;
use crate::time::Clock;

/// The core on which an operator runs, as its parts see it.
pub struct Core {
    index: usize,
    parallelism: usize,
    clock: Rc<dyn Clock>,
    nanos: Cell<u64>,
    wall: Cell<i64>,
    /// Engine time until which the wall clock need not be read again.
    wall_until: Cell<u64>,
    turn: Cell<u64>,
    /// When an operator wants to be told the time, in engine nanoseconds; `u64::MAX`: never.
    tick_at: Cell<u64>,
    /// Set when an output of the running task has used its last credit: the task stops before its
    /// next record.
    pub(crate) pressure: Cell<bool>,
    /// The epoch that state changes belong to.
    pub(crate) epoch: Cell<u64>,
    /// Whether states keep journals, from which checkpoints are made; set before they are made.
    pub(crate) journal: Cell<bool>,
    /// Whether sources and processing time stand still.
    pub(crate) held: Cell<bool>,
    /// Memory of blocks that were stored.
    pub(crate) blocks: BlockPool,
    /// What its state may take, and the way to the cold tier.
    pub(crate) budget: Budget,
    /// Watches for records that fail again and again; none unless the job wants that.
    warden: OnceCell<Box<Warden>>,
    /// What the core counts.
    pub metrics: CoreMetrics,
}

impl Core {
    pub(crate) fn new(index: usize, parallelism: usize, clock: Rc<dyn Clock>) -> Rc<Self> {
        let metrics = CoreMetrics::default();
        let core = Self {
            index,
            parallelism,
            clock,
            nanos: Cell::new(0),
            wall: Cell::new(0),
            wall_until: Cell::new(0),
            turn: Cell::new(0),
            tick_at: Cell::new(u64::MAX),
            pressure: Cell::new(false),
            epoch: Cell::new(1),
            journal: Cell::new(false),
            held: Cell::new(false),
            blocks: BlockPool::default(),
            budget: Budget::new(Rc::clone(&metrics.state)),
            warden: OnceCell::new(),
            metrics,
        };
        core.refresh();
        Rc::new(core)
    }

    /// Who watches for records that fail again and again, if the job wants that.
    #[inline]
    pub(crate) fn warden(&self) -> Option<&Warden> {
        self.warden.get().map(|warden| &**warden)
    }

    /// From now on `warden` watches; once, before the tasks are made.
    pub(crate) fn set_warden(&self, warden: Warden) {
        let is_first = self.warden.set(Box::new(warden)).is_ok();
        assert!(is_first, "a core has one warden");
    }

    /// This core's number, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How many cores the job runs on.
    pub fn parallelism(&self) -> usize {
        self.parallelism
    }

    /// Engine time in nanoseconds as of this batch.
    #[inline]
    pub fn now(&self) -> u64 {
        self.nanos.get()
    }

    /// Engine time at which this turn began.
    pub(crate) fn turn_started(&self) -> u64 {
        self.turn.get()
    }

    /// Wall-clock time in milliseconds since the epoch as of this turn.
    pub fn wall_millis(&self) -> i64 {
        self.wall.get()
    }

    /// Asks for a turn at `nanos` of engine time, should nothing else happen until then; holds for
    /// one turn.
    #[inline]
    pub(crate) fn want_tick(&self, nanos: u64) {
        self.tick_at.set(self.tick_at.get().min(nanos));
    }

    /// When an operator wants a turn.
    pub(crate) fn tick_at(&self) -> Option<u64> {
        let at = self.tick_at.get();
        (at != u64::MAX).then_some(at)
    }

    /// Reads engine time anew: once per batch.
    #[inline]
    pub(crate) fn refresh_nanos(&self) -> u64 {
        let nanos = self.clock.nanos();
        self.nanos.set(nanos);
        nanos
    }

    /// Reads both clocks anew: once per turn.
    pub(crate) fn refresh(&self) {
        let now = self.refresh_nanos();
        self.turn.set(now);
        if now >= self.wall_until.get() {
            self.wall_until.set(now + self.clock.wall_lasts());
            self.wall.set(self.clock.wall_millis());
        }
        self.tick_at.set(u64::MAX);
    }
}
