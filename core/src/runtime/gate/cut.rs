//! A gate at a cut: what has arrived and was not consumed, and how far each page was read.

use std::collections::VecDeque;

use thalweg_checkpoint::SectionKind;
use thalweg_net::{Body, recorded};

use super::Gate;
use super::input::{Cursor, OpenPage, Prepared};
use crate::Result;
use crate::operator::Snapshot;
use crate::record::Record;
use crate::runtime::cut::{Recording, Restoring, invalid};

impl<T: Record> Gate<T> {
    pub(super) fn record_all(&mut self, name: &str, recording: &mut Recording) -> Result<()> {
        let edge = self.channel.0;
        let mut snapshot = recording.snapshot();
        self.visit(&mut snapshot)?;
        recording.add(SectionKind::Task, name, edge, 0, snapshot.finish()?);
        for index in 0..self.inputs.len() {
            self.record_input(name, index, recording)?;
        }
        Ok(())
    }

    fn record_input(&mut self, name: &str, index: usize, recording: &mut Recording) -> Result<()> {
        let mut snapshot = recording.snapshot();
        self.visit_input(index, &mut snapshot, 0)?;
        let input = &self.inputs[index];
        let mut bytes = Recording::headed(snapshot)?;
        let mut records = 0;
        if let Some(open) = &input.open {
            recorded::record_page(&open.page, open.trailing, &mut bytes);
            records += (open.page.count() - open.cursor.at) as u64;
        }
        for body in input.channel.frames() {
            records += recorded::record(body, &mut bytes);
        }
        recording.add_input(name, self.channel.0, index as u32, bytes);
        recording.count_received(self.channel.0, index, input.records, records);
        Ok(())
    }

    pub(super) fn restore_all(&mut self, image: &Restoring<'_>) -> Result<()> {
        let edge = self.channel.0;
        let mut snapshot = image.snapshot(image.section(SectionKind::Task, edge, 0)?.to_vec());
        self.visit(&mut snapshot)?;
        snapshot.finish()?;
        for index in 0..self.inputs.len() {
            let section = image.section(SectionKind::Input, edge, index as u32)?;
            let (head, frames) = Restoring::split_head(section)?;
            let bodies = image.frames::<T>(frames)?;
            let mut snapshot = image.snapshot(head.to_vec());
            self.restore_input(index, &mut snapshot, bodies)?;
            snapshot.finish()?;
        }
        Ok(())
    }

    /// The merge of the inputs, and a watermark on its way through the consumers.
    fn visit(&mut self, snapshot: &mut Snapshot) -> Result<()> {
        self.valve.snapshot(snapshot)?;
        snapshot.usize(&mut self.turn)?;
        snapshot.option(&mut self.advancing)?;
        snapshot.usize(&mut self.advanced)?;
        let mut idling = self.idling.map(i64::from);
        snapshot.option(&mut idling)?;
        self.idling = idling.map(|idling| idling != 0);
        snapshot.bool(&mut self.ended)?;
        snapshot.expect(self.consumers.len())?;
        if self.turn >= self.inputs.len().max(1) || self.advanced > self.consumers.len() {
            return Err(invalid("a gate stands where it cannot"));
        }
        self.consumers.iter_mut().try_for_each(|consumer| consumer.snapshot(snapshot))
    }

    /// An input's numbers; `open_count` is how many records the open page has, at a restore.
    fn visit_input(
        &mut self,
        index: usize,
        snapshot: &mut Snapshot,
        open_count: usize,
    ) -> Result<(i64, bool, Option<usize>)> {
        let input = &mut self.inputs[index];
        snapshot.i64(&mut input.watermark)?;
        snapshot.i64(&mut input.seen)?;
        snapshot.u64(&mut input.records)?;
        for cursor in &mut input.cursors {
            snapshot.usize(cursor)?;
        }
        let (mut watermark, mut closed) = (input.channel.watermark(), input.channel.is_closed());
        snapshot.i64(&mut watermark)?;
        snapshot.bool(&mut closed)?;
        let mut open = input.open.as_ref().map(|open| open.cursor.at as i64);
        snapshot.option(&mut open)?;
        let at = open.map(|at| at as usize);
        let read = input.cursors.iter().copied().chain(at);
        if snapshot.is_restore() && read.max().is_some_and(|read| read > open_count) {
            return Err(invalid("a page was read behind its end"));
        }
        Ok((watermark, closed, at))
    }

    fn restore_input(
        &mut self,
        index: usize,
        snapshot: &mut Snapshot,
        mut bodies: VecDeque<Body>,
    ) -> Result<()> {
        let first = match bodies.front() {
            Some(Body::Data { page, .. }) => page.count(),
            _ => 0,
        };
        let (watermark, closed, at) = self.visit_input(index, snapshot, first)?;
        let input = &mut self.inputs[index];
        if let Some(at) = at {
            let Some(Body::Data { page, watermark: trailing }) = bodies.pop_front() else {
                return Err(invalid("the page that was being read is missing"));
            };
            let cursor = Cursor { at, prepared: Prepared::No };
            input.open = Some(OpenPage { page, trailing, restored: true, cursor });
        }
        input.channel.restore(watermark, closed, bodies);
        Ok(())
    }
}
