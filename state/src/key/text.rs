//! Keys whose length varies: strings and byte strings, encoded as they are.

use super::{Key, KeyError, KeySink};

macro_rules! bytes_key {
    ($($type:ty, $bytes:ident, $heap:ident, $decode:expr;)*) => { $(
        impl Key for $type {
            const WIDTH: Option<usize> = None;

            #[inline]
            fn encoded_len(&self) -> usize {
                self.len()
            }

            #[inline]
            fn encode<S: KeySink + ?Sized>(&self, out: &mut S) {
                out.put(self.$bytes());
            }

            fn decode(bytes: &[u8]) -> Result<Self, KeyError> {
                $decode(bytes)
            }

            #[inline]
            fn matches(&self, encoded: &[u8]) -> bool {
                encoded == self.$bytes()
            }

            #[inline]
            fn heap_bytes(&self) -> usize {
                self.$heap()
            }

            #[inline]
            fn with_encoded<R>(&self, f: impl FnOnce(&[u8]) -> R) -> R {
                f(self.$bytes())
            }
        }
    )* };
}

bytes_key! {
    String, as_bytes, capacity, |bytes| text(bytes).map(String::from);
    Box<str>, as_bytes, len, |bytes| text(bytes).map(Box::from);
    Vec<u8>, as_slice, capacity, |bytes: &[u8]| Ok(bytes.to_vec());
}

fn text(bytes: &[u8]) -> Result<&str, KeyError> {
    std::str::from_utf8(bytes).map_err(|error| KeyError::Text { valid_up_to: error.valid_up_to() })
}
