//! `rate(…)` and `cron(…)`, as EventBridge writes them.
//! <https://docs.aws.amazon.com/scheduler/latest/UserGuide/schedule-types.html>

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// When a schedule is due. Times are UTC.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleExpression {
    /// Every so often, for the first time after one such span.
    Rate(TimeDelta),
    /// At the times of a cron expression.
    Cron(Box<Cron>),
}

/// A text is no schedule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no schedule: write rate(5 minutes) or cron(0 12 * * ? *)")]
pub struct NoSchedule(String);

impl FromStr for ScheduleExpression {
    type Err = NoSchedule;

    fn from_str(text: &str) -> Result<Self, NoSchedule> {
        let inside = |name: &str| text.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')');
        let read = match (inside("rate"), inside("cron")) {
            (Some(rate), _) => read_rate(rate).map(Self::Rate),
            (_, Some(cron)) => read_cron(cron).map(|cron| Self::Cron(Box::new(cron))),
            _ => None,
        };
        read.ok_or_else(|| NoSchedule(text.to_owned()))
    }
}

impl ScheduleExpression {
    /// The next time after `now`; none when there is no more.
    pub fn next(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Rate(span) => now.checked_add_signed(*span),
            Self::Cron(cron) => cron.find_next_occurrence(&now, false).ok(),
        }
    }
}

fn read_rate(text: &str) -> Option<TimeDelta> {
    let (count, unit) = text.split_once(' ')?;
    let count: i64 = count.parse().ok().filter(|count| (1..=1_000_000).contains(count))?;
    match unit {
        "minute" | "minutes" => TimeDelta::try_minutes(count),
        "hour" | "hours" => TimeDelta::try_hours(count),
        "day" | "days" => TimeDelta::try_days(count),
        _ => None,
    }
}

/// Six fields, from minutes to years; 1 is Sunday; of the two fields for days one is `?`.
fn read_cron(text: &str) -> Option<Cron> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [_, _, day_of_month, _, day_of_week, _] = fields.as_slice() else { return None };
    if (*day_of_month == "?") == (*day_of_week == "?") {
        return None;
    }
    let parser = CronParser::builder()
        .seconds(Seconds::Required)
        .year(Year::Required)
        .alternative_weekdays(true)
        .dom_and_dow(true)
        .sloppy_ranges(true)
        .build();
    parser.parse(&format!("0 {}", fields.join(" "))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, now: &str) -> String {
        let now = now.parse().unwrap();
        let next = expression.parse::<ScheduleExpression>().unwrap().next(now).unwrap();
        next.format("%FT%H:%M").to_string()
    }

    #[test]
    fn a_rate_is_due_after_its_span() {
        assert_eq!(next("rate(1 minute)", "2026-03-01T12:00:00Z"), "2026-03-01T12:01");
        assert_eq!(next("rate(5 hours)", "2026-03-01T12:00:00Z"), "2026-03-01T17:00");
        assert_eq!(next("rate(2 days)", "2026-02-28T12:00:00Z"), "2026-03-02T12:00");
    }

    #[test]
    fn a_cron_expression_is_due_at_its_times_in_utc() {
        // 2026-03-01 is a Sunday.
        for (expression, due) in [
            ("cron(0/15 * * * ? *)", "2026-03-01T12:15"),
            ("cron(30 3 * * ? *)", "2026-03-02T03:30"),
            ("cron(0 8 1 * ? *)", "2026-04-01T08:00"),
            ("cron(0 8 ? * 1 *)", "2026-03-08T08:00"),
            ("cron(0 8 ? * MON-FRI *)", "2026-03-02T08:00"),
            ("cron(0 8 L * ? *)", "2026-03-31T08:00"),
            ("cron(0 8 ? * 6#2 *)", "2026-03-13T08:00"),
            ("cron(0 0 1 1 ? 2030)", "2030-01-01T00:00"),
        ] {
            assert_eq!(next(expression, "2026-03-01T12:00:01Z"), due, "{expression}");
        }
        let past: ScheduleExpression = "cron(0 0 1 1 ? 2020)".parse().unwrap();
        assert_eq!(past.next("2026-03-01T12:00:00Z".parse().unwrap()), None);
    }

    #[test]
    fn what_is_no_schedule_is_told_with_an_example() {
        for text in [
            "",
            "5 minutes",
            "rate(0 minutes)",
            "rate(5 weeks)",
            "rate(-1 hours)",
            "rate(9999999999999999999 days)",
            "cron(* * * * *)",
            "cron(* * * * * *)",
            "cron(99 * * * ? *)",
            "cron(0 8 ? * ? *)",
            "at(2026-01-01T00:00:00)",
        ] {
            assert!(text.parse::<ScheduleExpression>().unwrap_err().to_string().contains("rate(5 minutes)"), "{text}");
        }
    }
}
