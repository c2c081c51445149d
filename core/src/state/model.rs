//! Each kind of state, rebuilt from its segments while it goes on changing.
//!
//! What a state shows at the end of an epoch is written down; when the epoch is encoded, states
//! that are made anew from all segments show the same.

use std::rc::Rc;

use thalweg_state::segment::{Block, BlockReader};
use thalweg_state::{KeyRef, Ttl};

use super::{
    ColdState, Held, ListState, MapState, ReducingState, StateMemory, StateSpec, StateTables,
    States, ValueState,
};
use crate::runtime::Core;
use crate::time::ManualClock;

const STEPS: usize = 6_000;
const KEYS: u64 = 12;
const TTL_MS: i64 = 200;

struct Handles {
    core: Rc<Core>,
    tables: StateTables,
    value: ValueState<String>,
    brief: ValueState<u64>,
    list: ListState<String>,
    brief_list: ListState<u64>,
    map: MapState<String, u64>,
    brief_map: MapState<u32, String>,
    sum: ReducingState<u64>,
}

fn handles(core: &Rc<Core>) -> Handles {
    core.journal.set(true);
    let brief = |name| StateSpec::new(name).with_ttl(Ttl::new(TTL_MS));
    let mut states = States::<String>::new(Rc::clone(core), "o");
    let value = states.value("value");
    let brief_value = states.value(brief("brief value"));
    let list = states.list("list");
    let brief_list = states.list(brief("brief list"));
    let map = states.map("map");
    let brief_map = states.map(brief("brief map"));
    let sum = states.reducing("sum", |a, b| a + b);
    let (tables, _, checked) = states.finish();
    checked.expect("names are unique");
    let core = Rc::clone(core);
    Handles { core, tables, value, brief: brief_value, list, brief_list, map, brief_map, sum }
}

fn text(number: u64) -> String {
    format!("{number}{}", "x".repeat(number as usize % 3 * 20))
}

impl Handles {
    /// What all states of all keys show.
    fn show(&mut self) -> Vec<String> {
        (0..KEYS).map(|number| self.with(number, Handles::show_key)).collect()
    }

    fn with<R>(&mut self, number: u64, body: impl FnOnce(&mut Self) -> R) -> R {
        let key = text(number);
        self.tables.scope.enter::<String>(KeyRef::new(key.as_bytes()));
        let result = body(self);
        self.tables.scope.leave();
        result
    }

    fn show_key(&mut self) -> String {
        let values = (self.value.value(), self.brief.value(), self.sum.get());
        let lists = (self.list.to_vec(), self.brief_list.to_vec());
        let map: Vec<_> = self.map.iter().map(|(entry, value)| (entry, *value)).collect();
        let brief: Vec<_> =
            self.brief_map.iter().map(|(entry, text)| (entry, text.clone())).collect();
        format!("{values:?} {lists:?} {map:?} {brief:?}")
    }

    fn change(&mut self, what: u64, number: u64) {
        match what {
            0 => drop(self.value.set(text(number))),
            1 => self.value.clear(),
            2 => drop(self.value.get_mut().map(|mut value| value.push('!'))),
            3 => *self.brief.or_default() += number,
            4 => drop(self.brief.take()),
            5 | 6 => self.list.push(text(number)),
            7 => self.list.clear(),
            8 | 9 => self.brief_list.push(number),
            10 => self.brief_list.set([number, 1]),
            11 | 12 => drop(self.map.insert(text(number), number)),
            13 => drop(self.map.remove(&text(number))),
            14 => *self.map.or_default(&text(number)) += 1,
            15 => self.map.clear(),
            16 | 17 => drop(self.brief_map.insert(number as u32, text(number))),
            18 => drop(self.brief_map.remove(&(number as u32))),
            19 => self.sum.add(number),
            20 => self.sum.clear(),
            _ => self.brief_map.clear(),
        }
    }

    /// Lets rows leave and come back.
    fn tend(&mut self) {
        if self.core.budget.poll().expect("the tier works") {
            self.tables.settle().expect("rows are rows");
        }
        let mut held = Held::new();
        held.seal();
        if self.core.budget.measure(self.tables.bytes()) {
            self.tables.evict(&held).expect("rows leave");
        }
    }

    fn advance(&mut self, mut rows: usize) -> bool {
        let mut done = true;
        self.tables.journals(&mut |part| {
            done = done && part.advance_segment(&mut rows).expect("values have bytes");
        });
        done
    }

    fn restore(&mut self, segments: &[Vec<Block>]) {
        for block in segments.iter().flatten() {
            let block = BlockReader::read(&mut block.bytes()).expect("a block");
            let mut found = 0;
            self.tables.journals(&mut |part| {
                found += usize::from(part.restore_block(&block).expect("rows are rows"));
            });
            assert_eq!(found, 1, "column {}", block.name());
        }
        self.tables.journals(&mut |part| part.end_restore().expect("the cold tier answers"));
    }
}

fn run(memory: Option<fn(u64) -> StateMemory>, seed: u64) {
    let clock = ManualClock::new(1_000);
    let core = Core::new(0, 1, Rc::new(clock.clone()));
    if let Some(memory) = memory {
        core.budget.bound(&memory(seed));
    }
    let mut states = handles(&core);
    let (mut segments, mut ended) = (Vec::new(), None::<(Vec<String>, i64)>);
    let (mut ends, mut voids, mut told_all) = (0, 0, 0);
    let mut random = seed;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..STEPS {
        let (key, what, number) = (draw(KEYS), draw(22), draw(9));
        states.with(key, |states| states.change(what, number));
        if memory.is_some() {
            states.tend();
        }
        if draw(8) == 0 {
            clock.advance(draw(40) * 1_000_000);
            core.refresh();
            states.tables.refresh();
            states.tables.sweep(core.wall_millis());
        }
        match ended.take() {
            None if draw(20) == 0 => {
                ended = Some((states.show(), core.wall_millis()));
                let mut all = draw(3) == 0;
                states.tables.journals(&mut |part| all &= part.can_tell_all());
                told_all += u32::from(all);
                states.tables.journals(&mut |part| part.end_segment(all));
                core.epoch.set(core.epoch.get() + 1);
            }
            None => {}
            Some(shown) if !states.advance(draw(6) as usize) => ended = Some(shown),
            Some((shown, now)) => {
                let (mut blocks, mut all) = (Vec::new(), true);
                states.tables.journals(&mut |part| all &= part.take_blocks(&mut blocks));
                if all {
                    segments.clear();
                    voids += 1;
                }
                ends += 1;
                segments.push(blocks);
                let core = Core::new(0, 1, Rc::new(ManualClock::new(now)));
                let mut anew = handles(&core);
                anew.restore(&segments);
                assert_eq!(anew.show(), shown, "segment {ends} of seed {seed}");
            }
        }
    }
    assert!(ends > 20, "{ends} segments");
    assert!(voids + 1 >= told_all && (memory.is_some() || told_all > 0), "{voids} {told_all}");
    assert_eq!(memory.is_some(), core.budget.counts.evicted.value() > 0);
}

#[test]
fn states_are_rebuilt_as_they_were_when_an_epoch_ended() {
    (1..=4).for_each(|seed| run(None, seed));
}

#[test]
fn states_whose_rows_are_cold_are_rebuilt_as_they_were() {
    (1..=3).for_each(|seed| run(Some(StateMemory::forced_cold), seed));
}
