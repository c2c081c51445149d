//! Watermarks between the records of a page: every record sees its own, however pages are cut.

use std::time::Duration;

use crate::prelude::*;
use crate::testing::{Harness, HarnessOptions};

/// Key and how far behind the record's timestamp its timer is.
type In = (u32, i64);
/// Who says it; a timestamp, a watermark, another figure.
type Seen = (char, i64, i64, i64);

/// Says what each record and timer sees; sets a timer of every third record.
struct Witness(char);

impl Witness {
    fn say(&self, figure: i64, cx: &mut ProcessContext<'_, u32, Seen>) {
        let seen = (self.0, cx.timestamp(), cx.watermark(), figure);
        cx.emit(seen);
        if figure % 2 == 0 {
            cx.side(&Tag::new("even"), seen).expect("one type");
        }
    }
}

impl KeyedProcess<u32, In> for Witness {
    type Out = Seen;

    fn process(
        &mut self,
        (_, ahead): In,
        cx: &mut ProcessContext<'_, u32, Seen>,
    ) -> crate::Result<()> {
        if ahead % 3 == 0 {
            cx.register_event_timer(cx.timestamp() + ahead);
        }
        // What follows behind others that say nothing.
        if ahead % 5 < 2 {
            self.say(ahead, cx);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        cx: &mut ProcessContext<'_, u32, Seen>,
    ) -> crate::Result<()> {
        self.say(timer.timestamp, cx);
        Ok(())
    }
}

/// Says what reaches it.
struct Second;

impl KeyedProcess<i64, Seen> for Second {
    type Out = Seen;

    fn process(
        &mut self,
        (who, ..): Seen,
        cx: &mut ProcessContext<'_, i64, Seen>,
    ) -> crate::Result<()> {
        cx.emit((who.to_ascii_uppercase(), cx.timestamp(), cx.watermark(), -1));
        Ok(())
    }
}

/// Two consumers of one gate, or one with its side output and another exchange behind both.
fn witnesses(options: &HarnessOptions, who: &'static str) -> Harness<In, Seen> {
    options.build(move |input: Stream<In>| {
        let keyed = input.key_by(|record| record.0);
        let late = Tag::new("late");
        let all = if who == "windows" {
            let windows = keyed.window(TumblingWindows::of(Duration::from_millis(7)));
            let windows = windows.allowed_lateness(Duration::from_millis(3));
            let windows = windows.late_output_with(&late, |record: In, watermark| {
                ('l', watermark, i64::from(record.0), record.1)
            });
            let sum = Fold::new(|| 0, |sum: &mut i64, record: In| *sum += record.1);
            let sums = windows.aggregate("sum", sum, |_, window, sum| ('s', window.start, 0, sum));
            let late = sums.side_output(&late);
            sums.union(late)
        } else if who == "sides" {
            let main = keyed.process("witness", |_| Witness('m'));
            let even = main.side_output(&Tag::new("even"));
            main.union(even)
        } else {
            let first = keyed.clone().process("first", |_| Witness('f'));
            return first.union(keyed.process("other", |_| Witness('o')));
        };
        let behind = all.clone().key_by(|_| 0).process("second", |_| Second);
        behind.union(all)
    })
}

fn draw(seed: &mut u64, bound: u64) -> i64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
    ((*seed >> 33) % bound) as i64
}

/// What comes out, by who says it: the order among several is nobody's business, and a main output
/// and its side output are several.
fn seen(options: &HarnessOptions, who: &'static str, seed: u64) -> Vec<Seen> {
    let mut h = witnesses(options, who);
    let (mut random, mut now) = (seed, 0);
    for _ in 0..300 {
        now += draw(&mut random, 3);
        let (at, key) = (now - draw(&mut random, 12), draw(&mut random, 4) as u32);
        h.push((key, draw(&mut random, 30) - 10), at);
        if draw(&mut random, 4) > 0 {
            h.watermark(now - 3);
        }
    }
    // Watermarks without a record between them may become one.
    h.push((0, 2), now);
    h.end();
    let mut outputs = h.outputs();
    match who {
        "two" => outputs.sort_by_key(|seen| seen.0),
        _ => outputs.sort(),
    }
    outputs
}

#[test]
fn every_record_sees_the_watermark_that_came_before_it() {
    for who in ["two", "sides", "windows"] {
        for seed in 0..5 {
            let expected = seen(&HarnessOptions::new(), who, seed);
            assert!(expected.len() > 100, "{}", expected.len());
            for options in HarnessOptions::matrix() {
                let found = seen(&options, who, seed);
                let differ = found.iter().zip(&expected).position(|(one, other)| one != other);
                let around = differ.map(|at| at.saturating_sub(3)..at + 3);
                let around = around.map(|at| (&found[at.clone()], &expected[at]));
                assert!(found == expected, "{who} {options:?}: {around:?}");
            }
        }
    }
}
