//! Settings of a breaker.

use std::str::FromStr;
use std::time::Duration;

use policy_text::{Setting, SettingsError, parse};

/// The settings of a breaker, parsed from `failures=5; ratio=50%; window=20s; …`. Omitted ones have defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `failures` (5): a closed breaker opens when the window holds this many failures …
    pub failures: u64,
    /// `ratio` (50%): … which are at least this percentage of its calls …
    pub ratio: u64,
    /// `calls` (5): … and at least this many calls.
    pub calls: u64,
    /// `window` (20s): how long a call is counted.
    pub window: Duration,
    /// `slow` (none): a call that takes longer counts as a failure, whatever its result.
    pub slow: Option<Duration>,
    /// `open` (5s): how long an open breaker rejects calls, the first time in a row.
    pub open: Duration,
    /// `open-max` (5m): the limit to which that time doubles each time in a row.
    pub open_max: Duration,
    /// `probes` (1): how many concurrent calls a half-open breaker allows.
    pub probes: u64,
    /// `successes` (2): how many probes must succeed to close it.
    pub successes: u64,
    /// `lease` (10s): after how long a probe without an outcome frees its slot. Must exceed the longest call.
    pub lease: Duration,
    /// `ramp` (10s): how long after closing the share of allowed calls grows from a tenth to all.
    #[doc(alias = "slow start")]
    pub ramp: Duration,
    /// `cache` (1s): how long a container uses what it read, and how long it does not call a table that failed. Jitter
    /// adds up to half as much again.
    #[doc(alias = "ttl")]
    pub cache: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            failures: 5,
            ratio: 50,
            calls: 5,
            window: Duration::from_secs(20),
            slow: None,
            open: Duration::from_secs(5),
            open_max: Duration::from_mins(5),
            probes: 1,
            successes: 2,
            lease: Duration::from_secs(10),
            ramp: Duration::from_secs(10),
            cache: Duration::from_secs(1),
        }
    }
}

/// The largest number of probe slots.
pub(super) const MAX_PROBES: u64 = 10;

const NAMES: [&str; 12] = [
    "failures",
    "ratio",
    "calls",
    "window",
    "slow",
    "open",
    "open-max",
    "probes",
    "successes",
    "lease",
    "ramp",
    "cache",
];

const MS: fn(u64) -> Duration = Duration::from_millis;
const HOUR: Duration = Duration::from_hours(1);

impl FromStr for Settings {
    type Err = SettingsError;

    /// # Errors
    /// An unknown name, a value out of range, or contradictory settings.
    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let mut settings = Self::default();
        let given = parse(text)?;
        for setting in &given {
            match setting.name {
                "failures" => settings.failures = setting.number(1..=10_000)?,
                "ratio" => settings.ratio = setting.percent(1..=100)?,
                "calls" => settings.calls = setting.number(1..=1_000_000)?,
                "window" => settings.window = setting.duration(MS(1_000)..=HOUR)?,
                "slow" => settings.slow = Some(setting.duration(MS(1)..=HOUR)?),
                "open" => settings.open = setting.duration(MS(100)..=HOUR)?,
                "open-max" => settings.open_max = setting.duration(MS(100)..=HOUR)?,
                "probes" => settings.probes = setting.number(1..=MAX_PROBES)?,
                "successes" => settings.successes = setting.number(1..=100)?,
                "lease" => settings.lease = setting.duration(MS(100)..=HOUR)?,
                "ramp" => settings.ramp = setting.duration(MS(0)..=HOUR)?,
                "cache" => settings.cache = setting.duration(MS(100)..=MS(10_000))?,
                _ => return Err(setting.unknown(&NAMES)),
            }
        }
        settings.check_consistency(text, &given)?;
        Ok(settings)
    }
}

impl Settings {
    fn check_consistency(&self, text: &str, given: &[Setting<'_>]) -> Result<(), SettingsError> {
        let error = |name, problem: String| match given.iter().find(|setting| setting.name == name) {
            Some(setting) => setting.error(problem),
            None => SettingsError::new(text, text.len(), "", problem),
        };
        if self.open_max < self.open {
            return Err(error("open-max", format!("open-max must not be less than open, {:?}", self.open)));
        }
        match self.slow {
            Some(slow) if slow >= self.lease => {
                Err(error("lease", format!("lease must be longer than slow, {slow:?}")))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        text.parse::<Settings>().unwrap_err().to_string()
    }

    #[test]
    fn omitted_settings_have_defaults() {
        assert_eq!("".parse(), Ok(Settings::default()));
        let settings: Settings = "failures=3; slow=800ms; open-max=10m".parse().unwrap();
        let (slow, open_max) = (Some(MS(800)), Duration::from_mins(10));
        assert_eq!(settings, Settings { failures: 3, slow, open_max, ..Settings::default() });
    }

    #[test]
    fn every_setting_can_be_set() {
        let text = "failures=7; ratio=30%; calls=9; window=1m; slow=1s; open=2s; open-max=3m; probes=2; successes=4; \
                    lease=5s; ramp=6s; cache=500ms";
        let expected = Settings {
            failures: 7,
            ratio: 30,
            calls: 9,
            window: MS(60_000),
            slow: Some(MS(1_000)),
            open: MS(2_000),
            open_max: MS(180_000),
            probes: 2,
            successes: 4,
            lease: MS(5_000),
            ramp: MS(6_000),
            cache: MS(500),
        };
        assert_eq!(text.parse(), Ok(expected));
        assert!(NAMES.iter().all(|name| text.contains(&format!("{name}="))), "the test names them all");
    }

    #[test]
    fn an_out_of_range_setting_is_rejected_with_its_position() {
        for text in [
            "failures=0",
            "ratio=0%",
            "ratio=101%",
            "calls=0",
            "window=0s",
            "window=2h",
            "slow=0ms",
            "open=0s",
            "open-max=2h",
            "probes=0",
            "probes=11",
            "successes=0",
            "lease=1ms",
            "ramp=2h",
            "cache=0ms",
            "cache=1m",
            "failures=-1",
            "failures=99999999999999999999999",
            "window=forever",
        ] {
            let value = text.split_once('=').unwrap().1;
            assert!(error(text).contains(&format!("at {value:?}: expected")), "{}", error(text));
        }
    }

    #[test]
    fn an_unknown_setting_is_rejected_with_the_valid_names() {
        assert!(error("failure=5").contains(r#"at "failure": unknown setting; expected one of failures, ratio"#));
    }

    #[test]
    fn contradictory_settings_are_rejected() {
        assert!(error("open=10m").ends_with("open-max must not be less than open, 600s"));
        assert!(error("open=20s; open-max=10s").contains(r#"at "10s": open-max must not be less than open, 20s"#));
        assert!(error("slow=10s").ends_with("lease must be longer than slow, 10s"));
    }
}
