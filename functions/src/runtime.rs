//! Taking events from the Lambda runtime. Every function does so here, and whatever it counts meanwhile is written.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use orders_core::json::Strict;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::{emf, telemetry};

/// Hands over one event after the other, with its context and whether it is the container's first. What was counted is
/// written before the answer is given, since the container may stand still after it for good.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn run<E: DeserializeOwned, A: Serialize, F: Into<Diagnostic> + Debug>(
    handle: impl AsyncFn(E, &Context, bool) -> Result<A, F>,
) -> Result<(), lambda_runtime::Error> {
    let (handle, cold_start, metrics) = (&handle, &AtomicBool::new(true), emf::init()?);
    let service = service_fn(|LambdaEvent { payload: Strict(event), context }| async move {
        let answer = handle(event, &context, cold_start.swap(false, Ordering::Relaxed)).await;
        // The work is done, counted or not.
        metrics.flush(io::stdout()).unwrap_or_else(|error| tracing::error!(%error, "metrics lost"));
        answer
    });
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    lambda_runtime::run(service).await
}

/// The same for events that bring no id to follow them by: the log lines about one carry the invocation's own.
///
/// # Errors
/// As [`run`].
pub async fn serve<E: DeserializeOwned, A: Serialize, F: Into<Diagnostic> + Debug>(
    handle: impl AsyncFn(E, &Context) -> Result<A, F>,
) -> Result<(), lambda_runtime::Error> {
    let handle = &handle;
    run(async |event, context: &Context, cold_start| {
        // Boxed, since the compiler gives up on a future as deep as the SDK's within the runtime's.
        let handled = Box::pin(handle(event, context));
        handled.instrument(telemetry::request(&context.request_id, cold_start)).await
    })
    .await
}
