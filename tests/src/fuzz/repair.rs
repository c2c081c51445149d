//! Right checksums for damaged bytes: whoever edits a file can make one, and what stands behind the
//! check must hold by itself.

use thalweg_checkpoint::store::checksum;

const SEGMENT_HEAD: usize = 48;
const BLOCK_HEAD: usize = 32;
const CHECKSUM: usize = 8;

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + 4)?.first_chunk()?;
    Some(u32::from_le_bytes(*four) as usize)
}

fn seal(bytes: &mut [u8]) {
    if let Some(at) = bytes.len().checked_sub(CHECKSUM) {
        let sum = checksum(&bytes[..at]);
        bytes[at..].copy_from_slice(&sum.to_le_bytes());
    }
}

/// Repairs a segment: its head, its length, and every block that fits.
pub fn segment(bytes: &mut [u8]) {
    if bytes.len() < SEGMENT_HEAD {
        return;
    }
    let (head, mut blocks) = bytes.split_at_mut(SEGMENT_HEAD);
    // Ones say that it goes on until the end of its file.
    if head[32..40] != [0xff; 8] {
        head[32..40].copy_from_slice(&(blocks.len() as u64).to_le_bytes());
    }
    seal(head);
    while let (Some(name), Some(operations)) = (number(blocks, 8), number(blocks, 12)) {
        let length = BLOCK_HEAD.saturating_add(name).saturating_add(operations) + CHECKSUM;
        let Some((block, rest)) = blocks.split_at_mut_checked(length) else { return };
        seal(block);
        blocks = rest;
    }
}

/// Repairs an image.
pub fn image(bytes: &mut [u8]) {
    seal(bytes);
}

#[cfg(test)]
mod tests {
    use thalweg_checkpoint::Image;

    #[test]
    fn a_damaged_image_with_a_right_checksum_is_read_on() {
        let mut bytes = Image::default().encode();
        bytes[12] ^= 1;
        assert!(Image::decode(&bytes).is_err());
        super::image(&mut bytes);
        assert_eq!(Image::decode(&bytes).map(|image| image.checkpoint), Ok(1));
    }
}
