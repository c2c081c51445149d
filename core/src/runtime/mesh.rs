//! Links between all cores of a node.

use thalweg_net::{Doorbell, link};

use super::Link;
use crate::config::NetworkConfig;
use crate::{Error, Result};

/// What one core gets: its doorbell and its links, `None` in its own place.
pub(crate) struct MeshNode {
    pub(crate) doorbell: Doorbell,
    pub(crate) links: Vec<Option<Link>>,
}

/// Control frames that a link holds beside the data that its credits allow.
const CONTROL_FRAMES: usize = 4;

/// Connects `cores` cores, each pair in both directions.
pub(crate) fn mesh(
    cores: usize,
    channels: usize,
    network: &NetworkConfig,
) -> Result<Vec<MeshNode>> {
    let bell =
        || Doorbell::new().map_err(|error| Error::io("cannot make an eventfd for a core", error));
    let bells = (0..cores).map(|_| bell()).collect::<Result<Vec<_>>>()?;
    let capacity = channels.max(1) * (network.credits + CONTROL_FRAMES);
    let mut nodes: Vec<MeshNode> =
        bells.iter().map(|bell| MeshNode { doorbell: bell.clone(), links: Vec::new() }).collect();
    let mut senders: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
    let mut receivers: Vec<Vec<_>> = (0..cores).map(|_| Vec::new()).collect();
    for from in 0..cores {
        for to in 0..cores {
            if from == to {
                senders[from].push(None);
                receivers[to].push(None);
                continue;
            }
            let (sender, receiver) = link(capacity, bells[to].clone(), bells[from].clone());
            senders[from].push(Some(sender));
            receivers[to].push(Some(receiver));
        }
    }
    for ((node, senders), receivers) in nodes.iter_mut().zip(senders).zip(receivers) {
        let pairs = senders.into_iter().zip(receivers);
        let both =
            pairs.map(|(sender, receiver)| Some(Link { sender: sender?, receiver: receiver? }));
        node.links = both.collect();
    }
    Ok(nodes)
}
