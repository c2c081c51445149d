//! Changes to valid bytes: what disks, networks and people do to them.

use crate::sim::Random;

/// Numbers that lengths and counts had better not be believed to be.
const HUGE: [u64; 10] = [
    0,
    1,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x8000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_ffff,
    0x0100_0000_0000_0000,
];

/// Inputs grow no further than this.
const BYTES_MAX: usize = 1 << 20;

/// Changes one of the `corpus` a few times.
pub fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = random.pick(corpus);
    for _ in 0..random.magnitude(6) {
        change(&mut bytes, corpus, random);
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn place(bytes: &[u8], random: &mut Random) -> usize {
    // Heads stand in front.
    match random.below(3) {
        0 => random.below(bytes.len().min(64) as u64 + 1) as usize,
        _ => random.below(bytes.len() as u64 + 1) as usize,
    }
}

fn range(bytes: &[u8], random: &mut Random) -> std::ops::Range<usize> {
    let start = place(bytes, random);
    let most = (bytes.len() - start) as u64;
    let length = if most == 0 { 0 } else { random.magnitude(most) as usize };
    start..start + length
}

fn change(bytes: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    let at = place(bytes, random);
    match random.below(10) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.pick(&[0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'[', b'9', b'-']);
            }
        }
        3 => bytes.truncate(at),
        4 => drop(bytes.drain(range(bytes, random))),
        5 => {
            let copy = bytes[range(bytes, random)].to_vec();
            bytes.splice(at..at, copy);
        }
        6 => {
            let other = random.pick(corpus);
            let taken = other[range(&other, random)].to_vec();
            let gone = at..at + random.below((bytes.len() - at) as u64 + 1) as usize;
            bytes.splice(gone, taken);
        }
        7 => {
            let digits = random.pick(&HUGE).to_string();
            let start = (at..bytes.len()).find(|at| bytes[*at].is_ascii_digit()).unwrap_or(at);
            let end = (start..bytes.len()).find(|at| !bytes[*at].is_ascii_digit());
            bytes.splice(start..end.unwrap_or(bytes.len()).min(start + 20), digits.bytes());
        }
        _ => {
            let (huge, width) = (random.pick(&HUGE).to_le_bytes(), random.pick(&[2, 4, 8]));
            let there = bytes.len().saturating_sub(at).min(width);
            bytes[at..at + there].copy_from_slice(&huge[..there]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_makes_the_same_bytes_and_most_differ_from_the_corpus() {
        let corpus = [b"{\"a\":12}".to_vec(), vec![7; 300]];
        let make = |n| mutate(&corpus, &mut Random::new(n));
        assert!((0..100).all(|n| make(n) == make(n)));
        assert!((0..1_000).filter(|n| !corpus.contains(&make(*n))).count() > 900);
    }
}
