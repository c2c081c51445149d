//! Sealed output of a sink, as a checkpoint holds it.
//!
//! Number of checkpoints u32; for each its number u64 and the number of committables u32; for each
//! of those its length u32 and its bytes.

use super::cut::invalid;
use crate::Result;

/// Committables by the checkpoint that they were sealed for.
pub(super) type Sealed = Vec<(u64, Vec<Vec<u8>>)>;

/// The bytes of sealed output.
pub(super) fn encode(sealed: &Sealed) -> Vec<u8> {
    let mut out = (sealed.len() as u32).to_le_bytes().to_vec();
    for (checkpoint, committables) in sealed {
        out.extend_from_slice(&checkpoint.to_le_bytes());
        out.extend_from_slice(&(committables.len() as u32).to_le_bytes());
        for committable in committables {
            out.extend_from_slice(&(committable.len() as u32).to_le_bytes());
            out.extend_from_slice(committable);
        }
    }
    out
}

/// The sealed output in `bytes`.
///
/// # Errors
/// The bytes hold none.
pub(super) fn decode(mut bytes: &[u8]) -> Result<Sealed> {
    let mut sealed = Vec::new();
    for _ in 0..u32::from_le_bytes(take(&mut bytes)?) {
        let checkpoint = u64::from_le_bytes(take(&mut bytes)?);
        let mut committables = Vec::new();
        for _ in 0..u32::from_le_bytes(take(&mut bytes)?) {
            let length = u32::from_le_bytes(take(&mut bytes)?) as usize;
            let (committable, rest) = bytes.split_at_checked(length).ok_or_else(cut_short)?;
            committables.push(committable.to_vec());
            bytes = rest;
        }
        sealed.push((checkpoint, committables));
    }
    let ordered = sealed.windows(2).all(|two| two[0].0 < two[1].0);
    if bytes.is_empty() && ordered { Ok(sealed) } else { Err(invalid("it has no order")) }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk().ok_or_else(cut_short)?;
    *bytes = rest;
    Ok(*taken)
}

fn cut_short() -> crate::Error {
    invalid("the sealed output of a sink is cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_output_reads_back_and_every_prefix_is_refused() {
        let sealed = vec![(4, vec![vec![1, 2], Vec::new()]), (9, vec![vec![3; 300]])];
        let bytes = encode(&sealed);
        assert_eq!(decode(&bytes).unwrap(), sealed);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        assert!(decode(&[&bytes[..], &[0]].concat()).is_err());
        assert!(decode(&encode(&vec![(9, Vec::new()), (4, Vec::new())])).is_err());
    }
}
