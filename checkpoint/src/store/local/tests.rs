//! Tests of the store in a directory.

use std::sync::Arc;

use super::*;

/// A directory of a test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("thalweg-store-{}-{name}", process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn store(&self) -> LocalStore {
        LocalStore::open(&self.0).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_was_created_is_read_and_never_overwritten() {
    let scratch = Scratch::new("created");
    let store = scratch.store();
    assert_eq!(store.get("job/log/1"), Ok(None));
    assert_eq!(store.size("job/log/1"), Ok(None));
    assert_eq!(store.create("job/log/1", b"one"), Ok(Created::Written));
    assert_eq!(store.create("job/log/1", b"other"), Ok(Created::Exists));
    assert_eq!(scratch.store().create("job/log/1", b"other"), Ok(Created::Exists));
    assert_eq!(store.get("job/log/1"), Ok(Some(b"one".to_vec())));
    assert_eq!(store.size("job/log/1"), Ok(Some(3)));
}

/// Large ones and small ones, with and without somebody else's under the name.
#[test]
fn what_is_streamed_is_created_whole_or_not_at_all() {
    let scratch = Scratch::new("streamed");
    let store = scratch.store();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 3) as u8).collect();
    for length in [0, 10, 5_000, 300_000, bytes.len()] {
        let (path, mut passed) = (format!("job/{length}"), 0);
        let mut fill = |out: &mut dyn Write| {
            passed += length;
            bytes[..length].chunks(7_777).try_for_each(|piece| out.write_all(piece))
        };
        assert_eq!(store.create_streamed(&path, &mut fill), Ok(Created::Written));
        assert_eq!(store.create_streamed(&path, &mut fill), Ok(Created::Exists));
        assert_eq!(passed, 2 * length, "who finds another's has what to compare it with");
        assert!(store.get(&path).unwrap().unwrap() == bytes[..length], "{length} bytes");
    }
    let own = StoreError::failed("damaged", "");
    let failed = store.create_streamed("job/other", &mut |out| {
        out.write_all(&bytes)?;
        Err(own.clone().into_io())
    });
    assert_eq!(failed, Err(own));
    let full = || io::Error::from(ErrorKind::StorageFull);
    let failed = store.create_streamed("job/other", &mut |_| Err(full())).unwrap_err();
    assert!(failed.hint.contains("free some space") && !failed.unknown, "{failed}");
    assert_eq!(store.get("job/other"), Ok(None));
    assert_eq!(fs::read_dir(scratch.0.join("job")).unwrap().count(), 5, "nothing is left behind");
}

#[test]
fn of_many_creators_one_has_written() {
    let scratch = Scratch::new("race");
    let store = Arc::new(scratch.store());
    let written: usize = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..8u8)
            .map(|creator| {
                let store = Arc::clone(&store);
                scope.spawn(move || {
                    let paths = (0..20).map(|k| format!("job/log/{k}"));
                    paths
                        .filter(|path| store.create(path, &[creator]) == Ok(Created::Written))
                        .count()
                })
            })
            .collect();
        creators.into_iter().map(|creator| creator.join().unwrap()).sum()
    });
    assert_eq!(written, 20);
    assert_eq!(store.list("").unwrap().len(), 20);
    assert_eq!(store.sweep(""), Ok(0), "a temporary file stayed");
}

#[test]
fn lists_are_sorted_and_hold_what_begins_with_the_prefix() {
    let scratch = Scratch::new("list");
    let store = scratch.store();
    for path in ["job/b", "job/a/2", "job/a/10", "job2/a", "other"] {
        store.create(path, b"").unwrap();
    }
    assert_eq!(store.list("job/").unwrap(), ["job/a/10", "job/a/2", "job/b"]);
    assert_eq!(store.list("job").unwrap(), ["job/a/10", "job/a/2", "job/b", "job2/a"]);
    assert_eq!(store.list("job/a/1").unwrap(), ["job/a/10"]);
    assert_eq!(store.list("job/a").unwrap(), ["job/a/10", "job/a/2"]);
    assert_eq!(store.list("").unwrap().len(), 5);
    assert_eq!(store.list("none/").unwrap(), [""; 0]);
}

#[test]
fn deleting_takes_emptied_directories_along_and_absent_is_no_error() {
    let scratch = Scratch::new("delete");
    let store = scratch.store();
    store.create("job/att-1/core-0/1.seg", b"x").unwrap();
    assert_eq!(store.delete("job/att-1/core-0/1.seg"), Ok(()));
    assert_eq!(store.delete("job/att-1/core-0/1.seg"), Ok(()));
    assert!(!scratch.0.join("job").exists() && scratch.0.exists());
    assert_eq!(store.create("job/att-1/core-0/1.seg", b"y"), Ok(Created::Written));
    fs::remove_dir_all(scratch.0.join("job")).unwrap();
    let again = store.create("job/att-1/core-0/1.seg", b"z");
    assert_eq!(again, Ok(Created::Written), "a directory that others removed is made again");
}

#[test]
fn half_written_files_are_never_seen_and_are_swept() {
    let scratch = Scratch::new("sweep");
    let store = scratch.store();
    store.create("job/log/0", b"x").unwrap();
    store.create("job2/log/0", b"x").unwrap();
    for stray in ["job/log/.tmp-1-0", "job2/log/.tmp-1-0"] {
        fs::write(scratch.0.join(stray), b"half").unwrap();
    }
    assert_eq!(store.list("").unwrap(), ["job/log/0", "job2/log/0"]);
    assert_eq!(store.sweep("job/"), Ok(1));
    assert_eq!(store.sweep("job2/log"), Ok(1));
    assert_eq!(store.sweep(""), Ok(0));
}

#[test]
fn temporary_names_that_are_taken_are_passed_over() {
    let scratch = Scratch::new("taken");
    let store = scratch.store();
    store.create("a", b"").unwrap();
    for number in 1..9 {
        let name = format!("{TEMPORARY}{}-{number}", process::id());
        fs::write(scratch.0.join(name), b"another's").unwrap();
    }
    assert_eq!(store.create("b", b"mine"), Ok(Created::Written));
    assert_eq!(store.get("b"), Ok(Some(b"mine".to_vec())));
}

#[test]
fn paths_that_leave_the_store_are_refused() {
    let scratch = Scratch::new("paths");
    let store = scratch.store();
    for path in ["../x", "/etc/passwd", "a/../../x", "", "job/.tmp-1"] {
        assert!(!store.create(path, b"").unwrap_err().unknown);
        assert!(store.get(path).is_err() && store.size(path).is_err());
        assert!(store.delete(path).is_err());
    }
    assert!(store.list("../").is_err() && store.sweep("/").is_err());
}

#[test]
fn errors_name_the_file_and_what_to_do() {
    let scratch = Scratch::new("errors");
    let store = scratch.store();
    store.create("job", b"a file").unwrap();
    let error = store.create("job/log/0", b"").unwrap_err();
    assert!(error.to_string().contains("/job") && !error.unknown, "{error}");
    let hints = [
        (Errno::NOSPC, "free some space"),
        (Errno::DQUOT, "quota"),
        (Errno::ROFS, "read-only"),
        (Errno::ACCESS, "rights"),
        (Errno::MFILE, "ulimit -n"),
        (Errno::NFILE, "fs.file-max"),
        (Errno::IO, "dmesg"),
        (Errno::OPNOTSUPP, "hard links"),
    ];
    for (errno, hint) in hints {
        let error = io::Error::from_raw_os_error(errno.raw_os_error());
        let error = failed("write", Path::new("/x/y"), &error);
        assert!(error.hint.contains(hint) && error.what.contains("/x/y"), "{error}");
    }
}

#[test]
fn a_directory_whose_synchronisation_failed_is_synchronised_before_it_is_believed() {
    let scratch = Scratch::new("doubt");
    let store = scratch.store();
    store.create("job/log/0", b"x").unwrap();
    let folder = store.root().join("job/log");
    store.folders().doubtful.insert(folder.clone());
    assert_eq!(store.get("job/log/0"), Ok(Some(b"x".to_vec())));
    assert!(store.folders().doubtful.is_empty());
    let gone = store.root().join("gone");
    assert!(store.synchronise(&gone).unwrap_err().unknown);
    assert!(store.get("gone/0").unwrap_err().unknown, "doubt stays until it is lifted");
}
