//! Tests of the keeper alone: what it does with what checkpoints leave.

use thalweg_checkpoint::coordinator::{Config, Start};
use thalweg_checkpoint::manifest::JobIdentity;

use super::*;

/// The keeper of one core, whose checkpoints drain and have 10 ms.
fn keeper() -> Keeper {
    let job = JobIdentity {
        name: "job".to_owned(),
        id: "job-1".to_owned(),
        graph_digest: 0,
        parallelism: 1,
        max_parallelism: 128,
        operators: Vec::new(),
    };
    let start = Start {
        job,
        key_groups: vec![(0, 128)],
        attempt: 1,
        term: 1,
        nonce: 1,
        next_k: 1,
        first_k: 0,
        live: Vec::new(),
        next_id: 1,
        newest: None,
        retained: Vec::new(),
        found: Vec::new(),
        took_over: false,
        epoch_ms: 0,
    };
    let config = Config {
        interval_ms: Some(100),
        timeout_ms: 10,
        tolerable_failed: 9,
        aligned_timeout_ms: u64::MAX,
        ..Config::default()
    };
    Keeper::new("job-1", 1, Coordinator::new(config, start), 1)
}

fn packed(actions: &[Action]) -> Vec<usize> {
    let pack = |action: &Action| match action {
        Action::Do(Work::Pack(packing)) => Some(packing.uploads.len()),
        _ => None,
    };
    actions.iter().filter_map(pack).collect()
}

/// A core that has too much on its way to the store waits for room, and is not quiet before it has
/// some: a drain that waited for it would never end.
#[test]
fn what_a_failed_checkpoint_has_left_is_stored_before_the_next_one_drains() {
    let mut keeper = keeper();
    assert!(keeper.ready(0, 0, 0).is_empty());
    let drains = |actions: &[Action]| {
        let is_drain = |it: &Action| matches!(it, Action::Tell(0, CutCommand::Drain { .. }));
        actions.iter().any(is_drain)
    };
    let first = keeper.tick(100);
    assert!(drains(&first) && packed(&first).is_empty(), "{first:?}");
    let content = Content::Segment { number: 1, epoch: 1, blocks: Vec::new() };
    assert!(keeper.hear(101, 0, CutReport::Store { number: 0, content }).is_empty());
    let aborted = keeper.tick(111);
    assert!(packed(&aborted).is_empty(), "it waits for the next one: {aborted:?}");
    let second = keeper.tick(211);
    assert!(drains(&second), "{second:?}");
    assert_eq!(packed(&second), [1]);
}
