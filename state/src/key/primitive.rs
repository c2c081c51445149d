//! Keys of fixed width: integers, `bool`, `char`, byte arrays and the empty key.
//!
//! The sign bit of signed integers is flipped, so that the encodings sort as the numbers do.

use super::{Key, KeyError, KeySink, exactly};

macro_rules! integer_key {
    ($($type:ty, $flip:expr;)*) => { $(
        impl Key for $type {
            const WIDTH: Option<usize> = Some(size_of::<$type>());

            #[inline]
            fn encoded_len(&self) -> usize {
                size_of::<$type>()
            }

            #[inline]
            fn encode<S: KeySink + ?Sized>(&self, out: &mut S) {
                out.put(&(*self ^ $flip).to_be_bytes());
            }

            #[inline]
            fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
                Ok(<$type>::from_be_bytes(exactly(bytes)?) ^ $flip)
            }

            #[inline]
            fn matches(&self, encoded: &[u8]) -> bool {
                encoded == (*self ^ $flip).to_be_bytes()
            }

            #[inline]
            fn heap_bytes(&self) -> usize {
                0
            }

            #[inline]
            fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                f(&(*self ^ $flip).to_be_bytes())
            }
        }
    )* };
}

integer_key! {
    u8, 0; u16, 0; u32, 0; u64, 0; u128, 0;
    i8, i8::MIN; i16, i16::MIN; i32, i32::MIN; i64, i64::MIN; i128, i128::MIN;
}

impl Key for bool {
    const WIDTH: Option<usize> = Some(1);

    #[inline]
    fn encoded_len(&self) -> usize {
        1
    }

    #[inline]
    fn encode<S: KeySink + ?Sized>(&self, out: &mut S) {
        out.put(&[u8::from(*self)]);
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        match exactly::<1>(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [value] => Err(KeyError::Invalid { type_name: "bool", value: u64::from(value) }),
        }
    }

    #[inline]
    fn matches(&self, encoded: &[u8]) -> bool {
        encoded == [u8::from(*self)]
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl Key for char {
    const WIDTH: Option<usize> = Some(4);

    #[inline]
    fn encoded_len(&self) -> usize {
        4
    }

    #[inline]
    fn encode<S: KeySink + ?Sized>(&self, out: &mut S) {
        out.put(&u32::from(*self).to_be_bytes());
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        let value = u32::from_be_bytes(exactly(bytes)?);
        char::from_u32(value)
            .ok_or(KeyError::Invalid { type_name: "char", value: u64::from(value) })
    }

    #[inline]
    fn matches(&self, encoded: &[u8]) -> bool {
        encoded == u32::from(*self).to_be_bytes()
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl<const N: usize> Key for [u8; N] {
    const WIDTH: Option<usize> = Some(N);

    #[inline]
    fn encoded_len(&self) -> usize {
        N
    }

    #[inline]
    fn encode<S: KeySink + ?Sized>(&self, out: &mut S) {
        out.put(self);
    }

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        exactly(bytes)
    }

    #[inline]
    fn matches(&self, encoded: &[u8]) -> bool {
        encoded == self
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        0
    }

    #[inline]
    fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
        f(self)
    }
}

impl Key for () {
    const WIDTH: Option<usize> = Some(0);

    #[inline]
    fn encoded_len(&self) -> usize {
        0
    }

    #[inline]
    fn encode<S: KeySink + ?Sized>(&self, _out: &mut S) {}

    #[inline]
    fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
        exactly::<0>(bytes).map(|_| ())
    }

    #[inline]
    fn matches(&self, encoded: &[u8]) -> bool {
        encoded.is_empty()
    }

    #[inline]
    fn heap_bytes(&self) -> usize {
        0
    }
}
