//! One input of a gate: its channel, the page that is being read, how far it has got.

use thalweg_net::{Body, InputChannel, Page};

use crate::record::Record;
use crate::time::{MIN, Timestamp};

/// By how many of its pages' event time a channel may be ahead of another before it waits.
const PAGES_APART: Timestamp = 8;

/// The input from one sending core.
pub(super) struct Input {
    pub(super) channel: InputChannel,
    pub(super) open: Option<OpenPage>,
    pub(super) watermark: Timestamp,
    /// Timestamp of the last record that was taken.
    pub(super) seen: Timestamp,
    /// Whether it cannot go on in this turn.
    pub(super) stuck: bool,
    /// Records that all consumers have taken.
    pub(super) records: u64,
    /// Per consumer, the first record of the open page's current run that it has not taken: one may
    /// be ahead of another when it ran out of credit later.
    pub(super) cursors: Vec<usize>,
    /// How many of the queued pages were looked at for cold rows.
    pub(super) ahead: usize,
}

/// The first record that waits in an input.
pub(super) struct Front {
    pub(super) at: Timestamp,
    /// Event time by which it may be ahead of others.
    pub(super) slack: Timestamp,
}

pub(super) struct OpenPage {
    pub(super) page: Page,
    pub(super) trailing: Timestamp,
    /// Whether a checkpoint brought it back: its buffer goes home to nobody.
    pub(super) restored: bool,
    pub(super) cursor: Cursor,
}

/// How far a page has been read.
pub(super) struct Cursor {
    /// The first record that is not consumed by all.
    pub(super) at: usize,
    pub(super) prepared: Prepared,
}

/// Whether the rows of a page's rest are at hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepared {
    /// Nobody has looked.
    No,
    /// Some were not when the cold tier had given so many answers.
    Waits(u64),
    /// They were when rows had left so many times.
    Yes(u64),
}

impl Input {
    /// What comes next; the least time for a control frame.
    pub(super) fn front<T: Record>(&self) -> Option<Front> {
        if self.stuck {
            return None;
        }
        let (page, at) = match &self.open {
            Some(open) => (&open.page, open.cursor.at),
            None => match self.channel.front()? {
                Body::Data { page, .. } => (page, 0),
                _ => return Some(Front { at: MIN, slack: 0 }),
            },
        };
        let page = page.typed::<T>();
        let Some(last) = page.len().checked_sub(1).filter(|last| at <= *last) else {
            return Some(Front { at: MIN, slack: 0 });
        };
        let span = page.head(last).timestamp.saturating_sub(page.head(0).timestamp);
        Some(Front { at: page.head(at).timestamp, slack: span.saturating_mul(PAGES_APART) })
    }

    /// The pages that wait, the first one first.
    pub(super) fn queued_pages(&self) -> impl Iterator<Item = &Page> {
        self.channel.frames().filter_map(|body| match body {
            Body::Data { page, .. } => Some(page),
            _ => None,
        })
    }

    /// Whether one consumer is ahead of another on the open page.
    pub(super) fn apart(&self) -> bool {
        self.cursors.iter().any(|cursor| *cursor != self.cursors[0])
    }
}
