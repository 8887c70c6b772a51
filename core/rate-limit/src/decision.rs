//! A limiter's decision.

use std::time::Duration;

/// Microseconds since the Unix epoch, or between two points in time.
///
/// Limiters compute in whole microseconds only, so that all containers get the same result.
pub type Micros = i64;

/// Whether a request is admitted, and the state of the quota for its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request is admitted. A rejected one is not counted.
    pub allowed: bool,
    /// The quota: the burst of a token bucket, the limit of a sliding window.
    pub limit: u32,
    /// The cost that can still be admitted at once.
    pub remaining: u32,
    /// When the whole quota is available again, if nothing is spent.
    pub reset_after: Duration,
    /// When the same request would be admitted, if nothing else is; zero for an admitted one.
    pub retry_after: Duration,
}

impl Decision {
    /// `retry_after` in whole seconds for `Retry-After`, rounded up, at least 1.
    pub fn retry_after_seconds(&self) -> u64 {
        u64::try_from(self.retry_after.as_micros().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
    }
}

/// `micros` as a [`Duration`]; zero if negative.
pub(super) fn span(micros: Micros) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// `left`, clamped to 0..=`limit`.
pub(super) fn quota(left: i64, limit: u32) -> u32 {
    u32::try_from(left.max(0)).unwrap_or(u32::MAX).min(limit)
}
