//! Which stored files may go: a count of references by retained manifests, and nothing else.
//!
//! A file goes when it is known from an acknowledgement (or from a list of what older attempts
//! left), every checkpoint that it was acknowledged for is over, and no retained manifest names
//! it. Files of other jobs are never touched, whatever names them, and savepoints stay.

use std::collections::{BTreeMap, BTreeSet};

use crate::manifest::{Kind, Manifest};
use crate::paths::{self, Pack};

/// What is retained of a job's checkpoints, and what is not.
#[derive(Debug, Clone)]
pub struct Retention {
    job: String,
    retained_max: usize,
    /// Paths by retained checkpoint.
    retained: BTreeMap<u64, Retained>,
    /// How many retained checkpoints name a path.
    references: BTreeMap<String, u32>,
    /// Paths that exist or may, with the highest checkpoint that they were acknowledged for.
    known: BTreeMap<String, u64>,
    /// Paths whose deletion was ordered and not confirmed.
    doomed: BTreeSet<String>,
}

#[derive(Debug, Clone)]
struct Retained {
    kind: Kind,
    paths: BTreeSet<String>,
}

impl Retention {
    /// Nothing known yet; keeps the newest `retained_max` checkpoints, one at least.
    pub fn new(job: &str, retained_max: u32) -> Self {
        Self {
            job: job.to_owned(),
            retained_max: retained_max.max(1) as usize,
            retained: BTreeMap::new(),
            references: BTreeMap::new(),
            known: BTreeMap::new(),
            doomed: BTreeSet::new(),
        }
    }

    /// Notes paths that a list has shown at the start of `attempt`: files of older attempts, and
    /// copies of manifests. Others are passed over. Call it after [`Retention::complete`] was told
    /// of every manifest that is retained.
    pub fn found(&mut self, attempt: u64, paths: &[String]) {
        for path in paths {
            if Pack::parse(&self.job, path).is_some_and(|file| file.attempt < attempt) {
                self.known.entry(path.clone()).or_insert(0);
            }
            let copy = paths::parse_metadata(&self.job, path);
            if copy.is_some_and(|checkpoint| !self.retained.contains_key(&checkpoint)) {
                self.doomed.insert(path.clone());
            }
        }
    }

    /// Notes the files that an acknowledgement of a checkpoint names. An error is the path of one
    /// that is being deleted: whoever names it has broken the protocol.
    pub fn acknowledged<'a>(
        &mut self,
        checkpoint: u64,
        paths: impl Iterator<Item = &'a str>,
    ) -> Result<(), String> {
        let mut result = Ok(());
        for path in paths {
            if self.doomed.contains(path) {
                result = Err(path.to_owned());
                continue;
            }
            let newest = self.known.entry(path.to_owned()).or_insert(checkpoint);
            *newest = checkpoint.max(*newest);
        }
        result
    }

    /// Retains a complete checkpoint, and no longer the oldest if that makes too many.
    pub fn complete(&mut self, manifest: &Manifest) {
        let checkpoint = manifest.checkpoint;
        let paths: BTreeSet<String> = manifest.all_files().map(|file| file.path.clone()).collect();
        for path in &paths {
            assert!(!self.doomed.contains(path), "{checkpoint} names {path}, which is deleted");
            *self.references.entry(path.clone()).or_insert(0) += 1;
            let newest = self.known.entry(path.clone()).or_insert(checkpoint);
            *newest = checkpoint.max(*newest);
        }
        let before = self.retained.insert(checkpoint, Retained { kind: manifest.kind, paths });
        assert!(before.is_none(), "checkpoint {checkpoint} completes twice");
        while let Some(oldest) = self.surplus() {
            self.forget(oldest);
        }
    }

    /// What a checkpoint holds that no retained one does, in bytes.
    pub fn new_bytes(&self, manifest: &Manifest) -> u64 {
        let new = manifest.all_files().filter(|file| !self.references.contains_key(&file.path));
        new.map(|file| file.bytes).sum()
    }

    /// Paths to delete once `checkpoint` is complete, together with those whose deletion was not
    /// confirmed. None of them will ever be retained again.
    pub fn deletable(&mut self, checkpoint: u64) -> Vec<String> {
        let (references, job) = (&self.references, &self.job);
        let goes = |path: &str, newest: u64| {
            let ours = Pack::parse(job, path).is_some();
            newest <= checkpoint && ours && !references.contains_key(path)
        };
        let gone = self.known.extract_if(.., |path, newest| goes(path, *newest));
        self.doomed.extend(gone.map(|(path, _)| path));
        self.doomed.iter().cloned().collect()
    }

    /// Forgets paths that are deleted.
    pub fn deleted(&mut self, paths: &[String]) {
        for path in paths {
            self.doomed.remove(path);
        }
    }

    /// The retained checkpoints, oldest first.
    pub fn retained(&self) -> impl Iterator<Item = u64> {
        self.retained.keys().copied()
    }

    /// The oldest checkpoint that is one too many; savepoints do not count.
    fn surplus(&self) -> Option<u64> {
        let ours = self.retained.iter().filter(|(_, it)| it.kind != Kind::Savepoint);
        let count = ours.clone().count();
        (count > self.retained_max).then(|| ours.map(|(checkpoint, _)| *checkpoint).next())?
    }

    fn forget(&mut self, checkpoint: u64) {
        let Some(Retained { paths, .. }) = self.retained.remove(&checkpoint) else { return };
        for path in paths {
            if let Some(count) = self.references.get_mut(&path) {
                *count -= 1;
                if *count == 0 {
                    self.references.remove(&path);
                }
            }
        }
        self.doomed.insert(paths::metadata(&self.job, checkpoint));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::FileInfo;
    use crate::manifest::tests::sample;

    fn path(number: u64) -> String {
        Pack { attempt: 1, node: 0, number }.path("fraud-1")
    }

    fn manifest(checkpoint: u64, numbers: &[u64]) -> Manifest {
        let mut manifest = sample(checkpoint, 1);
        let file =
            |number: &u64| FileInfo { path: path(*number), offset: 0, bytes: 1, checksum: 0 };
        let mut files: Vec<FileInfo> = numbers.iter().map(file).collect();
        manifest.cores[0].part = files.remove(0);
        manifest.cores[0].files = files;
        manifest
    }

    fn retention(retained_max: u32) -> Retention {
        Retention::new("fraud-1", retained_max)
    }

    fn acknowledge(retention: &mut Retention, checkpoint: u64, numbers: &[u64]) {
        let paths: Vec<String> = numbers.iter().map(|number| path(*number)).collect();
        retention.acknowledged(checkpoint, paths.iter().map(String::as_str)).unwrap();
    }

    #[test]
    fn a_file_goes_with_the_last_manifest_that_names_it() {
        let mut it = retention(2);
        it.complete(&manifest(1, &[1, 2]));
        it.complete(&manifest(2, &[3, 2]));
        assert_eq!(it.deletable(2), [""; 0]);
        it.complete(&manifest(3, &[4, 2]));
        assert_eq!(it.deletable(3), [path(1), paths::metadata("fraud-1", 1)]);
        it.complete(&manifest(5, &[5]));
        it.complete(&manifest(6, &[6]));
        let all = it.deletable(6);
        assert!([1, 2, 3, 4].iter().all(|number| all.contains(&path(*number))), "{all:?}");
        assert_eq!(all.len(), 7, "also three copies of manifests, and 1 again: {all:?}");
        it.deleted(&all);
        assert_eq!(it.deletable(6), [""; 0]);
        assert_eq!(it.retained().collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn files_of_aborted_checkpoints_go_after_the_next_one_and_those_of_newer_stay() {
        let mut it = retention(1);
        acknowledge(&mut it, 1, &[1, 2]);
        assert_eq!(it.deletable(0), [""; 0], "its checkpoint may yet complete");
        acknowledge(&mut it, 2, &[2, 3]);
        acknowledge(&mut it, 3, &[4, 1]);
        it.complete(&manifest(2, &[3, 2]));
        assert_eq!(it.deletable(2), [""; 0], "1 and 4 are named by 3");
        it.complete(&manifest(4, &[5]));
        let all = it.deletable(4);
        assert!((1..=4).all(|number| all.contains(&path(number))), "{all:?}");
    }

    #[test]
    fn savepoints_stay_and_do_not_count() {
        let mut it = retention(1);
        it.complete(&Manifest { kind: Kind::Savepoint, ..manifest(1, &[1]) });
        it.complete(&manifest(2, &[2]));
        it.complete(&manifest(3, &[3]));
        assert_eq!(it.deletable(3), [path(2), paths::metadata("fraud-1", 2)]);
        assert_eq!(it.retained().collect::<Vec<_>>(), [1, 3]);
    }

    #[test]
    fn at_the_start_older_attempts_leave_what_is_named() {
        let mut it = retention(2);
        it.complete(&manifest(1, &[1, 2]));
        let younger = Pack { attempt: 2, node: 0, number: 1 };
        let mut listed: Vec<String> = (1..5).map(path).collect();
        listed.extend([younger.path("fraud-1"), paths::log_entry("fraud-1", 0)]);
        listed.extend([1, 9].map(|checkpoint| paths::metadata("fraud-1", checkpoint)));
        listed.extend(["notes".to_owned(), path(7).replace("fraud-1", "fraud-2")]);
        it.found(2, &listed);
        assert_eq!(it.deletable(1), [path(3), path(4), paths::metadata("fraud-1", 9)]);
    }

    #[test]
    fn files_of_another_job_are_never_deleted() {
        let mut it = Retention::new("other", 1);
        it.complete(&manifest(1, &[1]));
        it.complete(&manifest(2, &[2]));
        assert_eq!(it.deletable(2), [paths::metadata("other", 1)]);
    }

    #[test]
    fn naming_a_file_that_is_being_deleted_is_an_error() {
        let mut it = retention(1);
        acknowledge(&mut it, 1, &[1]);
        it.complete(&manifest(2, &[2]));
        assert_eq!(it.deletable(2), [path(1)]);
        assert_eq!(it.acknowledged(3, [path(1).as_str()].into_iter()), Err(path(1)));
    }
}
