//! Panics of user code become errors.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::sync::Once;

use crate::Error;
use crate::error::Kind;
use crate::operator::blamed;

thread_local! {
    static CAPTURED: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on panics of this thread are noted instead of printed.
pub(crate) fn capture_in_this_thread() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CAPTURED.with(Cell::get) {
                LAST.with(|last| *last.borrow_mut() = Some(info.to_string()));
            } else {
                others(info);
            }
        }));
    });
    CAPTURED.with(|captured| captured.set(true));
}

/// A panic of this thread as an error that names its operator. User code that cannot be given what
/// it asks for is ended by a panic that carries the error itself.
pub(crate) fn caught(payload: Box<dyn Any + Send>) -> Error {
    let text = LAST.with(|last| last.borrow_mut().take());
    let text = text.unwrap_or_else(|| "a panic without a message".to_owned());
    let text = text
        .split_once(":\n")
        .map_or(text.clone(), |(place, message)| format!("{message} ({place})"));
    let error = match payload.downcast::<Error>() {
        Ok(error) => *error,
        Err(_) => Error::new(Kind::Panic, text),
    };
    match blamed() {
        Some(operator) => error.in_operator(&operator),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{catch_unwind, panic_any};

    use super::*;

    #[test]
    fn a_panic_that_carries_an_error_is_that_error_and_others_say_where_they_were() {
        capture_in_this_thread();
        let given = || Error::new(Kind::Io, "cannot read /scratch").with_hint("look there");
        let carried = caught(catch_unwind(|| panic_any(given())).unwrap_err());
        assert_eq!((carried.kind(), carried.report()), (Kind::Io, given().report()));
        let plain = caught(catch_unwind(|| panic!("boom")).unwrap_err());
        assert_eq!(plain.kind(), Kind::Panic);
        assert!(plain.report().contains("boom (") && plain.report().contains("panics.rs"));
    }
}
