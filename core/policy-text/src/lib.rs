#![doc = include_str!("../README.md")]

use std::ops::RangeInclusive;
use std::time::Duration;

/// One `name=value` and its position in the text.
#[derive(Clone, Copy, Debug)]
pub struct Setting<'a> {
    /// The part before the `=`.
    pub name: &'a str,
    /// The part after the `=`.
    pub value: &'a str,
    text: &'a str,
    at: usize,
}

/// An invalid text and the position of the mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?}, character {at}, at {found:?}: {problem}")]
pub struct SettingsError {
    text: String,
    at: usize,
    found: String,
    problem: String,
}

impl SettingsError {
    /// A problem with `found`, the part of `text` that begins at byte `at`.
    pub fn new(text: &str, at: usize, found: &str, problem: impl Into<String>) -> Self {
        let at = text.get(..at).unwrap_or(text).chars().count() + 1;
        Self { text: text.to_owned(), at, found: found.to_owned(), problem: problem.into() }
    }
}

/// Splits `text` into its settings. Spaces around names and values and a trailing `;` are ignored.
///
/// # Errors
/// A part is not `name=value`, or a name appears twice.
pub fn parse(text: &str) -> Result<Vec<Setting<'_>>, SettingsError> {
    parse_from(text, 0)
}

/// Splits the part of `text` that begins at byte `start`.
///
/// # Errors
/// As [`parse`], with positions in the whole text.
pub fn parse_from(text: &str, mut start: usize) -> Result<Vec<Setting<'_>>, SettingsError> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    for raw in text.get(start..).unwrap_or_default().split(';') {
        let (at, part) = trim(start, raw);
        start += raw.len() + 1;
        if part.is_empty() {
            continue;
        }
        let error = |problem| SettingsError::new(text, at, part, problem);
        let (name, value) = part.split_once('=').ok_or_else(|| error("expected name=value"))?;
        let (value_at, value) = trim(at + name.len() + 1, value);
        let setting = Setting { name: name.trim_end(), value, text, at: value_at };
        if setting.name.is_empty() || value.is_empty() {
            return Err(error("expected name=value"));
        }
        if settings.iter().any(|earlier| earlier.name == setting.name) {
            return Err(error("duplicate setting"));
        }
        settings.push(setting);
    }
    Ok(settings)
}

fn trim(at: usize, part: &str) -> (usize, &str) {
    (at + part.len() - part.trim_start().len(), part.trim())
}

impl Setting<'_> {
    /// A problem with this setting's value.
    pub fn error(&self, problem: impl Into<String>) -> SettingsError {
        SettingsError::new(self.text, self.at, self.value, problem)
    }

    /// An unknown name; `known` lists the valid ones.
    pub fn unknown(&self, known: &[&str]) -> SettingsError {
        let at = self.text[..self.at].rfind(self.name).unwrap_or(self.at);
        SettingsError::new(self.text, at, self.name, format!("unknown setting; expected one of {}", known.join(", ")))
    }

    /// A whole number within `range`.
    ///
    /// # Errors
    /// Anything else.
    pub fn number(&self, range: RangeInclusive<u64>) -> Result<u64, SettingsError> {
        let problem = || self.error(format!("expected a whole number from {} to {}", range.start(), range.end()));
        digits(self.value).filter(|number| range.contains(number)).ok_or_else(problem)
    }

    /// A percentage within `range`: `50%`.
    ///
    /// # Errors
    /// Anything else.
    pub fn percent(&self, range: RangeInclusive<u64>) -> Result<u64, SettingsError> {
        let problem = || self.error(format!("expected a percentage from {}% to {}%", range.start(), range.end()));
        let number = self.value.strip_suffix('%').and_then(digits);
        number.filter(|number| range.contains(number)).ok_or_else(problem)
    }

    /// A duration within `range`: a whole number with the unit `us`, `ms`, `s`, `m` or `h`.
    ///
    /// # Errors
    /// Anything else.
    pub fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, SettingsError> {
        let (from, to) = (range.start(), range.end());
        let problem =
            || self.error(format!("expected a duration from {from:?} to {to:?}, such as 500ms, 5s, 2m or 1h"));
        time(self.value).filter(|duration| range.contains(duration)).ok_or_else(problem)
    }

    /// A number per duration, neither of them 0: `5/s`, `100/m` or `1/10s`.
    ///
    /// # Errors
    /// Anything else.
    pub fn rate(&self) -> Result<(u64, Duration), SettingsError> {
        let problem = || self.error("expected a positive whole number per duration, such as 5/s, 100/m or 1/10s");
        let (number, per) = self.value.split_once('/').ok_or_else(problem)?;
        let number = digits(number.trim_end()).filter(|number| *number > 0);
        let per = per.trim_start();
        let per = if per.starts_with(|c: char| c.is_ascii_digit()) { time(per) } else { time(&format!("1{per}")) };
        number.zip(per.filter(|per| !per.is_zero())).ok_or_else(problem)
    }
}

/// A whole number with a unit.
fn time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let micros: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        _ => return None,
    };
    Some(Duration::from_micros(digits(number)?.checked_mul(micros)?))
}

/// Digits only: `u64::from_str` would also accept a leading `+`.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> Setting<'_> {
        parse(text).unwrap()[0]
    }

    #[test]
    fn a_line_is_split_into_names_and_values() {
        let settings = parse(" rate = 5/s;burst=20 ; ").unwrap();
        let pairs: Vec<_> = settings.iter().map(|setting| (setting.name, setting.value)).collect();
        assert_eq!(pairs, [("rate", "5/s"), ("burst", "20")]);
        assert!(parse("").unwrap().is_empty());
    }

    #[test]
    fn an_error_states_the_position() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(message("ä=1; burst"), r#""ä=1; burst", character 6, at "burst": expected name=value"#);
        assert_eq!(message("a=1;a=2"), r#""a=1;a=2", character 5, at "a=2": duplicate setting"#);
        assert_eq!(message("=1"), r#""=1", character 1, at "=1": expected name=value"#);
        assert_eq!(message("a= ;b=1"), r#""a= ;b=1", character 1, at "a=": expected name=value"#);
        let value = parse("a=1; bb = x").unwrap()[1].error("not a number");
        assert_eq!(value.to_string(), r#""a=1; bb = x", character 11, at "x": not a number"#);
        let unknown = parse("a=1; aa=5").unwrap()[1].unknown(&["x", "y"]);
        assert_eq!(unknown.to_string(), r#""a=1; aa=5", character 6, at "aa": unknown setting; expected one of x, y"#);
    }

    #[test]
    fn numbers_percentages_and_durations_are_parsed_within_their_range() {
        assert_eq!(only("a=7").number(1..=7), Ok(7));
        assert_eq!(only("a=100%").percent(1..=100), Ok(100));
        let (from, to) = (Duration::from_millis(1), Duration::from_hours(1));
        for (text, millis) in
            [("a=1000us", 1), ("a=250ms", 250), ("a=3s", 3_000), ("a=2m", 120_000), ("a=1h", 3_600_000)]
        {
            assert_eq!(only(text).duration(from..=to), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_per_duration() {
        for (text, number, seconds) in
            [("a=5/s", 5, 1), ("a=100 / m", 100, 60), ("a=1/10s", 1, 10), ("a=9/2h", 9, 7200)]
        {
            assert_eq!(only(text).rate(), Ok((number, Duration::from_secs(seconds))), "{text}");
        }
        for text in ["a=5", "a=0/s", "a=-5/s", "a=0.5/s", "a=5/", "a=/s", "a=5/0s", "a=5/x", "a=5/99999999999999999h"] {
            let error = only(text).rate().unwrap_err().to_string();
            assert!(error.ends_with("such as 5/s, 100/m or 1/10s"), "{error}");
        }
    }

    #[test]
    fn settings_may_begin_after_other_text() {
        let text = "ä; a=1; a=2";
        let error = parse_from(text, 3).unwrap_err().to_string();
        assert_eq!(error, r#""ä; a=1; a=2", character 9, at "a=2": duplicate setting"#);
        assert!(parse_from("x", 7).unwrap().is_empty());
    }

    #[test]
    fn an_invalid_or_out_of_range_value_is_rejected_with_the_range() {
        for text in ["a=0", "a=8", "a=-1", "a=+1", "a=1.5", "a=99999999999999999999", "a=x"] {
            let error = only(text).number(1..=7).unwrap_err().to_string();
            assert!(error.ends_with("expected a whole number from 1 to 7"), "{error}");
        }
        for text in ["a=0%", "a=101%", "a=50", "a=%"] {
            assert!(only(text).percent(1..=100).is_err(), "{text}");
        }
        let (from, to) = (Duration::from_millis(1), Duration::from_hours(1));
        for text in ["a=0s", "a=999us", "a=61m", "a=5", "a=s", "a=5 s", "a=5d", "a=18446744073709551615h", "a=-5s"] {
            let error = only(text).duration(from..=to).unwrap_err().to_string();
            assert!(error.contains("expected a duration from 1ms to 3600s"), "{error}");
        }
    }
}
