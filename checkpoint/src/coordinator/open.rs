//! The open checkpoint: who has acknowledged it, and what it is made of.
//!
//! It is complete when every core has acknowledged it, once, and only if no channel lost or
//! doubled a record.

use std::collections::BTreeMap;

use super::message::{Acknowledgement, ChannelCounts, Phases};
use crate::manifest::{CoreEntry, Kind};

/// A checkpoint that was triggered and is not over.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub id: u64,
    pub kind: Kind,
    pub started_ms: u64,
    pub deadline_ms: u64,
    /// Who asked for it.
    pub tokens: Vec<u64>,
    acknowledgements: BTreeMap<u32, Acknowledgement>,
}

impl Open {
    pub fn new(id: u64, kind: Kind, started_ms: u64, timeout_ms: u64, tokens: Vec<u64>) -> Self {
        let deadline_ms = started_ms.saturating_add(timeout_ms);
        Self { id, kind, started_ms, deadline_ms, tokens, acknowledgements: BTreeMap::new() }
    }

    /// Takes a core's acknowledgement; its second one is passed over.
    pub fn acknowledge(&mut self, acknowledgement: Acknowledgement) {
        self.acknowledgements.entry(acknowledgement.core).or_insert(acknowledgement);
    }

    /// Whether each of so many cores has acknowledged it.
    pub fn is_complete(&self, core_count: u32) -> bool {
        (0..core_count).all(|core| self.acknowledgements.contains_key(&core))
    }

    /// Which cores are missing, for a message.
    pub fn missing(&self, core_count: u32) -> String {
        let missing = (0..core_count).filter(|core| !self.acknowledgements.contains_key(core));
        let (mut names, mut count) = (Vec::new(), 0);
        for core in missing {
            count += 1;
            if count <= 8 {
                names.push(core.to_string());
            }
        }
        let more = if count > 8 { format!(" and {} more", count - 8) } else { String::new() };
        format!("{}{more}", names.join(", "))
    }

    /// Checks that on every channel sent = consumed + recorded + unsent.
    pub fn check_conservation(&self) -> Result<(), String> {
        let counts = self.acknowledgements.values().flat_map(|it| &it.counts);
        ChannelCounts::check_conservation(counts)
    }

    /// The cores' entries in the manifest; `key_groups` are first group and count by core.
    pub fn cores(&self, key_groups: &[(u32, u32)]) -> Vec<CoreEntry> {
        let entry = |(core, it): (&u32, &Acknowledgement)| {
            let (first_key_group, key_group_count) = key_groups[*core as usize];
            let (part, files) = (it.part.clone(), it.files.clone());
            CoreEntry { core: *core, first_key_group, key_group_count, part, files }
        };
        self.acknowledgements.iter().map(entry).collect()
    }

    /// Records in recorded frames.
    pub fn in_flight(&self) -> u64 {
        let counts = self.acknowledgements.values().flat_map(|it| &it.counts);
        counts.map(|count| count.recorded + count.unsent).sum()
    }

    /// The longest of each phase over the cores that have acknowledged.
    pub fn phases(&self) -> Phases {
        self.acknowledgements.values().fold(Phases::default(), |most, it| Phases {
            cut_us: most.cut_us.max(it.phases.cut_us),
            encode_us: most.encode_us.max(it.phases.encode_us),
            pause_us: most.pause_us.max(it.phases.pause_us),
            recording_us: most.recording_us.max(it.phases.recording_us),
            upload_us: most.upload_us.max(it.phases.upload_us),
        })
    }
}
