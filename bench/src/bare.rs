//! The bare prefetched table: the workload's events judged where they are drawn.
//!
//! Each pinned core draws events of its own shard, hashes the user, prefetches the profile as far
//! ahead as the baseline does, and judges: no map, exchange, emitted record or digest. A run in
//! which the baseline stays below half of this rate says nothing about the engine and is void.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64;

use crate::handwritten::control::{Command, Control};
use crate::handwritten::table::Table;
use crate::handwritten::worker::PREFETCH_AHEAD;
use crate::handwritten::{Config, Window};
use crate::machine::{self, Clock};
use crate::workload::{self, Event, Workload};

/// Accesses between two looks at the command.
const BATCH: u64 = 4_096;

/// Warm tables that are worked on in windows, their threads asleep between them.
pub struct Bare {
    control: Arc<Control>,
    clock: Clock,
    threads: Vec<JoinHandle<()>>,
}

impl Bare {
    /// Fills one table per core with its share of the users.
    pub fn start(config: &Config) -> Self {
        let control = Arc::new(Control::new(config.parallelism, Command::Pause));
        let shard = workload::Options {
            users: (config.workload.users / config.parallelism as u64).max(3),
            ..config.workload.clone()
        };
        let huge_pages = config.huge_pages;
        let start = |index: usize| {
            let (control, shard) = (Arc::clone(&control), shard.clone());
            let work = move || {
                machine::pin(index).expect("a thread can be pinned to an allowed processor");
                control.arrive(index);
                access(&control, index, &shard, huge_pages);
            };
            let name = format!("bare-{index}");
            let thread = std::thread::Builder::new().name(name).spawn(work);
            thread.expect("a thread can be started")
        };
        let threads = (0..config.parallelism).map(start).collect();
        control.wait_until_paused();
        Self { control, clock: Clock::start(), threads }
    }

    /// Runs for a ramp and a window; counts the accesses of the window.
    pub fn window(&self, length: Duration) -> Window {
        self.control.window(&self.clock, length)
    }

    /// Ends the threads.
    pub fn stop(self) {
        self.control.order(Command::Stop);
        for thread in self.threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

fn access(control: &Control, index: usize, shard: &workload::Options, huge_pages: bool) {
    let stream = Workload::new(shard);
    let mut table = Table::for_users(shard.users, huge_pages);
    for user in 0..shard.users {
        table.profile(xxh3_64(&user.to_be_bytes()), user);
    }
    let drawn = |turn: u64| -> (u64, Event) {
        let event = stream.event(turn);
        (xxh3_64(&event.user.to_be_bytes()), event)
    };
    let mut ahead: [(u64, Event); PREFETCH_AHEAD] = std::array::from_fn(|turn| drawn(turn as u64));
    let (mut done, mut flagged) = (0, 0);
    loop {
        match control.command() {
            Command::Run => {}
            Command::Pause => control.pause(index),
            Command::Stop => break,
        }
        for turn in done..done + BATCH {
            let later = drawn(turn + PREFETCH_AHEAD as u64);
            table.prefetch(later.0);
            let place = &mut ahead[turn as usize % PREFETCH_AHEAD];
            let (hash, event) = std::mem::replace(place, later);
            let profile = table.profile(hash, event.user);
            flagged += u64::from(profile.judge(event.ts, event.amount));
        }
        done += BATCH;
        control.report(index, done);
    }
    std::hint::black_box(flagged);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn the_bare_table_counts_its_accesses() {
        let workload = workload::Options { users: 1_000, ..workload::Options::default() };
        let bare = Bare::start(&Config { workload, huge_pages: false, ..Config::default() });
        assert!(bare.window(Duration::from_millis(30)).records > 0);
        bare.stop();
    }
}
