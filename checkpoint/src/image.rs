//! What a cut holds of one core beside its state: positions, frames on their way, sealed output.
//!
//! ```text
//! "TWIMAGE1" | core u32 | checkpoint u64 | sections u32 | section ... | xxh3_64 of all before, u64
//! section: kind u8 | edge u32 | peer u32 | name bytes u32 | name | bytes u64 | bytes
//! ```
//!
//! Integers are little-endian. The sections' bytes are the engine's; what each kind holds is said
//! at [`SectionKind`]. What is read is checked to the last byte before any of it is believed.

use std::fmt;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// What every image begins with; the digit is the format's version.
const MAGIC: &[u8; 8] = b"TWIMAGE1";

/// Bytes of an image without sections.
const LEAST: usize = MAGIC.len() + 4 + 8 + 4 + CHECKSUM_BYTES;

const CHECKSUM_BYTES: usize = 8;

/// What a section holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum SectionKind {
    /// The numbers that a task keeps: watermarks, idleness, who has ended. `edge` is the gate's, or
    /// the source's place among the sources.
    Task = 1,
    /// The splits of a source with their positions; `edge` is the source's place.
    Splits = 2,
    /// A channel at its receiver: its state and the frames that had been sent to it and were not
    /// processed. `peer` is the sending core.
    Input = 3,
    /// A channel at its sender: its state and the frames that no link had taken. `peer` is the
    /// receiving core.
    Output = 4,
    /// Sealed output that is not committed; `edge` is the sink's place among the sinks.
    Committables = 5,
}

/// One piece of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it holds.
    pub kind: SectionKind,
    /// Name of the operator that it belongs to.
    pub name: String,
    /// The edge, or a place in a list; see [`SectionKind`].
    pub edge: u32,
    /// The other core of a channel; 0 elsewhere.
    pub peer: u32,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A core's part of a cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    /// The core.
    pub core: u32,
    /// The checkpoint.
    pub checkpoint: u64,
    /// What it holds, in the order in which it was recorded.
    pub sections: Vec<Section>,
}

/// Why bytes are no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("cannot read the image of a core, {bytes} bytes: {reason}")]
pub struct ImageError {
    /// How many bytes there were.
    pub bytes: usize,
    /// What is wrong with them.
    pub reason: &'static str,
}

impl Image {
    /// The section of a kind at an edge and peer.
    pub fn section(&self, kind: SectionKind, edge: u32, peer: u32) -> Option<&Section> {
        let mut sections = self.sections.iter();
        sections.find(|found| (found.kind, found.edge, found.peer) == (kind, edge, peer))
    }

    /// Bytes of what it holds.
    pub fn payload_bytes(&self) -> usize {
        self.sections.iter().map(|section| section.bytes.len()).sum()
    }

    /// The image as it is stored.
    ///
    /// # Panics
    /// If a name has 4 GiB.
    pub fn encode(&self) -> Vec<u8> {
        let names = self.sections.iter().map(|section| section.name.len()).sum::<usize>();
        let mut out =
            Vec::with_capacity(LEAST + names + self.payload_bytes() + 21 * self.sections.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.core.to_le_bytes());
        out.extend_from_slice(&self.checkpoint.to_le_bytes());
        out.extend_from_slice(&count_of(self.sections.len()).to_le_bytes());
        for Section { kind, name, edge, peer, bytes } in &self.sections {
            out.push(*kind as u8);
            out.extend_from_slice(&edge.to_le_bytes());
            out.extend_from_slice(&peer.to_le_bytes());
            out.extend_from_slice(&count_of(name.len()).to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            out.extend_from_slice(bytes);
        }
        let checksum = xxh3_64(&out);
        out.extend_from_slice(&checksum.to_le_bytes());
        out
    }

    /// Reads a stored image.
    ///
    /// # Errors
    /// The bytes are none, or were damaged; nothing larger than them is allocated.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        Reader { rest: bytes }
            .image(bytes)
            .map_err(|reason| ImageError { bytes: bytes.len(), reason })
    }
}

fn count_of(length: usize) -> u32 {
    u32::try_from(length).expect("a count in an image is below 2^32")
}

struct Reader<'a> {
    rest: &'a [u8],
}

const CUT_SHORT: &str = "it is cut short";

impl<'a> Reader<'a> {
    fn image(mut self, all: &[u8]) -> Result<Image, &'static str> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err("it begins with other bytes than an image of this version");
        }
        let body = self.rest.len().checked_sub(CHECKSUM_BYTES).ok_or(CUT_SHORT)?;
        let (rest, checksum) = self.rest.split_at(body);
        if checksum != xxh3_64(&all[..all.len() - CHECKSUM_BYTES]).to_le_bytes() {
            return Err("its checksum is another: it was cut short or damaged");
        }
        self.rest = rest;
        let (core, checkpoint, count) = (self.u32()?, self.u64()?, self.u32()?);
        let mut sections = Vec::new();
        for _ in 0..count {
            sections.push(self.section()?);
        }
        if !self.rest.is_empty() {
            return Err("there is more than its sections");
        }
        Ok(Image { core, checkpoint, sections })
    }

    fn section(&mut self) -> Result<Section, &'static str> {
        let kind = match self.take(1)? {
            [1] => SectionKind::Task,
            [2] => SectionKind::Splits,
            [3] => SectionKind::Input,
            [4] => SectionKind::Output,
            [5] => SectionKind::Committables,
            _ => return Err("the kind of a section is unknown"),
        };
        let (edge, peer, name_bytes) = (self.u32()?, self.u32()?, self.u32()?);
        let name = std::str::from_utf8(self.take(name_bytes as usize)?);
        let name = name.map_err(|_| "a name is no text")?.to_owned();
        let bytes = usize::try_from(self.u64()?).map_err(|_| CUT_SHORT)?;
        let bytes = self.take(bytes)?.to_vec();
        Ok(Section { kind, name, edge, peer, bytes })
    }

    fn u32(&mut self) -> Result<u32, &'static str> {
        let bytes = self.take(4)?.first_chunk().ok_or(CUT_SHORT)?;
        Ok(u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, &'static str> {
        let bytes = self.take(8)?.first_chunk().ok_or(CUT_SHORT)?;
        Ok(u64::from_le_bytes(*bytes))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], &'static str> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CUT_SHORT)?;
        self.rest = rest;
        Ok(taken)
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SectionKind::Task => "task",
            SectionKind::Splits => "splits",
            SectionKind::Input => "input",
            SectionKind::Output => "output",
            SectionKind::Committables => "committables",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let kinds = [SectionKind::Task, SectionKind::Splits, SectionKind::Input];
        let kinds = kinds.into_iter().chain([SectionKind::Output, SectionKind::Committables]);
        let section = |(at, kind)| {
            let (edge, name) = (at as u32, format!("operator {at}"));
            Section { kind, name, edge, peer: 7 - edge, bytes: vec![at as u8; at * 40] }
        };
        Image { core: 3, checkpoint: 41, sections: kinds.enumerate().map(section).collect() }
    }

    #[test]
    fn an_image_reads_back_as_it_was() {
        for image in [image(), Image::default()] {
            assert_eq!(Image::decode(&image.encode()).unwrap(), image);
        }
        let image = image();
        assert_eq!(image.section(SectionKind::Input, 2, 5).unwrap().name, "operator 2");
        assert!(image.section(SectionKind::Input, 2, 4).is_none());
    }

    #[test]
    fn every_prefix_and_every_flipped_byte_is_refused() {
        let bytes = image().encode();
        for end in 0..bytes.len() {
            assert!(Image::decode(&bytes[..end]).is_err(), "{end} bytes");
        }
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 0x41;
            assert!(Image::decode(&bytes).is_err(), "byte {at}");
        }
    }

    /// A checksum that fits proves nothing: whoever edits a file can make one.
    #[test]
    fn lengths_are_checked_before_memory_is_asked_for() {
        let mut bytes = image().encode();
        let checked = bytes.len() - CHECKSUM_BYTES;
        for at in MAGIC.len()..checked {
            let before = bytes[at];
            bytes[at] = 0xff;
            let checksum = xxh3_64(&bytes[..checked]).to_le_bytes();
            bytes[checked..].copy_from_slice(&checksum);
            drop(Image::decode(&bytes));
            bytes[at] = before;
        }
        let error = Image::decode(b"TWIMAGE9").unwrap_err().to_string();
        assert!(
            error.starts_with("cannot read the image of a core, 8 bytes: it begins"),
            "{error}"
        );
    }
}
