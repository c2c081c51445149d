//! SIGINT and SIGTERM: the first stops the job in order, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::terminal::Terminal;
use crate::{Error, Result};

/// From now on a signal sets `stop` to its number; another one ends the process at once.
pub(super) fn watch(stop: &Arc<AtomicI32>, terminal: &Terminal) -> Result<()> {
    let failed = |error| Error::io("cannot listen to signals", error);
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (stop, terminal) = (Arc::clone(stop), terminal.clone());
    let listen = move || {
        for signal in signals.forever() {
            if stop.swap(signal, Ordering::Relaxed) != 0 {
                std::process::exit(128 + signal);
            }
            let name = name(signal);
            terminal.say(&format!("{name}: stopping in order; once more ends the process at once"));
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(listen).map(drop).map_err(failed)
}

/// The name of a signal that stops a job.
pub(super) fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        _ => "a signal",
    }
}
