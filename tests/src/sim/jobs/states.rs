//! All kinds of state at once: values, lists, maps, timers and windows, with and without a time to
//! live that never ends here.

use std::time::Duration;

use thalweg::prelude::*;

use super::{Instance, Item, manners};
use crate::sim::Random;
use crate::sim::oracle::Equality;
use crate::sim::probe::{Outputs, Probe};

/// How long after a record its timer fires.
const LATER_MS: i64 = 7;

/// Longer than any simulation.
const FOR_EVER: Duration = Duration::from_secs(1 << 40);

/// What comes out for a record or timer does not depend on how the two interleave.
struct Kinds {
    count: ValueState<u64>,
    recent: ListState<u64>,
    texts: MapState<u64, String>,
    waiting: MapState<i64, u64>,
    most: ReducingState<u64>,
    long: ValueState<Vec<u64>>,
    /// The watermark that a record of the key has seen last: it never goes back, whoever dies.
    seen: ValueState<Option<Timestamp>>,
}

impl KeyedProcess<u64, Item> for Kinds {
    type Out = Item;

    fn process(
        &mut self,
        item: Item,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        let now = cx.watermark();
        let before = self.seen.update(|seen| seen.replace(now));
        assert!(before.is_none_or(|before| before <= now), "watermark {now} after {before:?}");
        let count = self.count.update(|count| {
            *count += 1;
            *count
        });
        self.most.add(item.n % 101);
        self.recent.push(item.n);
        self.texts.insert(item.n % 13, format!("{} of {count}", item.n));
        if item.n.is_multiple_of(3) {
            self.texts.remove(&(item.n % 7));
        }
        self.waiting.insert(cx.timestamp(), item.n);
        cx.register_event_timer(cx.timestamp() + LATER_MS);
        self.long.or_default().push(item.n);
        let mut text = format!("{count} {:?}", self.most.get());
        if count.is_multiple_of(5) {
            let texts: Vec<_> =
                self.texts.iter().map(|(at, text)| format!("{at}={}", *text)).collect();
            text = format!("{text} {:?} {texts:?}", self.recent.to_vec());
        }
        if count.is_multiple_of(9) {
            self.recent.clear();
            self.texts.clear();
            text = format!("{text} {:?}", self.long.take());
        }
        cx.emit(Item { text, ..item });
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        cx: &mut ProcessContext<'_, u64, Item>,
    ) -> thalweg::Result<()> {
        let (at, now) = (timer.timestamp, cx.watermark());
        assert!(at <= now, "a timer of {at} fires at watermark {now}");
        let waited = self.waiting.remove(&(timer.timestamp - LATER_MS));
        let text = format!("timer {} {waited:?}", timer.timestamp);
        cx.emit(Item { text, ..Item::new(*cx.key(), 0) });
        Ok(())
    }
}

/// A process with every kind of state.
pub(super) fn kinds(random: &Random) -> Instance {
    let mut draw = random.fork("kinds");
    let (records, keys) = (draw.between(0, 1_200), draw.magnitude(200));
    let splits = draw.between(1, 4) as usize;
    let (salt, expires) = (draw.bits(), draw.chance(50));
    let key_of = move |n: u64| Random::new(n ^ salt).below(keys);
    let (outputs, manners) = (Outputs::default(), manners(random));
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let items = Generator::new(move |n| (Item::new(key_of(n), n), n as i64));
        let spec = |name: &str| {
            let spec = StateSpec::new(name);
            if expires { spec.with_ttl(Ttl::of(FOR_EVER)) } else { spec }
        };
        flow.source(
            "items",
            items.records(records).splits(splits).assign_by(|item: &Item| item.key),
        )
        .assign_timestamps(WatermarkStrategy::monotonous())
        .key_by(|item| item.key)
        .process("kinds", |states| Kinds {
            count: states.value(spec("count")),
            recent: states.list(spec("recent")),
            texts: states.map(spec("texts")),
            waiting: states.map(spec("waiting")),
            most: states.reducing(spec("most"), u64::max),
            long: states.value(spec("long")),
            seen: states.value(spec("seen")),
        })
        .sink("out", Probe::new("kinds", &kept, &manners, Item::row));
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: None, judge: None }
}

/// Windows of several sizes at one gate.
pub(super) fn windows(random: &Random) -> Instance {
    let mut draw = random.fork("windows");
    let (records, keys) = (draw.between(0, 1_500), draw.magnitude(300));
    let splits = draw.between(1, 4) as usize;
    let salt = draw.bits();
    let key_of = move |n: u64| Random::new(n ^ salt).below(keys);
    let (outputs, manners) = (Outputs::default(), manners(random));
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let items = Generator::new(move |n| (Item::new(key_of(n), n), n as i64));
        let keyed = flow
            .source(
                "items",
                items.records(records).splits(splits).assign_by(|item: &Item| item.key),
            )
            .assign_timestamps(WatermarkStrategy::monotonous())
            .key_by(|item| item.key);
        for (name, size) in [("short", 10), ("long", 500)] {
            let fold = Fold::new(Vec::new, |all: &mut Vec<u64>, item: Item| all.push(item.n));
            let probe = Probe::new(name, &kept, &manners, Item::row);
            keyed
                .clone()
                .window(TumblingWindows::of(Duration::from_millis(size)))
                .aggregate(name, fold, |key, window, all| {
                    let text = format!("{} {all:?}", window.end);
                    Item { text, ..Item::new(*key, window.start as u64) }
                })
                .sink(&format!("out-{name}"), probe);
        }
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::Multiset, fold: None, judge: None }
}
