//! Which rows must stay: those of pages that are being read or wait for cold rows.

/// A filter of row hashes, made anew for each slice of eviction. It may keep a row too many, never
/// one too few.
pub struct Held {
    words: Vec<u64>,
    hashes: Vec<u64>,
}

/// Bits per hash: every sixteenth row or so is kept without need.
const BITS: usize = 16;

/// Spreads hashes whose low bits are fixed by the key group.
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Held {
    pub(crate) fn new() -> Self {
        Self { words: vec![0], hashes: Vec::new() }
    }

    /// Starts with nothing held.
    pub(crate) fn clear(&mut self) {
        self.hashes.clear();
    }

    /// Holds the rows with this hash.
    #[inline]
    pub(crate) fn add(&mut self, hash: u64) {
        self.hashes.push(hash);
    }

    /// Ends the additions.
    pub(crate) fn seal(&mut self) {
        let words = (self.hashes.len() * BITS).div_ceil(64).next_power_of_two();
        self.words.clear();
        self.words.resize(words, 0);
        for hash in &self.hashes {
            let (word, bit) = place(*hash, words);
            self.words[word] |= bit;
        }
    }

    /// Whether a row with this hash may be held.
    #[inline]
    pub(crate) fn holds(&self, hash: u64) -> bool {
        let (word, bit) = place(hash, self.words.len());
        self.words[word] & bit != 0
    }
}

/// Word and bit of a hash among `words`, a power of two.
#[inline]
fn place(hash: u64, words: usize) -> (usize, u64) {
    let spread = hash.wrapping_mul(ODD) >> 16;
    ((spread >> 6) as usize & (words - 1), 1 << (spread & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_held_and_little_else() {
        let mut held = Held::new();
        assert!(!held.holds(7));
        for round in 1..4u64 {
            held.clear();
            (0..1_000).for_each(|n: u64| held.add(n * 128 * round));
            held.seal();
            assert!((0..1_000).all(|n| held.holds(n * 128 * round)));
            let more = (1_000..11_000u64).filter(|n| held.holds(n * 128 * round)).count();
            assert!(more < 1_500, "{more} of 10,000 are held without need");
        }
        held.clear();
        held.seal();
        assert!(!held.holds(0) && !held.holds(128));
    }
}
