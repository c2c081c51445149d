//! How a source is read while somebody watches for the record that its chain fails on.
//!
//! The reader is asked for one record at a time and does not hand it to the chain: it is put by
//! until the reader says where its split stands behind it. By that the record is known again.

use super::Reading;
use crate::Result;
use crate::operator::{Feed, SplitEvent};
use crate::runtime::Core;
use crate::runtime::poison::{Found, Identity, Warden};
use crate::source::{SourceOutput, SourceReader, SourceStatus};
use crate::time::{Stamp, Timestamp};

/// What a reader has said.
enum Said<T> {
    Record(T, Timestamp, u64),
    Split(SplitEvent),
    Watermark(Timestamp),
    Idle(bool),
}

/// All splits, in front of what was read and behind it.
struct Moved<'a, S> {
    before: &'a [(u32, S)],
    behind: &'a [(u32, S)],
}

/// A record's identity, and where its split stands behind it.
type Told = (Identity, Vec<u8>);

impl<R: SourceReader, N: Feed<R::Out>> Reading<R, N> {
    /// Reads up to `budget` records one at a time; tells how many.
    pub(super) fn poll_watched(&mut self, budget: usize) -> Result<(SourceStatus, usize)> {
        let core = std::rc::Rc::clone(&self.core);
        let Some(warden) = core.warden() else { return self.poll(budget) };
        let (mut read, mut before) = (0, self.reader.snapshot());
        loop {
            let mut stash = Stash { core: &core, said: Vec::new(), left: 1 };
            if !self.started {
                self.started = true;
                let open = self.reader.open(&mut stash);
                open.map_err(|error| error.in_operator(&self.name))?;
            }
            let status = self.reader.poll(&mut stash);
            let status = status.map_err(|error| error.in_operator(&self.name))?;
            let (said, taken) = (stash.said, 1 - stash.left);
            let splits = self.reader.snapshot();
            let moved = Moved { before: &before, behind: &splits };
            said.into_iter().try_for_each(|said| self.hand_on(warden, &moved, said))?;
            before = splits;
            read += taken;
            let goes_on = status == SourceStatus::More && taken > 0 && read < budget;
            if !goes_on || core.pressure.get() {
                return Ok((status, read));
            }
        }
    }

    fn hand_on(
        &mut self,
        warden: &Warden,
        moved: &Moved<'_, R::Split>,
        said: Said<R::Out>,
    ) -> Result<()> {
        let (record, timestamp, origin) = match said {
            Said::Record(record, timestamp, origin) => (record, timestamp, origin),
            Said::Watermark(watermark) => return self.next.watermark(watermark),
            Said::Idle(idle) => return self.next.idle(idle),
            Said::Split(event) => {
                if let SplitEvent::Current(split) = event {
                    self.current = Some(split);
                }
                return self.next.split(event);
            }
        };
        // What watermarks have staged must not fail on account of the record.
        self.next.flush()?;
        let told = self.tell(warden, moved);
        let identity = told.as_ref().map(|(identity, _)| *identity);
        if let (Some((_, position)), Some((identity, suspect))) =
            (&told, identity.and_then(|it| warden.poison(it)))
        {
            return warden.set_aside(identity, suspect, &Found::Source { position }, timestamp);
        }
        warden.note(identity);
        self.next.feed(record, Stamp { timestamp, origin })?;
        self.next.flush()?;
        warden.passed();
        Ok(())
    }

    /// Which record the reader has just read; `None` if its position does not say.
    fn tell(&self, warden: &Warden, moved: &Moved<'_, R::Split>) -> Option<Told> {
        let split = match (self.current, moved.behind) {
            (Some(current), _) => current,
            (None, [(only, _)]) => *only,
            (None, _) => return None,
        };
        let encoded = |splits: &[(u32, R::Split)]| {
            let (_, position) = splits.iter().find(|(of, _)| *of == split)?;
            warden.encode(position)
        };
        let position = encoded(moved.behind)?;
        // A source that cannot be read again stands where it stood.
        let has_moved = encoded(moved.before).is_none_or(|before| before != position);
        has_moved.then(|| (warden.identify_position(self.head, split, &position), position))
    }
}

/// Keeps what a reader says.
struct Stash<'a, T> {
    core: &'a Core,
    said: Vec<Said<T>>,
    left: usize,
}

impl<T> SourceOutput<T> for Stash<'_, T> {
    fn collect(&mut self, record: T, timestamp: Timestamp, origin: u64) -> Result<()> {
        self.left = self.left.saturating_sub(1);
        self.said.push(Said::Record(record, timestamp, origin));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.left == 0 || self.core.pressure.get()
    }

    fn split(&mut self, event: SplitEvent) -> Result<()> {
        self.said.push(Said::Split(event));
        Ok(())
    }

    fn watermark(&mut self, watermark: Timestamp) -> Result<()> {
        self.said.push(Said::Watermark(watermark));
        Ok(())
    }

    fn idle(&mut self, idle: bool) -> Result<()> {
        self.said.push(Said::Idle(idle));
        Ok(())
    }

    fn now(&self) -> u64 {
        self.core.now()
    }
}
