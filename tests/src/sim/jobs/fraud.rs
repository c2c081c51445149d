//! The shipped job `fraud-p`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use thalweg::prelude::*;
use thalweg_jobs::fraud_p::stream::{Draw, Purchases};
use thalweg_jobs::fraud_p::{Assign, Options, Verdict, verdicts_into};

use super::{Instance, manners, rows};
use crate::sim::oracle::{Equality, difference};
use crate::sim::probe::{Outputs, Probe, Row, Rows};
use crate::sim::{Random, trap};

const HOUR_MS: i64 = 3_600_000;

fn options(random: &Random, assign: Assign) -> Options {
    let mut random = random.fork("options");
    Options {
        generate: Some(random.between(1, 1_500)),
        users: random.magnitude(300),
        seed: random.bits(),
        skew: random.pick(&[0.0, 0.0, 0.3, 0.9]),
        zipf: None,
        rate: random.pick(&[None, None, Some(1e6), Some(1e4)]),
        splits: Some(random.between(1, 5) as usize),
        assign,
        output: PathBuf::from("blackhole"),
        overwrite: false,
    }
}

fn instance(random: &Random, assign: Assign) -> Instance {
    let options = options(random, assign);
    let (outputs, mut manners) = (Outputs::default(), manners(random));
    manners.punctual = true;
    let fold = (assign == Assign::User).then(|| fold(&options));
    let kept = outputs.clone();
    let job = move |flow: &Dataflow, _: &Args| {
        verdicts_into(flow, &options, Probe::new("verdicts", &kept, &manners, row))
    };
    Instance {
        job: Box::new(job),
        args: Args::default(),
        outputs,
        equality: Equality::PerKey,
        fold,
        judge: None,
    }
}

fn row(verdict: &Verdict) -> (u64, String) {
    trap::call();
    let Verdict { user, ts, amount, tx_count_1h, fraud } = verdict;
    (*user, format!("{ts} {amount} {tx_count_1h} {fraud}"))
}

/// Every field, in each user's order.
pub(super) fn by_user(random: &Random) -> Instance {
    instance(random, Assign::User)
}

/// What no interleaving of splits can change.
pub(super) fn by_index(random: &Random) -> Instance {
    Instance { judge: Some(judge_unordered), ..instance(random, Assign::Index) }
}

/// The rule, written down once more.
fn fold(options: &Options) -> Rows {
    let Options { users, seed, skew, zipf, .. } = *options;
    let purchases = Purchases::new(&Draw { users, seed, skew, zipf }).expect("options are valid");
    let mut profiles: BTreeMap<u64, (i64, i64, i64, f64)> = BTreeMap::new();
    let verdicts = (0..options.generate.unwrap_or(0)).map(|index| {
        let purchase = purchases.purchase(index);
        let (hour, in_hour, ever, mean) = profiles.entry(purchase.user).or_default();
        let start = purchase.ts / HOUR_MS * HOUR_MS;
        (*in_hour, *hour) = if start > *hour { (1, start) } else { (*in_hour + 1, *hour) };
        let amount = purchase.amount as f64;
        let fraud = *in_hour > 5 || (*ever > 0 && amount > *mean * 10.0);
        *mean = if *ever == 0 { amount } else { *mean + (amount - *mean) * 0.05 };
        *ever += 1;
        (purchase.user, format!("{} {} {in_hour} {fraud}", purchase.ts, purchase.amount))
    });
    rows("verdicts", verdicts)
}

/// (a) The multiset of user, time and amount; (b) per user and hour the counts 1 … n.
fn judge_unordered(expected: &Rows, found: &Rows) -> Option<String> {
    let part = |rows: &Rows, part: fn(&[&str]) -> String| -> Rows {
        let cut = |row: &Row| {
            let fields: Vec<_> = row.text.split(' ').collect();
            Row { key: row.key, text: part(&fields) }
        };
        rows.iter().map(|(sink, rows)| (sink.clone(), rows.iter().map(cut).collect())).collect()
    };
    let purchase: fn(&[&str]) -> String = |fields| format!("{} {}", fields[0], fields[1]);
    let place: fn(&[&str]) -> String = |fields| {
        let ts: i64 = fields[0].parse().unwrap_or_default();
        format!("{} {}", ts / HOUR_MS, fields[2])
    };
    [purchase, place]
        .into_iter()
        .find_map(|of| difference(Equality::Multiset, &part(expected, of), &part(found, of)))
}
