//! Tests of manifests, and the sample that other tests take.

use super::*;
use crate::paths::Pack;

/// A job of `parallelism` cores with 128 key groups.
pub(crate) fn sample_job(parallelism: u32) -> JobIdentity {
    let state = |name: &str, kind: &str, fingerprint| StateIdentity {
        name: name.to_owned(),
        kind: kind.to_owned(),
        fingerprint,
    };
    JobIdentity {
        name: "fraud".to_owned(),
        id: "fraud-1".to_owned(),
        graph_digest: 0xfeed,
        parallelism,
        max_parallelism: 128,
        operators: vec![OperatorIdentity {
            name: "profile".to_owned(),
            states: vec![state("total", "value", 7), state("last", "list", 8)],
        }],
    }
}

/// A file that core `core` of attempt 1 wrote.
pub(crate) fn sample_file(core: u32, number: u64) -> FileInfo {
    let path = Pack { attempt: 1, node: core, number }.path("fraud-1");
    FileInfo { path, offset: 3, bytes: 10, checksum: number }
}

/// Checkpoint `checkpoint` of attempt 1.
pub(crate) fn sample(checkpoint: u64, parallelism: u32) -> Manifest {
    let share = 128 / parallelism;
    let core = |core| CoreEntry {
        core,
        first_key_group: core * share,
        key_group_count: if core + 1 == parallelism { 128 - core * share } else { share },
        part: sample_file(core, checkpoint << 1),
        files: vec![sample_file(core, checkpoint << 1 | 1)],
    };
    Manifest {
        format: FORMAT,
        checkpoint,
        kind: Kind::Checkpoint,
        attempt: 1,
        term: 1,
        started_ms: 1000,
        completed_ms: 2000,
        job: sample_job(parallelism),
        cores: (0..parallelism).map(core).collect(),
        splits: vec![Split { source: "in".to_owned(), number: 0, start: vec![0, 255] }],
    }
}

#[test]
fn a_copy_is_refused_by_its_format_before_anything_else() {
    let copy = |manifest: &Manifest| serde_json::to_vec_pretty(manifest).unwrap();
    let manifest = sample(41, 2);
    assert_eq!(Manifest::parse(&copy(&manifest)).unwrap(), manifest);
    let later = Manifest::parse(b"{\"format\":2}").unwrap_err();
    assert_eq!(later, "its format is 2, and this build reads 1");
    let mut other = manifest;
    other.job.parallelism = 3;
    assert_eq!(Manifest::parse(&copy(&other)).unwrap_err(), "it has 2 cores of 3");
    for bytes in [&b""[..], b"{}", b"\xff", b"[1]", b"{\"format\":1}"] {
        assert!(Manifest::parse(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn a_manifest_reads_back_and_agrees_with_itself() {
    for cores in [1, 2, 3, 7] {
        let manifest = sample(41, cores);
        let text = serde_json::to_string_pretty(&manifest).unwrap();
        assert_eq!(serde_json::from_str::<Manifest>(&text).unwrap(), manifest);
        assert_eq!(manifest.check_itself(), Ok(()));
        assert_eq!(manifest.check_job(&sample_job(cores)), Ok(()));
        assert_eq!(manifest.all_files().count(), 2 * cores as usize);
        assert_eq!(manifest.bytes(), 20 * u64::from(cores));
    }
}

#[test]
fn its_json_is_for_readers_of_other_languages() {
    let text = serde_json::to_string(&sample(41, 2)).unwrap();
    for piece in [
        r#""format":1"#,
        r#""kind":"checkpoint""#,
        r#""graph_digest":"000000000000feed""#,
        r#""path":"fraud-1/att-1/node-0/82.pack","offset":3,"bytes":10,"#,
        r#""checksum":"0000000000000052""#,
        r#""start":"00ff""#,
    ] {
        assert!(text.contains(piece), "{piece} is not in {text}");
    }
}

#[test]
fn every_difference_has_its_sentence() {
    type Change = fn(&mut JobIdentity);
    let changes: [(Change, &str); 10] = [
        (|job| job.name = "other".into(), "it is of job \"fraud\""),
        (|job| job.id = "fraud-2".into(), "--job-id"),
        (|job| job.parallelism = 3, "it is of 2 cores, and the job runs on 3\nhint: pass -p 2"),
        (|job| job.max_parallelism = 256, "set job.max-parallelism to 128"),
        (|job| job.graph_digest = 1, "its graph is 000000000000feed"),
        (|job| job.operators.clear(), "operator \"profile\" has state but is not in the job"),
        (|job| job.operators[0].states.truncate(1), "no longer declares state \"last\""),
        (|job| job.operators[0].states[1].kind = "map".into(), "was a list and is a map"),
        (|job| job.operators[0].states[0].fingerprint = 9, "0000000000000009 now"),
        (|job| job.operators[0].states[0].name = "sum".into(), "no longer declares"),
    ];
    for (change, sentence) in changes {
        let mut job = sample_job(2);
        change(&mut job);
        let error = sample(41, 2).check_job(&job).unwrap_err().to_string();
        assert!(error.starts_with("cannot restore checkpoint 41: "), "{error}");
        assert!(error.contains(sentence) && error.contains("\nhint: "), "{error}");
    }
}

#[test]
fn a_new_state_of_an_old_operator_is_refused_and_a_new_operator_too_by_the_digest() {
    let mut job = sample_job(2);
    let state = StateIdentity { name: "new".into(), kind: "map".into(), fingerprint: 1 };
    job.operators[0].states.push(state);
    let error = sample(41, 2).check_job(&job).unwrap_err();
    assert!(error.what.contains("new state \"new\""), "{error}");
}

#[test]
fn another_format_is_refused_by_number_first() {
    let manifest = Manifest { format: 2, ..sample(41, 2) };
    let error = manifest.check_job(&sample_job(3)).unwrap_err();
    assert_eq!(error.what, "its format is 2, and this build reads 1");
}

#[test]
fn a_manifest_that_contradicts_itself_is_found() {
    type Change = fn(&mut Manifest);
    let changes: [(Change, &str); 8] = [
        (|it| it.cores.truncate(1), "it has 1 cores of 2"),
        (|it| it.cores[1].core = 0, "core 0 stands at place 1"),
        (|it| it.cores[1].first_key_group = 63, "core 1 begins at key group 63, not 64"),
        (|it| it.cores[1].key_group_count = 63, "127 key groups of 128"),
        (|it| it.cores[0].files[0].path = "../x".into(), "begins with a dot"),
        (|it| it.splits.push(it.splits[0].clone()), "a split twice"),
        (|it| it.cores[0].key_group_count = u32::MAX, "begins at key group 64"),
        (
            |it| {
                it.cores[1].files = it.cores[0].files.clone();
                it.cores[1].files[0].bytes = 11;
            },
            "in two ways",
        ),
    ];
    for (change, sentence) in changes {
        let mut manifest = sample(41, 2);
        change(&mut manifest);
        let error = manifest.check_itself().unwrap_err();
        assert!(error.contains(sentence), "{error}");
    }
}
