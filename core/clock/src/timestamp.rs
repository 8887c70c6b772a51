//! Points in time in whole milliseconds.

use std::fmt;
use std::ops::{Add, Deref, Sub};
use std::str::FromStr;

use chrono::{DateTime, ParseError, SecondsFormat, SubsecRound, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::clock::system_time;

/// A point in time, in whole milliseconds, in UTC.
///
/// It is formatted as RFC 3339 with exactly three decimals and `Z`, so the texts sort in time order. Any RFC 3339 text can
/// be parsed; digits below a millisecond are truncated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "DateTime<Utc>", into = "String")]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// 1970-01-01T00:00:00.000Z.
    pub const UNIX_EPOCH: Self = Self(DateTime::UNIX_EPOCH);

    /// The time `millis` milliseconds after the Unix epoch, or `None` outside of the years ±262,000.
    pub fn from_millis(millis: i64) -> Option<Self> {
        DateTime::from_timestamp_millis(millis).map(Self)
    }

    /// The current time of the system clock.
    pub fn now() -> Self {
        system_time().into()
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.trunc_subsecs(3))
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> String {
        time.to_string()
    }
}

impl Deref for Timestamp {
    type Target = DateTime<Utc>;

    fn deref(&self) -> &DateTime<Utc> {
        &self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        DateTime::parse_from_rfc3339(text).map(|time| time.to_utc().into())
    }
}

/// Saturates at the latest and the earliest representable time.
impl Add<TimeDelta> for Timestamp {
    type Output = Self;

    fn add(self, delta: TimeDelta) -> Self {
        let end = if delta < TimeDelta::zero() { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
        self.0.checked_add_signed(delta).unwrap_or(end).into()
    }
}

/// Saturates likewise.
impl Sub<TimeDelta> for Timestamp {
    type Output = Self;

    fn sub(self, delta: TimeDelta) -> Self {
        self + -delta
    }
}

impl Sub for Timestamp {
    type Output = TimeDelta;

    fn sub(self, earlier: Self) -> TimeDelta {
        self.0 - earlier.0
    }
}

#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Timestamp {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        DateTime::<Utc>::schema_name()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        DateTime::<Utc>::json_schema(generator)
    }

    fn inline_schema() -> bool {
        DateTime::<Utc>::inline_schema()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(written: &str) -> String {
        let time: Timestamp = serde_json::from_str(&format!("\"{written}\"")).unwrap();
        assert_eq!(written.parse::<Timestamp>().unwrap(), time);
        let text = serde_json::to_value(time).unwrap().as_str().unwrap().to_owned();
        assert_eq!(time.to_string(), text);
        text
    }

    #[test]
    fn any_rfc_3339_text_is_formatted_in_utc_with_three_decimals() {
        for (written, expected) in [
            ("2026-11-24T12:00:40Z", "2026-11-24T12:00:40.000Z"),
            ("2026-11-24T12:00:40.5Z", "2026-11-24T12:00:40.500Z"),
            ("2026-11-24T12:00:40.572Z", "2026-11-24T12:00:40.572Z"),
            ("2026-11-24T12:00:40.572999999Z", "2026-11-24T12:00:40.572Z"),
            ("2026-11-24T14:00:40+02:00", "2026-11-24T12:00:40.000Z"),
        ] {
            assert_eq!(text(written), expected);
        }
    }

    #[test]
    fn texts_sort_in_time_order() {
        let times = ["2026-11-24T12:00:39.999Z", "2026-11-24T12:00:40Z", "2026-11-24T12:00:40.001Z"].map(text);
        assert!(times.is_sorted(), "{times:?}");
    }

    #[test]
    fn sums_and_differences_saturate() {
        let (now, ever) = (Timestamp::now(), TimeDelta::hours(i64::from(u32::MAX)));
        assert!(now - ever < now && now < now + ever);
        assert_eq!(now + TimeDelta::MAX, Timestamp::from(DateTime::<Utc>::MAX_UTC));
        assert_eq!(now + TimeDelta::MIN, Timestamp::from(DateTime::<Utc>::MIN_UTC));
        assert_eq!(now - TimeDelta::MAX, Timestamp::from(DateTime::<Utc>::MIN_UTC));
        assert_eq!(now - TimeDelta::milliseconds(1) + TimeDelta::milliseconds(1), now);
        assert_eq!((now + TimeDelta::milliseconds(1)) - now, TimeDelta::milliseconds(1));
    }

    #[test]
    fn milliseconds_count_from_the_epoch() {
        assert_eq!(Timestamp::from_millis(-1).unwrap().to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(Timestamp::from_millis(i64::MAX), None);
    }

    #[test]
    fn text_that_is_not_rfc_3339_is_rejected() {
        for written in
            ["", "yesterday", "2026-11-24", "2026-13-24T12:00:40Z", "2026-1-1T0:0:0Z", "+12026-11-24T12:00:40Z"]
        {
            assert!(written.parse::<Timestamp>().is_err(), "{written}");
        }
    }
}
