//! Timestamps and watermarks: several splits, disorder, idleness, periodic watermarks.

use std::time::Duration;

use thalweg::prelude::*;

use super::{Instance, manners, rows};
use crate::seen;
use crate::sim::oracle::Equality;
use crate::sim::probe::{Manners, Outputs, Probe};
use crate::sim::script::{Event, Manner, Script};
use crate::sim::{Random, trap};

const SECOND: u64 = 1_000_000_000;

/// What the jobs of this file differ in.
struct Setting {
    script: Script,
    strategy: WatermarkStrategy<Event>,
    periodic: bool,
    manners: Manners,
    first: bool,
    behind: bool,
}

fn setting(random: &Random, silence_max: u64) -> Setting {
    let mut draw = random.fork("setting");
    let disorder_ms = draw.pick(&[0, 10, 500]);
    let manner = Manner {
        splits: draw.between(1, 6) as usize,
        events_max: draw.pick(&[30, 300]),
        disorder_ms,
        silence_max,
    };
    let strategy = WatermarkStrategy::bounded(Duration::from_millis(disorder_ms));
    let strategy =
        if draw.chance(50) { strategy.with_timestamps(|event: &Event| event.ts) } else { strategy };
    let mut manners = manners(random);
    manners.on_watermark = || seen!("a watermark reached a sink behind several splits");
    let periodic = draw.chance(50);
    let strategy = if periodic {
        manners.on_watermark = || seen!("a periodic watermark reached a sink");
        strategy.periodic(Duration::from_nanos(draw.magnitude(SECOND)))
    } else {
        strategy
    };
    let script = Script::draw(random.fork("script"), &manner);
    Setting { script, strategy, periodic, manners, first: true, behind: false }
}

fn instance(setting: Setting) -> Instance {
    let Setting { script, strategy, manners, first, behind, .. } = setting;
    let outputs = Outputs::default();
    let fold = script.events().map(row);
    let fold = rows("events", fold.collect::<Vec<_>>());
    let fold = fold.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let probe = Probe::new("events", &kept, &manners, row);
        let events = flow.source("script", script.clone());
        let events = match first {
            true => events.assign_timestamps(strategy.clone()).boxed(),
            false => events.boxed(),
        };
        let events = events.key_by(|event| event.split).flat_map_with_state(
            "pass",
            ValueSpec::new("seen"),
            |_, event, seen: &mut u64| {
                *seen += 1;
                Some(event)
            },
        );
        match behind {
            true => events.assign_timestamps(strategy.clone()).sink("out", probe),
            false => events.sink("out", probe),
        }
        Ok(())
    };
    let (job, args) = (Box::new(job), Args::default());
    Instance { job, args, outputs, equality: Equality::PerKey, fold: Some(fold), judge: None }
}

fn row(event: &Event) -> (u64, String) {
    trap::call();
    (u64::from(event.split), format!("{} {}", event.index, event.ts))
}

/// No split is ever declared idle, so no record may come late, whatever the schedule is.
pub(super) fn punctual(random: &Random) -> Instance {
    instance(setting(random, 100_000))
}

/// Splits fall silent, are declared idle and wake up; then records may be late.
pub(super) fn idle(random: &Random) -> Instance {
    let mut setting = setting(random, 20 * SECOND);
    let after = random.fork("idle").magnitude(5 * SECOND);
    setting.strategy = setting.strategy.with_idleness(Duration::from_nanos(after));
    setting.manners.punctual = false;
    instance(setting)
}

/// The strategy stands behind the exchange, where all channels are one split.
pub(super) fn behind_an_exchange(random: &Random) -> Instance {
    let mut setting = setting(random, 100_000);
    let both = random.fork("both").chance(30);
    (setting.first, setting.behind) = (both, true);
    if setting.periodic {
        setting.manners.on_watermark = || {
            seen!("a periodic watermark was made behind an exchange");
        };
    }
    setting.manners.punctual = false;
    instance(setting)
}
