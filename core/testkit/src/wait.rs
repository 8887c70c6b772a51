//! Waiting for a condition, with a deadline.

use std::time::Duration;

use tokio::time::{sleep, timeout};

/// How long a condition may take by default, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition.
///
/// # Panics
/// When it does not hold within [`PATIENCE`]; the panic names what was awaited.
pub async fn until(what: &str, condition: impl AsyncFnMut() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// Waits for a condition with another deadline.
///
/// # Panics
/// When it does not hold within `patience`.
pub async fn until_within(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    poll(patience, what, async || condition().await.then_some(())).await;
}

/// Waits until `find` returns a value, and returns it.
///
/// # Panics
/// When there is none within [`PATIENCE`].
pub async fn until_some<T>(what: &str, find: impl AsyncFnMut() -> Option<T>) -> T {
    poll(PATIENCE, what, find).await
}

async fn poll<T>(patience: Duration, what: &str, mut find: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(patience, async {
        loop {
            if let Some(found) = find().await {
                return found;
            }
            sleep(Duration::from_millis(10)).await;
        }
    });
    found.await.unwrap_or_else(|_| panic!("waited {patience:?} for {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 20s for the row of order 7")]
    async fn a_condition_that_never_holds_is_named() {
        until("the row of order 7", async || false).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "waited 3s for the reply")]
    async fn a_condition_that_hangs_is_named() {
        until_within(Duration::from_secs(3), "the reply", async || std::future::pending().await).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_value_that_was_awaited_is_returned() {
        let mut attempts = 0;
        let found = until_some("the third attempt", async || {
            attempts += 1;
            (attempts == 3).then_some(attempts)
        });
        assert_eq!(found.await, 3);
    }
}
