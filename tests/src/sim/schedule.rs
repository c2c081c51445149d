//! What a seed chooses: the shape of the cluster once, and what happens next at every step.

use thalweg::config::NetworkConfig;
use thalweg::testing::StateBound;

use super::Random;

/// Steps after which the simulator stops being unkind.
const UNKIND_STEPS_MAX: u64 = 20_000;

/// The cluster that a job runs on.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Cores.
    pub parallelism: usize,
    /// Buffers and credits.
    pub network: NetworkConfig,
    /// Key groups, if not the default.
    pub max_parallelism: Option<u32>,
    /// What state may take.
    pub state: StateBound,
}

impl Shape {
    /// Draws a shape: few cores, tiny buffers, few credits.
    pub fn draw(random: &mut Random) -> Self {
        let parallelism = random.pick(&[1, 2, 2, 2, 3, 3, 4, 5]);
        let network = NetworkConfig {
            buffer_size: random.pick(&[128, 128, 192, 256, 512, 1024, 4096]),
            credits: random.pick(&[1, 1, 2, 2, 3, 4]),
            // Not drawn: what a named point has staged may all be amplified behind it at once.
            overdraft: NetworkConfig::default().overdraft,
            flush_after: random.pick(&[0, 1_000, 100_000, 10_000_000]),
        };
        let max_parallelism = random.pick(&[None, None, Some(8), Some(100)]);
        // A draw of its own: seeds that found something keep their shape.
        let (mut random, seed) = (random.fork("state"), random.fork("tier").bits());
        let bytes = 4096 << random.below(6);
        let bound = StateBound::Bytes { bytes, seed };
        let state = random.pick(&[StateBound::None, bound, bound, StateBound::Cold { seed }]);
        Self { parallelism, network, max_parallelism, state }
    }
}

/// One decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Nanoseconds by which the clock moves first.
    pub advance: u64,
    /// The worker that steps.
    pub worker: usize,
    /// Records that each of its tasks may take.
    pub budget: usize,
    /// Frames that it sees of each link.
    pub frames: usize,
}

/// Chooses what happens next: a subset of unkindness for each seed, so that rare combinations come
/// up.
#[derive(Debug)]
pub struct Schedule {
    random: Random,
    parallelism: usize,
    budgets: &'static [usize],
    frames: &'static [usize],
    /// Percentage of the steps before which the clock moves, and by how much at the most.
    moves: u64,
    move_max: u64,
    /// A core that is chosen much less often than the others.
    slow: Option<usize>,
    /// The core chosen last, and how likely it is to go on.
    last: usize,
    streak: u64,
    steps_max: u64,
    steps: u64,
}

const ALL: usize = usize::MAX;

impl Schedule {
    /// Draws the kind of schedule for `parallelism` cores.
    pub fn draw(mut random: Random, parallelism: usize) -> Self {
        let budgets: [&'static [usize]; 6] =
            [&[1], &[1, 2, 5], &[7, 40], &[1024], &[1, 1024], &[1, 3, 17, 100, 1024]];
        let frames: [&'static [usize]; 5] = [&[ALL], &[1], &[0, 1, 2], &[0, ALL], &[0, 1, 3, ALL]];
        let cores = parallelism as u64;
        Self {
            budgets: random.pick(&budgets),
            frames: random.pick(&frames),
            moves: random.pick(&[5, 30, 100]),
            move_max: random.pick(&[1_000, 1_000_000, 1_000_000_000, 60_000_000_000]),
            slow: random.chance(30).then(|| random.below(cores) as usize),
            last: 0,
            streak: random.pick(&[0, 0, 50, 95]),
            steps_max: random.pick(&[200, 2_000, UNKIND_STEPS_MAX, UNKIND_STEPS_MAX]),
            steps: 0,
            parallelism,
            random,
        }
    }

    /// The next decision; `None` once the simulator has been unkind for long enough.
    pub fn decide(&mut self) -> Option<Decision> {
        if self.steps >= self.steps_max {
            return None;
        }
        self.steps += 1;
        let random = &mut self.random;
        if !random.chance(self.streak) {
            self.last = random.below(self.parallelism as u64) as usize;
            if self.slow == Some(self.last) && !random.chance(3) {
                self.last = random.below(self.parallelism as u64) as usize;
            }
        }
        let moves = random.chance(self.moves);
        Some(Decision {
            advance: if moves { random.magnitude(self.move_max) } else { 0 },
            worker: self.last,
            budget: random.pick(self.budgets),
            frames: random.pick(self.frames),
        })
    }
}
