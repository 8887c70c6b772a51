//! Receiving events from the Lambda runtime. Every function does so here.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::deadline::remaining;
use crate::emf;
use crate::telemetry::{self, Export, Invocation};
use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use metrics_cloudwatch_embedded::Collector;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use strict_json::Strict;

/// A container that is starting: log lines and metrics are written from here on.
///
/// There is no other way to receive events, so no function can count what is never written.
pub struct Runtime {
    metrics: &'static Collector,
    traces: Option<Export>,
}

impl Runtime {
    /// Begins to write log lines, and to collect what is counted.
    ///
    /// # Errors
    /// There is one already.
    pub fn start() -> Result<Self, lambda_runtime::Error> {
        Ok(Self { traces: telemetry::init()?, metrics: emf::init()? })
    }

    /// Passes on one event after the other, with its context and whether it is the container's first. What was counted
    /// is written, and spans are exported, before the response is sent, since the container may be frozen after it for good.
    /// The handler logs its own failures.
    ///
    /// # Errors
    /// The runtime's API is gone; the container ends.
    pub async fn run<E: DeserializeOwned, A: Serialize, F: Into<Diagnostic>>(
        self,
        handle: impl AsyncFn(E, &Context, bool) -> Result<A, F>,
    ) -> Result<(), lambda_runtime::Error> {
        let (handle, cold_start, metrics, traces) =
            (&handle, &AtomicBool::new(true), self.metrics, self.traces.as_ref());
        let service = service_fn(|LambdaEvent::<Box<RawValue>> { payload, context }| async move {
            let cold_start = cold_start.swap(false, Ordering::Relaxed);
            let response = match read(&payload) {
                Ok(event) => handle(event, &context, cold_start).await.map_err(Into::into),
                Err(invalid) => Err(Invocation::of(&context, cold_start).in_scope(|| log_failure(invalid))),
            };
            // The work is done, counted or not.
            metrics.flush(io::stdout()).unwrap_or_else(|error| tracing::error!(%error, "metrics lost"));
            if let Some(traces) = traces {
                traces.send(remaining(&context)).await;
            }
            response
        });
        #[expect(clippy::disallowed_methods, reason = "the one place")]
        lambda_runtime::run(service).await
    }

    /// The same for events without an id of their own: their log lines carry the invocation's.
    ///
    /// # Errors
    /// As [`Runtime::run`].
    pub async fn serve<E: DeserializeOwned, A: Serialize, F: Into<Diagnostic>>(
        self,
        handle: impl AsyncFn(E, &Context) -> Result<A, F>,
    ) -> Result<(), lambda_runtime::Error> {
        let handle = &handle;
        self.run(async |event, context: &Context, cold_start| {
            let handled = async {
                // Boxed, since the nested futures of the runtime and the SDK exceed the compiler's limit.
                Box::pin(handle(event, context)).await.map_err(|error| log_failure(error.into()))
            };
            Invocation::of(context, cold_start).run(handled).await
        })
        .await
    }
}

/// The event as the function's own type. The runtime would log an invalid one as a Rust value.
fn read<E: DeserializeOwned>(payload: &RawValue) -> Result<E, Diagnostic> {
    let mut json = serde_json::Deserializer::from_str(payload.get());
    serde_path_to_error::deserialize(&mut json).map(|Strict(event)| event).map_err(|error| {
        let (place, reason) = (error.path().to_string(), error.inner());
        let error_message = format!("invalid event, at {place}: {reason}");
        Diagnostic { error_type: "InvalidEvent".into(), error_message }
    })
}

/// Writes the one log line about a failure.
fn log_failure(failure: Diagnostic) -> Diagnostic {
    telemetry::record_failure(&failure.error_type);
    tracing::error!(error_type = failure.error_type, error = failure.error_message, "the invocation failed");
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_event_is_reported_with_the_place_and_the_reason() {
        #[derive(Debug, serde::Deserialize)]
        struct Asked {
            #[expect(dead_code, reason = "is only read")]
            order_id: String,
        }
        let payload = RawValue::from_string(r#"{"order_id": 5}"#.into()).unwrap();
        let failure = read::<Asked>(&payload).unwrap_err();
        assert_eq!(failure.error_type, "InvalidEvent");
        let said = failure.error_message;
        assert!(said.contains("order_id: invalid type: integer `5`") && !said.contains('{'), "{said}");
    }

    /// What is counted before there is a [`Runtime`] is lost, and nothing says so.
    #[test]
    fn every_binary_collects_metrics_before_it_does_anything_else() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
        let mut binaries = 0;
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let source = std::fs::read_to_string(&path).unwrap();
            let (_, main) = source.split_once("async fn main() -> Result<(), ").unwrap();
            let first = main.lines().nth(1).unwrap().trim();
            assert!(first == "let runtime = Runtime::start()?;" || first.starts_with("http::"), "{}", path.display());
            binaries += 1;
        }
        assert!(binaries > 20, "{binaries}");
    }
}
