//! Processes: emission, timers, side outputs, metrics.

use std::time::Duration;

use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

/// Counts the records of each key: the specification's CountFunction.
struct Count {
    count: ValueState<u64>,
}

impl KeyedProcess<String, String> for Count {
    type Out = (String, u64);

    fn process(
        &mut self,
        _word: String,
        cx: &mut ProcessContext<'_, String, Self::Out>,
    ) -> crate::Result<()> {
        let count = self.count.update(|count| {
            *count += 1;
            *count
        });
        cx.emit((cx.key().clone(), count));
        Ok(())
    }
}

#[test]
fn the_count_of_a_key_is_strictly_increasing() {
    for options in HarnessOptions::matrix() {
        for channels in [1, 3] {
            let mut h = options.channels(channels).build(|input: Stream<String>| {
                input
                    .key_by(|word| word.clone())
                    .process("count", |states| Count { count: states.value("count") })
            });
            for index in 0..300usize {
                h.push_on(index % channels, format!("word {}", index * index % 7), index as i64);
            }
            h.end();
            let mut counts = std::collections::BTreeMap::<String, u64>::new();
            for (word, n) in h.outputs() {
                let last = counts.entry(word).or_default();
                assert_eq!(n, *last + 1, "{options:?}");
                *last = n;
            }
            assert_eq!(counts.values().sum::<u64>(), 300);
        }
    }
}

/// What a [`Timed`] process is told to do.
#[record]
#[derive(Debug, Clone, PartialEq, Eq)]
enum Order {
    Event(i64),
    DeleteEvent(i64),
    Processing(i64),
    DeleteProcessing(i64),
}

struct Timed;

/// What happened: key, timer, watermark or processing time.
type Fired = (u32, i64, i64);

impl KeyedProcess<u32, (u32, Order)> for Timed {
    type Out = Fired;

    fn process(
        &mut self,
        (_, order): (u32, Order),
        cx: &mut ProcessContext<'_, u32, Fired>,
    ) -> crate::Result<()> {
        cx.counter("orders").add(1);
        match order {
            Order::Event(at) => cx.register_event_timer(at),
            Order::DeleteEvent(at) => cx.delete_event_timer(at),
            Order::Processing(at) => cx.register_processing_timer(at),
            Order::DeleteProcessing(at) => cx.delete_processing_timer(at),
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        cx: &mut ProcessContext<'_, u32, Fired>,
    ) -> crate::Result<()> {
        assert_eq!(cx.timestamp(), timer.timestamp);
        let time = match timer.domain {
            TimeDomain::Event => cx.watermark(),
            TimeDomain::Processing => cx.processing_time(),
        };
        cx.emit((*cx.key(), timer.timestamp, time));
        if timer.timestamp == 77 {
            cx.register_event_timer(78);
        }
        Ok(())
    }
}

fn timed(options: &HarnessOptions) -> Harness<(u32, Order), Fired> {
    options.build(|input: Stream<(u32, Order)>| {
        input.key_by(|order| order.0).process("timed", |_| Timed)
    })
}

#[test]
fn event_timers_fire_once_in_order_and_before_the_watermark_moves_on() {
    for options in HarnessOptions::matrix() {
        let mut h = timed(&options);
        for (key, at) in [(2, 20), (1, 20), (2, 10), (1, 30), (2, 10), (9, 5)] {
            h.push((key, Order::Event(at)), 0);
        }
        h.push((9, Order::DeleteEvent(5)), 0);
        h.push((9, Order::DeleteEvent(6)), 0);
        h.watermark(9);
        assert_eq!(h.outputs(), [], "{options:?}");
        h.watermark(20);
        let fired = [((2, 10, 20), 10), ((1, 20, 20), 20), ((2, 20, 20), 20)];
        assert_eq!(h.timed_outputs(), fired, "{options:?}");
        assert_eq!(h.output_watermark(), 20);
        h.push((3, Order::Event(15)), 0);
        assert_eq!(h.outputs(), [], "a timer for the past waits for the next watermark");
        h.watermark(21);
        assert_eq!(h.outputs(), [(3, 15, 21)]);
        h.push((3, Order::Event(77)), 0);
        h.end();
        assert_eq!(h.outputs(), [(1, 30, i64::MAX), (3, 77, i64::MAX), (3, 78, i64::MAX)]);
        assert_eq!(h.counter("orders"), 10);
    }
}

#[test]
fn more_timers_than_a_turn_fires_all_come_in_order() {
    for options in HarnessOptions::matrix() {
        let mut h = timed(&options.batched());
        for n in 0..3000 {
            h.push((n * 7919 % 3000, Order::Event(5)), 0);
        }
        h.watermark(5);
        let fired: Vec<u32> = h.outputs().into_iter().map(|(key, ..)| key).collect();
        assert!(fired == (0..3000).collect::<Vec<_>>(), "{} fired, {options:?}", fired.len());
        assert_eq!(h.output_watermark(), 5);
    }
}

#[test]
fn processing_timers_follow_the_wall_clock_and_leave_no_timestamp() {
    for options in HarnessOptions::matrix() {
        let mut h = timed(&options.processing_time(1000));
        for (key, at) in [(1, 1500), (2, 1200), (1, 1200), (3, 900)] {
            h.push((key, Order::Processing(at)), 50);
        }
        h.push((1, Order::Processing(1300)), 50);
        h.push((1, Order::DeleteProcessing(1300)), 50);
        assert_eq!(h.timed_outputs(), [((3, 900, 1000), i64::MIN)], "{options:?}");
        h.advance(Duration::from_millis(199));
        assert_eq!(h.outputs(), []);
        h.advance(Duration::from_millis(1));
        assert_eq!(h.outputs(), [(1, 1200, 1200), (2, 1200, 1200)]);
        h.advance(Duration::from_secs(1));
        assert_eq!(h.outputs(), [(1, 1500, 2200)]);
    }
}

struct Route;

impl KeyedProcess<u64, u64> for Route {
    type Out = u64;

    fn process(&mut self, n: u64, cx: &mut ProcessContext<'_, u64, u64>) -> crate::Result<()> {
        if n.is_multiple_of(2) {
            cx.side(&Tag::new("even"), n)?;
        }
        if n.is_multiple_of(3) {
            cx.side(&Tag::new("text"), n.to_string())?;
        }
        cx.emit(n);
        Ok(())
    }
}

#[test]
fn side_outputs_have_types_timestamps_and_watermarks_of_their_own() {
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<u64>| {
            let routed = input.key_by(|n| *n).process("route", |_| Route);
            let even = routed.side_output(&Tag::<u64>::new("even")).map(|n| n + 1000);
            routed.union(even)
        });
        for n in 1..=6 {
            h.push(n, n as i64);
        }
        h.watermark(3);
        let mut out = h.timed_outputs();
        out.sort_unstable();
        let plain = (1..=6).map(|n| (n, n as i64));
        let even = [2, 4, 6].map(|n| (n + 1000, n as i64));
        assert_eq!(out, plain.chain(even).collect::<Vec<_>>());
        assert_eq!(h.output_watermark(), 3, "the side output's watermark came along");
        let text = Tag::<String>::new("text");
        assert_eq!(h.timed_side(&text), [("3".to_owned(), 3), ("6".to_owned(), 6)]);
        h.end();
    }
}

#[test]
fn an_error_names_the_operator() {
    struct Failing;
    impl KeyedProcess<u64, u64> for Failing {
        type Out = u64;
        fn process(&mut self, n: u64, _: &mut ProcessContext<'_, u64, u64>) -> crate::Result<()> {
            Err(crate::Error::user(format!("no {n}")))
        }
    }
    let mut h =
        Harness::new(|input: Stream<u64>| input.key_by(|n| *n).process("failing", |_| Failing));
    let error = h.try_push(7, 0).unwrap_err();
    assert_eq!(error.operator(), Some("failing"));
    assert!(error.report().contains("no 7"), "{error:?}");
}

#[test]
fn state_names_are_unique_in_an_operator_and_listed_in_the_plan() {
    let job = |flow: &Dataflow, twice: bool| {
        let words = flow.from_iter("words", [String::new()]).key_by(|word| word.clone());
        let counted = words.process("count", |states| {
            let _other: MapState<u64, u64> = states.map(if twice { "count" } else { "other" });
            Count { count: states.value("count") }
        });
        counted.sink("out", Print::new());
    };
    let plan = |twice| {
        let job = move |flow: &Dataflow, _: &Args| {
            job(flow, twice);
            Ok(())
        };
        crate::plan(&job, &Args::default(), 1)
    };
    let error = plan(true).unwrap_err();
    assert!(error.to_string().contains("two states of the operator are named \"count\""));
    let graph = plan(false).unwrap();
    let node = graph.nodes.iter().find(|node| node.name == "count").unwrap();
    let states: Vec<_> = node.states.iter().map(|s| (s.kind, s.name.as_str())).collect();
    assert_eq!(states, [("map", "other"), ("value", "count")]);
}
