//! User code that panics: once, at a call that a seed chooses.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

thread_local! {
    /// How many calls from now user code panics; 0: it does not.
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

/// What user code panics with.
struct Sprung;

/// Lets the `calls`-th call of user code from now on panic; 0: none does.
pub fn set(calls: u64) {
    CALLS.set(calls);
}

/// Whether some call is to panic.
pub fn is_set() -> bool {
    CALLS.get() > 0
}

/// A call of user code: jobs say so wherever records are made or read.
pub fn call() {
    let left = CALLS.get();
    CALLS.set(left.saturating_sub(1));
    if left == 1 {
        // Without a word: it is what was wanted.
        resume_unwind(Box::new(Sprung));
    }
}

/// Runs a turn; `None` if user code has panicked in it. Other panics go on.
pub fn watch<R>(turn: impl FnOnce() -> R) -> Option<R> {
    let is_ours = |panic: &Box<dyn Any + Send>| panic.is::<Sprung>();
    match catch_unwind(AssertUnwindSafe(turn)) {
        Ok(result) => Some(result),
        Err(panic) if is_ours(&panic) => None,
        Err(panic) => resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_call_panics_and_no_other() {
        let call_twice = || (call(), call());
        assert!(watch(call_twice).is_some());
        set(3);
        assert!(watch(call_twice).is_some() && is_set());
        assert!(watch(call_twice).is_none() && !is_set());
        assert!(watch(call_twice).is_some());
    }
}
