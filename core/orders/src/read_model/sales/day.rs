//! Days, as sales are counted by: in UTC.

use std::fmt;
use std::str::FromStr;

use chrono::{Days, NaiveDate};
use serde::{Deserialize, Serialize};
use service_clock::Timestamp;

/// A day in UTC. Its text is `YYYY-MM-DD`, so texts sort as the days do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(NaiveDate);

/// A text that is not a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a day such as 2026-11-28")]
pub struct InvalidDay;

impl Day {
    /// The day of a time.
    pub fn of(time: Timestamp) -> Self {
        Self(time.date_naive())
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    fn from_str(text: &str) -> Result<Self, InvalidDay> {
        let day = text.parse().map(Self).map_err(|_| InvalidDay)?;
        // One spelling: `2026-1-2` and `+2026-01-02` are rejected.
        (day.to_string() == text && text.len() == 10).then_some(day).ok_or(InvalidDay)
    }
}

impl TryFrom<String> for Day {
    type Error = InvalidDay;

    fn try_from(text: String) -> Result<Self, InvalidDay> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Consecutive days: at least one, at most [`Span::MAX_DAYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    from: Day,
    to: Day,
}

/// Two days that are not a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpan {
    /// The last day is before the first.
    #[error("must not be before {from}")]
    Reversed {
        /// The first day.
        from: Day,
    },
    /// The span has more days than a report covers.
    #[error("must not be after {latest}: a report from {from} covers at most {} days", Span::MAX_DAYS)]
    TooLong {
        /// The first day.
        from: Day,
        /// The last possible day.
        latest: Day,
    },
}

impl From<Day> for Span {
    fn from(day: Day) -> Self {
        Self { from: day, to: day }
    }
}

impl Span {
    /// The most days of a span: a leap year.
    pub const MAX_DAYS: u64 = 366;

    /// From one day to another one, both included.
    ///
    /// # Errors
    /// What is wrong with the last day.
    pub fn new(from: Day, to: Day) -> Result<Self, InvalidSpan> {
        let latest = Day(from.0.checked_add_days(Days::new(Self::MAX_DAYS - 1)).unwrap_or(NaiveDate::MAX));
        if to < from {
            Err(InvalidSpan::Reversed { from })
        } else if to > latest {
            Err(InvalidSpan::TooLong { from, latest })
        } else {
            Ok(Self { from, to })
        }
    }

    /// Its first day.
    pub fn from(&self) -> Day {
        self.from
    }

    /// Its last day.
    pub fn to(&self) -> Day {
        self.to
    }

    /// All its days, in order.
    pub fn days(self) -> impl Iterator<Item = Day> {
        self.from.0.iter_days().map(Day).take_while(move |day| *day <= self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> Day {
        text.parse().unwrap()
    }

    #[test]
    fn a_day_has_one_spelling() {
        for text in ["2026-11-28", "2024-02-29", "0001-01-01", "9999-12-31"] {
            assert_eq!(day(text).to_string(), text);
        }
        for text in [
            "",
            "2026-11-31",
            "2026-02-29",
            "2026-1-2",
            "2026-11",
            "26-11-28",
            "+2026-11-28",
            " 2026-11-28",
            "20261128",
            "2026-11-28T00:00:00Z",
            "today",
            "2026-13-01",
            "2026-00-10",
            "10000-01-01",
            "-2026-11-28",
            "２０２６-11-28",
        ] {
            assert_eq!(text.parse::<Day>(), Err(InvalidDay), "{text}");
        }
    }

    #[test]
    fn a_day_ends_at_midnight_in_utc() {
        for (time, expected) in [
            ("2026-11-28T00:00:00Z", "2026-11-28"),
            ("2026-11-28T23:59:59.999Z", "2026-11-28"),
            ("2026-11-29T00:30:00+01:00", "2026-11-28"),
        ] {
            assert_eq!(Day::of(time.parse().unwrap()), day(expected));
        }
    }

    #[test]
    fn a_span_has_both_its_ends_and_a_leap_year_at_most() {
        let days = |from, to| Span::new(day(from), day(to)).map(|span| span.days().count());
        assert_eq!(days("2026-11-28", "2026-11-28"), Ok(1));
        assert_eq!(days("2026-11-28", "2026-12-01"), Ok(4));
        assert_eq!(days("2024-01-01", "2024-12-31"), Ok(366));
        let (from, latest) = (day("2026-01-01"), day("2027-01-01"));
        assert_eq!(days("2026-01-01", "2027-01-01"), Ok(366));
        assert_eq!(days("2026-01-01", "2027-01-02"), Err(InvalidSpan::TooLong { from, latest }));
        assert_eq!(days("2026-01-01", "2036-01-01"), Err(InvalidSpan::TooLong { from, latest }));
        assert_eq!(days("2026-01-01", "2025-12-31"), Err(InvalidSpan::Reversed { from }));
        assert_eq!(days("9999-12-30", "9999-12-31"), Ok(2));
    }
}
