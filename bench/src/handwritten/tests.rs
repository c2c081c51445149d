//! Claims about the baseline as a whole; the digests come from another program.

use super::*;

fn digest(parallelism: usize, assign: Assign, users: u64, records: u64) -> Digest {
    let workload = workload::Options { users, ..workload::Options::default() };
    let config = Config { parallelism, workload, assign, huge_pages: false };
    let report = run(&config, &Mode::Fixed { records });
    assert_eq!(report.records, records);
    report.outcome.digest
}

#[test]
fn one_core_gives_the_digest_computed_by_another_program() {
    let expected = Digest {
        count: 100_000,
        sum: 0x92a1_6d78_0c65_e5c4,
        xor: 0xe2f0_343e_533d_4c96,
        unordered: 0x8049_5919_c27a_be1b,
    };
    assert_eq!(digest(1, Assign::Index, 1_000, 100_000), expected);
    let expected = Digest {
        count: 100_000,
        sum: 0x9c0b_ad14_37e0_1c84,
        xor: 0x2084_0fd5_0fcc_bce2,
        unordered: 0x512d_79c0_2d95_28c4,
    };
    assert_eq!(digest(1, Assign::Index, 20_000, 100_000), expected);
}

#[test]
fn splits_by_user_give_every_field_as_one_core_does() {
    let one = digest(1, Assign::Index, 5_000, 300_000);
    for parallelism in 1..=3 {
        assert_eq!(digest(parallelism, Assign::User, 5_000, 300_000), one, "{parallelism} cores");
    }
}

#[test]
fn splits_by_index_give_the_same_up_to_order() {
    let one = digest(1, Assign::Index, 5_000, 300_001);
    for parallelism in 2..=3 {
        let other = digest(parallelism, Assign::Index, 5_000, 300_001);
        assert_eq!(other.unordered, one.unordered, "{parallelism} cores");
        assert_eq!(other.count, one.count, "{parallelism} cores");
    }
}

#[test]
fn windows_count_and_the_cores_sleep_between_them() {
    let workload = workload::Options { users: 1_000, ..workload::Options::default() };
    let session = Session::start(&Config { workload, huge_pages: false, ..Config::default() });
    // On a machine with other work a core may be kept out for a whole window.
    let window = || {
        let mut windows = (0..100).map(|_| session.window(Duration::from_millis(50)));
        windows.find(|window| window.records > 0).expect("the cores run at some time")
    };
    let first = window();
    let between = session.cores.control.judged();
    machine::sleep(Duration::from_millis(30));
    assert_eq!(session.cores.control.judged(), between);
    let second = window();
    assert!(session.stop().digest.count >= first.records + second.records);
}

#[test]
fn a_paced_run_emits_what_is_due_and_measures_it() {
    for idle in [Idle::Spin, Idle::Park] {
        let workload = workload::Options { users: 1_000, ..workload::Options::default() };
        let config = Config { workload, huge_pages: false, ..Config::default() };
        let mode = Mode::Paced {
            rate_total: 20_000.0,
            warm: Duration::from_millis(100),
            duration: Duration::from_millis(400),
            idle,
        };
        let report = run(&config, &mode);
        assert_eq!(report.records, 10_000);
        assert!((report.outcome.latency.len() as i64 - 8_000).abs() <= 1, "{idle:?}");
        assert!(report.seconds >= 0.49, "{} s", report.seconds);
    }
}
