//! What a worker does while its job is drained: its sources and processing time stand still.

use super::messages::CutReport;
use super::open::Hold;
use crate::runtime::Worker;

impl Worker {
    /// Silences the sources; the answer follows when nothing is left to do.
    pub(super) fn drain(&mut self, round: u64, keep: bool) {
        self.hold(if keep { Hold::UntilTold } else { Hold::UntilCut });
        self.cuts.asked = Some(round);
    }

    pub(super) fn hold(&mut self, hold: Hold) {
        self.cuts.hold = hold;
        self.core.held.set(hold != Hold::No);
    }

    /// The cut, or its end, has come for which the sources were silent.
    pub(super) fn release(&mut self) {
        self.cuts.asked = None;
        if self.cuts.hold == Hold::UntilCut {
            self.hold(Hold::No);
        }
    }

    /// Answers a round if the core is quiet.
    pub(super) fn answer_drain(&mut self) {
        let Some(round) = self.cuts.asked else { return };
        if !self.is_quiet() {
            return;
        }
        self.cuts.asked = None;
        let links = self.links.iter().flatten();
        let (sent, received) = links.fold((0, 0), |(sent, received), link| {
            (sent + link.sender.sent(), received + link.receiver.received())
        });
        self.cuts.tell(CutReport::Quiet { round, sent, received });
    }

    fn is_quiet(&self) -> bool {
        let outputs = self.outputs.iter().flatten();
        let mut gates = self.gates.iter().flatten();
        outputs.into_iter().all(|output| output.queued() == 0 && !output.dirty())
            && gates.all(|gate| gate.inner.borrow().is_quiet())
    }
}
