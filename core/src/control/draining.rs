//! Draining: what is on its way is worked off before the cut, while the sources emit nothing.
//!
//! A core answers a round when it has nothing left to do. All are quiet at once when they have
//! answered two rounds with the same counts of frames, as many received as sent: then none was on
//! its way between the two.

use thalweg_checkpoint::coordinator::Trigger;

/// A checkpoint that waits for its cores to be quiet.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) trigger: Trigger,
    /// When it waits no longer; `None`: its own time limit ends it.
    pub(super) until_ms: Option<u64>,
    /// Whether the sources stay silent behind the cut.
    pub(super) keep: bool,
    round: u64,
    /// Frames sent and received, by core.
    answers: Vec<Option<(u64, u64)>>,
    /// What the round before has come to.
    before: Option<(u64, u64)>,
}

/// What an answer has led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answered {
    /// Others are missing, or it is of an older round.
    Waiting,
    /// The next round begins.
    Again(u64),
    /// Nothing is on its way.
    Quiet,
}

impl Draining {
    pub(super) fn new(trigger: Trigger, cores: usize, until_ms: Option<u64>, keep: bool) -> Self {
        Self { trigger, until_ms, keep, round: 0, answers: vec![None; cores], before: None }
    }

    pub(super) fn answered(&mut self, core: usize, round: u64, counts: (u64, u64)) -> Answered {
        if round != self.round {
            return Answered::Waiting;
        }
        self.answers[core] = Some(counts);
        let Some(all) = self.answers.iter().copied().collect::<Option<Vec<_>>>() else {
            return Answered::Waiting;
        };
        let sum = all.iter().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
        if sum.0 == sum.1 && self.before == Some(sum) {
            return Answered::Quiet;
        }
        self.before = Some(sum);
        self.round += 1;
        self.answers.fill(None);
        Answered::Again(self.round)
    }
}

#[cfg(test)]
mod tests {
    use thalweg_checkpoint::Kind;
    use thalweg_checkpoint::coordinator::Mode;

    use super::*;

    #[test]
    fn two_equal_rounds_without_frames_on_their_way_are_quiet() {
        let mode = Mode::ExactlyOnce;
        let kind = Kind::Checkpoint;
        let trigger = Trigger { term: 1, id: 1, kind, mode, aligned_timeout_ms: 5, started_ms: 0 };
        let mut it = Draining::new(trigger, 2, None, false);
        assert_eq!(it.answered(0, 0, (5, 3)), Answered::Waiting);
        assert_eq!(it.answered(1, 1, (3, 4)), Answered::Waiting, "of no round");
        assert_eq!(it.answered(1, 0, (3, 4)), Answered::Again(1), "a frame is on its way");
        assert_eq!(it.answered(0, 1, (5, 3)), Answered::Waiting);
        assert_eq!(it.answered(0, 0, (5, 3)), Answered::Waiting, "of the last round");
        assert_eq!(it.answered(1, 1, (3, 5)), Answered::Again(2), "it has come, and led to what?");
        assert_eq!(it.answered(0, 2, (6, 4)), Answered::Waiting);
        assert_eq!(it.answered(1, 2, (4, 6)), Answered::Again(3), "to another one");
        assert_eq!(it.answered(1, 3, (4, 6)), Answered::Waiting);
        assert_eq!(it.answered(0, 3, (6, 4)), Answered::Quiet);
    }
}
