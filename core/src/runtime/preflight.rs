//! Asks the machine for what a core needs, before any core starts.
//!
//! glommio makes its rings in the core's own thread and panics there when they are refused, so the same is
//! asked for here first, where the answer can become a sentence.

use crate::error::Kind;
use crate::{Error, Result};

/// Bytes of locked memory that glommio wants to see allowed.
const MEMLOCK_BYTES: u64 = 512 << 10;

/// Entries of the ring that is tried: those of a glommio ring.
const RING_ENTRIES: u32 = 128;

/// Checks that io_uring can be used.
///
/// # Errors
/// A preflight error that says what to change.
pub(super) fn io_uring() -> Result<()> {
    let refused = |error| {
        let error = match std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled") {
            Ok(text) if text.trim() != "0" => std::io::Error::other(format!(
                "sysctl kernel.io_uring_disabled is {}: {error}",
                text.trim()
            )),
            _ => error,
        };
        cannot_start().with_source(error)
    };
    let ring = io_uring::IoUring::new(RING_ENTRIES).map_err(refused)?;
    let mut probe = io_uring::Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock).current;
    match limit {
        Some(bytes) if bytes < MEMLOCK_BYTES => {
            let text = format!("the memlock limit is {} KiB, 512 KiB are needed", bytes >> 10);
            Err(cannot_start().with_source(std::io::Error::other(text)))
        }
        _ => Ok(()),
    }
}

/// The error of a core that gets no io_uring.
pub(super) fn cannot_start() -> Error {
    Error::new(Kind::Preflight, "cannot start a core with io_uring").with_hint(
        "allow io_uring (sysctl kernel.io_uring_disabled=0, a seccomp profile that permits it, 512 \
         KiB of memlock), or choose -D runtime.rim=thread",
    )
}
