//! Tests of the log: what is refused, who owns an entry, and where a job goes on.

use super::*;
use crate::manifest::tests::sample;
use crate::paths;
use crate::store::{Fault, MemoryStore, Operation, Store};

fn entry(attempt: u64, what: What) -> Entry {
    Entry { version: VERSION, attempt, term: attempt, nonce: attempt << 60, what }
}

fn begin(attempt: u64, from: Option<u64>, first_id: u64) -> Entry {
    entry(attempt, What::Attempt { from, first_id })
}

fn complete(attempt: u64, checkpoint: u64) -> Entry {
    let manifest = Manifest { attempt, term: attempt, ..sample(checkpoint, 2) };
    entry(attempt, What::Complete { checkpoint, first: 0, manifest: Box::new(manifest) })
}

/// The same, with the first entry that stays.
fn complete_from(attempt: u64, checkpoint: u64, kept: u64) -> Entry {
    let mut entry = complete(attempt, checkpoint);
    if let What::Complete { first, .. } = &mut entry.what {
        *first = kept;
    }
    entry
}

/// The wish to own entry `k` behind `before`.
fn append(k: u64, entry: &Entry, before: Option<&Entry>) -> Append {
    Append::new("fraud-1", k, entry, before.map(Entry::writer))
}

fn write(store: &MemoryStore, entries: &[Entry]) {
    let mut before = None;
    for (k, entry) in entries.iter().enumerate() {
        assert_eq!(append(k as u64, entry, before).send(store), Verdict::Ours);
        before = Some(entry);
    }
}

fn read(entries: &[Entry]) -> History {
    let store = MemoryStore::new();
    write(&store, entries);
    let history = Log::read(&store, "fraud-1").unwrap();
    assert_eq!(history.next(), entries.len() as u64);
    history
}

fn live(history: &History) -> Vec<u64> {
    history.live().map(|completed| completed.checkpoint).collect()
}

/// What is said of the newest entry when it cannot be used.
fn complaint(bytes: &[u8]) -> String {
    let store = MemoryStore::new();
    write(&store, &[begin(1, None, 1)]);
    store.create("fraud-1/log/00000000000000000001", bytes).unwrap();
    let error = Log::read(&store, "fraud-1").unwrap_err().to_string();
    assert!(error.contains("fraud-1/log/00000000000000000001: "), "{error}");
    assert!(error.contains("\nhint: "), "{error}");
    error
}

#[test]
fn an_empty_log_is_that_of_a_new_job() {
    let history = read(&[]);
    assert_eq!((history.next_id(), history.attempt(), history.term()), (1, 0, 0));
    assert!(history.restore_point().is_none() && !history.is_finished());
}

#[test]
fn entries_are_lines_of_json_that_say_what_they_are() {
    let line = String::from_utf8(begin(1, Some(4), 5).to_bytes()).unwrap();
    let expected = concat!(
        r#"{"version":1,"attempt":1,"term":1,"nonce":"1000000000000000","#,
        r#""entry":"attempt","from":4,"first_id":5}"#
    );
    assert_eq!(line, format!("{expected}\n"));
    for entry in
        [begin(1, None, 1), entry(1, What::TakeOver), complete(1, 3), entry(1, What::Finished)]
    {
        assert_eq!(Entry::parse("x", &entry.to_bytes()), Ok(entry));
    }
}

#[test]
fn the_restore_point_is_the_newest_after_the_attempt_else_the_one_it_names() {
    let (one, two, three) = (complete(1, 1), complete(1, 2), complete(2, 3));
    assert_eq!(live(&read(&[begin(1, None, 1)])), [0; 0]);
    assert_eq!(live(&read(&[begin(1, None, 1), one.clone(), two.clone()])), [2, 1]);
    let on = [begin(1, None, 1), one.clone(), two.clone(), begin(2, Some(2), 3)];
    assert_eq!(live(&read(&on)), [2, 1]);
    let back = [begin(1, None, 1), one.clone(), two, begin(2, Some(1), 3), three.clone()];
    assert_eq!(live(&read(&back[..4])), [1], "2 is void");
    assert_eq!(live(&read(&back)), [3, 1]);
    assert_eq!(read(&back).restore_point(), Some(Completed { checkpoint: 3, k: 4 }));
    let none = [begin(1, None, 1), one, begin(2, None, 2), three];
    assert_eq!(live(&read(&none[..3])), [0; 0]);
    assert_eq!(live(&read(&none)), [3]);
}

#[test]
fn going_back_twice_leaves_what_both_attempts_left() {
    let history = read(&[
        begin(1, None, 1),
        complete(1, 1),
        complete(1, 2),
        begin(2, Some(1), 3),
        complete(2, 3),
        begin(3, Some(1), 4),
        complete(3, 4),
    ]);
    assert_eq!(live(&history), [4, 1]);
    assert_eq!((history.attempt(), history.next_id()), (3, 5));
}

#[test]
fn an_attempt_that_was_itself_left_behind_does_not_count() {
    // Attempt 2 started from nothing and was left for checkpoint 2 of attempt 1.
    let history = read(&[
        begin(1, None, 1),
        complete(1, 1),
        complete(1, 2),
        begin(2, None, 3),
        complete(2, 3),
        begin(3, Some(2), 4),
    ]);
    assert_eq!(live(&history), [2, 1]);
}

#[test]
fn the_newest_live_ones_and_all_savepoints_are_retained() {
    let mut savepoint = complete(1, 2);
    if let What::Complete { manifest, .. } = &mut savepoint.what {
        manifest.kind = crate::manifest::Kind::Savepoint;
    }
    let history = read(&[
        begin(1, None, 1),
        complete(1, 1),
        savepoint,
        complete(1, 3),
        begin(2, Some(1), 4),
        complete(2, 4),
        complete(2, 5),
    ]);
    let retained = |count| {
        history.retained(count).iter().map(|completed| completed.checkpoint).collect::<Vec<_>>()
    };
    assert_eq!((retained(0), retained(1)), (vec![2], vec![2, 5]));
    assert_eq!(retained(9), [1, 2, 4, 5], "3 is void");
}

#[test]
fn a_manifest_is_read_again_where_the_history_says() {
    let store = MemoryStore::new();
    write(&store, &[begin(1, None, 1), complete(1, 1), entry(1, What::Finished)]);
    let history = Log::read(&store, "fraud-1").unwrap();
    assert!(history.is_finished());
    let point = history.restore_point().unwrap();
    assert_eq!(Log::manifest(&store, "fraud-1", point).unwrap().checkpoint, 1);
    for wrong in [Completed { checkpoint: 2, k: 1 }, Completed { checkpoint: 1, k: 9 }] {
        assert!(Log::manifest(&store, "fraud-1", wrong).is_err());
    }
}

#[test]
fn entries_that_contradict_those_before_are_errors() {
    let first = [begin(2, None, 5), complete(2, 5)];
    let old_take_over = entry(2, What::TakeOver);
    for (next, sentence) in [
        (begin(2, None, 6), "attempt 2 begins after 2"),
        (begin(3, Some(4), 6), "checkpoint 4, which is not complete"),
        (begin(3, Some(5), 5), "6 is the next one"),
        (complete(2, 5), "completes twice or too late"),
        (complete(3, 6), "attempt 3 goes on during 2"),
        (old_take_over, "term 2 takes over from itself"),
        (begin(1, None, 9), "its term is 1 after 2"),
        (complete(2, u64::MAX), "at their end"),
    ] {
        let mut history = read(&first);
        let seen = history.push(&next).unwrap_err();
        assert!(seen.contains(sentence), "{seen}");
        assert_eq!(history, read(&first), "nothing of it is taken");
    }
    let mut finished = read(&[begin(1, None, 1), entry(1, What::Finished)]);
    let goes_on = entry(1, What::TakeOver);
    assert!(finished.push(&goes_on).unwrap_err().contains("end of the job"));
    finished.push(&begin(2, None, 2)).unwrap();
    assert!(!finished.is_finished() && finished.live().next().is_none(), "begun afresh");
}

#[test]
fn damaged_entries_are_errors_that_name_the_file() {
    let good = complete(1, 1).to_bytes();
    for length in 0..good.len() {
        assert!(Entry::parse("x", &good[..length]).is_err(), "torn at {length}");
    }
    assert!(complaint(&good[..good.len() - 1]).contains("torn"));
    assert!(complaint(b"{}\n").contains("no version"));
    assert!(complaint(b"\xff\xfe\n").contains("no version"));
    let text = String::from_utf8(good).unwrap();
    let change = |from: &str, to: &str| text.replacen(from, to, 1).into_bytes();
    assert!(complaint(&change("\"version\":1", "\"version\":2")).contains("this build reads 1"));
    assert!(complaint(&change("\"entry\":\"complete\"", "\"entry\":\"x\"")).contains("unknown"));
    assert!(complaint(&change("\"checkpoint\":1", "\"checkpoint\":2")).contains("another"));
    assert!(complaint(&change("\"parallelism\":2", "\"parallelism\":3")).contains("2 cores of 3"));
    let newer = "{\"version\":9,\"entry\":\"unheard of\"}\n".as_bytes();
    assert!(complaint(newer).contains("its version is 9"), "before anything else is believed");
    let newer = change("\"manifest\":{\"format\":1", "\"manifest\":{\"new\":0,\"format\":7");
    assert!(complaint(&newer).contains("format is 7"));
    let newer = change("\"format\":1,\"checkpoint\":1", "\"format\":7,\"n\":1");
    assert!(complaint(&newer).contains("format is 7"), "before anything else is believed");
}

#[test]
fn entries_have_a_longest_length() {
    let error = Entry::parse("x", &vec![b' '; ENTRY_BYTES_MAX + 1]).unwrap_err();
    assert!(error.to_string().contains("67108865 bytes"), "{error}");
}

#[test]
fn who_owns_an_entry_is_read_back() {
    let (ours, other) = (begin(1, None, 1), begin(2, None, 1));
    let append = append(0, &ours, None);
    assert_eq!(append.decide(Some(&ours.to_bytes())), Verdict::Ours);
    assert_eq!(append.decide(Some(&other.to_bytes())), Verdict::Superseded);
    assert_eq!(append.decide(Some(b"")), Verdict::Superseded);
    assert_eq!(append.decide(None), Verdict::SendAgain);
    let twin = Entry { nonce: 1, ..ours.clone() };
    assert_eq!(append.decide(Some(&twin.to_bytes())), Verdict::Superseded, "another nonce");
}

#[test]
fn a_lost_answer_a_lost_request_and_a_late_landing_end_in_one_owner() {
    let once = |fault| {
        let store = MemoryStore::new();
        let mut left = 1;
        store.set_faults(move |operation| match operation {
            Operation::Create(_) if left > 0 => {
                left -= 1;
                fault
            }
            _ => Fault::None,
        });
        store
    };
    let ours = append(0, &begin(1, None, 1), None);
    let other = append(0, &begin(2, None, 1), None);
    assert_eq!(ours.send(&once(Fault::LostAnswer)), Verdict::Ours);
    assert!(matches!(ours.send(&once(Fault::Fail)), Verdict::NotWritten(_)));
    let store = once(Fault::LostRequest);
    assert_eq!(ours.send(&store), Verdict::SendAgain);
    assert_eq!(ours.send(&store), Verdict::Ours);
    let store = once(Fault::Delayed);
    assert_eq!(ours.send(&store), Verdict::SendAgain);
    store.land_one();
    assert_eq!(other.send(&store), Verdict::Superseded);
    assert_eq!(ours.send(&store), Verdict::Ours);
    let store = once(Fault::Delayed);
    assert_eq!(ours.send(&store), Verdict::SendAgain);
    assert_eq!(other.send(&store), Verdict::Ours);
    store.land_one();
    assert_eq!(ours.send(&store), Verdict::Superseded);
    let store = MemoryStore::new();
    store.set_faults(|_| Fault::LostAnswer);
    assert_eq!(ours.send(&store), Verdict::SendAgain, "the read back failed as well");
}

/// A log of checkpoints 1 to 9 in entries 1 to 9, of which the last says that it stays from 4 on.
fn long() -> (MemoryStore, Vec<Entry>) {
    let store = MemoryStore::new();
    let mut entries = vec![begin(1, None, 1)];
    entries.extend((1..=8).map(|id| complete(1, id)));
    entries.push(complete_from(1, 9, 4));
    write(&store, &entries);
    (store, entries)
}

#[test]
fn a_log_without_its_old_entries_says_the_same() {
    let (store, _) = long();
    let whole = Log::read(&store, "fraud-1").unwrap();
    assert_eq!((whole.first(), whole.marks().len()), (4, 6), "the others may go at any time");
    for gone in 0..4 {
        store.delete(&paths::log_entry("fraud-1", gone)).unwrap();
        assert_eq!(Log::read(&store, "fraud-1").as_ref(), Ok(&whole), "{gone}");
    }
    assert_eq!((whole.next(), whole.next_id(), whole.attempt(), whole.term()), (10, 10, 1, 1));
    assert_eq!(live(&whole), [9, 8, 7, 6, 5, 4]);
    assert_eq!(whole.restore_point(), Some(Completed { checkpoint: 9, k: 9 }));
    assert_eq!(whole.retained(2).iter().map(|it| it.k).collect::<Vec<_>>(), [8, 9]);
    store.delete("fraud-1/log/00000000000000000006").unwrap();
    let error = Log::read(&store, "fraud-1").unwrap_err().to_string();
    assert!(error.contains("00000000000000000006: it is missing, and later"), "{error}");
}

#[test]
fn old_entries_go_upwards_and_only_those() {
    let (store, entries) = long();
    let listed = || store.list("fraud-1/log/").unwrap();
    Log::prune(&store, "fraud-1", 0).unwrap();
    assert_eq!(listed().len(), entries.len());
    let mut deletions = 3;
    store.set_faults(move |operation| match operation {
        Operation::Delete(_) if deletions == 0 => Fault::Fail,
        Operation::Delete(_) => {
            deletions -= 1;
            Fault::None
        }
        _ => Fault::None,
    });
    Log::prune(&store, "fraud-1", 4).unwrap_err();
    assert_eq!(listed()[0], "fraud-1/log/00000000000000000003", "{:?}", listed());
    store.heal();
    Log::prune(&store, "fraud-1", 4).unwrap();
    Log::prune(&store, "fraud-1", 4).unwrap();
    assert_eq!(listed().len(), 7, "4 to 9, and the marker: {:?}", listed());
    assert_eq!(Log::read(&store, "fraud-1").unwrap().next(), 10);
}

#[test]
fn the_number_of_a_deleted_entry_is_nobodys() {
    let (store, entries) = long();
    Log::prune(&store, "fraud-1", 4).unwrap();
    for k in 0..4_usize {
        let before = k.checked_sub(1).map(|before| &entries[before]);
        let late = append(k as u64, &complete(1, 99), before);
        assert_eq!(late.send(&store), Verdict::Superseded, "entry {k}");
    }
    let whole = Log::read(&store, "fraud-1").unwrap();
    assert_eq!((whole.first(), whole.next()), (4, 10), "stragglers are not read");
    // Each of the two signs alone would do. First: what is behind it is another's, or nothing.
    store.set_faults(|operation| match operation {
        Operation::List(_) => Fault::Stale(usize::MAX),
        _ => Fault::None,
    });
    for k in [1, 3] {
        for straggler in 0..4 {
            store.delete(&paths::log_entry("fraud-1", straggler)).unwrap();
        }
        let late = append(k, &complete(1, 98), Some(&entries[k as usize - 1]));
        assert_eq!(late.send(&store), Verdict::Superseded, "entry {k}");
    }
    // Second: what is behind it landed once more, long after it was deleted.
    store.heal();
    let (behind, late) = (paths::log_entry("fraud-1", 2), paths::log_entry("fraud-1", 3));
    [&behind, &late].into_iter().for_each(|path| store.delete(path).unwrap());
    store.create(&behind, &entries[2].to_bytes()).unwrap();
    let late = append(3, &complete(1, 97), Some(&entries[2]));
    assert_eq!(late.send(&store), Verdict::Superseded);
}

#[test]
fn a_list_that_shows_nothing_does_not_make_a_job_new() {
    let (store, entries) = long();
    Log::prune(&store, "fraud-1", 4).unwrap();
    store.set_faults(|operation| match operation {
        Operation::List(_) => Fault::Stale(usize::MAX),
        _ => Fault::None,
    });
    let error = Log::read(&store, "fraud-1").unwrap_err().to_string();
    assert!(error.contains("none is listed\nhint: "), "{error}");
    let afresh = append(0, &begin(2, None, 1), None);
    assert_eq!(afresh.send(&store), Verdict::Superseded);
    // One that shows old entries is enough to find the others.
    store.heal();
    store.delete(&paths::log_entry("fraud-1", 0)).unwrap();
    for missing in 0..6 {
        store.set_faults(move |operation| match operation {
            Operation::List(_) => Fault::Stale(missing),
            _ => Fault::None,
        });
        assert_eq!(Log::read(&store, "fraud-1").unwrap().next(), entries.len() as u64, "{missing}");
    }
}

#[test]
fn whoever_cannot_look_around_sends_again() {
    let (store, entries) = long();
    let next = append(10, &complete_from(1, 10, 4), entries.last());
    let mut looks = 2;
    store.set_faults(move |operation| match operation {
        Operation::Get(_) | Operation::List(_) if looks > 0 => {
            looks -= 1;
            Fault::Fail
        }
        _ => Fault::None,
    });
    assert_eq!(next.send(&store), Verdict::SendAgain);
    assert_eq!(next.send(&store), Verdict::SendAgain);
    assert_eq!(next.send(&store), Verdict::Ours);
    assert_eq!(Log::read(&store, "fraud-1").unwrap().next(), 11);
}

#[test]
fn a_log_stays_from_a_checkpoint_on_and_never_from_further_back() {
    let mut history = History::from_entry(7);
    assert!(history.push(&begin(2, Some(1), 9)).unwrap_err().contains("no checkpoint's"));
    history.push(&complete_from(1, 3, 5)).unwrap();
    assert_eq!((history.next(), history.first(), history.attempt()), (8, 5, 1));
    for kept in [4, 9] {
        let seen = history.push(&complete_from(1, 4, kept)).unwrap_err();
        assert!(seen.contains(&format!("from entry {kept} on, and did from 5")), "{seen}");
    }
    history.push(&complete_from(1, 4, 8)).unwrap();
    history.push(&begin(2, Some(3), 5)).unwrap();
    assert_eq!(live(&history), [3]);
}

#[test]
fn a_log_that_says_it_begins_behind_itself_is_not_taken_for_an_empty_one() {
    for first in [2, 9, u64::MAX] {
        let error = complaint(&complete_from(1, 1, first).to_bytes());
        assert!(error.contains(&format!("begins with entry {first}, behind it")), "{error}");
    }
    // A file that is no entry of ours, with the highest number that there is.
    let (store, _) = long();
    store.create(&paths::log_entry("fraud-1", u64::MAX), &complete(1, 1).to_bytes()).unwrap();
    let error = Log::read(&store, "fraud-1").unwrap_err().to_string();
    assert!(error.contains("00000000000000000010: it is missing, and later"), "{error}");
}
