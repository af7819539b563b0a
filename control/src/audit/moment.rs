//! Points in time as people write and read them, in UTC.

use std::str::FromStr;

use meshd_contract::time::Timestamp;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use meshd_contract::duration::Seconds;

/// A point in time as a person names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// This second.
    At(Timestamp),
    /// So many seconds ago.
    Ago(u64),
}

impl Moment {
    /// The second that is meant at `now`.
    pub(crate) fn seen_from(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(at) => at,
            Self::Ago(seconds) => Timestamp(now.0.saturating_sub(seconds)),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(Seconds(seconds)) = text.parse() {
            return Ok(Self::Ago(seconds));
        }
        let read = |text: &str| OffsetDateTime::parse(text, &Rfc3339).ok();
        let day = || read(&format!("{text}T00:00:00Z"));
        read(text)
            .or_else(day)
            .and_then(|at| u64::try_from(at.unix_timestamp()).ok())
            .map(|seconds| Self::At(Timestamp(seconds)))
            .ok_or_else(|| {
                "write a duration such as 7d, a day such as 2026-03-01, or a time such as \
                 2026-03-01T12:00:00Z"
                    .to_owned()
            })
    }
}

/// As RFC 3339 writes it; the number where it has no such form.
pub(crate) fn written(at: Timestamp) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_a_day_or_a_while_ago() {
        let at = |seconds| Ok(Moment::At(Timestamp(seconds)));
        assert_eq!("1970-01-02".parse(), at(86_400));
        assert_eq!("2026-03-01T12:00:00Z".parse(), at(1_772_366_400));
        assert_eq!("2026-03-01T13:00:00+01:00".parse(), at(1_772_366_400));
        assert_eq!("7d".parse(), Ok(Moment::Ago(7 * 86_400)));
        for text in ["", "yesterday", "2026-13-01", "1969-01-01", "7"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
        assert_eq!(Moment::Ago(60).seen_from(Timestamp(100)), Timestamp(40));
        assert_eq!(Moment::Ago(60).seen_from(Timestamp(10)), Timestamp(0));
    }

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(written(Timestamp(1_772_366_400)), "2026-03-01T12:00:00Z");
        assert_eq!(written(Timestamp(u64::MAX)), u64::MAX.to_string());
    }
}
