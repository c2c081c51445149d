//! What operators keep outside declared state, at a cut and at a restore.
//!
//! Watermarks, idleness, who has ended: a few numbers per operator. One method names them for both
//! directions, so what is written and what is read back cannot differ. The values stand one behind
//! the other without names; the graph's digest says whether they are still those of this job.

use std::cell::Cell;

use crate::error::Kind;
use crate::{Error, Result};

/// The small state of a task: written at a cut, read back at a restore.
#[derive(Debug)]
pub struct Snapshot {
    /// Which cut this is: who is reachable on several ways takes part once.
    pass: u64,
    bytes: Vec<u8>,
    /// How much of `bytes` was read back; `None` while they are being written.
    read: Option<usize>,
}

impl Snapshot {
    /// An empty snapshot of the cut `pass`, to be written.
    pub(crate) fn of_cut(pass: u64) -> Self {
        Self { pass, bytes: Vec::new(), read: None }
    }

    /// What the cut `pass` has written, to be read back.
    pub(crate) fn to_restore(pass: u64, bytes: Vec<u8>) -> Self {
        Self { pass, bytes, read: Some(0) }
    }

    /// Whether values are read back.
    pub fn is_restore(&self) -> bool {
        self.read.is_some()
    }

    /// Whether somebody takes part for the first time in this cut; `seen` is his.
    pub(crate) fn is_new_to(&self, seen: &Cell<u64>) -> bool {
        seen.replace(self.pass) != self.pass
    }

    /// Writes or reads back a number.
    ///
    /// # Errors
    /// The snapshot was written by another program; so for all methods.
    pub fn u64(&mut self, value: &mut u64) -> Result<()> {
        let Some(read) = &mut self.read else {
            self.bytes.extend_from_slice(&value.to_le_bytes());
            return Ok(());
        };
        let found = self.bytes.get(*read..).and_then(<[u8]>::first_chunk);
        *value = u64::from_le_bytes(*found.ok_or_else(mismatch)?);
        *read += size_of::<u64>();
        Ok(())
    }

    /// Writes or reads back a number with a sign: a timestamp, say.
    pub fn i64(&mut self, value: &mut i64) -> Result<()> {
        let mut bits = value.cast_unsigned();
        self.u64(&mut bits)?;
        *value = bits.cast_signed();
        Ok(())
    }

    /// Writes or reads back a count or a position.
    pub fn usize(&mut self, value: &mut usize) -> Result<()> {
        let mut wide = *value as u64;
        self.u64(&mut wide)?;
        *value = usize::try_from(wide).map_err(|_| mismatch())?;
        Ok(())
    }

    /// Writes or reads back a yes or no.
    pub fn bool(&mut self, value: &mut bool) -> Result<()> {
        let mut wide = u64::from(*value);
        self.u64(&mut wide)?;
        *value = match wide {
            0 => false,
            1 => true,
            _ => return Err(mismatch()),
        };
        Ok(())
    }

    /// Writes or reads back a number that may be missing.
    pub fn option(&mut self, value: &mut Option<i64>) -> Result<()> {
        let mut some = value.is_some();
        self.bool(&mut some)?;
        let mut inner = value.unwrap_or_default();
        if some {
            self.i64(&mut inner)?;
        }
        *value = some.then_some(inner);
        Ok(())
    }

    /// Writes or reads back that there are `count` of something.
    ///
    /// # Errors
    /// There were more or fewer at the cut.
    pub fn expect(&mut self, count: usize) -> Result<()> {
        let mut found = count;
        self.usize(&mut found)?;
        if found == count { Ok(()) } else { Err(mismatch()) }
    }

    /// Ends a snapshot: what was written; nothing must be left of what was to be read.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        match self.read {
            Some(read) if read != self.bytes.len() => Err(mismatch()),
            _ => Ok(self.bytes),
        }
    }
}

#[cold]
fn mismatch() -> Error {
    let what = "cannot restore an operator: the checkpoint holds other values than it keeps";
    Error::new(Kind::Io, what).with_hint("run the program that wrote the checkpoint")
}

#[cfg(test)]
mod tests {
    use super::*;

    type Values = (u64, i64, usize, bool, Option<i64>, Option<i64>);

    fn visit(snapshot: &mut Snapshot, values: &mut Values) -> Result<()> {
        snapshot.u64(&mut values.0)?;
        snapshot.i64(&mut values.1)?;
        snapshot.usize(&mut values.2)?;
        snapshot.bool(&mut values.3)?;
        snapshot.option(&mut values.4)?;
        snapshot.option(&mut values.5)?;
        snapshot.expect(3)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let mut values = (u64::MAX, i64::MIN, 7, true, None, Some(-1));
        let mut cut = Snapshot::of_cut(1);
        visit(&mut cut, &mut values).unwrap();
        let bytes = cut.finish().unwrap();
        let mut restored = Values::default();
        let mut restore = Snapshot::to_restore(2, bytes);
        visit(&mut restore, &mut restored).unwrap();
        assert_eq!(restored, values);
        assert!(restore.is_restore() && restore.finish().is_ok());
    }

    #[test]
    fn other_values_are_refused() {
        let mut cut = Snapshot::of_cut(1);
        visit(&mut cut, &mut Values::default()).unwrap();
        let bytes = cut.finish().unwrap();
        for (length, fails_at_end) in [(0, false), (bytes.len() - 1, false), (bytes.len(), true)] {
            let mut cut_short = bytes[..length].to_vec();
            if fails_at_end {
                cut_short.push(0);
            }
            let mut restore = Snapshot::to_restore(1, cut_short);
            let visited = visit(&mut restore, &mut Values::default());
            assert!(visited.is_err() || restore.finish().is_err(), "{length} bytes");
        }
        assert!(Snapshot::to_restore(1, vec![2; 8]).bool(&mut false).is_err());
    }

    #[test]
    fn each_takes_part_once_in_a_cut() {
        let seen = Cell::new(0);
        let first = Snapshot::of_cut(7);
        assert!(first.is_new_to(&seen) && !first.is_new_to(&seen));
        assert!(Snapshot::of_cut(8).is_new_to(&seen));
    }
}
