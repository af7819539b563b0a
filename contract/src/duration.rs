//! Durations as a person writes them: `90s`, `30m`, `1h`, `7d`.

use std::str::FromStr;

use thiserror::Error;

/// A number of whole seconds, at least one and at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seconds(pub u64);

const TEN_YEARS: u64 = 10 * 366 * 86_400;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no duration: write a number and a unit, such as 90s, 30m, 1h or 7d")]
pub struct SecondsError(String);

impl FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, SecondsError> {
        parse(text)
            .map(Self)
            .ok_or_else(|| SecondsError(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<u64> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(factor)?;
    (1..=TEN_YEARS).contains(&seconds).then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_seconds_minutes_hours_and_days() {
        for (text, seconds) in [("90s", 90), ("30m", 1_800), ("1h", 3_600), ("7d", 604_800)] {
            assert_eq!(text.parse(), Ok(Seconds(seconds)), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_durations() {
        for text in [
            "", "h", "0s", "-1h", "+1h", "1", "1w", "1.5h", "1 h", "99999d", "1ä",
        ] {
            assert!(text.parse::<Seconds>().is_err(), "{text}");
        }
    }
}
