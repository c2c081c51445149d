//! `fraud-p`: generated purchases, a verdict on every one.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use thalweg::Result;
use thalweg::prelude::*;
use thalweg::sink::Sink;

use super::digest;
use super::rule::{HOUR_MS, Profile};
use super::stream::{Draw, Purchase, Purchases};

/// Judge generated purchases, one verdict each.
#[derive(Debug, Clone, Parser)]
#[command(name = "fraud-p")]
pub struct Options {
    /// How many purchases to generate; without it the stream has no end.
    #[arg(long, value_name = "N")]
    pub generate: Option<u64>,
    /// How many users there are.
    #[arg(long, default_value_t = 1_000_000)]
    pub users: u64,
    /// The stream's seed.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Share of the events that go to user 0, 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    pub skew: f64,
    /// Exponent of a zipf distribution of the users; uniform without it.
    #[arg(long)]
    pub zipf: Option<f64>,
    /// Purchases a second, of all splits together; as fast as possible without it.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Number of splits; the parallelism without it.
    #[arg(long)]
    pub splits: Option<usize>,
    /// How events are shared among splits.
    #[arg(long, value_enum, default_value_t = Assign::Index)]
    pub assign: Assign,
    /// Directory for the verdicts, or "blackhole" to read and drop them.
    #[arg(long)]
    pub output: PathBuf,
    /// Replaces what is in the output directory.
    #[arg(long)]
    pub overwrite: bool,
}

/// How events are shared among splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Assign {
    /// By index: every S-th event.
    Index,
    /// By user: all events of a user in one split, in order.
    User,
}

/// A purchase with what the rule looks at: 48 bytes.
#[record]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Enriched {
    /// Who bought.
    pub user: u64,
    /// With which card.
    pub card: u64,
    /// Event time in milliseconds.
    pub ts: i64,
    /// The price in cents.
    pub amount: i64,
    /// The price in dollars.
    pub dollars: f64,
    /// Where.
    pub merchant: u32,
    /// Hour of the day, UTC.
    pub hour: u16,
    /// Category of the merchant.
    pub category: u16,
}

/// What is said of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Who bought.
    pub user: u64,
    /// Event time in milliseconds.
    pub ts: i64,
    /// The price in cents.
    pub amount: i64,
    /// The user's purchases in this hour, this one included.
    pub tx_count_1h: i64,
    /// Whether the purchase is flagged.
    pub fraud: bool,
}

/// Room for more users is made when they come.
const EXPECTED_MAX: u64 = 1 << 22;

/// Builds the job.
///
/// # Errors
/// Bad arguments.
pub fn fraud_p(flow: &Dataflow, args: &Args) -> Result<()> {
    let options: Options = args.parse()?;
    if options.output.as_os_str() != "blackhole" {
        let files = FileSink::json_lines(&options.output).overwrite(options.overwrite);
        return verdicts_into(flow, &options, files);
    }
    let all = flow.fingerprint("verdicts");
    let unordered = flow.fingerprint("unordered");
    let blackhole = Blackhole::new(move |verdict: &Verdict| {
        let hashes = digest::hashes(verdict);
        all.fold(hashes.verdict);
        unordered.fold(hashes.unordered);
    });
    verdicts_into(flow, &options, blackhole)
}

/// Builds the job in front of a sink of the caller's; `options.output` is not looked at.
///
/// # Errors
/// Bad arguments.
pub fn verdicts_into<S: Sink<Verdict>>(flow: &Dataflow, options: &Options, sink: S) -> Result<()> {
    let draw =
        Draw { users: options.users, seed: options.seed, skew: options.skew, zipf: options.zipf };
    let purchases = Purchases::new(&draw)?;
    let mut generator = Generator::new(move |index| {
        let purchase = purchases.purchase(index);
        (purchase, purchase.ts)
    });
    generator = set(generator, options.generate, Generator::records);
    generator = set(generator, options.rate, Generator::rate);
    generator = set(generator, options.splits, Generator::splits);
    let profiles = ValueSpec::new("profile").expect_keys(expected_users(flow, options));
    match options.assign {
        Assign::Index => judge(flow.source("purchases", generator), profiles, sink),
        Assign::User => {
            let by_user = generator.assign_by(|purchase: &Purchase| purchase.user);
            judge(flow.source("purchases", by_user), profiles, sink);
        }
    }
    Ok(())
}

/// How many users a core is to judge, as far as that is worth knowing before.
fn expected_users(flow: &Dataflow, options: &Options) -> usize {
    let users = options.users.min(options.generate.unwrap_or(u64::MAX)).min(EXPECTED_MAX);
    users as usize / flow.parallelism()
}

fn set<G, V>(generator: G, value: Option<V>, apply: impl FnOnce(G, V) -> G) -> G {
    match value {
        Some(value) => apply(generator, value),
        None => generator,
    }
}

fn judge<C, S>(purchases: Stream<Purchase, C>, profiles: ValueSpec<Profile>, sink: S)
where
    C: thalweg::operator::Chain<Purchase>,
    S: Sink<Verdict>,
{
    let strategy = WatermarkStrategy::monotonous().periodic(Duration::from_millis(200));
    purchases
        .assign_timestamps(strategy)
        .map(enrich)
        .name("enrich")
        .key_by(|purchase| purchase.user)
        .flat_map_with_state("judge", profiles, |_, purchase, profile| {
            Some(verdict(&purchase, profile))
        })
        .sink("verdicts", sink);
}

/// Adds hour of the day, category and dollars.
#[inline]
pub fn enrich(purchase: Purchase) -> Enriched {
    Enriched {
        user: purchase.user,
        card: purchase.card,
        ts: purchase.ts,
        amount: purchase.amount,
        dollars: purchase.amount as f64 / 100.0,
        merchant: purchase.merchant,
        hour: (purchase.ts / HOUR_MS % 24) as u16,
        category: (purchase.merchant & 31) as u16,
    }
}

#[inline]
fn verdict(purchase: &Enriched, profile: &mut Profile) -> Verdict {
    let judged = profile.judge(purchase.ts, purchase.amount);
    Verdict {
        user: purchase.user,
        ts: purchase.ts,
        amount: purchase.amount,
        tx_count_1h: judged.tx_count_1h,
        fraud: judged.fraud,
    }
}
