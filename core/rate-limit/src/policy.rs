//! Policies as text: `token-bucket; rate=5/s; burst=20; by=user` or `sliding-window; limit=100; window=60s; by=ip`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::algorithm::Algorithm;
use super::decision::{Decision, Micros};
use super::sliding_window::SlidingWindow;
use super::token_bucket::TokenBucket;
use policy_text::{Setting, SettingsError};

/// The longest window and the longest fill time of a bucket.
const LONGEST: Duration = Duration::from_hours(366 * 24);
/// The largest burst and limit.
const LARGEST: u64 = 1_000_000_000;
/// The default number of sub-windows per window. Up to about 30, a call takes one write unit.
const PARTS: u32 = 20;
const BUCKET: &[&str] = &["rate", "burst", "by", "name", "cost", "on_error"];
const WINDOW: &[&str] = &["limit", "window", "parts", "by", "name", "cost", "on_error"];

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The requests of a user.
    User,
    /// The requests from an IP address.
    Address,
}

/// What happens to requests while the table is unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnError {
    /// They are admitted.
    Allow,
    /// They are rejected.
    Deny,
    /// They are limited by the same algorithm in this process's memory.
    Local,
}

/// A limiter's settings.
///
/// As text, an algorithm and its settings, separated by `;`:
/// - `token-bucket` with `rate`, such as `5/s`, `100/m` or `1/10s`, and `burst`;
/// - `sliding-window` with `limit`, `window`, such as `60s`, and optionally `parts`, sub-windows per window (10 to 60);
/// - for both: `by=user|ip`, and optionally `name` (requests are counted together under the same name and settings),
///   `cost` (per request, default 1) and `on_error=allow|deny|local` (default `local`).
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) algorithm: Arc<dyn Algorithm>,
    /// What happens to requests while the table is unavailable.
    pub on_error: OnError,
    /// Whose requests are counted together.
    pub by: By,
    /// The name shown to callers.
    pub name: String,
    /// The cost of a request.
    pub cost: u32,
    /// Name and the settings that affect the count, so that policies that count differently never share an item.
    pub(super) key: String,
    text: String,
}

/// The cost of a request is 0 or exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a request's cost must be from 1 to {limit}, the policy's limit; it is {cost}")]
pub struct CostError {
    /// The given cost.
    pub cost: u32,
    /// The burst or limit.
    pub limit: u32,
}

impl Policy {
    /// The largest cost that can be admitted at once: the burst, or the limit of a window.
    pub fn limit(&self) -> u32 {
        self.algorithm.limit()
    }

    /// Checks that a request of this cost can be admitted at all.
    ///
    /// # Errors
    /// The cost is 0 or exceeds the limit.
    pub fn allows_cost(&self, cost: u32) -> Result<(), CostError> {
        let limit = self.limit();
        if (1..=limit).contains(&cost) { Ok(()) } else { Err(CostError { cost, limit }) }
    }

    /// The field `RateLimit-Policy`: the quota in requests, and the seconds in which an unused quota is fully restored.
    pub(super) fn policy_field(&self) -> String {
        format!("\"{}\";q={};w={}", self.name, self.limit() / self.cost, seconds(self.algorithm.window()).max(1))
    }

    /// The field `RateLimit`: the remaining requests, and the seconds until the quota is restored or, for a rejected
    /// request, until it can be retried.
    pub(super) fn limit_field(&self, decision: &Decision) -> String {
        let wait = if decision.allowed { decision.reset_after } else { decision.retry_after };
        format!("\"{}\";r={};t={}", self.name, decision.remaining / self.cost, seconds(wait))
    }
}

/// Whole seconds, rounded up.
fn seconds(duration: Duration) -> u128 {
    duration.as_micros().div_ceil(1_000_000)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Policy {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Self, SettingsError> {
        let (kind, rest) = text.split_once(';').unwrap_or((text, ""));
        let kind = kind.trim();
        let known = match kind {
            "token-bucket" => BUCKET,
            "sliding-window" => WINDOW,
            _ => {
                let at = text.len() - text.trim_start().len();
                return Err(SettingsError::new(
                    text,
                    at,
                    kind,
                    "expected a policy that begins with token-bucket or sliding-window",
                ));
            }
        };
        let settings = policy_text::parse_from(text, text.len() - rest.len())?;
        if let Some(setting) = settings.iter().find(|setting| !known.contains(&setting.name)) {
            return Err(setting.unknown(known));
        }
        let find = |name| settings.iter().find(|setting| setting.name == name);
        let need = |name| {
            let missing = || SettingsError::new(text, 0, text, format!("{kind} requires {name}=…"));
            find(name).ok_or_else(missing)
        };
        let (algorithm, key): (Arc<dyn Algorithm>, String) = if kind == "token-bucket" {
            let (rate, burst) = (need("rate")?, need("burst")?);
            let (interval, units) = (interval(rate)?, count(burst, LARGEST)?);
            if interval.saturating_mul(Micros::from(units)) > micros(LONGEST) {
                return Err(burst.error("at this rate an empty bucket takes more than 366 days to fill"));
            }
            (Arc::new(TokenBucket::new(interval, units)), format!("tb/{interval}/{units}"))
        } else {
            let limit = count(need("limit")?, LARGEST)?;
            let window = micros(need("window")?.duration(Duration::from_secs(1)..=LONGEST)?);
            let parts = find("parts").map_or(Ok(u64::from(PARTS)), |parts| parts.number(10..=60))?;
            let parts = u32::try_from(parts).unwrap_or(PARTS);
            (Arc::new(SlidingWindow::new(limit, window, parts)), format!("sw/{limit}/{window}/{parts}"))
        };
        let by = need("by")?;
        let by = match by.value {
            "user" => By::User,
            "ip" => By::Address,
            _ => return Err(by.error("expected user or ip")),
        };
        let on_error = match find("on_error") {
            None => OnError::Local,
            Some(on_error) => match on_error.value {
                "allow" => OnError::Allow,
                "deny" => OnError::Deny,
                "local" => OnError::Local,
                _ => return Err(on_error.error("expected allow, deny or local")),
            },
        };
        let name = find("name").map_or(Ok("default"), name)?;
        let cost = find("cost").map_or(Ok(1), |cost| count(cost, algorithm.limit().into()))?;
        let key = format!("{name}/{key}/{}", if by == By::User { "user" } else { "ip" });
        Ok(Self { algorithm, on_error, by, name: name.to_owned(), cost, key, text: text.to_owned() })
    }
}

fn micros(duration: Duration) -> Micros {
    Micros::try_from(duration.as_micros()).unwrap_or(Micros::MAX)
}

fn count(setting: &Setting<'_>, most: u64) -> Result<u32, SettingsError> {
    Ok(u32::try_from(setting.number(1..=most)?).unwrap_or(u32::MAX))
}

fn name<'a>(setting: &Setting<'a>) -> Result<&'a str, SettingsError> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = setting.value.len() <= 32 && setting.value.chars().all(fits);
    if good { Ok(setting.value) } else { Err(setting.error("expected 1 to 32 of a-z, 0-9 and -")) }
}

/// The time per unit, rounded up so that the rate is never exceeded.
fn interval(rate: &Setting<'_>) -> Result<Micros, SettingsError> {
    let (count, per) = rate.rate()?;
    let (count, per) = (u128::from(count), per.as_micros());
    let interval = per.div_ceil(count);
    // Rounding may change the rate by at most a thousandth, which always holds for rates up to 1000/s.
    if (interval * count - per) * 1000 > per {
        return Err(rate.error(
            "this rate cannot be represented in whole microseconds per unit; use at most 1000/s, or a rate that divides \
             1000000/s",
        ));
    }
    Ok(Micros::try_from(interval).unwrap_or(Micros::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(text: &str) -> Policy {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_token_bucket_is_parsed() {
        let policy = policy("token-bucket; rate=5/s; burst=20; by=user");
        assert_eq!((policy.limit(), policy.by, policy.on_error, policy.cost), (20, By::User, OnError::Local, 1));
        assert_eq!(policy.key, "default/tb/200000/20/user");
        assert_eq!(policy.policy_field(), "\"default\";q=20;w=4");
    }

    #[test]
    fn a_sliding_window_is_parsed() {
        let policy = policy("sliding-window;limit=100;window=1m;parts=30;by=ip;name=search-2;cost=5;on_error=deny");
        assert_eq!((policy.limit(), policy.by, policy.on_error, policy.cost), (100, By::Address, OnError::Deny, 5));
        assert_eq!(policy.key, "search-2/sw/100/60000000/30/ip");
        assert_eq!(policy.policy_field(), "\"search-2\";q=20;w=60");
        assert_eq!(self::policy("sliding-window; limit=1; window=1m; by=ip; on_error=local").on_error, OnError::Local);
    }

    #[test]
    fn the_fields_are_in_requests_and_in_seconds_rounded_up() {
        let policy = policy("sliding-window; limit=100; window=1500ms; by=ip; cost=5");
        assert_eq!(policy.policy_field(), "\"default\";q=20;w=2");
        let (reset_after, retry_after) = (Duration::from_millis(1400), Duration::from_micros(1));
        let mut decision = Decision { allowed: true, limit: 100, remaining: 99, reset_after, retry_after };
        assert_eq!(policy.limit_field(&decision), "\"default\";r=19;t=2");
        decision.allowed = false;
        assert_eq!(policy.limit_field(&decision), "\"default\";r=19;t=1");
    }

    #[test]
    fn only_policies_that_count_alike_share_a_key() {
        let base = policy("token-bucket; rate=5/s; burst=20; by=user");
        for other in ["rate=6/s; burst=20; by=user", "rate=5/s; burst=21; by=user", "rate=5/s; burst=20; by=ip"] {
            assert_ne!(policy(&format!("token-bucket; {other}")).key, base.key);
        }
        assert_ne!(policy("token-bucket; rate=5/s; burst=20; by=user; name=pay").key, base.key);
        assert_eq!(policy("token-bucket; burst=20; rate=300/m; by=user; cost=2; on_error=allow").key, base.key);
    }

    #[test]
    fn rounding_never_raises_a_rate() {
        assert_eq!(policy("token-bucket; rate=3/s; burst=1; by=user").key, "default/tb/333334/1/user");
        assert_eq!(policy("token-bucket; rate=1000000/s; burst=1; by=user").key, "default/tb/1/1/user");
        assert_eq!(policy("token-bucket; rate=1/24h; burst=1; by=user").key, "default/tb/86400000000/1/user");
        assert_eq!(policy("token-bucket; rate=1/10s; burst=1; by=user").key, "default/tb/10000000/1/user");
    }

    #[test]
    fn an_error_states_the_position_and_the_problem() {
        let bucket = |rest: &str| format!("token-bucket; {rest}");
        let window = |rest: &str| format!("sliding-window; {rest}");
        let cases = [
            (String::new(), 1, "", "begins with"),
            (" leaky-bucket; rate=1/s".to_owned(), 2, "leaky-bucket", "begins with"),
            ("rate=5/s; burst=20; by=user".to_owned(), 1, "rate=5/s", "begins with"),
            (bucket("rate=0/s; burst=20; by=user"), 20, "0/s", "such as 5/s"),
            (bucket("rate=-5/s; burst=20; by=user"), 20, "-5/s", "such as 5/s"),
            (bucket("rate=5; burst=20; by=user"), 20, "5", "such as 5/s"),
            (bucket("rate=2000001/s; burst=20; by=user"), 20, "2000001/s", "at most 1000/s"),
            (bucket("rate=700000/s; burst=20; by=user"), 20, "700000/s", "at most 1000/s"),
            (bucket("rate=99999999999999999999/s; burst=20; by=user"), 20, "99999999999999999999/s", "such as 5/s"),
            (bucket("rate=5/s; burst=0; by=user"), 31, "0", "from 1 to"),
            (bucket("rate=5/s; burst=-1; by=user"), 31, "-1", "from 1 to"),
            (bucket("rate=5/s; burst=4294967296; by=user"), 31, "4294967296", "from 1 to"),
            (bucket("rate=1/24h; burst=367; by=user"), 33, "367", "366 days"),
            (bucket("rate=5/s; by=user"), 1, "token-bucket; rate=5/s; by=user", "requires burst=…"),
            (bucket("rate=5/s; burst=20"), 1, "token-bucket; rate=5/s; burst=20", "requires by=…"),
            (bucket("rate=5/s; burst=20; by=header"), 38, "header", "user or ip"),
            (bucket("rate=5/s; burst=20; by=user; color=red"), 44, "color", "expected one of rate, burst"),
            (bucket("rate=5/s; burst=20; by=user; window=1s"), 44, "window", "expected one of rate, burst"),
            (bucket("rate=5/s; burst=20; by=user; burst=30"), 44, "burst=30", "duplicate setting"),
            (bucket("rate=5/s; burst=20; by=user; cost=21"), 49, "21", "from 1 to 20"),
            (bucket("rate=5/s; burst=20; by=user; cost=0"), 49, "0", "from 1 to 20"),
            (bucket("rate=5/s; burst=20; by=user; name=Pay"), 49, "Pay", "of a-z"),
            (bucket("rate=5/s; burst=20; by=user; on_error=panic"), 53, "panic", "allow, deny or local"),
            (window("limit=0; window=60s; by=ip"), 23, "0", "from 1 to"),
            (window("limit=10; window=0s; by=ip"), 34, "0s", "expected a duration"),
            (window("limit=10; window=60; by=ip"), 34, "60", "expected a duration"),
            (window("limit=10; window=8785h; by=ip"), 34, "8785h", "expected a duration"),
            (window("limit=10; window=60s; parts=9; by=ip"), 45, "9", "from 10 to 60"),
            (window("limit=10; wíndow=60s; by=ip"), 27, "wíndow", "expected one of limit, window"),
        ];
        for (text, character, found, problem) in cases {
            let error = text.parse::<Policy>().expect_err(&text).to_string();
            assert!(error.contains(&format!("character {character}, at {found:?}: ")), "{error}");
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn a_cost_above_the_limit_is_rejected_with_the_limit() {
        let policy = policy("token-bucket; rate=5/s; burst=20; by=user");
        assert_eq!(policy.allows_cost(20), Ok(()));
        assert_eq!(policy.allows_cost(0), Err(CostError { cost: 0, limit: 20 }));
        let error = policy.allows_cost(21).expect_err("more than the burst");
        assert_eq!(error.to_string(), "a request's cost must be from 1 to 20, the policy's limit; it is 21");
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<Policy>();
        }

        #[test]
        fn no_settings_panic(
            kind in "token-bucket|sliding-window", settings in proptest::collection::vec(
                "(rate|burst|limit|window|parts|by|cost|name)=[0-9a-z/]{0,22}", 0..6),
        ) {
            let _ = format!("{kind}; {}", settings.join("; ")).parse::<Policy>();
        }
    }
}
