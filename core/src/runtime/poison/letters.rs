//! Where poison records go: a file sink that is no part of the job's graph.
//!
//! Each core has one behind its other sinks: it is sealed, recorded, committed and restored with
//! them. Its section has a place of its own, so that a checkpoint that was made without it can be
//! restored with it.

use std::path::Path;

use serde::Serialize;
use thalweg_checkpoint::SectionKind;

use crate::config::PoisonConfig;
use crate::runtime::cut::Recording;
use crate::runtime::exchange::Outlet;
use crate::runtime::sink_task::{SinkPort, Typed, Writing};
use crate::runtime::{Restoring, sealed};
use crate::sink::{FileSink, FileWriter, Place, Sink, SinkContext};
use crate::time::{MIN, Stamp, Timestamp};
use crate::{Error, Result};

/// What messages call the sink: the key that names its directory.
const NAME: &str = "restart.poison-output";

/// Its place among the sinks of a core, behind all that a job can have.
const PLACE: u32 = u32::MAX;

/// A poison record, as a line says it.
#[derive(Debug, Serialize)]
pub(super) struct Letter {
    /// The operator that failed.
    pub(super) operator: String,
    pub(super) core: usize,
    /// The input that the record was read from, if it came from an exchange.
    pub(super) input: Option<String>,
    /// The source, if it came from there; its split, and where that stands behind it.
    pub(super) source: Option<String>,
    pub(super) split: Option<u32>,
    pub(super) position: Option<String>,
    /// 16 hexadecimal digits, as in the log.
    pub(super) identity: String,
    pub(super) failures: u32,
    /// The last failure's text with its causes.
    pub(super) error: String,
    pub(super) timestamp: Option<Timestamp>,
    /// The bytes of its key and its archive, as hexadecimal digits.
    pub(super) key: Option<String>,
    pub(super) record: Option<String>,
}

/// The writer of one core.
pub(crate) struct Letters(Writing<Typed<FileWriter<Letter>, Letter>>);

impl Letters {
    pub(super) fn open(config: &PoisonConfig, cx: SinkContext) -> Result<Self> {
        let core = std::rc::Rc::clone(&cx.core);
        let writer = sink(config).writer(cx).map_err(|error| error.in_operator(NAME))?;
        let writer = Typed { writer, input: std::marker::PhantomData };
        Ok(Self(Writing::new(NAME.into(), core, writer)))
    }

    pub(super) fn write(&self, letter: Letter) -> Result<()> {
        self.0.write(letter, Stamp { timestamp: MIN, origin: 0 })
    }
}

impl Outlet for Letters {
    fn ready(&self) -> Result<bool> {
        self.0.ready()
    }
}

impl SinkPort for Letters {
    fn finish(&self) -> Result<bool> {
        self.0.finish()
    }
    fn seal(&self, checkpoint: u64) -> Result<()> {
        self.0.seal(checkpoint)
    }
    fn record(&self, _place: u32, recording: &mut Recording) -> Result<()> {
        self.0.record(PLACE, recording)
    }
    fn settled(&self) -> Result<bool> {
        self.0.settled()
    }
    fn commit(&self, checkpoint: u64) -> Result<()> {
        self.0.commit(checkpoint)
    }
    fn confirm(&self, checkpoint: u64) {
        self.0.confirm(checkpoint);
    }
    fn restore(&self, _place: u32, image: &Restoring<'_>) -> Result<()> {
        match image.find(SectionKind::Committables, PLACE, 0) {
            Some(_) => self.0.restore(PLACE, image),
            None => {
                self.0.begin_behind(image.checkpoint());
                Ok(())
            }
        }
    }
}

/// Refuses to go on without the sink where a checkpoint holds output of it: nobody would commit
/// that.
pub(crate) fn refuse_leftovers(image: &Restoring<'_>) -> Result<()> {
    let section = image.find(SectionKind::Committables, PLACE, 0);
    let Some(bytes) = section else { return Ok(()) };
    if sealed::decode(bytes)?.is_empty() {
        return Ok(());
    }
    let checkpoint = image.checkpoint();
    let what = format!("cannot restore checkpoint {checkpoint}: it holds records set aside");
    Err(Error::usage(what)
        .with_hint("set restart.poison-after and restart.poison-output as they were"))
}

fn sink(config: &PoisonConfig) -> FileSink {
    FileSink::json_lines(&config.output)
}

/// The directory, as a plan prepares it.
pub(crate) fn place(config: &PoisonConfig) -> Box<dyn Place> {
    Box::new(Directory(sink(config)))
}

struct Directory(FileSink);

impl Place for Directory {
    fn name(&self) -> &str {
        NAME
    }
    fn directory(&self) -> Option<&Path> {
        Sink::<Letter>::directory(&self.0)
    }
    fn vacant(&self) -> Result<()> {
        let vacant = Sink::<Letter>::vacant(&self.0);
        vacant.map_err(|error| error.in_operator(NAME).with_hint("name another directory"))
    }
    fn prepare(&self) -> Result<()> {
        Sink::<Letter>::prepare(&self.0).map_err(|error| error.in_operator(NAME))
    }
    fn resume(&self, attempt: u64, checkpoint: u64) -> Result<()> {
        let resumed = Sink::<Letter>::resume(&self.0, attempt, checkpoint);
        resumed.map_err(|error| error.in_operator(NAME))
    }
    fn keeps_output(&self) -> Option<&str> {
        None
    }
}

#[cfg(test)]
mod tests {
    use thalweg_checkpoint::{Image, Section};

    use super::*;

    #[test]
    fn output_of_a_checkpoint_is_not_left_to_nobody() {
        let image = |sealed: &Vec<(u64, Vec<Vec<u8>>)>| {
            let (kind, bytes) = (SectionKind::Committables, sealed::encode(sealed));
            let section = Section { kind, name: NAME.into(), edge: PLACE, peer: 0, bytes };
            Image { core: 1, checkpoint: 7, sections: vec![section] }
        };
        let refused = |image: &Image| refuse_leftovers(&Restoring::new(image, 4096));
        assert!(refused(&Image::default()).is_ok());
        assert!(refused(&image(&Vec::new())).is_ok());
        let error = refused(&image(&vec![(7, vec![vec![1]])])).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.hint().is_some_and(|hint| hint.contains("restart.poison-after")));
    }
}
