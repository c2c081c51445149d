//! Splits of a source with their positions, as a checkpoint holds them.
//!
//! Number of splits u32, then for each its number u32, the length u32 and the bytes of its value.

use thalweg_state::{Encoder, State};

use super::cut::invalid;
use crate::Result;

/// The bytes of splits.
pub(crate) fn encode<S: State>(splits: &[(u32, S)]) -> Result<Vec<u8>> {
    let mut out = (splits.len() as u32).to_le_bytes().to_vec();
    let (mut encoder, mut value) = (Encoder::new(), Vec::new());
    for (number, split) in splits {
        value.clear();
        encoder.encode(split, &mut value)?;
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(&value);
    }
    Ok(out)
}

/// The splits in `bytes`.
///
/// # Errors
/// The bytes hold no splits of this type.
pub(crate) fn decode<S: State>(bytes: &[u8]) -> Result<Vec<(u32, S)>> {
    let splits = raw(bytes)?.into_iter();
    splits.map(|(id, value)| Ok((id, S::decode(value)?))).collect()
}

/// The splits in `bytes`, each with the bytes of its value.
///
/// # Errors
/// The bytes hold no splits.
pub(crate) fn raw(mut bytes: &[u8]) -> Result<Vec<(u32, &[u8])>> {
    let mut splits = Vec::new();
    for _ in 0..number(&mut bytes)? {
        let (id, length) = (number(&mut bytes)?, number(&mut bytes)? as usize);
        let (value, rest) = bytes.split_at_checked(length).ok_or_else(cut_short)?;
        splits.push((id, value));
        bytes = rest;
    }
    if bytes.is_empty() { Ok(splits) } else { Err(invalid("there is more than its splits")) }
}

fn number(bytes: &mut &[u8]) -> Result<u32> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(cut_short)?;
    *bytes = rest;
    Ok(u32::from_le_bytes(*number))
}

fn cut_short() -> crate::Error {
    invalid("the splits of a source are cut short")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_read_back_and_every_prefix_is_refused() {
        let splits = vec![(3, (7_u64, String::from("a.csv"))), (0, (u64::MAX, String::new()))];
        let bytes = encode(&splits).unwrap();
        assert_eq!(decode::<(u64, String)>(&bytes).unwrap(), splits);
        for end in 0..bytes.len() {
            assert!(decode::<(u64, String)>(&bytes[..end]).is_err(), "{end} bytes");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(decode::<(u64, String)>(&longer).is_err());
    }
}
