//! Time to live: when a value counts as expired, and who still sees it.
//!
//! Pure functions of a stamp and the present; the caller keeps the stamp beside the value (per
//! entry for lists and maps) and passes the time. A value is expired exactly if `last_access +
//! after <= now`.

/// Which accesses restart the time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UpdateType {
    /// No access does, and nothing ever expires.
    Disabled,
    /// Creation and writes do.
    #[default]
    OnCreateAndWrite,
    /// Reads do as well.
    OnReadAndWrite,
}

/// Whether an expired value that was not cleaned up yet is still returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Visibility {
    /// An expired value behaves as absent.
    #[default]
    NeverReturnExpired,
    /// An expired value is returned as long as it is there.
    ReturnExpiredIfNotCleanedUp,
}

/// Time to live of one declared state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// How long a value lives after its last access, in milliseconds; positive.
    pub after_ms: i64,
    /// Which accesses count.
    pub update: UpdateType,
    /// Who sees what is expired.
    pub visibility: Visibility,
}

impl Ttl {
    /// A time to live of `after_ms` with the default update type and visibility.
    pub fn new(after_ms: i64) -> Self {
        assert!(after_ms > 0, "a time to live must be positive, not {after_ms} ms");
        Self { after_ms, update: UpdateType::default(), visibility: Visibility::default() }
    }

    /// A time to live of `after`, in whole milliseconds, with the defaults of [`Ttl::new`].
    pub fn of(after: std::time::Duration) -> Self {
        Self::new(i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
    }

    /// Sets which accesses count.
    #[must_use]
    pub fn with_update(self, update: UpdateType) -> Self {
        Self { update, ..self }
    }

    /// Sets who sees what is expired.
    #[must_use]
    pub fn with_visibility(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    /// The first instant at which a value last accessed at `last_access_ms` is expired.
    #[inline]
    pub fn expires_at(&self, last_access_ms: i64) -> i64 {
        match self.update {
            UpdateType::Disabled => i64::MAX,
            _ => last_access_ms.saturating_add(self.after_ms),
        }
    }

    /// Tells whether a value is expired at `now_ms`.
    #[inline]
    pub fn is_expired(&self, last_access_ms: i64, now_ms: i64) -> bool {
        self.update != UpdateType::Disabled && self.expires_at(last_access_ms) <= now_ms
    }

    /// Tells whether a stored row, which begins with its stamp, is expired at `now_ms`.
    ///
    /// One without a stamp is not: it is damaged, and its reader says so.
    #[inline]
    pub fn is_over(&self, row: &[u8], now_ms: i64) -> bool {
        split_stamp(row).is_some_and(|(accessed, _)| self.is_expired(accessed, now_ms))
    }

    /// Tells whether a value that is still stored is returned at `now_ms`.
    #[inline]
    pub fn is_visible(&self, last_access_ms: i64, now_ms: i64) -> bool {
        self.visibility == Visibility::ReturnExpiredIfNotCleanedUp
            || !self.is_expired(last_access_ms, now_ms)
    }

    /// The stamp of a value after a read at `now_ms`.
    ///
    /// An expired value keeps its stamp: a read that still sees it does not revive it.
    #[inline]
    pub fn after_read(&self, last_access_ms: i64, now_ms: i64) -> i64 {
        let restarts = self.update == UpdateType::OnReadAndWrite;
        if restarts && !self.is_expired(last_access_ms, now_ms) { now_ms } else { last_access_ms }
    }

    /// The stamp of a value after it was created or written at `now_ms`.
    #[inline]
    pub fn after_write(&self, now_ms: i64) -> i64 {
        now_ms
    }
}

/// Puts the stamp of a row in front of its bytes.
#[inline]
pub fn put_stamp(last_access_ms: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(&last_access_ms.to_le_bytes());
}

/// Takes the stamp off the front of a row; `None`: it is too short for one.
#[inline]
pub fn split_stamp(row: &[u8]) -> Option<(i64, &[u8])> {
    let (stamp, row) = row.split_first_chunk()?;
    Some((i64::from_le_bytes(*stamp), row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_expires_at_the_very_millisecond() {
        let ttl = Ttl::new(100);
        assert!(!ttl.is_expired(1_000, 1_099));
        assert!(ttl.is_expired(1_000, 1_100));
        assert!(ttl.is_expired(1_000, 1_101));
        assert_eq!(ttl.expires_at(1_000), 1_100);
    }

    #[test]
    fn the_sum_saturates() {
        let ttl = Ttl::new(i64::MAX);
        assert_eq!(ttl.expires_at(5), i64::MAX);
        assert!(!ttl.is_expired(5, i64::MAX - 1));
        assert!(ttl.is_expired(5, i64::MAX));
        assert!(!Ttl::new(1).is_expired(i64::MIN, i64::MIN));
    }

    #[test]
    fn a_disabled_time_to_live_never_ends() {
        let ttl = Ttl { update: UpdateType::Disabled, ..Ttl::new(1) };
        assert!(!ttl.is_expired(0, i64::MAX));
        assert!(ttl.is_visible(0, i64::MAX));
    }

    #[test]
    fn expired_values_are_seen_only_if_asked_for() {
        let strict = Ttl::new(10);
        let lax = Ttl { visibility: Visibility::ReturnExpiredIfNotCleanedUp, ..strict };
        assert!(strict.is_visible(0, 9));
        assert!(!strict.is_visible(0, 10));
        assert!(lax.is_visible(0, 10));
    }

    #[test]
    fn reads_restart_the_time_only_if_configured_and_never_revive() {
        let write = Ttl::new(10);
        let read = Ttl { update: UpdateType::OnReadAndWrite, ..write };
        assert_eq!(write.after_read(0, 5), 0);
        assert_eq!(read.after_read(0, 5), 5);
        assert_eq!(read.after_read(0, 10), 0);
        assert_eq!(write.after_write(7), 7);
    }

    #[test]
    fn a_stored_row_is_over_by_the_stamp_in_front_of_it() {
        let mut row = Vec::new();
        put_stamp(-3, &mut row);
        row.extend_from_slice(b"value");
        assert_eq!(split_stamp(&row), Some((-3, &b"value"[..])));
        assert!(!Ttl::new(10).is_over(&row, 6));
        assert!(Ttl::new(10).is_over(&row, 7));
        assert!(!Ttl::new(10).is_over(&row[..7], i64::MAX));
    }

    #[test]
    #[should_panic(expected = "must be positive, not 0 ms")]
    fn a_time_to_live_of_nothing_is_refused() {
        Ttl::new(0);
    }
}
