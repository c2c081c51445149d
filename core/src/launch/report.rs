//! The summary of a run: a few lines for people, one object for programs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::figures;
use super::running;
use super::signals;
use crate::Summary;
use crate::console::Checkpoints;
use crate::metrics::StateCounts;
use crate::runtime::Stopped;

/// What was run.
#[derive(Debug, Clone)]
pub(super) struct Ran<'a> {
    pub(super) job: &'a str,
    pub(super) job_id: &'a str,
    pub(super) parallelism: usize,
}

const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// The object of `--json`: its schema is in `docs/cli.md`.
#[derive(Debug, Serialize)]
pub(super) struct Object<'a> {
    version: &'static str,
    commit: &'static str,
    job: &'a str,
    job_id: &'a str,
    parallelism: usize,
    stopped_by: Option<&'static str>,
    records_in: u64,
    records_out: u64,
    seconds: f64,
    records_per_second: f64,
    alerts: u64,
    late: u64,
    dead_letters: u64,
    poison: u64,
    state: StateReport,
    counters: &'a BTreeMap<String, u64>,
    histograms: BTreeMap<&'a str, Spread>,
    fingerprints: BTreeMap<&'a str, Digest>,
    latency_us: Quantiles,
    turns_us: Quantiles,
    absences_us: Quantiles,
    hiccups_us: Quantiles,
    busy: &'a [f64],
    checkpoints: &'a Checkpoints,
    peak_rss_bytes: Option<u64>,
}

/// State of all cores and its cold tier.
#[derive(Debug, Serialize)]
struct StateReport {
    bytes: u64,
    bytes_max: u64,
    evicted: u64,
    fetched: u64,
    blocking_reads: u64,
    stalls: u64,
}

/// A fingerprint: its words as 16 hexadecimal digits.
#[derive(Debug, Serialize)]
struct Digest {
    count: u64,
    sum: String,
    xor: String,
}

impl StateReport {
    fn new(counts: &StateCounts) -> Self {
        let StateCounts { bytes, bytes_max, evicted, fetched, blocking_reads, stalls } = *counts;
        Self { bytes, bytes_max, evicted, fetched, blocking_reads, stalls }
    }
}

/// A user's histogram in the user's unit.
#[derive(Debug, Serialize)]
struct Spread {
    count: u64,
    #[serde(flatten)]
    quantiles: BTreeMap<&'static str, u64>,
}

impl Spread {
    fn of(values: &Histogram<u64>) -> Self {
        let quantiles = QUANTILES.iter().map(|(name, q)| (*name, values.value_at_quantile(*q)));
        Self { count: values.len(), quantiles: quantiles.chain([("max", values.max())]).collect() }
    }
}

/// Quantiles and the maximum in microseconds; null where nothing was measured.
type Quantiles = BTreeMap<&'static str, Option<f64>>;

impl<'a> Object<'a> {
    pub(super) fn new(ran: &Ran<'a>, summary: &'a Summary) -> Self {
        let fingerprints = summary.fingerprints.iter().map(|(name, value)| {
            let hex = |value: u64| format!("{value:016x}");
            (name.as_str(), Digest { count: value.count, sum: hex(value.sum), xor: hex(value.xor) })
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("THALWEG_COMMIT"),
            job: ran.job,
            job_id: ran.job_id,
            parallelism: ran.parallelism,
            stopped_by: stopped_by(summary),
            records_in: summary.records_in,
            records_out: summary.records_out,
            seconds: summary.seconds(),
            records_per_second: summary.records_in as f64 / summary.seconds().max(1e-9),
            alerts: alerts(summary).unwrap_or(0),
            late: summary.late,
            dead_letters: summary.dead_letters,
            poison: summary.poison,
            state: StateReport::new(&summary.state),
            counters: &summary.counters,
            histograms: summary.histograms.iter().map(|(n, h)| (&**n, Spread::of(h))).collect(),
            fingerprints: fingerprints.collect(),
            latency_us: quantiles(&summary.latency, &QUANTILES),
            turns_us: quantiles(&summary.turns, &QUANTILES[4..]),
            absences_us: quantiles(&summary.absences, &QUANTILES[4..]),
            hiccups_us: quantiles(&summary.hiccups, &QUANTILES[4..]),
            busy: &summary.busy,
            checkpoints: &summary.checkpoints,
            peak_rss_bytes: peak_rss_bytes(),
        }
    }

    /// The object on one line.
    pub(super) fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

fn stopped_by(summary: &Summary) -> Option<&'static str> {
    match (summary.signal, summary.stopped) {
        (0, None) => None,
        (0, Some(Stopped::Stop)) => Some("stop"),
        (0, Some(Stopped::Cancel)) => Some("cancel"),
        (signal, _) => Some(signals::name(signal)),
    }
}

fn quantiles(nanos: &Histogram<u64>, wanted: &[(&'static str, f64)]) -> Quantiles {
    let micros = |value: u64| (!nanos.is_empty()).then_some(value as f64 / 1e3);
    let measured = wanted.iter().map(|(name, q)| (*name, micros(nanos.value_at_quantile(*q))));
    measured.chain([("max", micros(nanos.max()))]).collect()
}

/// The summary for people.
pub(super) fn text(ran: &Ran<'_>, summary: &Summary, verbose: bool) -> String {
    let count = figures::count;
    let cores = if ran.parallelism == 1 { "core" } else { "cores" };
    let how = match (summary.signal, summary.stopped) {
        (0, None) => "finished".to_owned(),
        (0, Some(Stopped::Stop)) => "stopped in order".to_owned(),
        (0, Some(Stopped::Cancel)) => "cancelled".to_owned(),
        (signal, _) => format!("stopped by {}", signals::name(signal)),
    };
    let took = figures::nanos(summary.nanos);
    let mut text = format!("{} {how} after {took} on {} {cores}\n", ran.job, ran.parallelism);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<13}{value}");
    };
    let rate = figures::rate(summary.records_in as f64 / summary.seconds().max(1e-9));
    let (records_in, records_out) = (count(summary.records_in), count(summary.records_out));
    line("records", format!("{records_in} in, {records_out} out, {rate}"));
    if let Some(alerts) = alerts(summary) {
        line("alerts", count(alerts));
    }
    let (late, letters) = (summary.late, summary.dead_letters);
    let apart = [("late", late), ("dead letters", letters), ("poison", summary.poison)];
    for (name, records) in apart.into_iter().filter(|(_, records)| *records > 0) {
        line(name, count(records));
    }
    for (name, value) in summary.counters.iter().filter(|(name, _)| *name != "alerts") {
        line(name, count(*value));
    }
    let state = &summary.state;
    if state.evicted > 0 {
        let (evicted, fetched) = (count(state.evicted), count(state.fetched));
        let blocking = match state.blocking_reads {
            0 => String::new(),
            reads => format!(", {} waited for", count(reads)),
        };
        line("cold state", format!("{evicted} rows evicted, {fetched} fetched{blocking}"));
    }
    for (name, values) in &summary.histograms {
        let quantiles = QUANTILES.iter().map(|(name, q)| (*name, values.value_at_quantile(*q)));
        let words = quantiles.map(|(name, value)| format!("{name} {}", count(value)));
        line(name, format!("{}, max {}", words.collect::<Vec<_>>().join(", "), values.max()));
    }
    if !summary.latency.is_empty() {
        line("latency", spread(&summary.latency, &QUANTILES));
    }
    let busy = summary.busy.iter().map(|share| format!("{:.0} %", share * 100.0));
    line("cores busy", busy.collect::<Vec<_>>().join(", "));
    line("turns", spread(&summary.turns, &QUANTILES[4..]));
    if !summary.absences.is_empty() {
        line("absences", spread(&summary.absences, &QUANTILES[4..]));
    }
    if !summary.hiccups.is_empty() {
        line("hiccups", spread(&summary.hiccups, &QUANTILES[4..]));
    }
    for (name, words) in running::summarized(&summary.checkpoints, verbose) {
        line(name, words);
    }
    if let Some(peak) = peak_rss_bytes() {
        line("memory", format!("{} at the peak", figures::bytes(peak)));
    }
    if verbose {
        for (name, value) in &summary.fingerprints {
            let digest = format!("{} {:016x} {:016x}", value.count, value.sum, value.xor);
            line(&format!("digest {name}"), digest);
        }
    }
    text
}

fn spread(nanos: &Histogram<u64>, wanted: &[(&str, f64)]) -> String {
    let mut words: Vec<_> = wanted
        .iter()
        .map(|(name, q)| format!("{name} {}", figures::nanos(nanos.value_at_quantile(*q))))
        .collect();
    words.push(format!("max {}", figures::nanos(nanos.max())));
    words.join(", ")
}

/// The user counter that shipped jobs count their alerts in.
fn alerts(summary: &Summary) -> Option<u64> {
    summary.counters.get("alerts").copied()
}

/// The most memory that this process has had resident.
fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::CoreMetrics;

    #[test]
    fn the_summary_names_counters_and_leaves_out_what_is_nothing() {
        let metrics = CoreMetrics::default();
        metrics.records_in.add(1500);
        metrics.counter("alerts").add(88);
        metrics.counter("velocity").add(43);
        metrics.histogram("basket").record(7, 10);
        metrics.latency.record(2_000, 10);
        let summary = Summary::new(&[Some(metrics.report(0))], 1_500_000);
        let ran = Ran { job: "fraud", job_id: "0", parallelism: 1 };
        let text = text(&ran, &summary, false);
        assert!(text.starts_with("fraud finished after 1.50 ms on 1 core\n"), "{text}");
        assert!(text.contains("  records      1,500 in, 0 out, 1 M/s\n"), "{text}");
        assert!(text.contains("  alerts       88\n  velocity     43\n"), "{text}");
        assert!(!text.contains("\n  late "), "{text}");
        let json = serde_json::from_str::<serde_json::Value>(&Object::new(&ran, &summary).text());
        let json = json.unwrap();
        assert_eq!(json["alerts"], 88);
        assert_eq!(json["histograms"]["basket"]["p50"], 7);
        assert!(json["latency_us"]["p99.99"].as_f64().unwrap() < 2.01);
        assert!(json["hiccups_us"]["max"].is_null() && json["stopped_by"].is_null());
    }
}
