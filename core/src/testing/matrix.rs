//! Keyed operators through the harness: every case in every way of running it.

mod cold;
mod process;
mod state;
mod window;
