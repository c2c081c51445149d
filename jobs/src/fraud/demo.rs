//! `thalweg demo fraud`: judges 18 months of real purchases.

use std::fs;
use std::path::Path;

use serde_json::Value;
use thalweg::{Demo, Error, Result, Summary};

use super::fraud;

/// 69,659 purchases of an online music shop: see `jobs/data/README.md`.
const PURCHASES: &[u8] = include_bytes!("../../data/cdnow.csv");

/// Alerts of each rule that are shown.
const SHOWN: usize = 4;

/// Runs the job on the purchases and shows what it found.
///
/// # Errors
/// Whatever ends the job, and a temporary directory that cannot be used.
pub fn demo(demo: &Demo<'_>) -> Result<Summary> {
    let name = format!("thalweg-demo-{}", std::process::id());
    let place = std::env::temp_dir().join(name);
    let outcome = run(demo, &place);
    let removed = fs::remove_dir_all(&place);
    let summary = outcome?;
    removed.map_err(|error| cannot("remove", &place, error))?;
    Ok(summary)
}

fn run(demo: &Demo<'_>, place: &Path) -> Result<Summary> {
    fs::create_dir_all(place).map_err(|error| cannot("make", place, error))?;
    let (input, output) = (place.join("cdnow.csv"), place.join("out"));
    fs::write(&input, PURCHASES).map_err(|error| cannot("write", &input, error))?;
    demo.show("Judging 69,659 purchases of a music shop, 1997-01-01 to 1998-06-30.\n");
    let [input_text, output_text] = [&input, &output].map(|path| path.display().to_string());
    let summary = demo.run(fraud, ["--input", &input_text, "--output", &output_text])?;
    let alerts = read_alerts(&output.join("alerts"))?;
    demo.show(&shown(&alerts));
    Ok(summary)
}

/// All alerts in the order of their parts.
fn read_alerts(directory: &Path) -> Result<Vec<Value>> {
    let entries = fs::read_dir(directory).map_err(|error| cannot("read", directory, error))?;
    let mut paths = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| cannot("read", directory, error))?;
    paths.sort();
    let mut alerts = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).map_err(|error| cannot("read", &path, error))?;
        for line in text.lines() {
            let alert = serde_json::from_str(line);
            alerts.push(alert.map_err(|error| cannot("read", &path, error.into()))?);
        }
    }
    alerts.sort_by_key(|alert: &Value| alert["ts"].as_i64());
    Ok(alerts)
}

fn shown(alerts: &[Value]) -> String {
    let fired = |rule: &'static str| alerts.iter().filter(move |alert| alert[rule] == true);
    let mut text = String::new();
    for (rule, title) in [
        ("velocity", "Velocity: more than 5 purchases within an hour"),
        ("amount", "Amount: more than 10 times the mean of the 30 days before"),
    ] {
        text.push_str(&format!("\n{title}\n"));
        for alert in fired(rule).take(SHOWN) {
            text.push_str(&format!("  {}\n", sentence(alert, rule)));
        }
        let more = fired(rule).count().saturating_sub(SHOWN);
        text.push_str(&format!("  … and {more} more\n"));
    }
    let both = alerts.iter().filter(|alert| alert["velocity"] == true && alert["amount"] == true);
    text.push_str(&format!(
        "\n{} alerts: {} velocity, {} amount{}\n",
        alerts.len(),
        fired("velocity").count(),
        fired("amount").count(),
        match both.count() {
            0 => String::new(),
            both => format!(" ({both} by both rules)"),
        },
    ));
    text
}

/// An alert as a person would tell it.
fn sentence(alert: &Value, rule: &str) -> String {
    let number = |field: &str| alert[field].as_i64().unwrap_or_default();
    let dollars = |cents: i64| format!("${}.{:02}", cents / 100, cents % 100);
    let date = jiff::Timestamp::from_millisecond(number("ts"))
        .map(|time| time.strftime("%Y-%m-%d %H:%M:%S").to_string())
        .unwrap_or_default();
    let (user, amount) = (number("user"), dollars(number("amount_cents")));
    if rule == "velocity" {
        let count = number("tx_count_1h");
        return format!("{date}  customer {user:>5}  {amount:>9}  purchase {count} of the hour");
    }
    let mean = dollars(number("sum_30d_cents") / number("n_30d").max(1));
    let earlier = number("n_30d");
    let plural = if earlier == 1 { "" } else { "s" };
    format!("{date}  customer {user:>5}  {amount:>9}  mean {mean} over {earlier} purchase{plural}")
}

fn cannot(verb: &str, path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("cannot {verb} {}", path.display()), error)
}
