//! Names the operator whose user code failed.
//!
//! A panic unwinds through a guard that notes the operator's name; in the normal path the guard
//! costs nothing.

use std::cell::RefCell;
use std::rc::Rc;

use crate::{BoxError, Error};

thread_local! {
    static BLAMED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Stands around a call of user code; dropped by a panic it notes the operator's name.
pub(crate) struct Blame<'a>(&'a Rc<str>);

impl<'a> Blame<'a> {
    /// Calls user code of the operator `name`.
    #[inline(always)]
    pub(crate) fn call<R>(name: &'a Rc<str>, user: impl FnOnce() -> R) -> R {
        let guard = Blame(name);
        let result = user();
        std::mem::forget(guard);
        result
    }

    /// Calls fallible user code of the operator `name` and names it in the error.
    #[inline(always)]
    pub(crate) fn try_call<R, E: Into<BoxError>>(
        name: &'a Rc<str>,
        user: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, Error> {
        Self::call(name, user).map_err(|error| Self::named(name, error.into()))
    }

    #[cold]
    fn named(name: &str, error: BoxError) -> Error {
        match error.downcast::<Error>() {
            Ok(error) => error.in_operator(name),
            Err(error) => Error::user(error).in_operator(name),
        }
    }
}

impl Drop for Blame<'_> {
    #[cold]
    fn drop(&mut self) {
        BLAMED.with(|blamed| {
            blamed.borrow_mut().get_or_insert_with(|| self.0.to_string());
        });
    }
}

/// The operator that the last panic of this thread unwound through, once.
pub(crate) fn blamed() -> Option<String> {
    BLAMED.with(|blamed| blamed.borrow_mut().take())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_blamed_on_the_innermost_operator() {
        let (outer, inner): (Rc<str>, Rc<str>) = ("outer".into(), "inner".into());
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Blame::call(&outer, || Blame::call(&inner, || panic!("boom")))
        }));
        assert!(caught.is_err());
        assert_eq!(blamed().as_deref(), Some("inner"));
        assert_eq!(blamed(), None);
    }

    #[test]
    fn an_error_keeps_the_first_name() {
        let name: Rc<str> = "parse".into();
        let error = Blame::try_call(&name, || Err::<(), _>("bad")).unwrap_err();
        assert_eq!(error.operator(), Some("parse"));
    }
}
