//! Panics of user code become errors.

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

/// The last panic of this thread as an error that names its operator.
pub(crate) fn last() -> Error {
    let text = LAST.with(|last| last.borrow_mut().take());
    let text = text.unwrap_or_else(|| "a panic without a message".to_owned());
    let text = text
        .split_once(":\n")
        .map_or(text.clone(), |(place, message)| format!("{message} ({place})"));
    let error = Error::new(Kind::Panic, text);
    match blamed() {
        Some(operator) => error.in_operator(&operator),
        None => error,
    }
}
