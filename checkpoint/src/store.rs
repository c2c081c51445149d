//! Where checkpoints lie: named objects that are created once and never overwritten.
//!
//! Creation is the only write, and it is durable when it says so. Whatever decides who is right
//! (the log) rests on one promise: of all who create one path, one is told `Written` at most, and
//! its bytes are what everybody reads from then on.

mod checked;
mod local;
mod memory;

pub use checked::Checked;
pub use local::LocalStore;
pub use memory::{Fault, MemoryStore, Operation};

use std::fmt;
use std::io::{self, Cursor, Read, Write};

use crate::paths;

/// What became of a creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// The object is there with these bytes, durably.
    Written,
    /// Somebody's object has the path, perhaps our own from before: read it back.
    Exists,
}

/// Writes the bytes of an object, front to back.
pub type Fill<'a> = dyn FnMut(&mut dyn Write) -> io::Result<()> + 'a;

/// What is read or written at once where a file is large: a disk gets the most out of it.
const PIECE: usize = 1 << 20;

/// Named objects. Paths are relative and separated by `/` (see [`paths::complaint`]).
///
/// Calls block until the answer is known or a time limit of the store's own has passed. An error
/// whose outcome is [unknown](StoreError::unknown) may still take effect at any later time.
pub trait Store: Send {
    /// Creates an object durably, unless the path is taken. Never overwrites. Its bytes come in
    /// pieces, so that nobody has to copy them together first.
    fn create_of(&self, path: &str, pieces: &[&[u8]]) -> Result<Created, StoreError>;

    /// As [`Store::create_of`], of one piece.
    fn create(&self, path: &str, bytes: &[u8]) -> Result<Created, StoreError> {
        self.create_of(path, &[bytes])
    }

    /// As [`Store::create_of`], of bytes that `fill` writes: so nobody has to hold them all.
    ///
    /// `fill` is called once, also where the path is taken; whatever it writes has passed by then,
    /// so that the caller may compare it. If it fails nothing is created; an error of its own is
    /// handed on where it is made with [`StoreError::into_io`].
    fn create_streamed(&self, path: &str, fill: &mut Fill<'_>) -> Result<Created, StoreError> {
        let mut bytes = Vec::new();
        let filled = fill(&mut bytes);
        filled.map_err(|error| {
            StoreError::from_io(error, |e| {
                StoreError::failed(format!("cannot fill {path}: {e}"), "")
            })
        })?;
        self.create(path, &bytes)
    }

    /// Reads an object; `None` if there is none.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Reads `bytes` of an object from `offset` on, fewer if it ends before; `None` if there is
    /// none.
    fn get_range(&self, path: &str, offset: u64, bytes: u64)
    -> Result<Option<Vec<u8>>, StoreError>;

    /// Reads an object from `offset` on piece by piece; `None` if there is none.
    fn read(&self, path: &str, offset: u64) -> Result<Option<Box<dyn Read>>, StoreError> {
        self.read_by(path, offset, PIECE)
    }

    /// As [`Store::read`], in pieces of about so many bytes: for who reads many objects at once.
    fn read_by(
        &self,
        path: &str,
        offset: u64,
        piece: usize,
    ) -> Result<Option<Box<dyn Read>>, StoreError> {
        let _ = piece;
        let rest = self.get_range(path, offset, u64::MAX)?;
        Ok(rest.map(|bytes| Box::new(Cursor::new(bytes)) as Box<dyn Read>))
    }

    /// Makes an object that readers may like and nobody relies on, without waiting until it is
    /// durable; what was there before gives way.
    fn show(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// The length of an object in bytes; `None` if there is none.
    fn size(&self, path: &str) -> Result<Option<u64>, StoreError>;

    /// Paths that begin with `prefix`, sorted. May lack what was created lately: a hint for
    /// cleaning up, never a proof that something is absent.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Deletes an object; one that is not there is no error.
    fn delete(&self, path: &str) -> Result<(), StoreError>;
}

/// A failure of a store: what was attempted, and what the user can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreError {
    /// What was attempted, with what, and what went wrong.
    pub what: String,
    /// What the user can do; empty if there is nothing.
    pub hint: String,
    /// Whether the operation may have taken effect, or may yet: the caller reads back.
    pub unknown: bool,
}

impl StoreError {
    /// An operation that took no effect.
    pub fn failed(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), unknown: false }
    }

    /// An operation of which nobody knows whether it took effect.
    pub fn unknown(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into(), unknown: true }
    }

    /// The error on its way through who only knows errors of input and output.
    pub fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// The error that was sent so, or what `make` makes of another one.
    fn from_io(error: io::Error, make: impl FnOnce(&io::Error) -> Self) -> Self {
        error.downcast().unwrap_or_else(|error| make(&error))
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if !self.hint.is_empty() {
            write!(f, "\nhint: {}", self.hint)?;
        }
        Ok(())
    }
}

impl std::error::Error for StoreError {}

/// The checksum by which files are known: xxh3 of 64 bits.
pub fn checksum(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// The checksum of bytes that come in pieces.
pub fn checksum_of(pieces: &[&[u8]]) -> u64 {
    let mut hasher = xxhash_rust::xxh3::Xxh3::new();
    pieces.iter().for_each(|piece| hasher.update(piece));
    hasher.digest()
}

/// Refuses a path that could leave the store.
fn check(path: &str) -> Result<(), StoreError> {
    paths::complaint(path).map_or(Ok(()), |why| {
        Err(StoreError::failed(format!("cannot use {path:?} as a path in the store: {why}"), ""))
    })
}

/// Refuses a prefix that could leave the store; the empty one means everything.
fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    if prefix.is_empty() { Ok(()) } else { check(prefix.strip_suffix('/').unwrap_or(prefix)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_have_the_checksum_of_the_whole() {
        let whole: Vec<u8> = (0..5_000_u32).map(|n| n as u8).collect();
        let (a, rest) = whole.split_at(1_234);
        let (b, c) = rest.split_at(7);
        assert_eq!(checksum_of(&[a, b, &[], c]), checksum(&whole));
        assert_eq!(checksum_of(&[]), checksum(&[]));
    }

    #[test]
    fn an_error_shows_its_hint_on_a_line_of_its_own() {
        let error = StoreError::failed("cannot write a: no space left", "free some");
        assert_eq!(error.to_string(), "cannot write a: no space left\nhint: free some");
        assert_eq!(StoreError::unknown("no answer", "").to_string(), "no answer");
        assert!(StoreError::unknown("", "").unknown && !StoreError::failed("", "").unknown);
    }

    #[test]
    fn what_cannot_be_filled_is_not_created_and_says_why() {
        let store = MemoryStore::new();
        let own = StoreError::failed("no segment", "look elsewhere");
        let failed = store.create_streamed("a", &mut |out| {
            out.write_all(b"half")?;
            Err(own.clone().into_io())
        });
        assert_eq!(failed, Err(own));
        let failed = store.create_streamed("a", &mut |_| Err(io::Error::other("no disk")));
        assert_eq!(failed.unwrap_err().what, "cannot fill a: no disk");
        assert_eq!(store.size("a"), Ok(None));
        let mut fill = |out: &mut dyn Write| out.write_all(b"bytes");
        assert_eq!(store.create_streamed("a", &mut fill), Ok(Created::Written));
        assert_eq!(store.create_streamed("a", &mut fill), Ok(Created::Exists));
        assert_eq!(store.get("a").unwrap().unwrap(), b"bytes");
    }

    #[test]
    fn prefixes_may_end_in_a_slash_or_be_empty_but_not_leave() {
        for prefix in ["", "a", "a/", "a/b", "a/b/"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["/", "../", "a/../", "a//"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn stores_are_used_behind_a_pointer() {
        fn own(_: &dyn Store) {}
        own(&MemoryStore::new());
    }
}
