//! Corners of event time, timers, windows and time to live, as a job's author meets them: through
//! the public API and the harness alone, in every form that an operator must not notice.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;

use thalweg::prelude::*;
use thalweg::testing::{Harness, HarnessOptions};
use thalweg::time::{MAX, MIN};

type Context<'a> = ProcessContext<'a, u64, Event>;

/// The key, moment and domain of a timer that has fired.
type Event = (u64, i64, TimeDomain);

/// A record: a key and what to do.
#[record]
#[derive(Debug, Clone)]
enum Order {
    Set(u64, i64),
    Delete(u64, i64),
    Processing(u64, i64),
    DeleteProcessing(u64, i64),
}

impl Order {
    fn key(&self) -> u64 {
        match *self {
            Self::Set(key, _) | Self::Delete(key, _) => key,
            Self::Processing(key, _) | Self::DeleteProcessing(key, _) => key,
        }
    }
}

/// Does with timers as it is told; a timer below 0 sets another one ten later, once.
struct Timers;

impl KeyedProcess<u64, Order> for Timers {
    type Out = Event;

    fn process(&mut self, order: Order, cx: &mut Context) -> thalweg::Result<()> {
        match order {
            Order::Set(_, at) => cx.register_event_timer(at),
            Order::Delete(_, at) => cx.delete_event_timer(at),
            Order::Processing(_, at) => cx.register_processing_timer(at),
            Order::DeleteProcessing(_, at) => cx.delete_processing_timer(at),
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, cx: &mut Context) -> thalweg::Result<()> {
        if timer.timestamp < 0 {
            cx.register_event_timer(timer.timestamp + 10);
        }
        cx.emit((*cx.key(), timer.timestamp, timer.domain));
        Ok(())
    }
}

fn every(make: impl Fn(&HarnessOptions)) {
    HarnessOptions::matrix().iter().for_each(make);
}

fn timers(options: &HarnessOptions) -> Harness<Order, Event> {
    let options = options.processing_time(1_000);
    options.build(|orders: Stream<Order>| {
        orders.key_by(Order::key).process("timers", |_| Timers).boxed()
    })
}

fn event(key: u64, at: i64) -> Event {
    (key, at, TimeDomain::Event)
}

#[test]
fn timers_fire_at_the_watermark_in_order_and_once() {
    every(|options| {
        let mut harness = timers(options);
        for order in [Order::Set(2, 30), Order::Set(1, 30), Order::Set(1, 10), Order::Set(1, 30)] {
            harness.push(order, 0);
        }
        harness.watermark(9);
        assert_eq!(harness.outputs(), []);
        harness.watermark(10);
        assert_eq!(harness.timed_outputs(), [(event(1, 10), 10)]);
        harness.watermark(100);
        assert_eq!(harness.outputs(), [event(1, 30), event(2, 30)]);
        assert_eq!(harness.output_watermark(), 100);
    });
}

#[test]
fn a_timer_of_the_past_fires_at_the_next_watermark() {
    every(|options| {
        let mut harness = timers(options);
        harness.watermark(50);
        harness.push(Order::Set(1, 20), 60);
        harness.push(Order::Set(1, 50), 60);
        assert_eq!(harness.outputs(), []);
        harness.watermark(51);
        assert_eq!(harness.outputs(), [event(1, 20), event(1, 50)]);
    });
}

#[test]
fn a_timer_that_sets_another_one_below_the_watermark_has_it_fire_at_once() {
    every(|options| {
        let mut harness = timers(options);
        harness.push(Order::Set(1, -15), 0);
        harness.watermark(1_000);
        assert_eq!(harness.outputs(), [event(1, -15), event(1, -5), event(1, 5)]);
    });
}

#[test]
fn a_deleted_timer_does_not_fire_and_may_be_set_again() {
    every(|options| {
        let mut harness = timers(options);
        for order in [
            Order::Set(1, 20),
            Order::Set(2, 20),
            Order::Delete(1, 20),
            Order::Delete(1, 21),
            Order::Set(3, 20),
            Order::Delete(3, 20),
            Order::Set(3, 20),
        ] {
            harness.push(order, 0);
        }
        harness.watermark(20);
        assert_eq!(harness.outputs(), [event(2, 20), event(3, 20)]);
        harness.push(Order::Delete(2, 20), 30);
        harness.push(Order::Set(2, MAX), 30);
        harness.watermark(MAX - 1);
        assert_eq!(harness.outputs(), []);
        harness.end();
        assert_eq!(harness.outputs(), [event(2, MAX)]);
    });
}

#[test]
fn timers_of_one_moment_fire_by_key_for_very_many_keys() {
    every(|options| {
        let mut harness = timers(options);
        let keys = 3_000u64;
        harness.push_all((0..keys).rev().map(|key| (Order::Set(key, 7), 0)));
        harness.watermark(7);
        let expected: Vec<_> = (0..keys).map(|key| event(key, 7)).collect();
        assert_eq!(harness.outputs(), expected);
    });
}

#[test]
fn processing_time_timers_follow_the_wall_clock_only() {
    every(|options| {
        let mut harness = timers(options);
        let fired = |key, at| (key, at, TimeDomain::Processing);
        for order in [
            Order::Processing(1, 1_500),
            Order::Processing(1, 1_200),
            Order::Processing(2, 1_500),
            Order::DeleteProcessing(2, 1_500),
            Order::Set(1, 1_500),
        ] {
            harness.push(order, 0);
        }
        harness.watermark(1_400);
        assert_eq!(harness.outputs(), []);
        harness.advance(Duration::from_millis(199));
        assert_eq!(harness.outputs(), []);
        harness.advance(Duration::from_millis(1));
        assert_eq!(harness.outputs(), [fired(1, 1_200)]);
        harness.advance(Duration::from_secs(5));
        assert_eq!(harness.outputs(), [fired(1, 1_500)]);
        harness.push(Order::Processing(4, 3), 0);
        harness.advance(Duration::from_millis(1));
        assert_eq!(harness.outputs(), [fired(4, 3)], "one of the past, at the next tick");
        harness.watermark(1_500);
        assert_eq!(harness.outputs(), [event(1, 1_500)]);
    });
}

/// Windows of ten milliseconds that count, with a lateness.
fn windows(options: &HarnessOptions, lateness: u64, late: &Tag<u64>) -> Harness<u64, (i64, u64)> {
    options.build(|records: Stream<u64>| {
        let count = Fold::new(|| 0, |sum: &mut u64, record: u64| *sum += record);
        records
            .key_by(|_| 0u8)
            .window(TumblingWindows::of(Duration::from_millis(10)))
            .allowed_lateness(Duration::from_millis(lateness))
            .late_output(late)
            .aggregate("sum", count, |_, window, sum| (window.start, sum))
            .boxed()
    })
}

#[test]
fn a_record_is_late_exactly_when_the_watermark_has_reached_its_windows_end() {
    every(|options| {
        let late = Tag::new("late");
        let mut harness = windows(options, 0, &late);
        harness.push(1, 0);
        harness.push(2, 9);
        harness.push(4, 10);
        harness.watermark(8);
        assert_eq!(harness.outputs(), []);
        harness.push(8, 9);
        harness.watermark(9);
        assert_eq!(harness.timed_outputs(), [((0, 11), 9)]);
        harness.push(16, 9);
        harness.push(32, 10);
        assert_eq!(harness.timed_side(&late), [(16, 9)]);
        assert_eq!(harness.late(), 0, "what goes to the output is not counted");
        harness.end();
        assert_eq!(harness.outputs(), [(10, 36)]);
    });
}

#[test]
fn within_the_allowed_lateness_each_record_fires_again_and_then_none() {
    every(|options| {
        let late = Tag::new("late");
        let mut harness = windows(options, 5, &late);
        harness.push(1, 3);
        harness.watermark(9);
        assert_eq!(harness.outputs(), [(0, 1)]);
        harness.push(2, 4);
        assert_eq!(harness.outputs(), [(0, 3)]);
        harness.watermark(13);
        assert_eq!(harness.outputs(), [], "nothing new: no firing");
        harness.push(4, 4);
        assert_eq!(harness.timed_outputs(), [((0, 7), 9)]);
        harness.watermark(14);
        harness.push(8, 4);
        assert_eq!((harness.outputs(), harness.side(&late)), (vec![], vec![8]));
    });
}

#[test]
fn a_first_record_within_the_lateness_fires_its_window_at_once() {
    every(|options| {
        let late = Tag::new("late");
        let mut harness = windows(options, 5, &late);
        harness.watermark(12);
        harness.push(1, 3);
        assert_eq!(harness.outputs(), [(0, 1)]);
        harness.end();
        assert_eq!((harness.outputs(), harness.side(&late)), (vec![], vec![]));
    });
}

#[test]
fn windows_of_negative_times_start_below_and_a_lateness_may_be_endless() {
    every(|options| {
        let late = Tag::new("late");
        let mut harness = windows(options, i64::MAX as u64, &late);
        harness.push(1, -1);
        harness.push(2, -10);
        harness.push(4, -11);
        harness.watermark(-1);
        assert_eq!(harness.outputs(), [(-20, 4), (-10, 3)]);
        harness.watermark(1_000_000);
        harness.push(8, -11);
        assert_eq!((harness.outputs(), harness.side(&late)), (vec![(-20, 12)], vec![]));
    });
}

#[test]
fn an_idle_channel_holds_nothing_back_and_one_that_is_behind_does_not_when_it_returns() {
    let options = HarnessOptions::new().channels(3);
    let late = Tag::new("late");
    let mut harness = windows(&options, 0, &late);
    harness.push_on(0, 1, 5);
    harness.watermark_on(0, 30);
    harness.watermark_on(1, 12);
    assert_eq!((harness.outputs(), harness.output_watermark()), (vec![], MIN));
    harness.idle_on(2);
    assert_eq!((harness.outputs(), harness.output_watermark()), (vec![(0, 1)], 12));
    harness.active_on(2);
    harness.watermark_on(2, 3);
    harness.push_on(2, 2, 4);
    assert_eq!(harness.side(&late), [2], "late by the operator's watermark");
    harness.watermark_on(1, 25);
    assert_eq!(harness.output_watermark(), 25, "who is behind does not hold the others back");
    harness.watermark_on(2, 26);
    harness.watermark_on(1, 29);
    assert_eq!(harness.output_watermark(), 26, "aligned again, it does");
    for channel in 0..3 {
        harness.idle_on(channel);
    }
    assert_eq!((harness.output_watermark(), harness.output_idle()), (30, true));
}

/// Remembers records in a list, a map and a value that expire, and tells what is left of them.
struct Memory {
    list: ListState<u64>,
    map: MapState<u64, u64>,
    value: ValueState<u64>,
}

impl KeyedProcess<u64, u64> for Memory {
    type Out = (Vec<u64>, Vec<(u64, u64)>, Option<u64>);

    /// A record above 0 is remembered; 0 only looks.
    fn process(
        &mut self,
        record: u64,
        cx: &mut ProcessContext<u64, Self::Out>,
    ) -> thalweg::Result<()> {
        if record > 0 {
            self.list.push(record);
            self.map.insert(record % 10, record);
            self.value.set(record);
        } else {
            let map = self.map.iter().map(|(entry, value)| (entry, *value)).collect();
            cx.emit((self.list.to_vec(), map, self.value.value()));
        }
        Ok(())
    }
}

fn memory(
    options: &HarnessOptions,
    update: UpdateType,
) -> Harness<u64, <Memory as KeyedProcess<u64, u64>>::Out> {
    let options = options.processing_time(0);
    options.build(move |records: Stream<u64>| {
        let ttl = Ttl::new(100).with_update(update);
        let memory = records.key_by(|_| 7u64).process("memory", |states| Memory {
            list: states.list(StateSpec::new("list").with_ttl(ttl)),
            map: states.map(StateSpec::new("map").with_ttl(ttl)),
            value: states.value(StateSpec::new("value").with_ttl(ttl)),
        });
        memory.boxed()
    })
}

#[test]
fn entries_expire_one_by_one_at_their_last_write_and_the_time_to_live() {
    every(|options| {
        let mut harness = memory(options, UpdateType::OnCreateAndWrite);
        harness.push(1, 0);
        harness.advance(Duration::from_millis(60));
        harness.push(2, 0);
        harness.advance(Duration::from_millis(39));
        harness.push(0, 0);
        assert_eq!(harness.outputs(), [(vec![1, 2], vec![(1, 1), (2, 2)], Some(2))], "at 99");
        harness.advance(Duration::from_millis(1));
        harness.push(0, 0);
        assert_eq!(harness.outputs(), [(vec![2], vec![(2, 2)], Some(2))], "at 100");
        harness.push(12, 0);
        harness.advance(Duration::from_millis(60));
        harness.push(0, 0);
        assert_eq!(harness.outputs(), [(vec![12], vec![(2, 12)], Some(12))], "at 160");
        harness.advance(Duration::from_millis(40));
        harness.push(0, 0);
        assert_eq!(harness.outputs(), [(vec![], vec![], None)], "at 200");
        harness.push(3, 0);
        harness.push(0, 0);
        assert_eq!(harness.outputs(), [(vec![3], vec![(3, 3)], Some(3))], "anew");
    });
}

#[test]
fn a_read_keeps_entries_alive_only_where_it_is_said() {
    every(|options| {
        for (update, alive) in [(UpdateType::OnReadAndWrite, true), (UpdateType::Disabled, true)] {
            let mut harness = memory(options, update);
            harness.push(1, 0);
            for _ in 0..3 {
                harness.advance(Duration::from_millis(99));
                harness.push(0, 0);
            }
            let outputs = harness.outputs();
            let all = (vec![1], vec![(1, 1)], Some(1));
            assert_eq!(outputs.iter().all(|output| *output == all), alive, "{outputs:?}");
        }
    });
}

#[test]
fn what_has_expired_returns_its_memory_without_traffic() {
    for options in [HarnessOptions::new(), HarnessOptions::new().batched()] {
        let mut harness = options.processing_time(0).build(|records: Stream<u64>| {
            let spec = ValueSpec::new("value").with_ttl(Ttl::new(100));
            let keyed = records.key_by(|record| *record);
            keyed.flat_map_with_state("keep", spec, |_, record, kept: &mut u64| {
                *kept = record;
                None::<u64>
            })
        });
        harness.push(1, 0);
        let baseline = harness.state_bytes();
        harness.push_all((0..20_000).map(|record| (record, 0)));
        assert!(harness.state_bytes() > 10 * baseline, "{baseline}");
        for _ in 0..2_000 {
            harness.advance(Duration::from_millis(10));
        }
        assert!(harness.state_bytes() <= 2 * baseline, "{} of {baseline}", harness.state_bytes());
    }
}
