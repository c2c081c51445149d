//! `checkpoint verify`: every byte that a restart would read, against what was written.

use serde_json::json;

use super::super::cli::Which;
use super::super::progress::{self, ReadBytes};
use super::super::{Context, figures};
use crate::Result;
use crate::control::{Depth, examine};

impl Context<'_> {
    /// Reads a checkpoint and names each bad file; the exit code is 1 if there is one.
    pub(super) fn verify_checkpoint(&self, which: &Which) -> Result<i32> {
        let found = self.find(which)?;
        let manifest = &found.manifest;
        let mut reading = ReadBytes::of(manifest.bytes(), self.terminal);
        let mut seen = examine(&found.store, manifest, Depth::All, &mut |bytes| reading.add(bytes));
        let nanos = reading.nanos();
        progress::clear();
        seen.bad.extend(found.copy_complaint());
        let exit = i32::from(!seen.bad.is_empty());
        let (checkpoint, job) = (manifest.checkpoint, super::clean(&manifest.job.name));
        if which.shelf.json {
            let bad = seen.bad.iter().map(|bad| json!({ "path": bad.path, "what": bad.what }));
            let object = json!({
                "job": manifest.job.name,
                "job_id": manifest.job.id,
                "checkpoint": checkpoint,
                "ok": seen.bad.is_empty(),
                "files": seen.files,
                "bytes": seen.bytes,
                "seconds": nanos as f64 / 1e9,
                "bad": bad.collect::<Vec<_>>(),
            });
            return Ok(self.terminal.data(&object.to_string()).max(exit));
        }
        let bad = seen.bad.iter().map(|bad| format!("{}: {}\n", bad.path, bad.what));
        let mut text: String = bad.collect();
        let found = match seen.bad.len() {
            0 => "ok".to_owned(),
            count => format!("{count} bad"),
        };
        text.push_str(&format!(
            "checkpoint {checkpoint} of {job}: {found}; {} files, {} read in {}",
            figures::count(seen.files),
            figures::bytes(seen.bytes),
            figures::nanos(nanos)
        ));
        Ok(self.terminal.data(&text).max(exit))
    }
}
