//! Figures as people read them.

/// `20,000,000`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `8.31 M/s`.
pub(super) fn rate(per_second: f64) -> String {
    let (value, unit) = match per_second {
        rate if rate >= 1e6 => (rate / 1e6, " M"),
        rate if rate >= 1e4 => (rate / 1e3, " k"),
        rate => (rate, " "),
    };
    format!("{}{unit}/s", three_digits(value))
}

/// `850 ns`, `12.3 µs`, `4.56 ms`, `7.89 s`.
pub(super) fn nanos(nanos: u64) -> String {
    let nanos = nanos as f64;
    let (value, unit) = match nanos {
        n if n >= 1e9 => (n / 1e9, "s"),
        n if n >= 1e6 => (n / 1e6, "ms"),
        n if n >= 1e3 => (n / 1e3, "µs"),
        n => (n, "ns"),
    };
    format!("{} {unit}", three_digits(value))
}

/// `212 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let bytes = bytes as f64;
    let (value, unit) = match bytes {
        b if b >= 1e9 => (b / (1u64 << 30) as f64, "GiB"),
        b if b >= 1e6 => (b / (1u64 << 20) as f64, "MiB"),
        b => (b / 1024.0, "KiB"),
    };
    format!("{} {unit}", three_digits(value))
}

/// `3 s`, `2 min 5 s`, `1 h 4 min`.
pub(super) fn seconds(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3599 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

fn three_digits(value: f64) -> String {
    match value {
        v if v >= 99.95 || v == v.trunc() => format!("{v:.0}"),
        v if v >= 9.995 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(count(20_000_000), "20,000,000");
        assert_eq!((count(0), count(999), count(1000)), ("0".into(), "999".into(), "1,000".into()));
        assert_eq!(rate(8_312_345.0), "8.31 M/s");
        assert_eq!(rate(500.0), "500 /s");
        assert_eq!(nanos(12_345), "12.3 µs");
        assert_eq!(nanos(999_999_999), "1000 ms");
        assert_eq!(bytes(212 << 20), "212 MiB");
        assert_eq!((seconds(59), seconds(125)), ("59 s".into(), "2 min 5 s".into()));
    }
}
