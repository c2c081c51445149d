//! Operators with two inputs and without a key: what comes out for a key or record does not depend
//! on how the inputs interleave.

use std::collections::BTreeMap;
use std::time::Duration;

use thalweg::prelude::*;
use thalweg::time::MAX;

use super::{Instance, Item, manners, rows};
use crate::seen;
use crate::sim::Random;
use crate::sim::oracle::Equality;
use crate::sim::probe::{Outputs, Probe, Rows};
use crate::sim::random::mix;

/// When a key says what has become of it: behind all records of both inputs.
const END: i64 = MAX - 1;

/// How long after a record its timer fires.
const LATER_MS: i64 = 7;

/// What a rule adds to a key.
fn effect(key: u64, rule: u64) -> u64 {
    mix(key ^ rule.rotate_left(32)) % 1_000
}

/// Every key gets the effect of every rule once: of those that come later when they come, of those
/// that came before with its first record.
struct Effects {
    count: ValueState<u64>,
    effects: ValueState<u64>,
    by_rule: MapState<u64, u64>,
    rules: BroadcastState<u64, u64>,
    /// Whether this instance has taken an element.
    has_heard: bool,
}

impl KeyedBroadcastProcess<u64, Item, Item> for Effects {
    type Out = Item;

    fn process(
        &mut self,
        item: Item,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        seen!("broadcast state was restored", if !self.has_heard && !self.rules.is_empty());
        if self.effects.get().is_none() {
            let mut sum = 0;
            for (rule, weight) in &*self.rules.read() {
                sum += weight * effect(item.key, *rule);
                self.by_rule.insert(*rule, 1);
            }
            self.effects.set(sum);
            cx.register_event_timer(END);
        }
        let count = self.count.update(|count| {
            *count += 1;
            *count
        });
        cx.register_event_timer(cx.timestamp() + LATER_MS);
        cx.emit(Item { text: count.to_string(), ..item });
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        rule: Item,
        cx: &mut BroadcastContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        self.has_heard = true;
        let before = self.rules.write(cx).insert(rule.key, rule.n);
        assert_eq!(before, None, "rule {} came twice", rule.key);
        let by_rule = &mut self.by_rule;
        cx.apply_to_keyed_state(&mut self.effects, |effects, cx| {
            seen!("an element of a broadcast reached keys");
            *effects.or_default() += rule.n * effect(*cx.key(), rule.key);
            *by_rule.or_default(&rule.key) += 1;
            Ok(())
        })
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        let mut text = format!("timer {}", timer.timestamp);
        if timer.timestamp == END {
            let (count, sum) = (self.count.value(), self.effects.value());
            let once = self.by_rule.iter().all(|(_, times)| *times == 1);
            text = format!("{count:?} {sum:?} {once} {}", self.by_rule.len());
        }
        cx.emit(Item { text, ..Item::new(*cx.key(), 0) });
        Ok(())
    }
}

/// Numbers wait until all rules are known.
struct Wait {
    waiting: OperatorList<Item>,
    rules: BroadcastState<u64, u64>,
    count: u64,
}

impl Wait {
    fn said(item: Item, sum: u64) -> Item {
        Item { text: format!("{sum}"), ..item }
    }
}

impl BroadcastProcess<Item, Item> for Wait {
    type Out = Item;

    fn process(&mut self, item: Item, cx: &mut StreamContext<'_, Item>) -> thalweg::Result<()> {
        if (self.rules.len() as u64) < self.count {
            self.waiting.push(item);
        } else {
            cx.emit(Self::said(item, self.rules.read().values().sum()));
        }
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        rule: Item,
        cx: &mut StreamBroadcastContext<'_, Item>,
    ) -> thalweg::Result<()> {
        self.rules.write(cx).insert(rule.key, rule.n);
        if self.rules.len() as u64 == self.count {
            let sum = self.rules.read().values().sum();
            self.waiting.take().into_iter().for_each(|item| cx.emit(Self::said(item, sum)));
        }
        Ok(())
    }
}

/// Numbers go on by threes; some are remembered, and told of at the end.
struct Threes {
    waiting: OperatorList<Item>,
    remembered: UnionList<u64>,
    has_begun: bool,
}

impl StreamProcess<Item> for Threes {
    type Out = Item;

    fn process(&mut self, item: Item, cx: &mut StreamContext<'_, Item>) -> thalweg::Result<()> {
        if !std::mem::replace(&mut self.has_begun, true) {
            let all = self.remembered.restored();
            seen!("a union list was restored", if !all.is_empty());
            let own = self.remembered.read();
            assert!(own.iter().all(|n| all.contains(n)), "{own:?} is not part of {all:?}");
        }
        if item.n.is_multiple_of(5) {
            self.remembered.push(item.n);
        }
        self.waiting.push(item);
        if self.waiting.len() == 3 {
            self.waiting.take().into_iter().for_each(|item| cx.emit(item));
        }
        Ok(())
    }

    fn on_watermark(
        &mut self,
        watermark: Timestamp,
        cx: &mut StreamContext<'_, Item>,
    ) -> thalweg::Result<()> {
        if watermark == MAX {
            self.waiting.take().into_iter().for_each(|item| cx.emit(item));
            let remembered = self.remembered.take().into_iter();
            remembered.for_each(|n| cx.emit(Item::new(u64::MAX, n)));
        }
        Ok(())
    }
}

/// What a job of this file is drawn as.
#[derive(Clone, Copy)]
struct Setting {
    records: u64,
    rules: u64,
    keys: u64,
    salt: u64,
    splits: [usize; 2],
    rates: [Option<f64>; 2],
    /// How far apart the rules are in event time.
    apart: i64,
    idle: Option<u64>,
}

impl Setting {
    fn draw(random: &Random) -> Self {
        let mut draw = random.fork("setting");
        let rates = [None, None, Some(1e6), Some(1e4)];
        Self {
            records: draw.between(0, 600),
            rules: draw.between(0, 25),
            keys: draw.magnitude(150),
            salt: draw.bits(),
            splits: [draw.between(1, 4) as usize, draw.between(1, 3) as usize],
            rates: [draw.pick(&rates), draw.pick(&rates)],
            apart: draw.pick(&[0, 1, 30, 1_000]),
            idle: draw.pick(&[None, Some(1_000_000), Some(1_000_000_000)]),
        }
    }

    fn item(self, n: u64) -> Item {
        Item::new(Random::new(n ^ self.salt).below(self.keys), n)
    }

    fn rule(self, n: u64) -> Item {
        Item::new(n, mix(n ^ self.salt) % 10)
    }

    fn items(self, flow: &Dataflow) -> Stream<Item> {
        let items = Generator::new(move |n| (self.item(n), n as i64)).records(self.records);
        let items = items.splits(self.splits[0]).assign_by(|item: &Item| item.key);
        let items = match self.rates[0] {
            Some(rate) => flow.source("items", items.rate(rate)),
            None => flow.source("items", items),
        };
        items.assign_timestamps(WatermarkStrategy::monotonous()).boxed()
    }

    fn second(self, flow: &Dataflow, make: impl Fn(u64) -> Item + 'static) -> Stream<Item> {
        let apart = self.apart;
        let rules = Generator::new(move |n| (make(n), n as i64 * apart)).records(self.rules);
        let rules = rules.splits(self.splits[1]).assign_by(|item: &Item| item.key);
        let rules = match self.rates[1] {
            Some(rate) => flow.source("second", rules.rate(rate)),
            None => flow.source("second", rules),
        };
        let times = WatermarkStrategy::monotonous();
        let times = match self.idle {
            Some(nanos) => times.with_idleness(Duration::from_nanos(nanos)),
            None => times,
        };
        rules.assign_timestamps(times).boxed()
    }
}

/// Keyed effects of broadcast elements, and lists without a key.
pub(super) fn effects(random: &Random) -> Instance {
    let setting = Setting::draw(random);
    let (outputs, mut manners) = (Outputs::default(), manners(random));
    // An input that wakes up may be behind the other one, and what has waited is late.
    manners.punctual = false;
    let fold = effects_of(setting);
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let probe = |name: &str| Probe::new(name, &kept, &manners, Item::row);
        let items = setting.items(flow);
        let rules = setting.second(flow, move |n| setting.rule(n)).broadcast();
        items
            .clone()
            .key_by(|item| item.key)
            .connect(rules.clone())
            .process("effects", |states| Effects {
                count: states.value("count"),
                effects: states.value("effects"),
                by_rule: states.map("by rule"),
                rules: states.broadcast("rules"),
                has_heard: false,
            })
            .sink("out-effects", probe("effects"));
        items
            .clone()
            .connect(rules)
            .process("wait", |states| Wait {
                waiting: states.list("waiting"),
                rules: states.broadcast("rules"),
                count: setting.rules,
            })
            .sink("out-waited", probe("waited"));
        items
            .rebalance()
            .process("threes", |states| Threes {
                waiting: states.list("waiting"),
                remembered: states.union_list("remembered"),
                has_begun: false,
            })
            .sink("out-threes", probe("threes"));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: Some(fold), judge: None }
}

/// What is right, found without the engine.
fn effects_of(setting: Setting) -> Rows {
    let rules: Vec<Item> = (0..setting.rules).map(|n| setting.rule(n)).collect();
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    let mut said = Vec::new();
    for n in 0..setting.records {
        let item = setting.item(n);
        let count = counts.entry(item.key).or_default();
        *count += 1;
        let timer = format!("timer {}", n as i64 + LATER_MS);
        said.push(Item { text: timer, ..Item::new(item.key, 0) }.row());
        said.push(Item { text: count.to_string(), ..item }.row());
    }
    for (key, count) in counts {
        let sum: u64 = rules.iter().map(|rule| rule.n * effect(key, rule.key)).sum();
        let text = format!("{:?} {:?} true {}", Some(count), Some(sum), rules.len());
        said.push(Item { text, ..Item::new(key, 0) }.row());
    }
    let sum: u64 = rules.iter().map(|rule| rule.n).sum();
    let items = || (0..setting.records).map(|n| setting.item(n));
    let mut fold = rows("effects", said);
    fold.extend(rows("waited", items().map(|item| Wait::said(item, sum).row())));
    let fives = (0..setting.records).filter(|n| n % 5 == 0);
    let fives = fives.map(|n| Item::new(u64::MAX, n).row());
    fold.extend(rows("threes", items().map(|item| item.row()).chain(fives)));
    fold.retain(|_, rows| !rows.is_empty());
    fold
}

/// The n-th record of a key in one stream meets the n-th of the other one.
struct Meet {
    first: ListState<u64>,
    second: ListState<u64>,
    met: ValueState<u64>,
    counts: [ValueState<u64>; 2],
}

impl Meet {
    fn meet(&mut self, key: u64, cx: &mut ProcessContext<'_, u64, Item>) {
        cx.register_event_timer(END);
        let at = *self.met.or_default() as usize;
        let found = |list: &mut ListState<u64>| list.iter().nth(at).map(|n| *n);
        if let (Some(one), Some(other)) = (found(&mut self.first), found(&mut self.second)) {
            *self.met.or_default() += 1;
            cx.emit(Item { text: format!("{one} {other}"), ..Item::new(key, at as u64) });
        }
    }
}

impl KeyedCoProcess<u64, Item, Item> for Meet {
    type Out = Item;

    fn process_first(
        &mut self,
        item: Item,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        *self.counts[0].or_default() += 1;
        self.first.push(item.n);
        cx.register_event_timer(cx.timestamp() + LATER_MS);
        self.meet(item.key, cx);
        Ok(())
    }

    fn process_second(
        &mut self,
        item: Item,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        *self.counts[1].or_default() += 1;
        self.second.push(item.n);
        self.meet(item.key, cx);
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        let mut text = format!("timer {}", timer.timestamp);
        if timer.timestamp == END {
            let [one, other] = &mut self.counts;
            text = format!("{} {}", *one.or_default(), *other.or_default());
        }
        cx.emit(Item { text, ..Item::new(*cx.key(), 0) });
        Ok(())
    }
}

/// Two keyed streams.
pub(super) fn pairs(random: &Random) -> Instance {
    let setting = Setting::draw(random);
    let setting = Setting { rules: setting.rules * 20, ..setting };
    let (outputs, mut manners) = (Outputs::default(), manners(random));
    manners.punctual = false;
    let fold = pairs_of(setting);
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let items = setting.items(flow).key_by(|item| item.key);
        let second = setting.second(flow, move |n| setting.item(!n));
        items
            .connect(second.key_by(|item| item.key))
            .process("meet", |states| Meet {
                first: states.list("first"),
                second: states.list("second"),
                met: states.value("met"),
                counts: [states.value("first count"), states.value("second count")],
            })
            .sink("out", Probe::new("met", &kept, &manners, Item::row));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: Some(fold), judge: None }
}

fn pairs_of(setting: Setting) -> Rows {
    let mut keys: BTreeMap<u64, [Vec<u64>; 2]> = BTreeMap::new();
    let mut said = Vec::new();
    for n in 0..setting.records {
        let item = setting.item(n);
        let timer = format!("timer {}", n as i64 + LATER_MS);
        said.push(Item { text: timer, ..Item::new(item.key, 0) }.row());
        keys.entry(item.key).or_default()[0].push(n);
    }
    for item in (0..setting.rules).map(|n| setting.item(!n)) {
        keys.entry(item.key).or_default()[1].push(item.n);
    }
    for (key, [first, second]) in keys {
        for (at, (one, other)) in (0..).zip(first.iter().zip(&second)) {
            said.push(Item { text: format!("{one} {other}"), ..Item::new(key, at) }.row());
        }
        let text = format!("{} {}", first.len(), second.len());
        said.push(Item { text, ..Item::new(key, 0) }.row());
    }
    let mut fold = rows("met", said);
    fold.retain(|_, rows| !rows.is_empty());
    fold
}
