//! Scratch memory that is acquired by the first value that needs it.
//!
//! Most values own nothing outside themselves and need none; to acquire an arena for each would
//! take longer than to encode it.

use std::alloc::Layout;
use std::ptr::NonNull;

use rkyv::ser::Allocator;
use rkyv::ser::allocator::{Arena, ArenaHandle};

/// An arena, or its handle once something was allocated.
pub enum Scratch<'a> {
    /// Nothing was allocated.
    Idle(&'a mut Arena),
    /// The handle.
    Used(ArenaHandle<'a>),
    /// On the way from one to the other.
    Changing,
}

impl<'a> Scratch<'a> {
    #[cold]
    fn handle(&mut self) -> &mut ArenaHandle<'a> {
        if let Scratch::Idle(_) = self
            && let Scratch::Idle(arena) = std::mem::replace(self, Scratch::Changing)
        {
            *self = Scratch::Used(arena.acquire());
        }
        match self {
            Scratch::Used(handle) => handle,
            Scratch::Idle(_) | Scratch::Changing => unreachable!("the arena was acquired above"),
        }
    }
}

// SAFETY: both calls are those of the handle of an arena, which fulfils the contract; it is
// acquired once and lives as long as `self`.
unsafe impl<'a, E> Allocator<E> for Scratch<'a>
where
    ArenaHandle<'a>: Allocator<E>,
{
    unsafe fn push_alloc(&mut self, layout: Layout) -> Result<NonNull<[u8]>, E> {
        // SAFETY: the caller keeps to the contract.
        unsafe { self.handle().push_alloc(layout) }
    }

    unsafe fn pop_alloc(&mut self, ptr: NonNull<u8>, layout: Layout) -> Result<(), E> {
        // SAFETY: the caller keeps to the contract.
        unsafe { self.handle().pop_alloc(ptr, layout) }
    }
}
