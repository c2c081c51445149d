//! Timers against a model, rebuilt from what their logs say at the end of each epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use thalweg_state::KeyRef;
use thalweg_state::segment::{Block, BlockReader, SegmentHeader, SegmentReader, merge_in_memory};

use super::{DueTimers, TimerQueue, TimerSet};
use crate::runtime::Core;
use crate::state::Journalled;
use crate::time::ManualClock;

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % below
    }

    fn key(&mut self) -> String {
        let number = self.below(6);
        "key".repeat(number as usize) + &number.to_string()
    }
}

fn core() -> Rc<Core> {
    let core = Core::new(0, 1, Rc::new(ManualClock::new(1_000)));
    core.journal.set(true);
    core
}

/// Ends an epoch and returns its segment.
fn end(part: &mut dyn Journalled, number: u64) -> Vec<u8> {
    part.end_segment(false);
    assert!(part.advance_segment(&mut 0).expect("a log is complete"));
    let mut blocks: Vec<Block> = Vec::new();
    part.take_blocks(&mut blocks);
    SegmentHeader { core: 0, number, epoch: number }.segment(&blocks)
}

/// Restores all segments; some of them merged before.
fn restore(part: &mut dyn Journalled, segments: &[Vec<u8>], merged: usize) {
    let from = segments.len().saturating_sub(merged);
    let parts: Vec<&[u8]> = segments[from..].iter().map(Vec::as_slice).collect();
    let last = merge_in_memory(&parts, from == 0).expect("they go together");
    for segment in segments[..from].iter().chain([&last]) {
        for block in SegmentReader::new(segment).expect("a segment").blocks() {
            let block: BlockReader<'_> = block.expect("a block");
            assert!(part.restore_block(&block).expect("timers"));
        }
    }
    part.end_restore().expect("the cold tier answers");
}

#[test]
fn a_set_is_rebuilt_as_it_was() {
    for seed in 1..6 {
        let (core, mut random) = (core(), Random(seed));
        let mut timers = TimerSet::<String>::new(&core, "o", "timers/event");
        let (mut model, mut segments, mut key) = (BTreeSet::new(), Vec::new(), Vec::new());
        for _ in 0..4_000 {
            let (owner, at) = (random.key(), random.below(20) as i64 - 10);
            match random.below(16) {
                0..8 => {
                    timers.register(KeyRef::new(owner.as_bytes()), 3, at);
                    model.insert((at, owner));
                }
                8..11 => {
                    timers.delete(KeyRef::new(owner.as_bytes()), 3, at);
                    model.remove(&(at, owner));
                }
                11..15 => {
                    let due = model.first().filter(|(due, _)| *due <= at).cloned();
                    let fired = timers.pop(at, &mut key);
                    assert_eq!(fired, due.as_ref().map(|(at, _)| (*at, 3)));
                    due.iter().for_each(|due| assert!(model.remove(due)));
                }
                _ => {
                    segments.push(end(&mut timers, segments.len() as u64 + 1));
                    let mut other = TimerSet::<String>::new(&core, "o", "timers/event");
                    restore(&mut other, &segments, random.below(5) as usize + 1);
                    assert_eq!(other.next(), timers.next());
                    for (at, owner) in &model {
                        assert_eq!(other.pop(99, &mut key), Some((*at, 3)));
                        assert_eq!(key, owner.as_bytes());
                    }
                    assert_eq!(other.pop(99, &mut key), None);
                }
            }
        }
    }
}

/// A queue, the timers that were taken out of it, and all that are pending, by timestamp and order
/// of registration.
struct Queue {
    queue: TimerQueue,
    due: DueTimers,
    model: BTreeMap<(i64, u64), (String, i64)>,
    registered: u64,
}

impl Queue {
    fn step(&mut self, random: &mut Random) {
        let (owner, at) = (random.key(), random.below(8) as i64 - 4);
        let (namespace, key) = (random.below(3) as i64 - 1, KeyRef::new(owner.as_bytes()));
        let mut bytes = Vec::new();
        match random.below(8) {
            0..4 => {
                if !self.due.insert(&mut self.queue, key, namespace, at) {
                    self.queue.register(key, namespace, at);
                }
                self.model.insert((at, self.registered), (owner, namespace));
                self.registered += 1;
            }
            4 if self.due.is_empty() => {
                let count = random.below(6) as usize + 1;
                self.due.take_from(&mut self.queue, at, count);
            }
            5 if self.due.is_empty() => {
                if let Some((at, namespace)) = self.queue.pop(at, &mut bytes, |_, _| {}) {
                    self.fired(at, &bytes, namespace);
                }
            }
            _ => {
                if let Some(due) = self.due.pop(&mut self.queue) {
                    self.fired(due.timestamp, &due.key, due.namespace);
                }
            }
        }
    }

    fn fired(&mut self, at: i64, key: &[u8], namespace: i64) {
        let ((due, _), timer) = self.model.pop_first().expect("a timer that fires is pending");
        assert_eq!((due, timer.0.as_bytes(), timer.1), (at, key, namespace));
    }
}

#[test]
fn a_queue_is_rebuilt_in_the_order_of_registration() {
    for seed in 1..6 {
        let (core, mut random) = (core(), Random(seed));
        let queue = TimerQueue::new(&core, "o");
        let (due, model) = (DueTimers::new(), BTreeMap::new());
        let mut pending = Queue { queue, due, model, registered: 0 };
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for _ in 0..4_000 {
            pending.step(&mut random);
            if random.below(24) > 0 {
                continue;
            }
            segments.push(end(&mut pending.queue, segments.len() as u64 + 1));
            let mut other = TimerQueue::new(&core, "o");
            restore(&mut other, &segments, random.below(5) as usize + 1);
            if random.below(4) == 0 {
                // The attempt ends here, and the next one goes on with what it found.
                let before = pending.queue.bytes() + pending.due.bytes();
                pending.queue = other;
                pending.due = DueTimers::new();
                assert!(pending.queue.bytes() > 0 || before == 0 || pending.model.is_empty());
                continue;
            }
            let mut key = Vec::new();
            for ((at, _), (owner, namespace)) in &pending.model {
                let fired = other.pop(99, &mut key, |_, _| {});
                assert_eq!((fired, &*key), (Some((*at, *namespace)), owner.as_bytes()));
            }
            assert_eq!(other.pop(99, &mut key, |_, _| {}), None);
        }
    }
}
