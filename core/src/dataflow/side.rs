//! Side outputs: a tag names an additional output of an operator, with a type of its own.

use std::marker::PhantomData;

/// Names a side output.
///
/// ```
/// use thalweg::prelude::*;
/// let late = Tag::<u64>::new("late");
/// assert_eq!(late.name(), "late");
/// ```
pub struct Tag<T> {
    name: String,
    record: PhantomData<fn(T)>,
}

impl<T> Tag<T> {
    /// A tag with this name, unique within an operator.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), record: PhantomData }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for Tag<T> {
    fn clone(&self) -> Self {
        Self::new(&self.name)
    }
}
