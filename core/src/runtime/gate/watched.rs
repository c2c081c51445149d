//! How a consumer takes a run while somebody watches for the record that it fails on.

use thalweg_net::PageView;

use super::{PageConsumer, Run};
use crate::Result;
use crate::record::Record;
use crate::runtime::poison::{Found, Head, Warden};

/// One consumer of a gate that is watched.
pub(super) struct Watched<'a> {
    pub(super) warden: &'a Warden,
    pub(super) head: Head,
    /// The consumer.
    pub(super) part: u32,
}

impl Watched<'_> {
    /// As [`PageConsumer::consume`], but hands records on one at a time and lets each run through
    /// all that stands behind; poison goes aside.
    pub(super) fn consume<T: Record>(
        &self,
        consumer: &mut dyn PageConsumer<T>,
        page: &PageView<'_, T>,
        run: Run,
    ) -> Result<usize> {
        let warden = self.warden;
        // What timers have staged must not fail on account of a record.
        consumer.flush()?;
        for index in run.range.clone() {
            let record = page.at(index);
            let identity = warden.identify(self.head, self.part, record);
            if let Some((identity, suspect)) = identity.and_then(|it| warden.poison(it)) {
                let found = Found::Slot { key: record.key() };
                warden.set_aside(identity, suspect, &found, record.head().timestamp)?;
                continue;
            }
            warden.note(identity);
            let one = Run { range: index..index + 1, until: run.until };
            if consumer.consume(page, one)? == index {
                warden.take_note();
                return Ok(index);
            }
            consumer.flush()?;
            warden.passed();
        }
        Ok(run.range.end)
    }
}
