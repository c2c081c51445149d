//! What may cross an exchange.

/// A record that may cross from core to core: plain data that rkyv can archive.
///
/// `#[record]` on a struct or enum makes it one; numbers, strings, options, vectors and tuples are
/// already.
pub trait Record: thalweg_net::Slot + thalweg_state::State {}

impl<T: thalweg_net::Slot + thalweg_state::State> Record for T {}
