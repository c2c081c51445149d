//! The key of a row that belongs to a key: `key | entry` or `key | namespace`.

use thalweg_state::table::StreamHash;
use thalweg_state::{Key, KeyRef};

/// How the hash of a row and that of its stream's key follow from one another.
pub(crate) struct Places<K> {
    /// The hash of the stream's key, from the row's key and hash.
    pub(crate) stream: StreamHash<K>,
    /// The row's hash, from its key and the hash of the stream's key.
    pub(crate) row: fn(&K, u64) -> u64,
    /// Whether the two are the same, that of the row's key.
    pub(crate) is_plain: bool,
}

impl<K: Key> Places<K> {
    /// Rows whose key is that of the stream.
    pub(crate) const PLAIN: Self =
        Self { stream: |_, hash| hash, row: |_, hash| hash, is_plain: true };
}

impl<K: Key, E: Key> Places<(K, E)> {
    /// Rows of [`RowKey::of`].
    pub(crate) const ENTRIES: Self = Self {
        stream: |row, _| row.0.key_hash(),
        row: |row, stream| row_hash(stream, row.1.key_hash()),
        is_plain: false,
    };
}

impl<K: Key> Places<(K, i64)> {
    /// Rows of [`RowKey::in_namespace`].
    pub(crate) const NAMESPACES: Self = Self {
        stream: |row, _| row.0.key_hash(),
        row: |row, stream| row_hash(stream, row.1 as u64),
        is_plain: false,
    };
}

/// Builds the encodings of `(K, E)` from a key that is encoded already.
pub(crate) struct RowKey {
    bytes: Vec<u8>,
}

/// Spreads entries of one key over the table.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

impl RowKey {
    pub(crate) fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// The key of the row `entry` of `key`.
    #[inline]
    pub(crate) fn of<K: Key, E: Key>(&mut self, key: KeyRef<'_>, entry: &E) -> KeyRef<'_> {
        self.bytes.clear();
        if K::WIDTH.is_none() {
            let length = key.bytes.len() as u32;
            self.bytes.extend_from_slice(&length.to_be_bytes());
        }
        self.bytes.extend_from_slice(key.bytes);
        entry.encode(&mut self.bytes);
        KeyRef { hash: row_hash(key.hash, entry.key_hash()), bytes: &self.bytes }
    }

    /// The key of the row that belongs to `namespace` of `key`.
    #[inline]
    pub(crate) fn in_namespace<K: Key>(&mut self, key: KeyRef<'_>, namespace: i64) -> KeyRef<'_> {
        self.bytes.clear();
        if K::WIDTH.is_none() {
            let length = key.bytes.len() as u32;
            self.bytes.extend_from_slice(&length.to_be_bytes());
        }
        self.bytes.extend_from_slice(key.bytes);
        namespace.encode(&mut self.bytes);
        KeyRef { hash: row_hash(key.hash, namespace as u64), bytes: &self.bytes }
    }
}

/// The place of a row in its table: the key's hash moved on by the entry's, no second pass over the
/// key.
#[inline]
pub(crate) fn row_hash(key: u64, entry: u64) -> u64 {
    key.wrapping_add(entry.wrapping_mul(ODD))
}

#[cfg(test)]
mod tests {
    use super::*;
    use thalweg_state::key;

    fn hash_of_row<K: Key, E: Key>(row: &(K, E)) -> u64 {
        row_hash(row.0.with_encoded(key::hash), row.1.key_hash())
    }

    #[test]
    fn a_row_key_is_the_encoding_of_the_pair() {
        let mut row = RowKey::new();
        let pair = (String::from("ab"), 7u64);
        let key = row.of::<String, u64>(KeyRef::new(b"ab"), &7);
        let mut bytes = Vec::new();
        pair.encode(&mut bytes);
        assert_eq!(key.bytes, bytes);
        assert_eq!(key.hash, hash_of_row(&pair));
        let pair = (3u32, -1i64);
        let key = row.in_namespace::<u32>(KeyRef::new(&3u32.to_be_bytes()), -1);
        let mut bytes = Vec::new();
        pair.encode(&mut bytes);
        assert_eq!(key.bytes, bytes);
    }
}
