//! Progress: a bar on a terminal, a line each ten seconds elsewhere.

use std::sync::{Arc, Mutex, OnceLock};

use indicatif::{ProgressBar, ProgressStyle};

use super::figures;
use super::terminal::Terminal;
use crate::runtime::Totals;

/// Nanoseconds between two lines where there is no terminal.
const LINE_EVERY: u64 = 10_000_000_000;

/// The bar, so that whoever prints can put it aside for a moment.
static BAR: OnceLock<ProgressBar> = OnceLock::new();

/// Prints while the bar is not on the screen.
pub(super) fn suspended<R>(print: impl FnOnce() -> R) -> R {
    match BAR.get() {
        Some(bar) if !bar.is_finished() => bar.suspend(print),
        _ => print(),
    }
}

/// Takes the bar off the screen for good.
pub(super) fn clear() {
    if let Some(bar) = BAR.get() {
        bar.finish_and_clear();
    }
}

/// What is called about once a second with the totals; `None` if nobody wants to see it.
pub(super) fn hook(terminal: &Terminal) -> Option<Arc<dyn Fn(&Totals) + Send + Sync>> {
    if terminal.is_quiet() {
        return None;
    }
    let last = Mutex::new(Seen::default());
    let terminal = terminal.clone();
    Some(Arc::new(move |totals: &Totals| {
        let Ok(mut last) = last.lock() else { return };
        if terminal.is_screen() {
            draw(totals, &last.advance(totals));
        } else if totals.nanos >= last.nanos + LINE_EVERY - LINE_EVERY / 20 {
            let progress = last.advance(totals);
            let elapsed = figures::seconds(totals.nanos / 1_000_000_000);
            terminal.say(&format!("{elapsed}: {progress}"));
        }
    }))
}

/// The totals at the last showing.
#[derive(Debug, Default)]
struct Seen {
    nanos: u64,
    records: u64,
}

impl Seen {
    /// What has happened since the last showing, in words.
    fn advance(&mut self, totals: &Totals) -> String {
        let records = totals.records_in();
        let nanos = totals.nanos.saturating_sub(self.nanos).max(1);
        let rate = records.saturating_sub(self.records) as f64 * 1e9 / nanos as f64;
        *self = Self { nanos: totals.nanos, records };
        let mut text = match totals.expected {
            Some(all) => format!("{} of {} records", figures::count(records), figures::count(all)),
            None => format!("{} records", figures::count(records)),
        };
        text.push_str(&format!(", {}", figures::rate(rate)));
        if let Some(left) = totals.expected.and_then(|all| all.checked_sub(records))
            && records > 0
        {
            // By the rate since the start: the last second's jumps about.
            let seconds = left as f64 * totals.nanos as f64 / 1e9 / records as f64;
            text.push_str(&format!(", {} left", figures::seconds(seconds.ceil() as u64)));
        }
        text
    }
}

fn draw(totals: &Totals, text: &str) {
    let bar = BAR.get_or_init(|| {
        let (bar, template) = match totals.expected {
            Some(all) => (ProgressBar::new(all), "{bar:30} {percent:>3} %  {msg}"),
            None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"),
        };
        let style = ProgressStyle::with_template(template);
        bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
    });
    bar.set_position(totals.records_in());
    bar.set_message(text.to_owned());
    bar.tick();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::CoreMetrics;

    #[test]
    fn progress_tells_the_rate_since_the_last_showing_and_what_is_left() {
        let metrics = CoreMetrics::default();
        let mut totals = Totals::new(1, Some(4_000_000));
        let mut seen = Seen::default();
        metrics.records_in.add(1_000_000);
        totals.add(metrics.snapshot(0));
        totals.nanos = 1_000_000_000;
        let text = seen.advance(&totals);
        assert_eq!(text, "1,000,000 of 4,000,000 records, 1 M/s, 3 s left");
        metrics.records_in.add(1_000_000);
        totals.add(metrics.snapshot(0));
        totals.nanos = 3_000_000_000;
        assert!(seen.advance(&totals).contains("500 k/s, 3 s left"));
    }
}
