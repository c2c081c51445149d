//! Progress: a bar on a terminal, a line each ten seconds elsewhere.

use std::sync::{Arc, Mutex, OnceLock};

use indicatif::{ProgressBar, ProgressStyle};

use super::figures;
use super::terminal::Terminal;
use crate::runtime::{ShowTotals, Totals};
use crate::time::{Clock, MachineClock};

/// Nanoseconds between two lines where there is no terminal.
const LINE_EVERY: u64 = 10_000_000_000;

/// Nanoseconds between two drawings of a bar of bytes.
const DRAW_EVERY: u64 = 100_000_000;

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
pub(super) fn hook(terminal: &Terminal) -> Option<ShowTotals> {
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
            let seconds = self::left(records, records + left, totals.nanos);
            text.push_str(&format!(", {} left", figures::seconds(seconds)));
        }
        text
    }
}

fn draw(totals: &Totals, text: &str) {
    let bar = BAR.get_or_init(|| bar(totals.expected));
    bar.set_position(totals.records_in());
    bar.set_message(text.to_owned());
    bar.tick();
}

/// A bar up to a known end, or something that turns.
fn bar(all: Option<u64>) -> ProgressBar {
    let (bar, template) = match all {
        Some(all) => (ProgressBar::new(all), "{bar:30} {percent:>3} %  {msg}"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
}

/// How many of a known number of bytes were read; the bar stays until [`clear`].
pub(super) struct ReadBytes<'a> {
    terminal: &'a Terminal,
    clock: MachineClock,
    all: u64,
    read: u64,
    /// When it was shown last.
    shown: u64,
}

impl<'a> ReadBytes<'a> {
    /// Nothing was read yet.
    pub(super) fn of(all: u64, terminal: &'a Terminal) -> Self {
        Self { terminal, clock: MachineClock::new(), all, read: 0, shown: 0 }
    }

    /// Nanoseconds since the beginning.
    pub(super) fn nanos(&self) -> u64 {
        self.clock.nanos()
    }

    /// Notes that so many more were read, and shows it from time to time.
    pub(super) fn add(&mut self, bytes: u64) {
        self.read += bytes;
        let now = self.clock.nanos();
        let every = if self.terminal.is_screen() { DRAW_EVERY } else { LINE_EVERY };
        if self.terminal.is_quiet() || now < self.shown + every {
            return;
        }
        self.shown = now;
        let (read, all) = (figures::bytes(self.read), figures::bytes(self.all));
        let seconds = figures::seconds(left(self.read, self.all, now));
        let text = format!("{read} of {all} read, {seconds} left");
        if self.terminal.is_screen() {
            let bar = BAR.get_or_init(|| bar(Some(self.all)));
            bar.set_position(self.read);
            bar.set_message(text);
            bar.tick();
        } else {
            self.terminal.say(&format!("{}: {text}", figures::seconds(now / 1_000_000_000)));
        }
    }
}

/// Seconds for the rest, by the rate since the start.
fn left(done: u64, all: u64, nanos: u64) -> u64 {
    let left = all.saturating_sub(done) as f64;
    (left * nanos as f64 / 1e9 / done.max(1) as f64).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::CoreMetrics;

    #[test]
    fn what_is_left_goes_by_the_rate_so_far() {
        assert_eq!(left(250, 1_000, 2_000_000_000), 6);
        assert_eq!((left(0, 0, 5), left(9, 9, 5), left(9, 7, 5)), (0, 0, 0));
    }

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
