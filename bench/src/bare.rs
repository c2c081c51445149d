//! The bare prefetched table: what the memory of this machine gives, with next to no work
//! around it.
//!
//! Each pinned core draws users of its own shard, prefetches their lines as far ahead as the
//! baseline does, and changes every field of the profile: no generator, exchange, rule or
//! digest. A run in which the baseline stays below half of this rate says nothing about the
//! engine and is void.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::handwritten::control::{Command, Control};
use crate::handwritten::table::Table;
use crate::handwritten::worker::PREFETCH_AHEAD;
use crate::handwritten::{Config, Window};
use crate::machine::{self, Clock};
use crate::workload::mix;

/// Spreads consecutive inputs over all of `u64`.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Accesses between two looks at the command.
const BATCH: u64 = 4_096;

/// Warm tables that are worked on in windows, their threads asleep between them.
pub struct Bare {
    control: Arc<Control>,
    clock: Clock,
    threads: Vec<JoinHandle<()>>,
}

impl Bare {
    /// Fills one table per core with its share of the users. The stream's seed and skew
    /// play no part.
    pub fn start(config: &Config) -> Self {
        let control = Arc::new(Control::new(config.parallelism, Command::Pause));
        let users = (config.workload.users / config.parallelism as u64).max(1);
        let huge_pages = config.huge_pages;
        let start = |index: usize| {
            let control = Arc::clone(&control);
            let work = move || {
                machine::pin(index).expect("a thread can be pinned to an allowed processor");
                control.arrive(index);
                access(&control, index, users, huge_pages);
            };
            let name = format!("bare-{index}");
            let thread = std::thread::Builder::new().name(name).spawn(work);
            thread.expect("a thread can be started")
        };
        let threads = (0..config.parallelism).map(start).collect();
        control.wait_until_paused();
        Self {
            control,
            clock: Clock::start(),
            threads,
        }
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

fn access(control: &Control, index: usize, users: u64, huge_pages: bool) {
    let mut table = Table::for_users(users, huge_pages);
    for user in 0..users {
        table.profile(mix(user.wrapping_mul(SPREAD)), user);
    }
    let mut ahead = [(0, 0); PREFETCH_AHEAD];
    let mut done = 0;
    loop {
        match control.command() {
            Command::Run => {}
            Command::Pause => control.pause(index),
            Command::Stop => return,
        }
        for turn in done..done + BATCH {
            let user = ((mix(turn.wrapping_mul(SPREAD)) >> 32) * users) >> 32;
            let hash = mix(user.wrapping_mul(SPREAD));
            table.prefetch(hash);
            let (hash, user) =
                std::mem::replace(&mut ahead[turn as usize % PREFETCH_AHEAD], (hash, user));
            let profile = table.profile(hash, user);
            profile.hour_start = turn as i64;
            profile.tx_count_1h += 1;
            profile.total_1h += user as i64;
            profile.tx_total += 1;
            profile.avg_30d += 1.0;
        }
        done += BATCH;
        control.report(index, done);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload;

    #[test]
    fn the_bare_table_counts_its_accesses() {
        let workload = workload::Options {
            users: 1_000,
            ..workload::Options::default()
        };
        let bare = Bare::start(&Config {
            workload,
            huge_pages: false,
            ..Config::default()
        });
        assert!(bare.window(Duration::from_millis(30)).records > 0);
        bare.stop();
    }
}
