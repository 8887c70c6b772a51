//! Taking events from the Lambda runtime.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use lambda_runtime::{Context, Diagnostic, LambdaEvent, service_fn};
use orders_core::json::Strict;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument as _;

use crate::telemetry;

/// Hands over one event after the other, with its context and whether it is the container's first.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn run<E: DeserializeOwned, A: Serialize, F: Into<Diagnostic> + Debug>(
    handle: impl AsyncFn(E, &Context, bool) -> Result<A, F>,
) -> Result<(), lambda_runtime::Error> {
    let (handle, cold_start) = (&handle, &AtomicBool::new(true));
    let service = service_fn(|LambdaEvent { payload: Strict(event), context }| async move {
        handle(event, &context, cold_start.swap(false, Ordering::Relaxed)).await
    });
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
