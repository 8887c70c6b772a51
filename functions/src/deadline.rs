//! How long a function may work.

use std::time::{Duration, SystemTime};

use lambda_runtime::Context;
use tokio::time::Instant;

/// What is kept of the time of a function that goes through whole tables: for the page that it is at, and the answer.
const RESERVE: Duration = Duration::from_secs(40);
/// How long a run goes on unless it is told. A function that is killed loses its run, and nothing of those before.
const USUAL_SECONDS: u64 = 60;

/// When a run through a table is to end: after the seconds that were asked for, and before the function's time does.
pub fn of_run(seconds: Option<u64>, context: &Context) -> Instant {
    let own = Duration::from_secs(seconds.unwrap_or(USUAL_SECONDS));
    let latest = deadline(context, RESERVE);
    Instant::now().checked_add(own).map_or(latest, |own| own.min(latest))
}

/// When a function must have done its work, if `reserve` of the invocation's time is kept for what comes after it.
pub fn deadline(context: &Context, reserve: Duration) -> Instant {
    let remaining = context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    Instant::now() + remaining.saturating_sub(reserve)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::context;

    #[test]
    fn a_run_ends_when_it_is_told_and_before_the_time_of_its_function() {
        let left = |seconds| {
            let left = of_run(seconds, &context()).saturating_duration_since(Instant::now());
            left.as_secs_f64().round() as u64
        };
        // The function has 60 seconds, and 40 are kept of them.
        assert_eq!([Some(0), Some(5), Some(u64::MAX), None].map(left), [0, 5, 20, 20]);
    }
}
