//! The known answer: the real purchases and the alerts that an independent program found in them.

use std::collections::BTreeMap;

use super::account::Account;
use super::purchase::{PurchaseParser, check_header};

const PURCHASES: &[u8] = include_bytes!("../../data/cdnow.csv");
const ALERTS: &str = include_str!("../../data/cdnow-alerts.jsonl");

/// Judges the file on one core without the engine; the rows of `alerts/`, and how many were late.
fn judge_all() -> (Vec<String>, u64) {
    let mut lines = PURCHASES.split_inclusive(|&byte| byte == b'\n');
    check_header(lines.next().expect("a header")).expect("the header");
    let mut parser = PurchaseParser::default();
    let mut accounts: BTreeMap<u64, Account> = BTreeMap::new();
    let (mut alerts, mut late, mut watermark) = (Vec::new(), 0, i64::MIN);
    for line in lines {
        let purchase = parser.parse(line).expect("a well-formed row").expect("a row");
        let account = accounts.entry(purchase.user).or_default();
        let verdict = account.judge(purchase.ts, purchase.amount_cents, watermark, 0);
        watermark = watermark.max(purchase.ts - 1);
        late += u64::from(verdict.late);
        if verdict.is_alert() {
            alerts.push(format!(
                "{{\"user\":{},\"ts\":{},\"amount_cents\":{},\"velocity\":{},\"amount\":{},\
                 \"tx_count_1h\":{},\"n_30d\":{},\"sum_30d_cents\":{}}}",
                purchase.user,
                purchase.ts,
                purchase.amount_cents,
                verdict.velocity,
                verdict.amount,
                verdict.tx_count_1h,
                verdict.n_30d,
                verdict.sum_30d_cents,
            ));
        }
    }
    (alerts, late)
}

#[test]
fn the_real_purchases_give_the_alerts_of_the_independent_program() {
    let (alerts, late) = judge_all();
    assert_eq!(late, 0, "the file is in order");
    assert_eq!(alerts.iter().filter(|row| row.contains("\"velocity\":true")).count(), 43);
    assert_eq!(alerts.iter().filter(|row| row.contains("\"amount\":true")).count(), 45);
    assert_eq!(alerts.len(), 88);
    let expected: Vec<&str> = ALERTS.lines().collect();
    assert_eq!(alerts, expected);
}
