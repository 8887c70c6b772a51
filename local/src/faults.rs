//! Faults that a person injects, to watch what the service does about them. They hit functions only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

/// The longest time for which the event table is throttled.
const LONGEST: u64 = 60;

/// The faults to come. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    lose_response: bool,
    lose_write: bool,
    throttled_until: Option<Instant>,
}

/// What happens to a request to the event table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is rejected with `ProvisionedThroughputExceededException`.
    Throttle,
    /// It is executed, and the connection closes without a response.
    LoseResponse,
}

/// `POST /dev/faults`.
#[derive(Deserialize)]
#[serde(tag = "fault", rename_all = "kebab-case", deny_unknown_fields)]
enum Injection {
    /// The response to the next command of the API is lost.
    LoseResponse,
    /// The response to the next write to the event table is lost.
    LoseWrite,
    /// Every request to the event table is throttled.
    Throttle { seconds: u64 },
}

impl Faults {
    fn inject(&self, injection: Injection) {
        let mut state = self.state();
        match injection {
            Injection::LoseResponse => state.lose_response = true,
            Injection::LoseWrite => state.lose_write = true,
            Injection::Throttle { seconds } => {
                state.throttled_until = Some(Instant::now() + Duration::from_secs(seconds.min(LONGEST)));
            }
        }
    }

    /// Whether the response to this command of the API is lost.
    pub(crate) fn take_lost_response(&self) -> bool {
        std::mem::take(&mut self.state().lose_response)
    }

    /// Whether a fault waits for a request to the event table.
    pub(crate) fn await_events(&self) -> bool {
        let state = self.state();
        state.lose_write || state.throttled_until.is_some()
    }

    /// The fault of a request to the event table.
    pub(crate) fn of_events(&self, is_write: bool) -> Option<Fault> {
        let mut state = self.state();
        if state.throttled_until.is_some_and(|until| Instant::now() < until) {
            Some(Fault::Throttle)
        } else if is_write && std::mem::take(&mut state.lose_write) {
            Some(Fault::LoseResponse)
        } else {
            None
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `POST /dev/faults`.
pub(crate) fn router(faults: Faults) -> Router {
    let inject = async move |body: axum::body::Bytes| -> Response {
        match serde_json::from_slice(&body) {
            Ok(injection) => {
                faults.inject(injection);
                Json(json!({ "injected": true })).into_response()
            }
            Err(error) => {
                let message = format!("expected {{\"fault\": \"lose-response\"}}: {error}");
                (StatusCode::BAD_REQUEST, Json(json!({ "message": message }))).into_response()
            }
        }
    };
    Router::new().route("/faults", post(inject))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_hits_what_it_names_once_or_for_its_time() {
        let faults = Faults::default();
        assert_eq!((faults.of_events(true), faults.take_lost_response()), (None, false));
        faults.inject(Injection::LoseWrite);
        faults.inject(Injection::LoseResponse);
        assert_eq!(
            [false, true, true].map(|is_write| faults.of_events(is_write)),
            [None, Some(Fault::LoseResponse), None]
        );
        assert!(faults.take_lost_response() && !faults.take_lost_response());
        faults.inject(Injection::Throttle { seconds: 5 });
        assert_eq!(faults.of_events(false), Some(Fault::Throttle));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(faults.of_events(false), None);
    }
}
