//! Lists and maps with a time to live against a model, in every way of running an operator.
//!
//! Their entries hang together, so one that expires must leave its neighbours joined, whoever finds
//! it: a read, a write, a sweep beside some other access.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::prelude::*;
use crate::testing::HarnessOptions;

/// Time to live, in milliseconds.
const TTL_MS: i64 = 50;

/// A key, what to do with its list and map, and with which entry and value.
type Order = (u64, char, u64, u64);

/// Entries in the order in which they were added.
type Entries = Vec<(u64, u64)>;

struct Both {
    list: ListState<u64>,
    map: MapState<u64, u64>,
}

impl KeyedProcess<u64, Order> for Both {
    type Out = Entries;

    fn process(
        &mut self,
        (_, order, entry, value): Order,
        cx: &mut ProcessContext<'_, u64, Entries>,
    ) -> crate::Result<()> {
        let one = |value: Option<u64>| value.into_iter().map(|value| (entry, value)).collect();
        match order {
            'p' => self.list.push(value),
            'l' => cx.emit(self.list.iter().map(|value| (0, *value)).collect()),
            'd' => self.list.clear(),
            'i' => cx.emit(one(self.map.insert(entry, value))),
            'a' => {
                *self.map.or_default(&entry) += value;
                cx.emit(one(self.map.value(&entry)));
            }
            'r' => cx.emit(one(self.map.remove(&entry))),
            'g' => cx.emit(one(self.map.value(&entry))),
            'm' => cx.emit(self.map.iter().map(|(entry, value)| (entry, *value)).collect()),
            'c' => self.map.clear(),
            other => panic!("no order {other}"),
        }
        Ok(())
    }
}

/// What a key's states hold: entry, value, when it was last written.
#[derive(Default)]
struct Model {
    list: Vec<(u64, i64)>,
    map: Vec<(u64, u64, i64)>,
}

impl Model {
    fn apply(&mut self, (_, order, entry, value): Order, now: i64) -> Option<Entries> {
        self.list.retain(|(_, written)| written + TTL_MS > now);
        self.map.retain(|(.., written)| written + TTL_MS > now);
        let at = self.map.iter().position(|(present, ..)| *present == entry);
        let found = at.map(|at| self.map[at].1);
        let one = |value: Option<u64>| value.into_iter().map(|value| (entry, value)).collect();
        match order {
            'p' => self.list.push((value, now)),
            'l' => return Some(self.list.iter().map(|(value, _)| (0, *value)).collect()),
            'd' => self.list.clear(),
            'i' | 'a' => {
                let sum = if order == 'a' { found.unwrap_or(0) + value } else { value };
                match at {
                    Some(at) => self.map[at] = (entry, sum, now),
                    None => self.map.push((entry, sum, now)),
                }
                return Some(one(if order == 'a' { Some(sum) } else { found }));
            }
            'r' => {
                at.map(|at| self.map.remove(at));
                return Some(one(found));
            }
            'g' => return Some(one(found)),
            'm' => {
                return Some(self.map.iter().map(|(entry, value, _)| (*entry, *value)).collect());
            }
            _ => self.map.clear(),
        }
        None
    }
}

/// Plays the same orders to both.
fn play(options: &HarnessOptions, keys: u64, entries: u64, seed: u64) {
    let mut h = options.build(|input: Stream<Order>| {
        input.key_by(|order| order.0).process("both", |states| {
            let spec = |name: &str| StateSpec::new(name).with_ttl(Ttl::new(TTL_MS));
            Both { list: states.list(spec("list")), map: states.map(spec("map")) }
        })
    });
    let mut random = seed;
    let mut draw = |below: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (random >> 33) % below
    };
    let mut models = BTreeMap::<u64, Model>::new();
    let mut expected = Vec::new();
    for value in 0..600 {
        let what = b"pppliiiiaaarrggmmcd"[draw(19) as usize] as char;
        let order = (draw(keys), what, draw(entries), value);
        expected.extend(models.entry(order.0).or_default().apply(order, h.processing_time()));
        h.push(order, 0);
        if draw(3) == 0 {
            assert_eq!(
                h.outputs(),
                expected,
                "seed {seed}, {keys} keys, order {value} {options:?}"
            );
            expected.clear();
            h.advance(Duration::from_millis(draw(30)));
        }
    }
    assert_eq!(h.outputs(), expected, "seed {seed}, {keys} keys, {options:?}");
    h.advance(Duration::from_secs(1));
    h.advance(Duration::from_secs(1));
    let most = if options.cold { 32 << 10 } else { 8 << 10 };
    assert!(h.state_bytes() < most, "{} bytes are left of {keys} keys", h.state_bytes());
}

#[test]
fn lists_and_maps_hang_together_whoever_finds_what_has_expired() {
    for options in HarnessOptions::matrix() {
        for (seed, (keys, entries)) in [(1, 4), (3, 6), (40, 3)].into_iter().enumerate() {
            play(&options, keys, entries, seed as u64 + 1);
        }
    }
}

#[test]
fn an_entry_that_comes_again_behind_its_end_joins_the_others() {
    let lax = Ttl::new(TTL_MS).with_visibility(Visibility::ReturnExpiredIfNotCleanedUp);
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<Order>| {
            input.key_by(|order| order.0).process("both", |states| {
                let spec = |name: &str| StateSpec::new(name).with_ttl(lax);
                Both { list: states.list(spec("list")), map: states.map(spec("map")) }
            })
        });
        (0..200).for_each(|entry| h.push((7, 'i', entry, entry), 0));
        h.advance(Duration::from_millis(30));
        (200..203).for_each(|entry| h.push((7, 'i', entry, entry), 0));
        h.advance(Duration::from_millis(30));
        h.outputs();
        h.push((7, 'i', 100, 300), 0);
        h.push((7, 'm', 0, 0), 0);
        let found = h.outputs().pop().expect("the entries");
        let behind = found.len().saturating_sub(4);
        let last = [(200, 200), (201, 201), (202, 202), (100, 300)];
        assert_eq!(found[behind..], last, "{options:?}");
    }
}
