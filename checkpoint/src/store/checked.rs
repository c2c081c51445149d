//! Reading or writing an object piece by piece while its length and checksum are taken.
//!
//! What is handed on was counted: whoever comes to the end knows the whole without holding it.

use std::io::{self, Read, Write};

use xxhash_rust::xxh3::Xxh3;

use crate::FileInfo;

/// A reader or writer that counts and hashes what passes.
pub struct Checked<R> {
    inner: R,
    bytes: u64,
    hasher: Xxh3,
}

impl<R> Checked<R> {
    /// Nothing has passed yet.
    pub fn new(inner: R) -> Self {
        Self { inner, bytes: 0, hasher: Xxh3::new() }
    }

    /// How many bytes have passed.
    pub fn count(&self) -> u64 {
        self.bytes
    }

    /// The checksum of what has passed; see [`checksum`](super::checksum).
    pub fn checksum(&self) -> u64 {
        self.hasher.digest()
    }

    /// What is wrong with the file that was read to its end; `None`: it is the one that was meant.
    pub fn complaint(&self, named: &FileInfo) -> Option<String> {
        named.complaint(self.count(), self.checksum())
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        self.hasher.update(&into[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<W: Write> Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::checksum;

    #[test]
    fn what_passes_in_pieces_is_known_as_a_whole() {
        let whole: Vec<u8> = (0..70_000_u32).map(|n| (n / 7) as u8).collect();
        let (bytes, checksum) = (whole.len() as u64, checksum(&whole));
        let named = FileInfo { path: "a".to_owned(), offset: 0, bytes, checksum };
        let mut checked = Checked::new(&whole[..]);
        let mut piece = [0; 999];
        while checked.read(&mut piece).unwrap() > 0 {}
        assert_eq!(checked.complaint(&named), None);
        let mut written = Checked::new(Vec::new());
        whole.chunks(777).for_each(|piece| written.write_all(piece).unwrap());
        assert_eq!(written.complaint(&named), None);
        let mut checked = Checked::new(&whole[1..]);
        io::copy(&mut checked, &mut io::sink()).unwrap();
        assert_eq!(checked.complaint(&named).unwrap(), "it has 69999 bytes of 70000");
        let other = FileInfo { bytes: bytes - 1, ..named };
        assert!(checked.complaint(&other).unwrap().starts_with("its checksum is "));
    }
}
