//! Tuples of keys: every field but the last prefixed, the last one as it is.

use super::{Key, KeyError, KeySink};
use crate::macros::width;

macro_rules! tuple_key {
    ($($name:ident $index:tt)* ; $last:ident $last_index:tt) => {
        impl<$($name: Key,)* $last: Key> Key for ($($name,)* $last,) {
            const WIDTH: Option<usize> = width(&[$($name::WIDTH,)* $last::WIDTH]);

            #[inline]
            fn encoded_len(&self) -> usize {
                $(self.$index.prefixed_len() +)* self.$last_index.encoded_len()
            }

            #[inline]
            fn encode<Sink: KeySink + ?Sized>(&self, out: &mut Sink) {
                $(self.$index.encode_prefixed(out);)*
                self.$last_index.encode(out);
            }

            #[inline]
            fn decode(mut bytes: &[u8]) -> Result<Self, KeyError> {
                let bytes = &mut bytes;
                Ok(($($name::decode_prefixed(bytes)?,)* $last::decode(bytes)?,))
            }

            #[inline]
            fn matches(&self, mut encoded: &[u8]) -> bool {
                let encoded = &mut encoded;
                $(self.$index.matches_prefixed(encoded) &&)* self.$last_index.matches(encoded)
            }

            #[inline]
            fn heap_bytes(&self) -> usize {
                $(self.$index.heap_bytes() +)* self.$last_index.heap_bytes()
            }
        }
    };
}

tuple_key!(; A 0);
tuple_key!(A 0; B 1);
tuple_key!(A 0 B 1; C 2);
tuple_key!(A 0 B 1 C 2; D 3);
tuple_key!(A 0 B 1 C 2 D 3; E 4);
tuple_key!(A 0 B 1 C 2 D 3 E 4; F 5);
