//! Signs of life of a core, and the watchdog that reads them.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::graph::JobGraph;

/// How long user code may take before the watchdog names it, in nanoseconds.
const SILENCE: u64 = 5_000_000_000;

/// What a core last did: one relaxed store per task and turn.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    /// Count of task starts, shifted; below it the node of the running task plus one, 0 between
    /// tasks.
    beat: AtomicU64,
    parked: AtomicU64,
}

const NODE_BITS: u32 = 16;

impl Pulse {
    /// A task starts.
    #[inline]
    pub(crate) fn enter(&self, node: usize) {
        let count = (self.beat.load(Ordering::Relaxed) >> NODE_BITS) + 1;
        let node = (node as u64 + 1) & ((1 << NODE_BITS) - 1);
        self.beat.store(count << NODE_BITS | node, Ordering::Relaxed);
    }

    /// The turn's tasks are done.
    #[inline]
    pub(crate) fn leave(&self) {
        let count = self.beat.load(Ordering::Relaxed) >> NODE_BITS;
        self.beat.store(count << NODE_BITS, Ordering::Relaxed);
    }

    pub(crate) fn park(&self) {
        self.parked.store(1, Ordering::Relaxed);
    }

    pub(crate) fn wake(&self) {
        self.parked.store(0, Ordering::Relaxed);
    }

    fn read(&self) -> (u64, Option<usize>) {
        let beat = self.beat.load(Ordering::Relaxed);
        let node = beat & ((1 << NODE_BITS) - 1);
        (beat, (node > 0).then(|| node as usize - 1))
    }
}

/// Notices cores that do not return from a task.
pub(crate) struct Watchdog {
    seen: Vec<(u64, u64, bool)>,
}

impl Watchdog {
    pub(crate) fn new(cores: usize) -> Self {
        Self { seen: vec![(u64::MAX, 0, false); cores] }
    }

    /// Looks at every core; names each stuck operator once.
    pub(crate) fn look<'a>(
        &mut self,
        now: u64,
        pulses: impl Iterator<Item = &'a Pulse>,
        graph: &JobGraph,
    ) {
        for (core, (pulse, seen)) in pulses.zip(&mut self.seen).enumerate() {
            let (beat, node) = pulse.read();
            let Some(node) = node else {
                *seen = (beat, now, false);
                continue;
            };
            if seen.0 != beat {
                *seen = (beat, now, false);
            } else if now.saturating_sub(seen.1) >= SILENCE && !seen.2 {
                seen.2 = true;
                let operators = stuck(graph, node);
                let seconds = (now - seen.1) / 1_000_000_000;
                tracing::warn!(core, seconds, operators, "user code has not returned");
            }
        }
    }
}

/// The operators of a task, one of which does not return.
fn stuck(graph: &JobGraph, head: usize) -> String {
    let names = graph.task_of(head).into_iter().map(|node| graph.nodes[node].name.as_str());
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_task_is_named_once_and_an_idle_core_never() {
        let mut graph = JobGraph::default();
        let head = graph.add_node("map", Some("slow"), 1, true);
        let (pulse, mut dog) = (Pulse::default(), Watchdog::new(1));
        let look = |dog: &mut Watchdog, now: u64| {
            dog.look(now, [&pulse].into_iter(), &graph);
            dog.seen[0].2
        };
        assert!(!look(&mut dog, 0) && !look(&mut dog, 2 * SILENCE));
        pulse.enter(head);
        assert!(!look(&mut dog, 2 * SILENCE));
        assert!(look(&mut dog, 3 * SILENCE));
        pulse.leave();
        assert!(!look(&mut dog, 4 * SILENCE));
        assert_eq!(stuck(&graph, head), "slow");
    }
}
