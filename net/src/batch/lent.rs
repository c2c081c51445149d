//! A record's bits in another place.

use std::mem::MaybeUninit;
use std::ops::Deref;

/// A bitwise copy of a record, to look at.
///
/// A record whose address goes to a call that is rarely made would be written to memory each time
/// beforehand; if that call is given the address of such a copy, the record itself can stay in
/// registers.
pub(crate) struct Lent<'a, T> {
    bits: MaybeUninit<T>,
    original: std::marker::PhantomData<&'a T>,
}

impl<'a, T> Lent<'a, T> {
    /// Copies the bits; the original is borrowed for as long as the copy lives.
    #[inline(always)]
    pub(crate) fn new(record: &'a T) -> Self {
        // SAFETY: a reference is valid for reads of a `MaybeUninit` of its type.
        let bits = unsafe { std::ptr::from_ref(record).cast::<MaybeUninit<T>>().read() };
        Self { bits, original: std::marker::PhantomData }
    }
}

impl<T> Deref for Lent<'_, T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the bits are those of a live record, which nobody changes or drops while it is
        // borrowed; they are never dropped here.
        unsafe { self.bits.assume_init_ref() }
    }
}
