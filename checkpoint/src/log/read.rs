//! Reading the log: where it begins by now, entry after entry, until one is absent.

use super::{Completed, DAMAGED, Entry, History, LogError, What};
use crate::manifest::Manifest;
use crate::paths;
use crate::store::{Created, Store, StoreError};

/// How often reading begins anew because the entries at which it began were deleted meanwhile.
const READINGS_MAX: usize = 5;

/// What stands in the marker that entries were deleted.
const PRUNED: &[u8] = b"Old entries of this log were deleted: the numbers from 0 on are taken.\n";

/// The log of one job in a store.
#[derive(Debug, Clone, Copy)]
pub struct Log;

impl Log {
    /// Reads what there is of a job's log, entry by entry until one is absent.
    pub fn read(store: &dyn Store, job: &str) -> Result<History, LogError> {
        Self::read_with(store, job, &mut |_, _| {})
    }

    /// As [`Log::read`]; `each` sees every entry with its number, once it agrees with those before.
    /// If it sees a number that is not above the last one, then reading has begun anew: another
    /// process deletes old entries.
    pub fn read_with(
        store: &dyn Store,
        job: &str,
        each: &mut dyn FnMut(u64, Entry),
    ) -> Result<History, LogError> {
        let mut missing = 0;
        for _ in 0..READINGS_MAX {
            let Some((first, last)) = bounds(store, job)? else { return Ok(History::default()) };
            let history = forward(store, job, first, each)?;
            if history.next() > last {
                return Ok(history);
            }
            missing = history.next();
        }
        let path = paths::log_entry(job, missing);
        let seen = "it is missing, and later entries are there".to_owned();
        Err(LogError::Entry { path, seen, hint: DAMAGED })
    }

    /// Reads the manifest of a checkpoint that the history names.
    pub fn manifest(
        store: &dyn Store,
        job: &str,
        completed: Completed,
    ) -> Result<Manifest, LogError> {
        let path = paths::log_entry(job, completed.k);
        let damaged = |path, seen| LogError::Entry { path, seen, hint: DAMAGED };
        let Some(bytes) = store.get(&path)? else {
            return Err(damaged(path, "it was there and is gone".to_owned()));
        };
        match Entry::parse(&path, &bytes)?.what {
            What::Complete { checkpoint, manifest, .. } if checkpoint == completed.checkpoint => {
                Ok(*manifest)
            }
            _ => Err(damaged(path, format!("checkpoint {} is not in it", completed.checkpoint))),
        }
    }

    /// Deletes the entries before `first`, upwards, which the log itself no longer needs: an entry
    /// of it says so.
    ///
    /// # Errors
    /// The store; what is left is deleted with the next ones.
    pub fn prune(store: &dyn Store, job: &str, first: u64) -> Result<(), StoreError> {
        let listed = store.list(&paths::log_prefix(job))?;
        let numbers = listed.iter().filter_map(|path| paths::parse_log_entry(job, path));
        let mut old: Vec<u64> = numbers.filter(|k| *k < first).collect();
        if old.is_empty() {
            return Ok(());
        }
        old.sort_unstable();
        let marker = paths::log_pruned(job);
        if store.size(&marker)?.is_none() {
            let (Created::Written | Created::Exists) = store.create(&marker, PRUNED)?;
        }
        old.into_iter().try_for_each(|k| store.delete(&paths::log_entry(job, k)))
    }
}

/// The entry with which to begin, and the highest one that is known to be there; none without a
/// log.
fn bounds(store: &dyn Store, job: &str) -> Result<Option<(u64, u64)>, LogError> {
    let listed = store.list(&paths::log_prefix(job))?;
    let numbers = listed.iter().filter_map(|path| paths::parse_log_entry(job, path));
    let mut last = numbers.max().unwrap_or(0);
    if last == 0 && store.size(&paths::log_entry(job, 0))?.is_none() {
        return match store.size(&paths::log_pruned(job))? {
            None => Ok(None),
            Some(_) => Err(StoreError::failed(
                format!("cannot find the entries of {}: none is listed", paths::log_prefix(job)),
                "run the same command again once the store lists them",
            )
            .into()),
        };
    }
    while let Some(next) = last.checked_add(1)
        && store.size(&paths::log_entry(job, next))?.is_some()
    {
        last = next;
    }
    // The newest complete checkpoint's entry says from where on the log stays.
    for k in (0..=last).rev() {
        let path = paths::log_entry(job, k);
        let Some(bytes) = store.get(&path)? else { break };
        let What::Complete { first, .. } = Entry::parse(&path, &bytes)?.what else { continue };
        if first > k {
            let seen = format!("it says that the log begins with entry {first}, behind it");
            return Err(LogError::Entry { path, seen, hint: DAMAGED });
        }
        return Ok(Some((first, last)));
    }
    Ok(Some((0, last)))
}

fn forward(
    store: &dyn Store,
    job: &str,
    first: u64,
    each: &mut dyn FnMut(u64, Entry),
) -> Result<History, LogError> {
    let mut history = History::from_entry(first);
    loop {
        let k = history.next();
        let path = paths::log_entry(job, k);
        let Some(bytes) = store.get(&path)? else { return Ok(history) };
        let entry = Entry::parse(&path, &bytes)?;
        history.push(&entry).map_err(|seen| LogError::Entry { path, seen, hint: DAMAGED })?;
        each(k, entry);
    }
}
