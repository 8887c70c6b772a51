//! How long a function may work.

use std::time::{Duration, SystemTime};

use lambda_runtime::Context;
use tokio::time::Instant;

/// When a function must have done its work, if `reserve` of the invocation's time is kept for what comes after it.
pub fn deadline(context: &Context, reserve: Duration) -> Instant {
    let remaining = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + remaining.saturating_sub(reserve)
}
