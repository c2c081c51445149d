//! How an open checkpoint ends: by the log, or without having been.

use super::message::{Acknowledgement, Failure, Order};
use super::open::Open;
use super::statistics::Statistic;
use super::{Coordinator, State, Writing};
use crate::log::{Completed, Entry, VERSION, Verdict, What};
use crate::manifest::{FORMAT, Kind, Manifest, Split};

impl Coordinator {
    pub(super) fn acknowledged(
        &mut self,
        now_ms: u64,
        it: Acknowledgement,
        orders: &mut Vec<Order>,
    ) {
        let Acknowledgement { checkpoint, core, term, .. } = it;
        if core >= self.core_count() || checkpoint >= self.next_id {
            return;
        }
        // Files of late acknowledgements exist as well, and are deleted one day.
        let paths = it.files.iter().chain([&it.part]).map(|file| file.path.as_str());
        let noted = self.retention.acknowledged(checkpoint, paths);
        let State::Open(open) = &mut self.state else { return };
        if open.id != checkpoint || term != self.term {
            return;
        }
        if let Err(path) = noted {
            let what = format!("core {core} names {path}, which is being deleted");
            return self.fail_attempt(now_ms, Failure::Unsound { checkpoint, what }, orders);
        }
        open.acknowledge(it);
        if open.is_complete(self.job.parallelism) {
            self.write(now_ms, orders);
        }
    }

    /// All cores have acknowledged the open checkpoint: sends its entry.
    fn write(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        let State::Open(open) = &self.state else { return };
        let checkpoint = open.id;
        let (open, manifest) = (open.clone(), self.manifest(now_ms, open));
        let sound = open
            .check_conservation()
            .map_err(|what| Failure::Conservation { checkpoint, what })
            .and_then(|()| {
                let itself = manifest.check_itself();
                itself.map_err(|what| Failure::Unsound { checkpoint, what })
            });
        if let Err(failure) = sound {
            return self.fail_attempt(now_ms, failure, orders);
        }
        let (first, manifest) = (self.first_to_stay(), Box::new(manifest));
        let what = What::Complete { checkpoint, first, manifest };
        let writing = self.send(now_ms, what, orders);
        self.state = State::Writing(writing, open);
    }

    fn manifest(&self, now_ms: u64, open: &Open) -> Manifest {
        let split = |((source, number), start): (&(String, u32), &Vec<u8>)| Split {
            source: source.clone(),
            number: *number,
            start: start.clone(),
        };
        Manifest {
            format: FORMAT,
            checkpoint: open.id,
            kind: open.kind,
            attempt: self.attempt,
            term: self.term,
            started_ms: self.epoch_ms.saturating_add(open.started_ms),
            completed_ms: self.epoch_ms.saturating_add(now_ms),
            job: self.job.clone(),
            cores: open.cores(&self.key_groups),
            splits: self.splits.iter().map(split).collect(),
        }
    }

    /// The final checkpoint is complete and committed: writes the end of the job.
    pub(super) fn finish(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        let writing = self.send(now_ms, What::Finished, orders);
        self.state = State::Finishing(writing);
    }

    fn send(&self, now_ms: u64, what: What, orders: &mut Vec<Order>) -> Box<Writing> {
        let Self { attempt, term, nonce, next_k, .. } = *self;
        let entry = Entry { version: VERSION, attempt, term, nonce, what };
        orders.push(Order::Append { k: next_k, entry: Box::new(entry.clone()) });
        Box::new(Writing { entry, began_ms: now_ms, again_at_ms: None, in_doubt: false })
    }

    pub(super) fn send_again(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        let (State::Writing(writing, _) | State::Finishing(writing)) = &mut self.state else {
            return;
        };
        if writing.again_at_ms.is_some_and(|at| at <= now_ms) {
            writing.again_at_ms = None;
            orders.push(Order::Append { k: self.next_k, entry: Box::new(writing.entry.clone()) });
        }
    }

    pub(super) fn log_answered(&mut self, now_ms: u64, verdict: Verdict, orders: &mut Vec<Order>) {
        let (State::Writing(writing, _) | State::Finishing(writing)) = &mut self.state else {
            return;
        };
        let again_at_ms = Some(now_ms.saturating_add(self.config.retry_ms));
        match verdict {
            Verdict::Ours => self.owned(now_ms, orders),
            Verdict::Superseded => {
                self.fail_attempt(now_ms, Failure::Superseded { k: self.next_k }, orders);
            }
            Verdict::SendAgain => {
                writing.in_doubt = true;
                writing.again_at_ms = again_at_ms;
            }
            // An earlier sending may land a minute later: only the log ends this.
            Verdict::NotWritten(_) if writing.in_doubt || writing.entry.what == What::Finished => {
                writing.again_at_ms = again_at_ms;
            }
            Verdict::NotWritten(error) => self.fail_open(now_ms, error.to_string(), orders),
        }
    }

    /// The entry is ours.
    fn owned(&mut self, now_ms: u64, orders: &mut Vec<Order>) {
        self.next_k += 1;
        let (writing, open) = match std::mem::replace(&mut self.state, State::Idle) {
            State::Writing(writing, open) => (writing, open),
            _ => {
                self.state = State::Over;
                self.refuse_requests("the job has finished", orders);
                orders.push(Order::Finished);
                return;
            }
        };
        let What::Complete { checkpoint, first, manifest } = writing.entry.what else { return };
        self.live.push_back(Completed { checkpoint, k: self.next_k - 1 });
        let new_bytes = self.retention.new_bytes(&manifest);
        self.retention.complete(&manifest);
        self.newest = Some(checkpoint);
        self.failed_in_row = 0;
        self.final_complete = manifest.kind == Kind::Final;
        self.pause_until_ms = now_ms.saturating_add(self.config.min_pause_ms);
        self.statistics.push(Statistic {
            bytes: manifest.bytes(),
            new_bytes,
            log_ms: now_ms.saturating_sub(writing.began_ms),
            ..self.statistic(now_ms, &open, None)
        });
        orders.push(Order::Commit { id: checkpoint });
        let again_at_ms = now_ms.saturating_add(self.config.retry_ms);
        self.commits.begin(checkpoint, self.core_count(), again_at_ms, now_ms);
        orders.push(Order::CopyManifest { manifest });
        for token in open.tokens {
            orders.push(Order::Answer { token, result: Ok(checkpoint) });
        }
        self.delete(checkpoint, orders);
        if first > self.first_k {
            self.first_k = first;
            self.live.retain(|it| it.k >= first);
            orders.push(Order::Prune { first });
        }
    }

    /// The first entry of the log that stays once the open checkpoint is complete. It is a live
    /// checkpoint's, which decides alone what came before it; and it moves rarely, so that the next
    /// attempt finds entries enough to tell what happened lately.
    fn first_to_stay(&self) -> u64 {
        let keep = u64::from(self.config.log_entries.get());
        if self.next_k - self.first_k < 2 * keep {
            return self.first_k;
        }
        let entry_of = |id| self.live.iter().find(|it| it.checkpoint == id).map(|it| it.k);
        // Void savepoints are retained as well, and none of the live ones.
        let retained = self.retention.retained().map(|id| entry_of(id).unwrap_or(0)).min();
        let most = (self.next_k - keep).min(retained.unwrap_or(0));
        let first = self.live.iter().rev().map(|it| it.k).find(|k| *k <= most);
        first.map_or(self.first_k, |first| first.max(self.first_k))
    }

    /// Orders the deletion of what nobody needs now that `checkpoint` is complete.
    pub(super) fn delete(&mut self, checkpoint: u64, orders: &mut Vec<Order>) {
        let paths = self.retention.deletable(checkpoint);
        if !paths.is_empty() {
            orders.push(Order::Delete { paths });
        }
    }

    /// The open checkpoint will not be; its entry is known not to be in the log.
    pub(super) fn fail_open(&mut self, now_ms: u64, why: String, orders: &mut Vec<Order>) {
        let open = match std::mem::replace(&mut self.state, State::Idle) {
            State::Open(open) | State::Writing(_, open) => open,
            other => return self.state = other,
        };
        self.abort(now_ms, &open, &why, orders);
        let pause_ms = match open.kind {
            Kind::Final => self.config.min_pause_ms.max(self.config.retry_ms),
            Kind::Checkpoint | Kind::Savepoint => self.config.min_pause_ms,
        };
        self.pause_until_ms = now_ms.saturating_add(pause_ms);
        if open.kind != Kind::Checkpoint {
            return;
        }
        self.failed_in_row += 1;
        let (count, tolerable) = (self.failed_in_row, self.config.tolerable_failed);
        if count > tolerable {
            let failure = Failure::TooMany { checkpoint: open.id, last: why, count, tolerable };
            self.fail_attempt(now_ms, failure, orders);
        }
    }

    /// Ends the attempt. An open checkpoint is aborted unless its entry may be in the log.
    fn fail_attempt(&mut self, now_ms: u64, reason: Failure, orders: &mut Vec<Order>) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Open(open) => self.abort(now_ms, &open, &reason.to_string(), orders),
            State::Writing(_, open) => {
                self.give_up(now_ms, &open, &reason.to_string(), orders);
            }
            State::Waiting | State::Idle | State::Finishing(_) | State::Over => {}
        }
        self.refuse_requests(&reason.to_string(), orders);
        orders.push(Order::FailAttempt { reason });
    }

    fn abort(&mut self, now_ms: u64, open: &Open, why: &str, orders: &mut Vec<Order>) {
        orders.push(Order::Abort { id: open.id });
        self.give_up(now_ms, open, why, orders);
    }

    fn give_up(&mut self, now_ms: u64, open: &Open, why: &str, orders: &mut Vec<Order>) {
        let statistic = self.statistic(now_ms, open, Some(why.to_owned()));
        self.statistics.push(statistic);
        for token in &open.tokens {
            orders.push(Order::Answer { token: *token, result: Err(why.to_owned()) });
        }
    }

    fn refuse_requests(&mut self, why: &str, orders: &mut Vec<Order>) {
        for (token, _) in self.requests.drain(..) {
            orders.push(Order::Answer { token, result: Err(why.to_owned()) });
        }
    }

    fn statistic(&self, now_ms: u64, open: &Open, failure: Option<String>) -> Statistic {
        Statistic {
            id: open.id,
            kind: open.kind,
            failure,
            started_ms: self.epoch_ms.saturating_add(open.started_ms),
            duration_ms: now_ms.saturating_sub(open.started_ms),
            log_ms: 0,
            commit_ms: None,
            phases: open.phases(),
            in_flight: open.in_flight(),
            bytes: 0,
            new_bytes: 0,
        }
    }
}
