//! State that is larger than its budget.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::NetworkConfig;
use crate::dataflow::Environment;
use crate::job::local_workers;
use crate::prelude::*;
use crate::state::StateMemory;
use crate::testing::{Cluster, ClusterOptions, HarnessOptions, StateBound};
use crate::time::{Clock, ManualClock};

/// Runs a job to its end and returns its options' counts, added up over the cores.
fn run(job: &dyn crate::Job, options: &ClusterOptions) -> crate::metrics::StateCounts {
    let mut cluster = Cluster::new(job, &Args::default(), options).expect("the job is valid");
    // A turn of 1024 records would be an eighth of what fits into the small budgets here.
    cluster.workers.iter_mut().for_each(|worker| worker.set_budget(256));
    for _ in 0..10_000_000 {
        options.clock.advance(10_000);
        if cluster.step_all().expect("no step fails") {
            let mut counts = crate::metrics::StateCounts::default();
            for worker in &cluster.workers {
                counts.merge(&worker.core().metrics.state.snapshot());
            }
            return counts;
        }
    }
    panic!("no end");
}

fn bounded(parallelism: usize, bytes: usize) -> ClusterOptions {
    let mut options = ClusterOptions::new(parallelism);
    options.state = StateBound::Bytes { bytes, seed: 7 };
    options
}

/// Keys in an order that has nothing to do with the table's.
fn key_of(n: u64, keys: u64) -> u64 {
    (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % keys
}

#[test]
fn a_job_whose_state_is_ten_times_its_budget_gives_the_right_answer() {
    const KEYS: u64 = 80_000;
    const RECORDS: u64 = 2 * KEYS;
    // A line of 64 bytes for each key, at a load of three quarters.
    let budget = KEYS as usize * 64 * 4 / 3 / 10;
    let all = Collected::new();
    let out = all.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let numbers = Generator::new(|n| (n, n as i64)).records(RECORDS).splits(2);
        let numbers = numbers.assign_by(|n| key_of(*n, KEYS));
        let keyed = flow.source("n", numbers).key_by(|n| key_of(*n, KEYS));
        let spec = ValueSpec::<(u64, u64)>::new("s");
        let summed = keyed.flat_map_with_state("sum", spec, |key, n, state: &mut (u64, u64)| {
            *state = (state.0 + 1, state.1 + n);
            Some((*key, state.0, state.1))
        });
        summed.collect_into("out", &out);
        Ok(())
    };
    let counts = run(&job, &bounded(1, budget));
    let mut expected = BTreeMap::<u64, (u64, u64)>::new();
    let mut lines: Vec<(u64, u64, u64)> = (0..RECORDS)
        .map(|n| {
            let state = expected.entry(key_of(n, KEYS)).or_default();
            *state = (state.0 + 1, state.1 + n);
            (key_of(n, KEYS), state.0, state.1)
        })
        .collect();
    let mut found = all.take();
    lines.sort_unstable();
    found.sort_unstable();
    assert!(found == lines, "{} of {} results", found.len(), lines.len());
    // A turn's rows and what is on its way are a large part of so little.
    let most = (budget + budget / 8) as u64;
    assert!(counts.bytes_max <= most, "{counts:?}: the budget is {budget}");
    assert!(counts.evicted > KEYS && counts.fetched > KEYS / 2, "{counts:?}");
    assert_eq!(counts.blocking_reads, 0, "all keys are declared: {counts:?}");
}

#[test]
fn values_on_the_heap_stay_within_the_budget() {
    const KEYS: u64 = 12_000;
    let budget = 3 << 20;
    let all = Collected::new();
    let out = all.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let numbers = Generator::new(|n| (n, n as i64)).records(10 * KEYS).splits(1);
        let keyed = flow.source("n", numbers).key_by(|n| format!("key {}", key_of(*n, KEYS)));
        let spec = ValueSpec::<Vec<u64>>::new("s");
        let kept = keyed.flat_map_with_state("keep", spec, |key, n, all: &mut Vec<u64>| {
            all.resize(all.len() + 10, n);
            (all.len() >= 90).then(|| (key.clone(), all.iter().step_by(10).sum::<u64>()))
        });
        kept.collect_into("out", &out);
        Ok(())
    };
    let free = run(&job, &ClusterOptions::new(1));
    let mut expected = all.take();
    let counts = run(&job, &bounded(1, budget));
    let mut found = all.take();
    expected.sort_unstable();
    found.sort_unstable();
    assert!(!found.is_empty() && found == expected, "{} results", found.len());
    assert_eq!((free.evicted, free.fetched, free.blocking_reads), (0, 0, 0));
    assert!(counts.evicted > KEYS, "{counts:?}");
    assert!(counts.bytes_max <= (budget + budget / 3) as u64, "{counts:?}");
    assert_eq!(counts.blocking_reads, 0, "{counts:?}");
}

#[test]
fn a_job_within_its_budget_has_no_cold_state() {
    let all = Collected::new();
    let out = all.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        let keyed = flow.from_iter("n", 0..20_000u64).key_by(|n| n % 1_000);
        let spec = ValueSpec::<u64>::new("s");
        let counted = keyed.flat_map_with_state("count", spec, |_, _, n: &mut u64| {
            *n += 1;
            Some(*n)
        });
        counted.collect_into("out", &out);
        Ok(())
    };
    let counts = run(&job, &bounded(1, 1 << 20));
    assert_eq!(all.take().len(), 20_000);
    assert_eq!((counts.evicted, counts.fetched, counts.blocking_reads), (0, 0, 0));
    assert!(counts.bytes > 1_000 * 64 && counts.bytes <= 1 << 20, "{counts:?}");
}

#[test]
fn expired_rows_are_never_seen_wherever_they_are() {
    let mut h = HarnessOptions::new().cold().build(|input: Stream<u64>| {
        let spec = ValueSpec::new("n").with_ttl(Ttl::new(100));
        input.key_by(|key| *key).flat_map_with_state("count", spec, |key, _, n: &mut u64| {
            *n += 1;
            Some((*key, *n))
        })
    });
    (0..500).for_each(|key| h.push(key, 0));
    h.advance(Duration::from_millis(60));
    (0..250).for_each(|key| h.push(key, 0));
    assert_eq!(h.outputs().len(), 750);
    assert!(h.evicted() > 500, "{} rows", h.evicted());
    h.advance(Duration::from_millis(60));
    (0..500).for_each(|key| h.push(key, 0));
    let expected: Vec<_> = (0..500).map(|key| (key, if key < 250 { 3 } else { 1 })).collect();
    assert_eq!(h.outputs(), expected);
}

struct Days {
    days: MapState<u64, u64>,
}

impl KeyedProcess<u64, (u64, u64)> for Days {
    type Out = Vec<u64>;

    fn process(
        &mut self,
        (day, amount): (u64, u64),
        cx: &mut ProcessContext<'_, u64, Vec<u64>>,
    ) -> crate::Result<()> {
        if amount > 0 {
            self.days.insert(day, amount);
        } else {
            cx.emit(self.days.iter().map(|(_, amount)| *amount).collect());
        }
        Ok(())
    }
}

#[test]
fn a_map_goes_on_behind_entries_that_expired_together() {
    for options in HarnessOptions::matrix() {
        let mut h = options.build(|input: Stream<(u64, u64)>| {
            let spec = StateSpec::new("days").with_ttl(Ttl::new(100));
            input.key_by(|_| 0).process("days", |states| Days { days: states.map(spec) })
        });
        (0..200).for_each(|day| h.push((day, 1 + day), 0));
        h.advance(Duration::from_millis(50));
        (200..203).for_each(|day| h.push((day, 1 + day), 0));
        h.advance(Duration::from_millis(50));
        h.push((0, 0), 0);
        assert_eq!(h.outputs(), [vec![201, 202, 203]], "{options:?}");
    }
}

#[test]
fn a_cold_tier_that_fails_ends_the_job_with_its_error() {
    use thalweg_state::cold::{ColdError, ColdTier, MemoryTier};
    let open = |_: usize| -> Result<Box<dyn ColdTier>, ColdError> {
        let mut tier = MemoryTier::new(3);
        tier.fail(ColdError::new("cannot write /scratch: no space").with_hint("make room"));
        Ok(Box::new(tier))
    };
    let memory = StateMemory { tier: Some(std::rc::Rc::new(open)), ..StateMemory::forced_cold(0) };
    let mut env = Environment::new(1, NetworkConfig::default());
    env.memory = memory;
    let job = |flow: &Dataflow, _: &Args| {
        let keyed = flow.from_iter("n", 0..u64::MAX).key_by(|n| *n);
        let spec = ValueSpec::<u64>::new("s");
        let counted = keyed.flat_map_with_state("count", spec, |_, n, _: &mut u64| Some(n));
        counted.collect_into("out", &Collected::new());
        Ok(())
    };
    let clock: std::rc::Rc<dyn Clock> = std::rc::Rc::new(ManualClock::new(0));
    let mut workers = local_workers(&job, &Args::default(), 1, &clock, &env, None).unwrap();
    let error = loop {
        match workers[0].step() {
            Ok(progress) => assert!(!progress.done, "the job ends without an error"),
            Err(error) => break error,
        }
    };
    assert!(error.report().contains("no space") && error.report().contains("make room"));
}

struct Alike {
    map: MapState<u64, u64>,
    value: ValueState<u64>,
}

impl KeyedProcess<u64, u64> for Alike {
    type Out = (u64, u64);

    fn process(
        &mut self,
        n: u64,
        cx: &mut ProcessContext<'_, u64, (u64, u64)>,
    ) -> crate::Result<()> {
        self.map.insert(n, n);
        *self.value.or_default() += n;
        cx.emit((self.map.len() as u64, self.value.value().unwrap_or(0)));
        Ok(())
    }
}

#[test]
fn states_whose_names_look_alike_are_kept_apart() {
    let mut h = HarnessOptions::new().cold().build(|input: Stream<u64>| {
        let alike = |states: &mut States<u64>, map: &str, value: &str| Alike {
            map: states.map(map),
            value: states.value(value),
        };
        let first = input.key_by(|n| n % 2);
        let first = first.process("a", |states| alike(states, "b/c", "b/c/heads"));
        let second = first.map(|(count, _)| count).key_by(|_| 0);
        second.process("a/b", |states| alike(states, "c", "c/heads"))
    });
    (1..=4).for_each(|n| h.push(n, 0));
    assert_eq!(h.outputs(), [(1, 1), (1, 2), (2, 4), (2, 6)]);
}
