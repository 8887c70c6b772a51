//! What a limiter answers.

use std::time::Duration;

/// Microseconds since the Unix epoch, or between two moments.
///
/// Limiters compute in whole microseconds only, so that every container comes to the same result.
pub type Micros = i64;

/// Whether a request may pass, and what its caller should know about the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may pass. One that may not was not counted either.
    pub allowed: bool,
    /// The quota: the burst of a token bucket, the limit of a sliding window.
    pub limit: u32,
    /// What may still be spent at once.
    pub remaining: u32,
    /// When the whole quota is there again, if nothing is spent.
    pub reset_after: Duration,
    /// When the same request would pass, if nothing is spent meanwhile; zero if it passed.
    pub retry_after: Duration,
}

impl Decision {
    /// The whole seconds after which the same request would pass, as `Retry-After` has them: never too few.
    pub fn retry_after_seconds(&self) -> u64 {
        u64::try_from(self.retry_after.as_micros().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
    }
}

/// A span as a [`Duration`]; nothing if it is over.
pub(super) fn span(micros: Micros) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

/// What is left of a quota, kept within 0 and `limit`.
pub(super) fn quota(left: i64, limit: u32) -> u32 {
    u32::try_from(left.max(0)).unwrap_or(u32::MAX).min(limit)
}
