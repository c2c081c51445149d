//! Operators with two inputs while timers fire that one of them has made due.
//!
//! A turn fires only some, so much may come in between: the other input's elements, which must
//! wait, and a cut, behind which the rest fires.

use super::{Rule, Said, connected, judge, said};
use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

#[test]
fn many_timers_fire_in_order_though_the_other_input_made_them_due() {
    const KEYS: u64 = 300;
    // More than a turn fires. Cold rows are fetched again for every turn, so each way has its
    // turn instead of being tried with all options.
    let ways = ["idle", "end", "watermark"].into_iter().cycle();
    for (options, way) in HarnessOptions::matrix().into_iter().zip(ways) {
        let mut h = judge(options.batched());
        for key in 0..KEYS {
            h.push((key * 7919 % KEYS, 9), 0);
        }
        h.watermark(50);
        assert_eq!(h.outputs(), []);
        move_second(&mut h, way);
        if way == "watermark" {
            h.push_second(Rule::Limit("late".to_owned(), 1), 70);
        }
        h.push((1, 0), 70);
        let outputs = h.outputs();
        let fired = outputs.iter().filter(|(what, ..)| what == "timer 10");
        let fired: Vec<_> = fired.map(|(_, key, limits)| (*key, *limits)).collect();
        let expected: Vec<_> = (0..KEYS).map(|key| (key, 0)).collect();
        assert!(fired == expected, "{way} {options:?}: {} fired", fired.len());
        assert_eq!(h.output_watermark(), 50);
    }
}

/// How time moves at the second input.
fn move_second(h: &mut Harness<(u64, u64), Said, Rule>, way: &str) {
    match way {
        "idle" => h.idle_second(),
        "end" => h.end_second(),
        _ => h.watermark_second(60),
    }
}

/// An element and another core's turn to idle wait together: the core is busy with the first input.
/// Whichever is taken first, timers see either all of the element or nothing of it.
#[test]
fn an_element_waits_for_timers_that_another_core_has_made_due() {
    const KEYS: u64 = 400;
    let limit = |name: &str| Rule::Limit(name.to_owned(), 0);
    for (idle, active) in [(0, 1), (1, 0)] {
        for options in [HarnessOptions::new(), HarnessOptions::new().cold()] {
            let options = options.channels(2).batched().output_budget(300);
            let mut h = options.build_two(|input: Stream<(u64, u64)>, rules: Stream<Rule>| {
                connected(input.key_by(|(key, _)| *key).parallelism(1), rules)
            });
            h.push_second(limit("first"), 0);
            assert_eq!(h.outputs(), []);
            (0..KEYS).for_each(|key| h.push((key, 9), 0));
            (0..2).for_each(|channel| h.watermark_on(channel, 50));
            h.idle_second_on(active);
            assert_eq!(h.outputs(), []);
            (0..900).for_each(|_| h.push((0, 0), 60));
            h.idle_second_on(idle);
            h.push_second_on(active, limit("second"), 60);
            let mut outputs = h.outputs();
            h.end_second();
            outputs.extend(h.outputs());
            outputs.retain(|(what, ..)| what == "timer 10");
            let seen = outputs[0].2;
            let expected: Vec<_> = (0..KEYS).map(|key| said("timer 10", key, seen)).collect();
            assert!(outputs == expected, "{active} {options:?}: {} fired", outputs.len());
        }
    }
}

#[test]
fn a_restart_between_timers_fires_each_once() {
    for cold in [false, true] {
        let options = HarnessOptions::new().batched();
        let mut h = judge(if cold { options.cold() } else { options });
        (0..900).for_each(|key| h.push((key, 9), 0));
        h.watermark(50);
        h.restart();
        h.idle_second();
        h.restart();
        let fired: Vec<_> = h.outputs().into_iter().map(|(_, key, _)| key).collect();
        assert!(fired == (0..900).collect::<Vec<_>>(), "{} fired", fired.len());
        h.end();
        assert_eq!(h.outputs(), []);
    }
}

/// Only the clock of both inputs knows that timers are due, when an input has become idle.
#[test]
fn a_cut_amid_due_timers_leaves_the_rest_to_the_next_attempt() {
    const KEYS: u64 = 1_500;
    for way in ["idle", "end", "watermark"] {
        let mut amid = 0;
        for turns in 1..8 {
            let mut h = judge(HarnessOptions::new().batched());
            (0..KEYS).for_each(|key| h.push((key, 9), 0));
            h.watermark(50);
            assert_eq!(h.outputs(), []);
            move_second(&mut h, way);
            let arrived = h.restart_amid(turns);
            let fired: Vec<_> = h.outputs().into_iter().map(|(_, key, _)| key).collect();
            let expected: Vec<_> = (0..KEYS).collect();
            assert!(fired == expected, "{way}, turn {turns}: {} of {arrived}", fired.len());
            assert_eq!(h.output_watermark(), 50, "{way}, turn {turns}");
            amid += usize::from(0 < arrived && arrived < expected.len());
        }
        assert!(amid > 0, "{way}: no cut was made between two timers");
    }
}
