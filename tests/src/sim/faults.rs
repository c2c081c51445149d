//! What happens to a store: single operations that fail, and times in which it takes nothing.

use thalweg_checkpoint::store::{Fault, Operation};

use super::Random;
use crate::seen;

/// Chooses the fault of each operation.
pub struct Faults {
    random: Random,
    /// Percentage of operations that something happens to.
    fails: u64,
    /// Of ten thousand operations, how many find the store full, and for how many it stays so.
    fills: u64,
    full_for: u64,
    /// For how many more operations it is full.
    full: u64,
    filling: Random,
}

impl Faults {
    /// Draws how often the store is full; `random` chooses single faults, `fails` in a hundred.
    pub fn draw(random: Random, fails: u64) -> Self {
        let mut filling = random.fork("full");
        let fills = filling.pick(&[0, 0, 0, 10, 100]);
        let full_for = filling.pick(&[10, 100, 1_000]);
        Self { random, fails, fills, full_for, full: 0, filling }
    }

    /// Whether there are any.
    pub fn are_none(&self) -> bool {
        self.fails == 0 && self.fills == 0
    }

    /// What happens to an operation.
    pub fn strike(&mut self, operation: Operation<'_>) -> Fault {
        if self.full == 0 && self.filling.below(10_000) < self.fills {
            self.full = self.filling.magnitude(self.full_for);
        }
        self.full = self.full.saturating_sub(1);
        if let Operation::Create(path) = operation
            && self.full > 0
        {
            let is_log = path.contains("/log/");
            seen!("the store was full when the log was written", if is_log);
            seen!("the store was full when a file was written", if !is_log);
            return Fault::Fail;
        }
        self.fail(operation)
    }

    fn fail(&mut self, operation: Operation<'_>) -> Fault {
        let random = &mut self.random;
        if !random.chance(self.fails) {
            return Fault::None;
        }
        match operation {
            Operation::List(_) => Fault::Stale(random.below(5) as usize),
            // A beginning reads the whole log, and it may be long.
            Operation::Get(_) if random.chance(3) => Fault::Fail,
            Operation::Get(_) => Fault::None,
            _ => {
                let faults = [Fault::Fail, Fault::LostAnswer, Fault::LostRequest, Fault::Delayed];
                let fault = random.pick(&faults);
                if let (Fault::LostAnswer, Operation::Create(path)) = (fault, operation) {
                    let is_log = path.contains("/log/");
                    seen!("an answer about an entry of the log was lost", if is_log);
                    seen!("an answer about a file was lost", if !is_log);
                }
                fault
            }
        }
    }
}
