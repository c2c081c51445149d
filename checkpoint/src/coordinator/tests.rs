//! Tests of single rules of the coordinator; the random schedules are in `model_tests`.

use super::*;
use crate::log::{Verdict, What};
use crate::manifest::tests::{sample, sample_file, sample_job};
use crate::store::StoreError;

fn start() -> Start {
    Start {
        job: sample_job(2),
        key_groups: vec![(0, 64), (64, 64)],
        attempt: 1,
        term: 1,
        nonce: 7,
        next_k: 1,
        first_k: 0,
        live: Vec::new(),
        next_id: 1,
        newest: None,
        retained: Vec::new(),
        found: Vec::new(),
        took_over: false,
        epoch_ms: 1_000_000,
    }
}

fn config() -> Config {
    Config { interval_ms: Some(100), timeout_ms: 50, retry_ms: 10, ..Config::default() }
}

/// A coordinator whose cores are ready at 0, and what it ordered then.
fn ready(config: Config, start: Start) -> (Coordinator, Vec<Order>) {
    let mut it = Coordinator::new(config, start);
    assert_eq!(it.handle(0, Event::Ready { core: 1, highest_id: 0 }), []);
    assert_eq!(it.wake_at(), None, "it waits for core 0");
    let orders = it.handle(0, Event::Ready { core: 0, highest_id: 0 });
    (it, orders)
}

fn acknowledgement(core: u32, checkpoint: u64) -> Acknowledgement {
    let unsent = if core == 0 { 1 } else { 0 };
    Acknowledgement {
        core,
        checkpoint,
        term: 1,
        part: sample_file(core, 2 * checkpoint),
        files: vec![sample_file(core, 2 * checkpoint + 1)],
        counts: vec![ChannelCounts {
            edge: 3,
            from: 0,
            to: 1,
            sent: 10 * u64::from(core == 0),
            consumed: 7 * u64::from(core == 1),
            recorded: 2 * u64::from(core == 1),
            unsent,
        }],
        phases: Phases {
            cut_us: 5,
            encode_us: 4,
            recording_us: 6 + u64::from(core),
            upload_us: 7,
            pause_us: 5,
        },
    }
}

fn acknowledge(it: &mut Coordinator, now_ms: u64, core: u32, checkpoint: u64) -> Vec<Order> {
    it.handle(now_ms, Event::Acknowledged(Box::new(acknowledgement(core, checkpoint))))
}

fn answer(it: &mut Coordinator, now_ms: u64, k: u64, verdict: Verdict) -> Vec<Order> {
    it.handle(now_ms, Event::LogAnswer { k, verdict })
}

fn not_written() -> Verdict {
    Verdict::NotWritten(StoreError::failed("the disk is full", ""))
}

/// Triggers and acknowledges checkpoint `id` at `now_ms`: its entry is on its way.
fn written(it: &mut Coordinator, now_ms: u64, id: u64) {
    let orders = it.handle(now_ms, Event::Tick);
    assert!(
        matches!(orders[..], [Order::Trigger(Trigger { id: it, .. })] if it == id),
        "{orders:?}"
    );
    assert_eq!(acknowledge(it, now_ms, 0, id), []);
    let orders = acknowledge(it, now_ms, 1, id);
    assert!(matches!(orders[..], [Order::Append { .. }]), "{orders:?}");
}

fn fails(orders: &[Order]) -> Option<&Failure> {
    orders.iter().find_map(|order| match order {
        Order::FailAttempt { reason } => Some(reason),
        _ => None,
    })
}

#[test]
fn a_checkpoint_is_committed_when_its_entry_is_ours_and_until_all_confirm() {
    let (mut it, orders) = ready(config(), start());
    assert_eq!((orders, it.wake_at()), (vec![], Some(100)));
    assert_eq!(it.handle(99, Event::Tick), []);
    written(&mut it, 100, 1);
    assert_eq!(it.wake_at(), None, "only the log's answer ends this");
    let orders = answer(&mut it, 120, 1, Verdict::Ours);
    assert!(matches!(orders[..], [Order::Commit { id: 1 }, Order::CopyManifest { .. }]));
    assert_eq!(it.handle(121, Event::Committed { core: 0, checkpoint: 1 }), []);
    assert_eq!(it.wake_at(), Some(130));
    assert_eq!(it.handle(130, Event::Tick), [Order::Commit { id: 1 }]);
    assert_eq!(it.handle(131, Event::Committed { core: 1, checkpoint: 1 }), []);
    assert_eq!(it.wake_at(), Some(200));
    let list: Vec<_> = it.statistics().list().collect();
    let phases = Phases { cut_us: 5, encode_us: 4, recording_us: 7, upload_us: 7, pause_us: 5 };
    assert_eq!((list[0].duration_ms, list[0].log_ms, list[0].phases), (20, 20, phases));
    assert_eq!((list[0].bytes, list[0].started_ms, list[0].failure.clone()), (40, 1_000_100, None));
}

#[test]
fn the_entry_carries_the_manifest_with_cores_and_splits() {
    let (mut it, _) = ready(config(), start());
    let split = Split { source: "in".into(), number: 4, start: vec![9] };
    it.handle(1, Event::SplitFound(split.clone()));
    it.handle(100, Event::Tick);
    acknowledge(&mut it, 101, 1, 1);
    let orders = acknowledge(&mut it, 110, 0, 1);
    let [Order::Append { k: 1, entry }] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!((entry.attempt, entry.term, entry.nonce), (1, 1, 7));
    let What::Complete { checkpoint: 1, first: 0, manifest } = &entry.what else {
        panic!("{entry:?}")
    };
    assert_eq!((manifest.started_ms, manifest.completed_ms), (1_000_100, 1_000_110));
    assert_eq!((manifest.splits.clone(), manifest.cores.len()), (vec![split], 2));
    assert_eq!(Entry::parse("x", &entry.to_bytes()).as_ref(), Ok(&**entry));
}

#[test]
fn what_comes_too_late_completes_nothing() {
    let (mut it, _) = ready(Config { tolerable_failed: 9, ..config() }, start());
    it.handle(100, Event::Tick);
    acknowledge(&mut it, 149, 0, 1);
    assert_eq!(acknowledge(&mut it, 150, 1, 1), [Order::Abort { id: 1 }], "no tick came before");
    assert_eq!(acknowledge(&mut it, 151, 1, 1), []);
    let failure = it.statistics().list().next().unwrap().failure.clone().unwrap();
    assert_eq!(failure, "no answer within 50 ms from core 1");
    it.handle(200, Event::Tick);
    let old_term = Acknowledgement { term: 0, ..acknowledgement(0, 2) };
    it.handle(201, Event::Acknowledged(Box::new(old_term)));
    assert_eq!(acknowledge(&mut it, 202, 1, 2), [], "core 0 spoke under another term");
    for core in [1, 2, u32::MAX] {
        assert_eq!(acknowledge(&mut it, 203, core, 2), [], "twice, or no core of ours");
    }
}

#[test]
fn failures_in_a_row_end_the_attempt_beyond_what_is_tolerated() {
    let (mut it, _) = ready(Config { tolerable_failed: 1, ..config() }, start());
    let decline = |it: &mut Coordinator, now_ms, checkpoint| {
        it.handle(now_ms, Event::Tick);
        let reason = "no room".to_owned();
        it.handle(now_ms, Event::Declined { core: 1, checkpoint, reason })
    };
    assert_eq!(decline(&mut it, 100, 1), [Order::Abort { id: 1 }]);
    written(&mut it, 200, 2);
    answer(&mut it, 200, 1, Verdict::Ours);
    assert!(fails(&decline(&mut it, 300, 3)).is_none(), "the row was broken");
    let orders = decline(&mut it, 400, 4);
    let failure = fails(&orders).unwrap().to_string();
    assert_eq!(
        failure,
        "checkpoint 4 failed: core 1 declined: no room; 2 in a row, 1 are tolerated"
    );
    assert!(it.is_over() && it.handle(500, Event::Tick).is_empty() && it.wake_at().is_none());
    assert_eq!((it.statistics().completed_count(), it.statistics().failed_count()), (1, 3));
}

#[test]
fn while_the_outcome_is_unknown_nothing_is_aborted_or_triggered() {
    let (mut it, _) = ready(config(), start());
    written(&mut it, 100, 1);
    assert_eq!(answer(&mut it, 100, 1, Verdict::SendAgain), []);
    assert_eq!(it.wake_at(), Some(110));
    assert_eq!(it.handle(109, Event::TriggerNow { token: 1, kind: Kind::Checkpoint }), []);
    let orders = it.handle(10_000, Event::Tick);
    assert!(matches!(orders[..], [Order::Append { k: 1, .. }]), "{orders:?}");
    assert_eq!(answer(&mut it, 10_001, 1, not_written()), [], "the first may land yet");
    it.handle(10_011, Event::Tick);
    let orders = answer(&mut it, 10_012, 1, Verdict::Ours);
    assert!(matches!(orders[..], [Order::Commit { id: 1 }, _, Order::Trigger(_)]), "{orders:?}");
}

#[test]
fn an_entry_that_is_known_not_to_be_written_fails_its_checkpoint_only() {
    let (mut it, _) = ready(Config { tolerable_failed: 1, ..config() }, start());
    written(&mut it, 100, 1);
    assert_eq!(answer(&mut it, 101, 1, not_written()), [Order::Abort { id: 1 }]);
    written(&mut it, 200, 2);
    assert_eq!(answer(&mut it, 201, 9, Verdict::Superseded), [], "of another entry");
    let orders = answer(&mut it, 201, 1, Verdict::Superseded);
    assert_eq!(orders, [Order::FailAttempt { reason: Failure::Superseded { k: 1 } }]);
}

#[test]
fn a_lost_record_ends_the_attempt_before_the_log_hears_of_it() {
    let (mut it, _) = ready(Config { tolerable_failed: 9, ..config() }, start());
    it.handle(100, Event::Tick);
    acknowledge(&mut it, 100, 0, 1);
    let mut short = acknowledgement(1, 1);
    short.counts[0].recorded = 1;
    let orders = it.handle(100, Event::Acknowledged(Box::new(short)));
    assert!(!orders.iter().any(|order| matches!(order, Order::Append { .. })));
    let failure = fails(&orders).unwrap().to_string();
    let sentence = "edge 3 from core 0 to core 1 was sent 10 records; 7 are consumed, 1 recorded";
    assert!(failure.contains(sentence), "{failure}");
}

#[test]
fn requests_work_without_an_interval_and_each_is_answered() {
    let (mut it, _) = ready(Config { interval_ms: None, ..config() }, start());
    assert_eq!(it.wake_at(), None);
    let ask = |token, kind| Event::TriggerNow { token, kind };
    let orders = it.handle(5, ask(1, Kind::Checkpoint));
    assert!(matches!(orders[..], [Order::Trigger(Trigger { id: 1, .. })]), "{orders:?}");
    for token in [2, 3] {
        assert_eq!(it.handle(6, ask(token, Kind::Checkpoint)), [], "it waits for the open one");
    }
    assert_eq!(it.handle(6, ask(4, Kind::Savepoint)), []);
    acknowledge(&mut it, 7, 0, 1);
    acknowledge(&mut it, 7, 1, 1);
    let orders = answer(&mut it, 8, 1, Verdict::Ours);
    assert_eq!(orders[2], Order::Answer { token: 1, result: Ok(1) });
    let Order::Trigger(Trigger { id: 2, kind: Kind::Savepoint, .. }) = orders[3] else {
        panic!("{orders:?}")
    };
    let orders = it.handle(100, Event::Tick);
    assert!(orders.contains(&Order::Abort { id: 2 }), "{orders:?}");
    assert!(orders.iter().any(|it| matches!(it, Order::Answer { token: 4, result: Err(_) })));
    assert!(fails(&orders).is_none(), "a savepoint's failure does not count");
    assert!(orders.iter().any(|it| matches!(it, Order::Trigger(Trigger { id: 3, .. }))));
    for token in 10..10 + REQUESTS_MAX as u64 {
        assert_eq!(it.handle(101, ask(token, Kind::Checkpoint)), []);
    }
    let orders = it.handle(101, ask(99, Kind::Checkpoint));
    assert!(matches!(orders[..], [Order::Answer { token: 99, result: Err(_) }]));
    let orders = it.handle(101, ask(98, Kind::Final));
    assert!(matches!(orders[..], [Order::Answer { token: 98, result: Err(_) }]));
}

#[test]
fn the_end_is_a_final_checkpoint_its_commit_and_an_entry() {
    let (mut it, _) = ready(config(), start());
    let orders = it.handle(5, Event::AllEnded);
    assert!(matches!(orders[..], [Order::Trigger(Trigger { id: 1, kind: Kind::Final, .. })]));
    assert_eq!(it.handle(55, Event::Tick), [Order::Abort { id: 1 }], "it is tried again");
    written(&mut it, 65, 2);
    answer(&mut it, 66, 1, Verdict::Ours);
    assert_eq!(it.handle(67, Event::Committed { core: 0, checkpoint: 2 }), []);
    let orders = it.handle(68, Event::Committed { core: 1, checkpoint: 2 });
    let [Order::Append { k: 2, entry }] = &orders[..] else { panic!("{orders:?}") };
    assert_eq!(entry.what, What::Finished);
    assert_eq!(answer(&mut it, 69, 2, not_written()), []);
    assert!(matches!(it.handle(79, Event::Tick)[..], [Order::Append { k: 2, .. }]));
    assert_eq!(answer(&mut it, 80, 2, Verdict::Ours), [Order::Finished]);
    assert!(it.is_over());
}

#[test]
fn an_attempt_that_resumes_at_the_final_checkpoint_only_commits() {
    let last = Manifest { kind: Kind::Final, ..sample(4, 2) };
    let start = Start { next_id: 5, newest: Some(4), retained: vec![last], ..start() };
    let (mut it, orders) = ready(config(), start);
    assert_eq!(orders, [Order::Commit { id: 4 }]);
    assert_eq!(it.handle(0, Event::Committed { core: 0, checkpoint: 4 }), []);
    let orders = it.handle(1, Event::Committed { core: 1, checkpoint: 4 });
    assert!(matches!(&orders[..], [Order::Append { entry, .. }] if entry.what == What::Finished));
}

#[test]
fn ids_go_on_above_all_that_cores_and_the_outside_have_seen() {
    let start = Start {
        next_id: 5,
        newest: Some(4),
        retained: vec![sample(4, 2)],
        took_over: true,
        ..start()
    };
    let mut it = Coordinator::new(config(), start);
    it.handle(0, Event::Ready { core: 0, highest_id: 6 });
    let orders = it.handle(0, Event::Ready { core: 1, highest_id: 4 });
    assert_eq!(orders, [Order::Abort { id: 6 }, Order::Commit { id: 4 }]);
    let orders = it.handle(100, Event::Tick);
    let triggers = orders.iter().any(|it| matches!(it, Order::Trigger(Trigger { id: 7, .. })));
    assert!(triggers, "{orders:?}");
}

#[test]
fn the_newest_checkpoints_are_remembered_and_no_more() {
    let (mut it, _) = ready(Config { tolerable_failed: u32::MAX, ..config() }, start());
    for id in 1..=150 {
        it.handle(id * 100, Event::Tick);
        it.handle(id * 100, Event::Declined { core: 0, checkpoint: id, reason: "no".into() });
    }
    let ids: Vec<u64> = it.statistics().list().map(|it| it.id).collect();
    assert_eq!(ids, (51..=150).collect::<Vec<_>>());
    assert_eq!(it.statistics().failed_count(), 150);
}
