//! Deadlines within the time limit of an invocation.

use std::time::{Duration, SystemTime};

use lambda_runtime::Context;
use service_clock::Timestamp;
use tokio::time::Instant;

/// Time reserved at the end of an invocation that scans a table: for the current page and the response.
const RESERVE: Duration = Duration::from_secs(40);
/// How long a run takes by default. If the function is killed, only the current run is lost.
const DEFAULT_SECONDS: u64 = 60;

/// When a scan of a table must end: after the requested seconds, and before the invocation times out.
pub fn of_run(seconds: Option<u64>, context: &Context) -> Instant {
    let own = Duration::from_secs(seconds.unwrap_or(DEFAULT_SECONDS));
    let latest = deadline(context, RESERVE);
    Instant::now().checked_add(own).map_or(latest, |own| own.min(latest))
}

/// When work must end so that `reserve` of the invocation's time is left.
pub fn deadline(context: &Context, reserve: Duration) -> Instant {
    Instant::now() + remaining(context).saturating_sub(reserve)
}

/// What is left of the invocation's time.
pub fn remaining(context: &Context) -> Duration {
    context.deadline().duration_since(SystemTime::from(*Timestamp::now())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;

    #[test]
    fn a_run_ends_after_the_requested_seconds_and_before_its_function_times_out() {
        let left = |seconds| {
            let left = of_run(seconds, &context()).saturating_duration_since(Instant::now());
            left.as_secs_f64().round() as u64
        };
        // 40 of the function's 60 seconds are reserved.
        assert_eq!([Some(0), Some(5), Some(u64::MAX), None].map(left), [0, 5, 20, 20]);
    }
}
