//! A bounded store against a model: a map that is told the same things.
//!
//! Rows leave and come back in between, some keys are asked for ahead and held, as pages are, and
//! must then be had without waiting. Epochs end at any moment; a store that is rebuilt from the
//! segments so far is what the model was at the end of the last one.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use thalweg_state::segment::{Block, BlockReader};
use thalweg_state::{KeyRef, Ttl, key};

use super::{Places, Store};
use crate::runtime::Core;
use crate::state::{ColdState, Held, Journalled, StateMemory, StateSpec};
use crate::time::{Clock, ManualClock};

const STEPS: usize = 12_000;

/// Time to live where there is one, in milliseconds.
const TTL_MS: i64 = 300;

/// How a store is run.
#[derive(Debug, Clone, Copy)]
struct Way {
    /// Bytes of its budget; `None`: every row leaves at once.
    bytes: Option<usize>,
    expires: bool,
    /// Different hashes of keys.
    hashes: u64,
    /// Different keys.
    keys: u64,
}

impl Way {
    fn store(&self, core: &Rc<Core>) -> Store<String, Vec<u64>> {
        let mut spec = StateSpec::new("s");
        spec.ttl = self.expires.then(|| Ttl::new(TTL_MS));
        // Only hashes of keys need not be stored.
        let places = Places { is_plain: self.hashes == u64::MAX, ..Places::PLAIN };
        Store::of_rows(core, "o", &spec, places)
    }
}

/// A store and the model.
struct Twins {
    way: Way,
    core: Rc<Core>,
    clock: ManualClock,
    store: Store<String, Vec<u64>>,
    model: Model,
    /// Keys that were found ready and are held since.
    held: BTreeSet<u64>,
    /// Keys that were asked for.
    asked: BTreeSet<u64>,
    /// How often rows had left when that was found.
    departures: u64,
    /// The blocks of each segment since one held all.
    segments: Vec<Vec<Block>>,
    /// How many segments there were.
    ends: u64,
    /// The model as it was when the epoch ended that is being encoded.
    ended: Option<Model>,
    random: u64,
}

/// The value of each key and when it was last written.
type Model = BTreeMap<u64, (Vec<u64>, i64)>;

/// Some keys are long enough to lie on the heap alone.
fn text(number: u64) -> String {
    format!("key {number} {}", "x".repeat(number as usize % 5 * 12))
}

impl Twins {
    fn new(way: Way, seed: u64) -> Self {
        let clock = ManualClock::new(1_000);
        let core = Core::new(0, 1, Rc::new(clock.clone()) as Rc<dyn Clock>);
        core.budget.bound(&match way.bytes {
            Some(bytes) => StateMemory::above_memory(bytes, seed),
            None => StateMemory::forced_cold(seed),
        });
        core.journal.set(true);
        let store = way.store(&core);
        let (model, held, asked) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let (segments, ended) = (Vec::new(), None);
        Self {
            way,
            core,
            clock,
            store,
            model,
            held,
            asked,
            departures: 0,
            segments,
            ends: 0,
            ended,
            random: seed,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % below
    }

    /// Calls `body` with the store and a key.
    fn with<R>(
        &mut self,
        number: u64,
        body: impl FnOnce(&mut Store<String, Vec<u64>>, KeyRef<'_>) -> R,
    ) -> R {
        let text = text(number);
        let hash = key::hash(text.as_bytes()) % self.way.hashes;
        body(&mut self.store, KeyRef { hash, bytes: text.as_bytes() })
    }

    /// The value that is to be seen.
    fn expected(&self, number: u64) -> Option<Vec<u64>> {
        let (value, written) = self.model.get(&number)?;
        let lives = !self.way.expires || written + TTL_MS > self.core.wall_millis();
        lives.then(|| value.clone())
    }

    fn write(&mut self, number: u64, value: Vec<u64>) {
        self.model.insert(number, (value, self.core.wall_millis()));
    }

    fn step(&mut self) {
        if self.core.budget.departures() != self.departures {
            let held = std::mem::take(&mut self.held);
            self.ask_for(held);
        }
        self.cut();
        let number = self.draw(self.way.keys);
        let reads = self.core.budget.counts.blocking_reads.value();
        match self.draw(16) {
            0..5 => self.access(number),
            5 | 6 => self.look(number),
            7 => self.put(number),
            8 => self.take_away(number),
            9 | 10 => return self.ask(),
            11..13 => return self.answer(),
            13 | 14 => return self.evict(),
            _ => return self.move_on(),
        }
        if self.held.contains(&number) {
            let now = self.core.budget.counts.blocking_reads.value();
            assert_eq!(now, reads, "key {number} was held, and waited for");
        }
    }

    /// Ends epochs, and encodes what changed in them in between.
    fn cut(&mut self) {
        let chance = self.draw(64);
        if let Some(ended) = self.ended.take() {
            let mut rows = (chance % 3) as usize;
            if !self.store.advance_segment(&mut rows).expect("values have bytes") {
                self.ended = Some(ended);
                return;
            }
            let mut blocks = Vec::new();
            if self.store.take_blocks(&mut blocks) {
                self.segments.clear();
            }
            self.segments.push(blocks);
            self.ends += 1;
            self.rebuild(&ended);
        } else if chance == 0 {
            let all = self.draw(2) == 0 && self.store.can_tell_all();
            self.store.end_segment(all);
            self.core.epoch.set(self.core.epoch.get() + 1);
            self.ended = Some(self.model.clone());
        }
    }

    /// Rebuilds a store from all segments so far and compares it with what the model was: by turns
    /// in memory, beyond its budget, and with all rows in the cold tier.
    fn rebuild(&self, ended: &Model) {
        let memory = &match self.ends % 3 {
            0 => StateMemory::default(),
            1 => StateMemory::above_memory(self.way.bytes.unwrap_or(0), self.random),
            _ => StateMemory::forced_cold(self.random),
        };
        let core = Core::new(0, 1, Rc::new(self.clock.clone()) as Rc<dyn Clock>);
        core.budget.bound(memory);
        let mut store = self.way.store(&core);
        for block in self.segments.iter().flatten() {
            let block = BlockReader::read(&mut block.bytes()).expect("a block");
            assert!(store.restore_block(&block).expect("rows are rows"));
            core.budget.measure(store.bytes());
        }
        store.end_restore().expect("the cold tier answers");
        let now = core.wall_millis();
        for number in 0..self.way.keys {
            let text = text(number);
            let hash = key::hash(text.as_bytes()) % self.way.hashes;
            let key = KeyRef { hash, bytes: text.as_bytes() };
            let lives = |written: i64| !self.way.expires || written + TTL_MS > now;
            let expected = ended.get(&number).filter(|(_, written)| lives(*written));
            let expected = expected.map(|(value, _)| value);
            let segment = self.ends;
            store.bring(key);
            assert_eq!(store.peek(key), expected, "key {number} in segment {segment}");
            store.discard(key);
        }
        let cold = store.is_cold();
        assert!(!memory.eager || ended.is_empty() || cold, "rows went past the table");
        assert!(cold || store.bytes() < 1 << 20, "{} bytes are left", store.bytes());
    }

    /// As a flat map with state uses a row.
    fn access(&mut self, number: u64) {
        let expected = self.expected(number);
        let added = self.draw(1 << 20);
        let value = self.with(number, |store, key| {
            let (name, value, new) = store.get_or_insert_with(key, Vec::new);
            assert_eq!((new, &**name), (expected.is_none(), &*text(number)));
            assert_eq!(*value, expected.unwrap_or_default());
            let before = if new { 0 } else { name.len() + value.capacity() * 8 };
            value.push(added);
            if value.len() > 20 {
                *value = Vec::new();
            }
            let (after, copy) = (name.len() + value.capacity() * 8, value.clone());
            store.adjust_heap(after as isize - before as isize);
            copy
        });
        self.write(number, value);
    }

    fn look(&mut self, number: u64) {
        let expected = self.expected(number);
        let found = self.with(number, |store, key| {
            drop(store.touch(key));
            store.peek(key).cloned()
        });
        assert_eq!(found, expected, "key {number}");
    }

    fn put(&mut self, number: u64) {
        let expected = self.expected(number);
        let value = vec![number; self.draw(4) as usize];
        let given = value.clone();
        if expected.is_none() && self.draw(2) == 0 && !self.model.contains_key(&number) {
            self.with(number, |store, key| store.add(key, given));
        } else {
            let before = self.with(number, |store, key| store.insert(key, given));
            assert_eq!(before, expected, "key {number}");
        }
        self.write(number, value);
    }

    fn take_away(&mut self, number: u64) {
        let expected = self.expected(number);
        match self.draw(3) {
            0 => self.with(number, |store, key| store.discard(key)),
            1 => {
                let gone = self.with(number, |store, key| store.remove(key));
                assert_eq!(gone, expected, "key {number}");
            }
            _ => {
                let gone = self.with(number, |store, key| store.take(key));
                let seen = gone.and_then(|(row, lives)| lives.then_some(row));
                assert_eq!(seen, expected, "key {number}");
            }
        }
        self.model.remove(&number);
    }

    /// Looks ahead: what is not ready is asked for, what is ready is held.
    fn ask(&mut self) {
        if self.draw(4) == 0 {
            self.held.clear();
            self.asked.clear();
        }
        let more = self.draw(4);
        let keys: BTreeSet<u64> = (0..more).map(|_| self.draw(self.way.keys)).collect();
        self.ask_for(keys);
    }

    fn ask_for(&mut self, keys: BTreeSet<u64>) {
        self.departures = self.core.budget.departures();
        for number in keys.into_iter().chain(std::mem::take(&mut self.asked)) {
            let ready = self.with(number, |store, key| store.ready(key));
            if ready {
                self.held.insert(number)
            } else {
                self.asked.insert(number)
            };
        }
        self.store.ask();
    }

    fn answer(&mut self) {
        if self.core.budget.poll().expect("the tier works") {
            self.store.settle().expect("rows are rows");
        }
    }

    fn evict(&mut self) {
        let mut held = Held::new();
        for number in self.held.union(&self.asked) {
            held.add(key::hash(text(*number).as_bytes()) % self.way.hashes);
        }
        held.seal();
        if self.core.budget.measure(self.store.bytes()) {
            self.store.evict(&held).expect("rows leave");
        }
    }

    fn move_on(&mut self) {
        let millis = self.draw(60);
        self.clock.advance(millis * 1_000_000);
        self.core.refresh();
        if self.store.round_at() <= self.core.wall_millis() {
            self.store.sweep_slice();
        }
    }

    /// Lets everything leave that may, and looks at every key once more.
    fn finish(mut self) {
        self.held.clear();
        self.asked.clear();
        for _ in 0..1_000 {
            self.answer();
            self.evict();
        }
        for number in 0..self.way.keys {
            self.look(number);
        }
        for number in 0..self.way.keys {
            self.with(number, |store, key| store.discard(key));
        }
        for _ in 0..10_000 {
            self.answer();
            self.evict();
        }
        let (bytes, keys) = (self.store.bytes(), self.way.keys as usize);
        assert!(bytes < 32 << 10 || bytes < keys * 150, "{bytes} bytes are left");
        assert!(self.core.budget.counts.evicted.value() > 0, "{:?}", self.way);
        assert!(self.ends > 20, "{} segments", self.ends);
    }
}

fn run(way: Way) {
    for seed in 1..=4 {
        let mut twins = Twins::new(way, seed);
        for _ in 0..STEPS {
            twins.step();
        }
        twins.finish();
    }
}

const TIGHT: Way = Way { bytes: Some(8 << 10), expires: false, hashes: u64::MAX, keys: 400 };

#[test]
fn an_unbounded_store_is_rebuilt_from_its_segments() {
    for (expires, keys) in [(false, 30), (false, 1_000), (true, 100)] {
        for seed in 1..=2 {
            let way = Way { bytes: Some(1 << 30), expires, hashes: u64::MAX, keys };
            let mut twins = Twins::new(way, seed);
            (0..STEPS).for_each(|_| twins.step());
            assert!(twins.ends > 20, "{} segments", twins.ends);
        }
    }
}

#[test]
fn a_bounded_store_behaves_like_a_map() {
    for (bytes, keys) in [(4 << 10, 300), (64 << 10, 2_000)] {
        run(Way { bytes: Some(bytes), keys, ..TIGHT });
    }
    for keys in [2, 20, 300] {
        run(Way { bytes: None, keys, ..TIGHT });
    }
}

#[test]
fn rows_that_expire_are_never_seen_again() {
    for (bytes, keys) in [(Some(4 << 10), 300), (None, 3), (None, 300)] {
        run(Way { bytes, keys, expires: true, ..TIGHT });
    }
}

#[test]
fn keys_whose_hashes_collide_are_kept_apart() {
    for (bytes, hashes) in [(Some(8 << 10), 16), (None, 1), (None, 7)] {
        run(Way { bytes, hashes, keys: 60, ..TIGHT });
    }
}
