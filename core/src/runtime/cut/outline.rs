//! An image as who only looks at it sees it: without the job's types.
//!
//! What is counted here is read with the code of a restore, so what has an outline fails a restore
//! for its types only. No bytes make it panic, and none make it ask for more memory than they have.

use std::collections::BTreeMap;

use thalweg_checkpoint::coordinator::ChannelCounts;
use thalweg_checkpoint::{Image, Section, SectionKind};
use thalweg_net::recorded;

use super::messages::count_of;
use super::{Restoring, invalid};
use crate::operator::Snapshot;
use crate::runtime::valve::Valve;
use crate::runtime::{sealed, splits};
use crate::time::Timestamp;
use crate::{Error, Result};

/// What an image holds.
#[derive(Debug, Clone, Default)]
pub struct Outline {
    /// The core.
    pub core: u32,
    /// The checkpoint.
    pub checkpoint: u64,
    /// Sources, by their places.
    pub sources: Vec<SourceOutline>,
    /// Sinks, by their places.
    pub sinks: Vec<SinkOutline>,
    /// Channels that lead to this core or away from it.
    pub channels: Vec<ChannelOutline>,
    /// What this core knows of the records of its channels.
    pub counts: Vec<ChannelCounts>,
    /// The merged watermark of each gate, by its edge.
    pub watermarks: BTreeMap<u32, Timestamp>,
}

/// The splits of a source on a core.
#[derive(Debug, Clone)]
pub struct SourceOutline {
    /// The source's name.
    pub name: String,
    /// Numbers of splits, and the bytes of their positions.
    pub splits: Vec<(u32, Vec<u8>)>,
}

/// Sealed output of a sink on a core that was not known to be visible.
#[derive(Debug, Clone)]
pub struct SinkOutline {
    /// The sink's name.
    pub name: String,
    /// Committables by the checkpoint that they were sealed for.
    pub sealed: Vec<(u64, Vec<Vec<u8>>)>,
}

/// One end of a channel.
#[derive(Debug, Clone)]
pub struct ChannelOutline {
    /// The edge.
    pub edge: u32,
    /// The name of what stands behind it.
    pub name: String,
    /// The other core.
    pub peer: u32,
    /// Whether this core receives.
    pub is_input: bool,
    /// Records on their way.
    pub records: u64,
    /// Frames on their way, watermarks and ends included.
    pub frames: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whether the channel has ended.
    pub ended: bool,
}

impl Outline {
    /// Reads what an image holds.
    ///
    /// # Errors
    /// A section is not what its kind says; the error names it.
    pub fn read(image: &Image) -> Result<Self> {
        let Image { core, checkpoint, ref sections } = *image;
        let mut outline = Self { core, checkpoint, ..Self::default() };
        // How many consumers a gate has says how to read its inputs.
        let consumers = gates(image, &mut outline.watermarks)?;
        for section in sections {
            outline.add(section, &consumers).map_err(|error| at(section, error))?;
        }
        Ok(outline)
    }

    fn add(&mut self, section: &Section, consumers: &BTreeMap<u32, usize>) -> Result<()> {
        let (name, bytes) = (section.name.clone(), &section.bytes);
        match section.kind {
            SectionKind::Task => {}
            SectionKind::Splits => {
                let splits = splits::raw(bytes)?.into_iter();
                let splits = splits.map(|(number, value)| (number, value.to_vec())).collect();
                self.sources.push(SourceOutline { name, splits });
            }
            SectionKind::Committables => {
                self.sinks.push(SinkOutline { name, sealed: sealed::decode(bytes)? });
            }
            SectionKind::Input => {
                let consumers = consumers.get(&section.edge).copied();
                let consumers = consumers.ok_or_else(|| invalid("its gate is not recorded"))?;
                self.input(section, consumers)?;
            }
            SectionKind::Output => self.output(section)?,
        }
        Ok(())
    }

    fn input(&mut self, section: &Section, consumers: usize) -> Result<()> {
        let (head, frames) = Restoring::split_head(&section.bytes)?;
        let mut head = Snapshot::to_restore(self.checkpoint, head.to_vec());
        let (mut ignored, mut consumed, mut ended, mut open) = (0, 0, false, None);
        head.i64(&mut ignored)?;
        head.i64(&mut ignored)?;
        head.u64(&mut consumed)?;
        for _ in 0..consumers {
            head.usize(&mut 0)?;
        }
        head.i64(&mut ignored)?;
        head.bool(&mut ended)?;
        head.option(&mut open)?;
        head.finish()?;
        let mut channel = channel(section, true, frames)?;
        let taken = u64::try_from(open.unwrap_or(0)).unwrap_or(u64::MAX);
        let left = channel.records.checked_sub(taken);
        channel.records = left.ok_or_else(|| invalid("a page was read behind its end"))?;
        channel.ended = ended;
        let count =
            count_of(&mut self.counts, section.edge, section.peer as usize, self.core as usize);
        (count.consumed, count.recorded) = (consumed, channel.records);
        self.channels.push(channel);
        Ok(())
    }

    fn output(&mut self, section: &Section) -> Result<()> {
        let (head, frames) = Restoring::split_head(&section.bytes)?;
        let mut head = Snapshot::to_restore(self.checkpoint, head.to_vec());
        let (mut ignored, mut idle, mut ended, mut written) = (0, false, false, 0);
        head.i64(&mut ignored)?;
        head.i64(&mut ignored)?;
        head.bool(&mut idle)?;
        head.bool(&mut ended)?;
        head.u64(&mut written)?;
        head.finish()?;
        let channel = ChannelOutline { ended, ..channel(section, false, frames)? };
        let count =
            count_of(&mut self.counts, section.edge, self.core as usize, section.peer as usize);
        (count.sent, count.unsent) = (written, channel.records);
        self.channels.push(channel);
        Ok(())
    }
}

/// The number of consumers of each gate, by its edge; notes their watermarks.
fn gates(image: &Image, watermarks: &mut BTreeMap<u32, Timestamp>) -> Result<BTreeMap<u32, usize>> {
    let mut inputs: BTreeMap<u32, usize> = BTreeMap::new();
    for section in image.sections.iter().filter(|it| it.kind == SectionKind::Input) {
        *inputs.entry(section.edge).or_default() += 1;
    }
    let mut consumers = BTreeMap::new();
    for (edge, count) in inputs {
        let Some(section) = image.section(SectionKind::Task, edge, 0) else { continue };
        let (watermark, number) =
            gate(image, section, count).map_err(|error| at(section, error))?;
        watermarks.insert(edge, watermark);
        consumers.insert(edge, number);
    }
    Ok(consumers)
}

/// A gate's merged watermark and the number of its consumers.
fn gate(image: &Image, section: &Section, inputs: usize) -> Result<(Timestamp, usize)> {
    let mut task = Snapshot::to_restore(image.checkpoint, section.bytes.clone());
    let mut valve = Valve::new(inputs);
    valve.snapshot(&mut task)?;
    task.usize(&mut 0)?;
    task.option(&mut None)?;
    task.usize(&mut 0)?;
    task.option(&mut None)?;
    task.bool(&mut false)?;
    let mut consumers = 0;
    task.usize(&mut consumers)?;
    Ok((valve.output(), consumers))
}

fn channel(section: &Section, is_input: bool, mut frames: &[u8]) -> Result<ChannelOutline> {
    let bytes = frames.len() as u64;
    let (mut records, mut count) = (0, 0);
    while !frames.is_empty() {
        let skipped = recorded::skip(&mut frames);
        let skipped = skipped.map_err(|error| invalid("a frame").with_source(error))?;
        records += u64::from(skipped.unwrap_or(0));
        count += 1;
    }
    let (edge, peer, name) = (section.edge, section.peer, section.name.clone());
    let ended = false;
    Ok(ChannelOutline { edge, name, peer, is_input, records, frames: count, bytes, ended })
}

#[cold]
fn at(section: &Section, error: Error) -> Error {
    let Section { kind, name, edge, peer, .. } = section;
    invalid(&format!("the {kind} section of {name:?} at {edge} and {peer}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(kind: SectionKind, bytes: Vec<u8>) -> Section {
        Section { kind, name: "judge".to_owned(), edge: 0, peer: 0, bytes }
    }

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn headed(head: &[u64], frames: &[u8]) -> Vec<u8> {
        let head = words(head);
        [&(head.len() as u32).to_le_bytes()[..], &head, frames].concat()
    }

    /// A core that sends to itself: 7 records were written, 5 taken, 2 lie on the open page of
    /// three.
    fn image() -> Image {
        let page = [&[1][..], &words(&[0]), &3_u32.to_le_bytes(), &1_u32.to_le_bytes(), &[9; 121]];
        let frames = [&page.concat()[..], &[3]].concat();
        let task = [1, 4, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 1, 77];
        let splits = [&1_u32.to_le_bytes()[..], &[3, 0, 0, 0, 2, 0, 0, 0, 5, 6]].concat();
        let sealed = sealed::encode(&vec![(8, vec![vec![1, 2]])]);
        let sections = vec![
            section(SectionKind::Output, headed(&[4, 4, 0, 0, 7], &[])),
            section(SectionKind::Task, words(&task)),
            section(SectionKind::Input, headed(&[4, 4, 5, 1, 4, 0, 1, 1], &frames)),
            section(SectionKind::Splits, splits),
            section(SectionKind::Committables, sealed),
        ];
        Image { core: 0, checkpoint: 9, sections }
    }

    #[test]
    fn an_outline_counts_what_is_on_its_way() {
        let outline = Outline::read(&image()).unwrap();
        assert_eq!(outline.watermarks[&0], 4);
        assert_eq!(outline.sources[0].splits, [(3, vec![5, 6])]);
        assert_eq!(outline.sinks[0].sealed, [(8, vec![vec![1, 2]])]);
        let [sent, received] = &outline.channels[..] else { panic!("{:?}", outline.channels) };
        assert!(!sent.is_input && received.is_input);
        assert_eq!((sent.records, received.records, received.frames), (0, 2, 2));
        assert_eq!(ChannelCounts::check_conservation(outline.counts.iter()), Ok(()));
        let mut lost = image();
        lost.sections[0].bytes[36] = 8;
        let lost = Outline::read(&lost).unwrap();
        assert!(ChannelCounts::check_conservation(lost.counts.iter()).is_err());
    }

    #[test]
    fn damaged_sections_are_named_and_never_panic() {
        let whole = image();
        for at in 0..whole.sections.len() {
            for byte in 0..whole.sections[at].bytes.len() {
                for value in [0, 1, 0x7f, 0xff] {
                    let mut image = whole.clone();
                    image.sections[at].bytes[byte] = value;
                    drop(Outline::read(&image));
                    image.sections[at].bytes.truncate(byte);
                    let _ = Outline::read(&image).map_err(|error| {
                        assert!(error.to_string().contains("section of \"judge\""), "{error}");
                    });
                }
            }
        }
    }
}
