//! Windows: firing, lateness, late output.

use std::time::Duration;

use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

/// Key and amount.
type In = (u32, u64);
/// Key, start, end, count, sum.
type Out = (u32, i64, i64, u64, u64);

const LATE: &str = "late";

fn windows(options: &HarnessOptions, lateness: u64, side: bool) -> Harness<In, Out> {
    options.build(move |input: Stream<In>| {
        let fold = Fold::new(
            || (0, 0),
            |acc: &mut (u64, u64), record: In| *acc = (acc.0 + 1, acc.1 + record.1),
        );
        let windowed = input
            .key_by(|record| record.0)
            .window(TumblingWindows::of(Duration::from_millis(10)))
            .allowed_lateness(Duration::from_millis(lateness));
        let windowed = if side {
            windowed.late_output_with(&Tag::new(LATE), |record: In, watermark| (record, watermark))
        } else {
            windowed
        };
        windowed.aggregate("sum", fold, |key, window, (count, sum)| {
            (*key, window.start, window.end, count, sum)
        })
    })
}

#[test]
fn a_window_fires_when_the_watermark_reaches_its_last_millisecond() {
    for options in HarnessOptions::matrix() {
        let mut h = windows(&options, 0, false);
        for (key, at) in [(1, 9), (2, 3), (2, 0), (1, 10), (1, -1), (1, -10)] {
            h.push((key, 100), at);
        }
        h.watermark(-1);
        assert_eq!(h.timed_outputs(), [((1, -10, 0, 2, 200), -1)], "{options:?}");
        h.watermark(8);
        assert_eq!(h.outputs(), []);
        assert_eq!(h.output_watermark(), 8);
        h.watermark(9);
        let fired = [((1, 0, 10, 1, 100), 9), ((2, 0, 10, 2, 200), 9)];
        assert_eq!(h.timed_outputs(), fired, "{options:?}");
        h.end();
        assert_eq!(h.timed_outputs(), [((1, 10, 20, 1, 100), 19)]);
    }
}

#[test]
fn a_record_is_late_when_its_windows_cleanup_time_has_passed() {
    for options in HarnessOptions::matrix() {
        let mut h = windows(&options, 0, false);
        h.push((1, 1), 5);
        h.watermark(8);
        h.push((1, 2), 3);
        h.watermark(9);
        assert_eq!(h.outputs(), [(1, 0, 10, 2, 3)], "{options:?}");
        h.push((1, 4), 9);
        h.push((1, 8), 10);
        assert_eq!(h.late(), 1);
        h.end();
        assert_eq!(h.outputs(), [(1, 10, 20, 1, 8)]);
    }
}

#[test]
fn a_late_record_within_the_allowed_lateness_fires_again_at_once() {
    for options in HarnessOptions::matrix() {
        let mut h = windows(&options, 5, true);
        h.push((1, 1), 5);
        h.watermark(9);
        assert_eq!(h.outputs(), [(1, 0, 10, 1, 1)], "{options:?}");
        h.push((1, 2), 6);
        h.push((1, 4), 7);
        let again = [((1, 0, 10, 2, 3), 9), ((1, 0, 10, 3, 7), 9)];
        assert_eq!(h.timed_outputs(), again, "{options:?}");
        h.push((2, 8), 0);
        assert_eq!(h.outputs(), [(2, 0, 10, 1, 8)], "the first record of a window may be late");
        h.watermark(13);
        h.push((2, 1), 1);
        assert_eq!(h.outputs(), [(2, 0, 10, 2, 9)]);
        h.watermark(14);
        h.push((2, 1), 1);
        assert_eq!(h.outputs(), []);
        let late = Tag::<(In, i64)>::new(LATE);
        assert_eq!(h.timed_side(&late), [(((2, 1), 14), 1)]);
        assert_eq!(h.late(), 0, "a late record with an output of its own is not dropped");
        h.end();
        assert_eq!(h.outputs(), []);
    }
}

#[test]
fn lateness_is_judged_by_the_watermark_in_front_of_each_record() {
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<i64>| {
            let strategy = WatermarkStrategy::monotonous().with_timestamps(|at| *at);
            let count = Fold::new(|| 0u64, |count: &mut u64, _: i64| *count += 1);
            input
                .assign_timestamps(strategy)
                .key_by(|_| 0u8)
                .window(TumblingWindows::of(Duration::from_millis(10)))
                .late_output(&Tag::<i64>::new(LATE))
                .aggregate("count", count, |_, window, count| (window.start, count))
        });
        h.push_all([1, 9, 10, 3, 11, 9, 25, 12].map(|at| (at, at)));
        h.end();
        assert_eq!(h.side(&Tag::<i64>::new(LATE)), [3, 9, 12], "{options:?}");
        assert_eq!(h.outputs(), [(0, 2), (10, 2), (20, 1)]);
    }
}

#[test]
fn endless_lateness_drops_nothing() {
    let mut h = Harness::new(|input: Stream<In>| {
        input
            .key_by(|record| record.0)
            .window(TumblingWindows::of(Duration::from_millis(10)))
            .allowed_lateness(Duration::MAX)
            .reduce("sum", |a, b| (a.0, a.1 + b.1))
    });
    h.push((1, 1), 5);
    h.watermark(1_000_000);
    h.push((1, 2), 6);
    assert_eq!(h.outputs(), [(1, 1), (1, 3)]);
    assert_eq!(h.late(), 0);
}

#[test]
fn a_record_without_a_timestamp_is_an_error_with_a_hint() {
    let mut h = windows(&HarnessOptions::new(), 0, false);
    let error = h.try_push((1, 1), i64::MIN).unwrap_err();
    assert_eq!(error.operator(), Some("sum"));
    assert!(error.report().contains("hint: assign timestamps"), "{error:?}");
}

#[test]
fn the_lowest_of_several_channels_counts_and_idle_ones_do_not() {
    for options in HarnessOptions::matrix() {
        let mut h = windows(&options.channels(2), 0, false);
        h.push_on(0, (1, 1), 5);
        h.push_on(1, (1, 2), 6);
        h.watermark_on(0, 50);
        assert_eq!(h.outputs(), []);
        h.watermark_on(1, 8);
        assert_eq!(h.output_watermark(), 8);
        h.push_on(1, (1, 4), 9);
        h.idle_on(1);
        assert_eq!(h.outputs(), [(1, 0, 10, 3, 7)], "{options:?}");
        assert_eq!(h.output_watermark(), 50);
        h.push_on(1, (1, 8), 40);
        assert_eq!(h.late(), 1, "a channel that wakes up behind neither holds nor regresses");
        h.end();
        assert_eq!(h.outputs(), []);
    }
}

#[test]
fn a_trigger_of_the_users_own_may_count_and_purge() {
    struct EveryTwo;
    impl Trigger for EveryTwo {
        type State = u64;
        fn on_element(
            &self,
            _: i64,
            _: &TimeWindow,
            seen: &mut u64,
            _: &mut TriggerContext<'_>,
        ) -> TriggerResult {
            *seen += 1;
            if *seen == 2 { TriggerResult::FireAndPurge } else { TriggerResult::Continue }
        }
        fn on_event_time(
            &self,
            _: i64,
            _: &TimeWindow,
            _: &mut u64,
            _: &mut TriggerContext<'_>,
        ) -> TriggerResult {
            TriggerResult::Continue
        }
    }
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<In>| {
            input
                .key_by(|record| record.0)
                .window(TumblingWindows::of(Duration::from_millis(10)))
                .trigger(EveryTwo)
                .reduce("sum", |a, b| (a.0, a.1 + b.1))
        });
        for n in [1, 2, 4, 8, 16] {
            h.push((1, n), 3);
        }
        h.end();
        assert_eq!(h.outputs(), [(1, 3), (1, 12)]);
    }
}
