//! The types of state that Rust brings along.

use std::collections::{BTreeMap, VecDeque};

use super::State;
use crate::macros::fingerprint;
use crate::table::prefetch;
use crate::timers::tree_bytes;

macro_rules! flat_state {
    ($($type:ty)*) => { $(
        impl State for $type {
            const FINGERPRINT: u64 = fingerprint(stringify!($type), &[]);

            #[inline]
            fn heap_bytes(&self) -> usize {
                0
            }
        }
    )* };
}

flat_state!(u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 bool char);

impl State for () {
    const FINGERPRINT: u64 = fingerprint("()", &[]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl State for String {
    const FINGERPRINT: u64 = fingerprint("String", &[]);
    const IS_DEEP: bool = true;

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }

    #[inline]
    fn prefetch(&self) {
        prefetch(self.as_ptr());
    }
}

impl State for Box<str> {
    const FINGERPRINT: u64 = fingerprint("Box<str>", &[]);
    const IS_DEEP: bool = true;

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.len()
    }

    #[inline]
    fn prefetch(&self) {
        prefetch(self.as_ptr());
    }
}

impl<T: State> State for Vec<T> {
    const FINGERPRINT: u64 = fingerprint("Vec", &[("", T::FINGERPRINT)]);
    const IS_DEEP: bool = true;

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(State::heap_bytes).sum::<usize>()
    }

    #[inline]
    fn prefetch(&self) {
        prefetch(self.as_ptr());
    }
}

impl<T: State> State for VecDeque<T> {
    const FINGERPRINT: u64 = fingerprint("VecDeque", &[("", T::FINGERPRINT)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(State::heap_bytes).sum::<usize>()
    }
}

impl<T: State> State for Box<T> {
    const FINGERPRINT: u64 = fingerprint("Box", &[("", T::FINGERPRINT)]);
    const IS_DEEP: bool = true;

    #[inline]
    fn heap_bytes(&self) -> usize {
        size_of::<T>() + T::heap_bytes(self)
    }

    #[inline]
    fn prefetch(&self) {
        prefetch(&raw const **self);
    }
}

/// Not asked for ahead: what is seldom looked at belongs here, the rest into a `Vec`.
impl<T: State> State for Box<[T]> {
    const FINGERPRINT: u64 = fingerprint("Box<[]>", &[("", T::FINGERPRINT)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        size_of_val::<[T]>(self) + self.iter().map(State::heap_bytes).sum::<usize>()
    }
}

impl<T: State> State for Option<T> {
    const FINGERPRINT: u64 = fingerprint("Option", &[("", T::FINGERPRINT)]);
    const IS_DEEP: bool = T::IS_DEEP;

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, State::heap_bytes)
    }

    #[inline]
    fn prefetch(&self) {
        if let Some(value) = self {
            value.prefetch();
        }
    }
}

impl<T: State, const N: usize> State for [T; N] {
    const FINGERPRINT: u64 = fingerprint("array", &[("", T::FINGERPRINT), ("", N as u64)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        self.iter().map(State::heap_bytes).sum()
    }
}

impl<K, V> State for BTreeMap<K, V>
where
    K: State + Ord,
    K::Archived: Ord,
    V: State,
{
    const FINGERPRINT: u64 = fingerprint("BTreeMap", &[("", K::FINGERPRINT), ("", V::FINGERPRINT)]);

    #[inline]
    fn heap_bytes(&self) -> usize {
        let flat = tree_bytes(self.len(), size_of::<K>() + size_of::<V>());
        self.iter().fold(flat, |sum, (key, value)| sum + key.heap_bytes() + value.heap_bytes())
    }
}

macro_rules! tuple_state {
    ($($name:ident $index:tt)*) => {
        impl<$($name: State),*> State for ($($name,)*) {
            const FINGERPRINT: u64 = fingerprint("tuple", &[$(("", $name::FINGERPRINT)),*]);
            const IS_DEEP: bool = false $(|| $name::IS_DEEP)*;

            #[inline]
            fn heap_bytes(&self) -> usize {
                0 $(+ self.$index.heap_bytes())*
            }

            #[inline]
            fn prefetch(&self) {
                $(self.$index.prefetch();)*
            }
        }
    };
}

tuple_state!(A 0);
tuple_state!(A 0 B 1);
tuple_state!(A 0 B 1 C 2);
tuple_state!(A 0 B 1 C 2 D 3);
tuple_state!(A 0 B 1 C 2 D 3 E 4);
tuple_state!(A 0 B 1 C 2 D 3 E 4 F 5);
