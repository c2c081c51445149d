//! Random schedules of a whole job's cores, log and files against the coordinator: whatever is
//! lost, late, doubled or taken over, the invariants hold and the job ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::log::{Append, History, Log, Mark, VERSION, Verdict, What};
use crate::manifest::FileInfo;
use crate::manifest::tests::sample_job;
use crate::paths::Pack;
use crate::store::{Fault, MemoryStore, Operation};

const JOB: &str = "fraud-1";
const STEPS: u64 = 400;
const STEPS_MAX: u64 = 20_000;

/// Knuth's generator: the schedule is the seed.
#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % end
    }

    fn percent(&mut self, share: u32) -> bool {
        self.below(100) < u64::from(share)
    }
}

#[derive(Default)]
struct Core {
    highest_id: u64,
    file_count: u64,
    chain: Vec<FileInfo>,
}

struct World {
    dice: Dice,
    now_ms: u64,
    store: MemoryStore,
    /// Percentage of log operations that fail.
    faults: Arc<AtomicU32>,
    coordinator: Coordinator,
    cores: Vec<Core>,
    retained: u32,
    term: u64,
    /// What is on its way to the coordinator.
    wire: Vec<Event>,
    files: BTreeSet<String>,
    /// Files by delivered acknowledgement.
    acknowledged: BTreeMap<(u64, u32), Vec<String>>,
    open: Option<u64>,
    aborted: BTreeSet<u64>,
    committed: u64,
    last_id: u64,
    seen: BTreeMap<&'static str, u64>,
    end: Option<Order>,
}

fn config(retained: u32) -> Config {
    Config {
        interval_ms: Some(300),
        timeout_ms: 500,
        min_pause_ms: 20,
        tolerable_failed: u32::MAX,
        retained: NonZeroU32::new(retained).unwrap(),
        log_entries: const { NonZeroU32::new(3).unwrap() },
        retry_ms: 50,
        ..Config::default()
    }
}

fn start(store: &MemoryStore, cores: u32, retained: u32, attempt: u64, term: u64) -> Start {
    let history = Log::read(store, JOB).unwrap();
    let manifests = history.retained(retained);
    let manifest = |it| Log::manifest(store, JOB, it).unwrap();
    Start {
        job: sample_job(cores),
        key_groups: (0..cores).map(|it| (it * (128 / cores), 128 / cores)).collect(),
        attempt,
        term,
        nonce: term,
        next_k: history.next(),
        first_k: history.first(),
        live: history.live().collect::<Vec<_>>().into_iter().rev().collect(),
        next_id: history.next_id(),
        newest: history.restore_point().map(|it| it.checkpoint),
        retained: manifests.into_iter().map(manifest).collect(),
        found: Vec::new(),
        took_over: term > attempt,
        epoch_ms: 1 << 40,
    }
}

/// Owns the next entry of the log, whatever lands meanwhile.
fn own(store: &MemoryStore, term: u64, what: &What) {
    loop {
        let history = Log::read(store, JOB).unwrap();
        let (k, after) = (history.next(), history.last().map(Mark::writer));
        let entry = Entry { version: VERSION, attempt: 1, term, nonce: term, what: what.clone() };
        if Append::new(JOB, k, &entry, after).send(store) == Verdict::Ours {
            return;
        }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let (store, faults) = (MemoryStore::new(), Arc::new(AtomicU32::new(0)));
        own(&store, 1, &What::Attempt { from: None, first_id: 1 });
        let (mut hook, share) = (dice.clone(), Arc::clone(&faults));
        store.set_faults(move |operation| {
            let create = matches!(operation, Operation::Create(_));
            match hook.percent(share.load(Ordering::Relaxed)) {
                false => Fault::None,
                true if !create => Fault::Fail,
                true => [Fault::Fail, Fault::LostAnswer, Fault::LostRequest, Fault::Delayed]
                    [hook.below(4) as usize],
            }
        });
        let (cores, retained) = (1 << dice.below(3), 1 + dice.below(3) as u32);
        let coordinator = Coordinator::new(config(retained), start(&store, cores, retained, 1, 1));
        let mut world = Self {
            dice,
            now_ms: 0,
            store,
            faults,
            coordinator,
            cores: (0..cores).map(|_| Core::default()).collect(),
            retained,
            term: 1,
            wire: Vec::new(),
            files: BTreeSet::new(),
            acknowledged: BTreeMap::new(),
            open: None,
            aborted: BTreeSet::new(),
            committed: 0,
            last_id: 0,
            seen: BTreeMap::new(),
            end: None,
        };
        world.report();
        world
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_insert(0) += 1;
    }

    /// Looks at the log without faults.
    fn history(&self) -> History {
        let share = self.faults.swap(0, Ordering::Relaxed);
        let history = Log::read(&self.store, JOB).unwrap();
        self.faults.store(share, Ordering::Relaxed);
        history
    }

    fn report(&mut self) {
        for (core, it) in self.cores.iter().enumerate() {
            self.wire.push(Event::Ready { core: core as u32, highest_id: it.highest_id });
        }
    }

    fn step(&mut self, faulty: bool) {
        self.now_ms += self.dice.below(40);
        if faulty && self.dice.percent(1) {
            return self.take_over();
        }
        if faulty && self.dice.percent(2) {
            let token = self.now_ms;
            return self.hear(Event::TriggerNow { token, kind: Kind::Checkpoint });
        }
        if self.dice.percent(20) && self.store.land_one().is_some() {
            self.count("a late landing");
        }
        if self.wire.is_empty() || self.dice.percent(30) {
            return self.hear(Event::Tick);
        }
        let at = self.dice.below(self.wire.len() as u64) as usize;
        let event = self.wire.swap_remove(at);
        let matters = matches!(event, Event::Acknowledged(_) | Event::Committed { .. });
        if faulty && matters && self.dice.percent(10) {
            return self.count("a lost message");
        }
        if faulty && matters && self.dice.percent(10) {
            self.wire.push(event.clone());
        }
        self.hear(event);
    }

    fn hear(&mut self, event: Event) {
        if let Event::Acknowledged(it) = &event {
            let paths = it.files.iter().chain([&it.part]).map(|file| file.path.clone());
            self.acknowledged.insert((it.checkpoint, it.core), paths.collect());
        }
        for order in self.coordinator.handle(self.now_ms, event) {
            assert!(self.end.is_none(), "{order:?} after the end");
            self.obey(order);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Trigger(trigger) => {
                assert_eq!(self.open, None, "two are open");
                assert!(trigger.id > self.last_id, "ids increase");
                assert_eq!(trigger.term, self.term);
                (self.open, self.last_id) = (Some(trigger.id), trigger.id);
                for core in 0..self.cores.len() {
                    self.cut(core, trigger);
                }
            }
            Order::Abort { id } => {
                assert!(self.open.take_if(|it| *it == id).is_some() || self.term > 1);
                self.aborted.insert(id);
                self.count("an abort");
            }
            Order::Append { k, entry } => {
                let after = Some(entry.writer());
                let verdict = Append::new(JOB, k, &entry, after).send(&self.store);
                if verdict == Verdict::SendAgain {
                    self.count("an unknown outcome");
                }
                self.wire.push(Event::LogAnswer { k, verdict });
            }
            Order::Commit { id } => self.commit(id),
            Order::Delete { paths } => self.delete(paths),
            Order::Prune { first } => {
                self.count("old entries were to go");
                if Log::prune(&self.store, JOB, first).is_ok() {
                    self.count("old entries were deleted");
                }
            }
            Order::CopyManifest { .. } | Order::Answer { .. } => {}
            Order::FailAttempt { .. } | Order::Finished => self.end = Some(order),
        }
    }

    /// A core cuts, refuses, or hears nothing. What it changed before is in its next segment.
    fn cut(&mut self, core: usize, trigger: Trigger) {
        let faulty = self.faults.load(Ordering::Relaxed) > 0;
        let (number, compacts) = (core as u32, self.dice.percent(30));
        let it = &mut self.cores[core];
        it.highest_id = trigger.id;
        let mut file = || {
            it.file_count += 1;
            let pack = Pack { attempt: 1, node: number, number: it.file_count };
            FileInfo { path: pack.path(JOB), offset: 0, bytes: 1, checksum: 0 }
        };
        let (part, segment) = (file(), file());
        self.files.extend([part.path.clone(), segment.path.clone()]);
        if compacts {
            it.chain.clear();
        }
        it.chain.push(segment);
        let (checkpoint, term, files) = (trigger.id, trigger.term, it.chain.clone());
        if faulty && self.dice.percent(5) {
            let reason = "no".to_owned();
            return self.wire.push(Event::Declined { core: number, checkpoint, reason });
        }
        let counts = vec![ChannelCounts {
            sent: if core == 0 { 5 } else { 0 },
            consumed: if core + 1 == self.cores.len() { 2 } else { 0 },
            unsent: if core == 0 { 3 } else { 0 },
            ..ChannelCounts::default()
        }];
        let phases = Phases::default();
        let it = Acknowledgement { core: number, checkpoint, term, part, files, counts, phases };
        self.wire.push(Event::Acknowledged(Box::new(it)));
    }

    fn commit(&mut self, id: u64) {
        let live = self.history().live().any(|it| it.checkpoint == id);
        assert!(live, "{id} is committed before the log has it");
        assert!(!self.aborted.contains(&id), "{id} was aborted");
        for core in 0..self.cores.len() as u32 {
            assert!(self.acknowledged.contains_key(&(id, core)), "{core} did not acknowledge {id}");
            self.wire.push(Event::Committed { core, checkpoint: id });
        }
        self.open.take_if(|it| *it == id);
        assert!(id >= self.committed, "commits go forward");
        self.committed = id;
    }

    /// What retained manifests and the cores' states name.
    fn needed(&self) -> BTreeSet<String> {
        let mut needed = self.named();
        let chains = self.cores.iter().flat_map(|core| &core.chain);
        needed.extend(chains.map(|file| file.path.clone()));
        let open = self.acknowledged.iter().filter(|((id, _), _)| Some(*id) == self.open);
        needed.extend(open.flat_map(|(_, paths)| paths.clone()));
        needed
    }

    fn named(&self) -> BTreeSet<String> {
        let retained = self.history().retained(self.retained);
        let share = self.faults.swap(0, Ordering::Relaxed);
        let manifests = retained.into_iter().map(|it| Log::manifest(&self.store, JOB, it).unwrap());
        let named = manifests.flat_map(|it| it.all_files().cloned().collect::<Vec<_>>());
        let named = named.map(|file| file.path).collect();
        self.faults.store(share, Ordering::Relaxed);
        named
    }

    fn delete(&mut self, paths: Vec<String>) {
        let needed = self.needed();
        for path in &paths {
            assert!(!needed.contains(path), "{path} is needed");
            self.files.remove(path);
        }
        // The order holds everything known by then that nobody needs.
        let known = self.acknowledged.iter().filter(|((id, _), _)| *id <= self.committed);
        for path in known.flat_map(|(_, paths)| paths) {
            let left = self.files.contains(path) && !needed.contains(path);
            assert!(!left || self.term > 1, "{path} is left");
        }
        self.count("a deletion");
        if self.dice.percent(70) {
            self.wire.push(Event::Deleted { paths });
        }
    }

    /// Another coordinator goes on with the same cores.
    fn take_over(&mut self) {
        self.term += 1;
        let share = self.faults.swap(0, Ordering::Relaxed);
        own(&self.store, self.term, &What::TakeOver);
        let cores = self.cores.len() as u32;
        let start = start(&self.store, cores, self.retained, 1, self.term);
        self.faults.store(share, Ordering::Relaxed);
        // The old one learns of it when it sends again, and orders nothing in between but that.
        let newest = start.newest;
        let mut old = std::mem::replace(
            &mut self.coordinator,
            Coordinator::new(config(self.retained), start),
        );
        let orders = old.handle(self.now_ms, Event::Tick);
        assert!(orders.iter().all(|it| !matches!(it, Order::Commit { id } if Some(*id) > newest)));
        self.wire.retain(|event| matches!(event, Event::Acknowledged(_)));
        self.open = None;
        self.report();
        self.count("a takeover");
    }

    /// What must hold when the job is over.
    fn check_end(&mut self) {
        let history = self.history();
        assert!(history.is_finished());
        assert_eq!(history.restore_point().unwrap().checkpoint, self.committed);
        for completed in history.live() {
            assert!(!self.aborted.contains(&completed.checkpoint), "{completed:?} was aborted");
        }
        // The next attempt would leave exactly what is retained.
        let cores = self.cores.len() as u32;
        let mut next = start(&self.store, cores, self.retained, 2, 99);
        next.found = self.files.iter().cloned().collect();
        let mut next = Coordinator::new(config(self.retained), next);
        for core in 0..cores {
            for order in next.handle(0, Event::Ready { core, highest_id: 0 }) {
                if let Order::Delete { paths } = order {
                    self.files.retain(|file| !paths.contains(file));
                }
            }
        }
        assert_eq!(self.files, self.named());
    }
}

#[test]
fn every_schedule_keeps_the_invariants_and_ends() {
    let mut seen = BTreeMap::new();
    for seed in 0..40 {
        let mut world = World::new(seed);
        world.faults.store([0, 20, 60][seed as usize % 3], Ordering::Relaxed);
        for _ in 0..STEPS {
            world.step(seed % 4 != 0);
        }
        world.faults.store(0, Ordering::Relaxed);
        world.report();
        world.hear(Event::AllEnded);
        let mut steps = 0;
        while world.end.is_none() {
            world.step(false);
            steps += 1;
            assert!(steps < STEPS_MAX, "no end; seed {seed}, {:?}", world.coordinator.state);
        }
        assert_eq!(world.end, Some(Order::Finished), "seed {seed}");
        world.check_end();
        for (what, count) in world.seen {
            *seen.entry(what).or_insert(0) += count;
        }
    }
    for what in [
        "a late landing",
        "a lost message",
        "an abort",
        "an unknown outcome",
        "a deletion",
        "a takeover",
        "old entries were deleted",
    ] {
        assert!(seen.get(what).is_some_and(|count| *count > 5), "{what}: {seen:?}");
    }
}

#[test]
fn whoever_is_superseded_stops_at_once() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        for _ in 0..50 + seed {
            world.step(false);
        }
        own(&world.store, 2, &What::TakeOver);
        let committed = world.committed;
        for _ in 0..STEPS {
            if world.end.is_none() {
                world.step(false);
            }
        }
        assert!(matches!(
            world.end,
            Some(Order::FailAttempt { reason: Failure::Superseded { .. } })
        ));
        // What was in the log before is committed, nothing after.
        assert_eq!(world.history().restore_point().map_or(0, |it| it.checkpoint), world.committed);
        assert!(world.committed >= committed);
    }
}
