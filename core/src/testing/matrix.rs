//! Keyed operators through the harness: every case in every way of running it.

mod cold;
mod expiry;
mod process;
mod runs;
mod state;
mod window;
