//! `fraud`: an alert for every purchase that a rule flags, and what each user spends in an hour.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Parser};
use serde::Serialize;
use thalweg::prelude::*;
use thalweg::{Result, operator::Chain};

use super::account::Account;
use super::purchase::{Purchase, PurchaseParser};
use super::rules::HOUR_MS;
use crate::arguments::parse_duration;
use crate::fraud_p::stream::{Draw, Purchases};

/// Judge purchases by how many there are in an hour and by how large they are.
#[derive(Debug, Clone, Parser)]
#[command(name = "fraud")]
#[command(group(ArgGroup::new("from").required(true).args(["input", "generate"])))]
pub struct Options {
    /// CSV files with the header customer_id,date,cds,dollars; a file is read by one core.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub input: Vec<PathBuf>,
    /// Generates this many purchases instead.
    #[arg(long, value_name = "N")]
    pub generate: Option<u64>,
    /// How many users to generate purchases of.
    #[arg(long, default_value_t = 1_000_000)]
    pub users: u64,
    /// Seed of the generated purchases.
    #[arg(long, default_value_t = 42)]
    pub seed: u64,
    /// Generated purchases a second, of all splits together; as fast as possible without it.
    #[arg(long)]
    pub rate: Option<f64>,
    /// Directory for alerts/, hourly/, late/ and dead-letter/, or "blackhole" to read and drop.
    #[arg(long, value_name = "DIR")]
    pub output: PathBuf,
    /// Replaces the parts in the output directory.
    #[arg(long)]
    pub overwrite: bool,
    /// Ends the job at a malformed line instead of sending it to dead-letter/.
    #[arg(long)]
    pub strict: bool,
    /// How far behind the newest purchase one may come and still count in its hour: 30s, 5m, 1h.
    #[arg(long, default_value = "0", value_name = "DURATION", value_parser = parse_duration)]
    pub max_lateness: Duration,
}

/// A flagged purchase and the figures that the rules looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// Who bought.
    pub user: u64,
    /// When, in milliseconds since the epoch.
    pub ts: i64,
    /// For how much.
    pub amount_cents: i64,
    /// Too many purchases in the hour.
    pub velocity: bool,
    /// An amount far above the user's mean.
    pub amount: bool,
    /// The user's purchases in this hour, this one included.
    pub tx_count_1h: u32,
    /// The user's earlier purchases in 30 days.
    pub n_30d: u64,
    /// Their sum.
    pub sum_30d_cents: i128,
}

/// What a user spent in an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Hourly {
    /// Who.
    pub user: u64,
    /// The hour's first millisecond.
    pub window_start: i64,
    /// The first millisecond behind it.
    pub window_end: i64,
    /// How many purchases.
    pub count: u64,
    /// Their sum.
    pub sum_cents: i128,
}

/// A purchase that came when its hour was no longer kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Late {
    /// Who bought.
    pub user: u64,
    /// When, in milliseconds since the epoch.
    pub ts: i64,
    /// For how much.
    pub amount_cents: i64,
    /// The watermark that it was behind.
    pub watermark: i64,
}

/// Builds the job.
///
/// # Errors
/// Bad arguments.
pub fn fraud(flow: &Dataflow, args: &Args) -> Result<()> {
    let options: Options = args.parse()?;
    let Some(records) = options.generate else {
        let bad = Tag::new("dead-letter");
        let files = FileSource::with_parser(&options.input, PurchaseParser::default());
        let purchases = flow.source("purchases", files.strict(options.strict));
        let purchases = purchases.or_dead_letter(&bad);
        output(purchases.side_output(&bad), flow, &options, "dead-letter");
        judge(purchases, flow, &options);
        return Ok(());
    };
    let Options { users, seed, rate, .. } = options;
    let stream = Purchases::new(&Draw { users, seed, skew: 0.0, zipf: None })?;
    let mut generator = Generator::new(move |index| {
        let made = stream.purchase(index);
        let purchase = Purchase { user: made.user, ts: made.ts, amount_cents: made.amount };
        (purchase, made.ts)
    });
    if let Some(rate) = rate {
        generator = generator.rate(rate);
    }
    judge(flow.source("purchases", generator.records(records)), flow, &options);
    Ok(())
}

/// The rules on one branch of the keyed stream, the hourly aggregate on the other.
fn judge<C: Chain<Purchase>>(purchases: Stream<Purchase, C>, flow: &Dataflow, options: &Options) {
    let lateness = options.max_lateness;
    let strategy =
        WatermarkStrategy::monotonous().with_timestamps(|purchase: &Purchase| purchase.ts);
    let by_user = purchases.assign_timestamps(strategy).key_by(|purchase| purchase.user);

    let judged = by_user.clone().process("judge", |states| Judge {
        account: states.value("account"),
        max_lateness_ms: i64::try_from(lateness.as_millis()).unwrap_or(i64::MAX),
    });
    output(judged, flow, options, "alerts");

    let late = Tag::new("late");
    let spent = Fold::new(
        || (0u64, 0i128),
        |(count, sum), purchase: Purchase| {
            *count += 1;
            *sum += i128::from(purchase.amount_cents);
        },
    );
    let hourly = by_user
        .window(TumblingWindows::of(Duration::from_millis(HOUR_MS as u64)))
        .allowed_lateness(lateness)
        .late_output_with(&late, |purchase, watermark| {
            let Purchase { user, ts, amount_cents } = purchase;
            Late { user, ts, amount_cents, watermark }
        })
        .aggregate("hourly", spent, |user: &u64, window: &TimeWindow, (count, sum_cents)| Hourly {
            user: *user,
            window_start: window.start,
            window_end: window.end,
            count,
            sum_cents,
        });
    output(hourly.side_output(&late), flow, options, "late");
    output(hourly, flow, options, "hourly");
}

/// Writes a stream to its directory, or counts and drops it.
fn output<T, C>(stream: Stream<T, C>, flow: &Dataflow, options: &Options, name: &str)
where
    T: Serialize + 'static,
    C: Chain<T>,
{
    let (count, sink_name) = (flow.counter(name), format!("{name}-output"));
    let stream = stream.inspect(move |_| count.add(1));
    if options.output.as_os_str() == "blackhole" {
        stream.sink(
            &sink_name,
            Blackhole::new(|record: &T| {
                std::hint::black_box(record);
            }),
        );
    } else {
        let sink = FileSink::json_lines(options.output.join(name)).below(&options.output);
        stream.sink(&sink_name, sink.overwrite(options.overwrite));
    }
}

/// Applies the rules to each purchase of a user.
struct Judge {
    account: ValueState<Account>,
    max_lateness_ms: i64,
}

impl KeyedProcess<u64, Purchase> for Judge {
    type Out = Alert;

    fn process(
        &mut self,
        purchase: Purchase,
        cx: &mut ProcessContext<'_, u64, Alert>,
    ) -> Result<()> {
        let Purchase { user, ts, amount_cents } = purchase;
        let (watermark, lateness) = (cx.watermark(), self.max_lateness_ms);
        let verdict = self.account.or_default().judge(ts, amount_cents, watermark, lateness);
        if verdict.late {
            cx.count_late();
        }
        if verdict.is_alert() {
            cx.emit(Alert {
                user,
                ts,
                amount_cents,
                velocity: verdict.velocity,
                amount: verdict.amount,
                tx_count_1h: verdict.tx_count_1h,
                n_30d: verdict.n_30d,
                sum_30d_cents: verdict.sum_30d_cents,
            });
        }
        Ok(())
    }
}
