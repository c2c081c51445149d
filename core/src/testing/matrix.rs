//! Keyed operators through the harness: every case in every way of running it.

mod cold;
mod connect;
mod expiry;
mod operator;
mod process;
mod runs;
mod state;
mod window;
