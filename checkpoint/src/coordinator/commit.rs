//! Commits that not every core has confirmed: repeated until they are, because they may be lost.

use std::collections::BTreeSet;

/// Who has not confirmed the newest complete checkpoint.
#[derive(Debug, Clone, Default)]
pub(super) struct Commits {
    id: u64,
    waiting: BTreeSet<u32>,
    again_at_ms: u64,
    began_ms: u64,
}

impl Commits {
    /// Begins with a checkpoint, which includes all earlier ones.
    pub fn begin(&mut self, id: u64, core_count: u32, again_at_ms: u64, now_ms: u64) {
        *self = Self { id, waiting: (0..core_count).collect(), again_at_ms, began_ms: now_ms };
    }

    /// Takes a confirmation; one of an older checkpoint or of none says nothing.
    pub fn confirmed(&mut self, core: u32, id: u64) {
        if id == self.id {
            self.waiting.remove(&core);
        }
    }

    /// The checkpoint that is committed everywhere, and how long that took.
    pub fn done(&self, now_ms: u64) -> Option<(u64, u64)> {
        self.all_confirmed().then(|| (self.id, now_ms.saturating_sub(self.began_ms)))
    }

    pub fn all_confirmed(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The checkpoint to commit once more, if it is time.
    pub fn due(&mut self, now_ms: u64, pause_ms: u64) -> Option<u64> {
        if self.all_confirmed() || now_ms < self.again_at_ms {
            return None;
        }
        self.again_at_ms = now_ms.saturating_add(pause_ms);
        Some(self.id)
    }

    pub fn wake_at(&self) -> Option<u64> {
        (!self.all_confirmed()).then_some(self.again_at_ms)
    }
}
