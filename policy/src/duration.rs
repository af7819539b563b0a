//! Durations as Go writes them (<https://pkg.go.dev/time#ParseDuration>), such as `1h30m`.

use std::fmt;

/// A length of time, in nanoseconds; Go's range, 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Duration(pub(crate) i64);

const SECOND: i64 = 1_000_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", MINUTE),
    ("h", HOUR),
];

impl Duration {
    /// This many hours.
    pub(crate) const fn hours(hours: i64) -> Self {
        Self(hours * HOUR)
    }

    /// Whole seconds, the rest cut off.
    pub(crate) fn seconds(self) -> i64 {
        self.0 / SECOND
    }

    /// None for what is no duration, or more than Go can count.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Some(Self(0));
        }
        if rest.is_empty() {
            return None;
        }
        let mut total: i64 = 0;
        while !rest.is_empty() {
            let (part, left) = part(rest)?;
            total = total.checked_add(part)?;
            rest = left;
        }
        Some(Self(if negative { -total } else { total }))
    }
}

/// One number with its unit, and what follows.
fn part(text: &str) -> Option<(i64, &str)> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole_length = digits(text);
    let (whole, rest) = text.split_at(whole_length);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(after) => after.split_at(digits(after)),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_length = rest
        .find(|c: char| c == '.' || c.is_ascii_digit())
        .unwrap_or(rest.len());
    let (unit, left) = rest.split_at(unit_length);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let whole: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let mut nanoseconds = whole.checked_mul(*scale)?;
    let mut place = *scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanoseconds = nanoseconds.checked_add(place * i64::from(digit - b'0'))?;
    }
    Some((nanoseconds, left))
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.0.unsigned_abs();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        let (second, minute, hour) = (
            SECOND.unsigned_abs(),
            MINUTE.unsigned_abs(),
            HOUR.unsigned_abs(),
        );
        if total >= hour {
            write!(f, "{}h", total / hour)?;
        }
        if total >= minute {
            write!(f, "{}m", total % hour / minute)?;
        }
        let (seconds, rest) = (total % minute / second, total % second);
        if rest == 0 {
            write!(f, "{seconds}s")
        } else {
            let fraction = format!("{rest:09}");
            write!(f, "{seconds}.{}s", fraction.trim_end_matches('0'))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        for (text, written) in [
            ("1h", "1h0m0s"),
            ("-1m", "-1m0s"),
            ("168h0m1s", "168h0m1s"),
            ("0", "0s"),
            ("0s", "0s"),
            ("1.5h", "1h30m0s"),
            (".5s", "0.5s"),
            ("90m", "1h30m0s"),
            ("+2s", "2s"),
        ] {
            assert_eq!(
                Duration::parse(text).map(|d| d.to_string()).as_deref(),
                Some(written)
            );
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "abc",
            "1",
            "1d",
            "h",
            "-",
            "1h-",
            ".s",
            "99999999999h",
            "1 h",
        ] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }
}
