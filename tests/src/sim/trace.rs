//! What a run has decided and seen, as a hash and, when asked for, as text.

use std::fmt::Arguments;

use super::random::mix;

/// The trace of one run.
#[derive(Debug, Default)]
pub struct Trace {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that keeps its text if `text` is set.
    pub fn new(text: bool) -> Self {
        Self { hash: 0, lines: text.then(Vec::new) }
    }

    /// Takes a number in.
    pub fn number(&mut self, number: u64) {
        self.hash = mix(self.hash.rotate_left(5) ^ number);
    }

    /// Takes bytes in.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.number(u64::from_le_bytes(word));
        }
    }

    /// Adds a line of text, which is not made unless it is kept.
    pub fn line(&mut self, text: Arguments<'_>) {
        if let Some(lines) = &mut self.lines {
            lines.push(text.to_string());
        }
    }

    /// The hash of all numbers and bytes so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// The lines, if they were kept.
    pub fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
