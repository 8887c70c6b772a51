//! Running a function that answers HTTP requests.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};

use lambda_runtime::{Context, LambdaEvent, service_fn};
use tracing::Instrument as _;

use crate::answer::Answer;
use crate::problem::Problem;
use crate::request::{Event, Request};
use crate::telemetry;

/// Takes requests from the Lambda runtime, one after the other, and answers them.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn serve(handle: impl AsyncFn(&Request) -> Result<Answer, Problem>) -> Result<(), lambda_runtime::Error> {
    let (handle, cold_start) = (&handle, &AtomicBool::new(true));
    let service = service_fn(|LambdaEvent { payload, context }| async move {
        let cold_start = cold_start.swap(false, Ordering::Relaxed);
        Ok::<_, Infallible>(respond(handle, payload, &context, cold_start).await)
    });
    lambda_runtime::run(service).await
}

/// The answer to one event, and the log line about it.
pub(crate) async fn respond(
    handle: impl AsyncFn(&Request) -> Result<Answer, Problem>,
    event: Event,
    context: &Context,
    cold_start: bool,
) -> Answer {
    let request = Request::new(event, context);
    let correlation_id = &request.correlation_id;
    let span = telemetry::request(correlation_id, cold_start);
    let answer = async {
        // Boxed, since the compiler gives up on a future as deep as the SDK's within the runtime's.
        let answer = match Box::pin(handle(&request)).await {
            Ok(answer) => {
                tracing::info!(status = answer.status(), "answered");
                answer
            }
            Err(problem) => {
                let (status, name) = (problem.status(), problem.name());
                match problem.cause() {
                    none if none.is_empty() => tracing::info!(status, problem = name, "refused"),
                    cause => tracing::error!(status, problem = name, cause, "failed"),
                }
                problem.into_answer(correlation_id)
            }
        };
        answer.with_header("x-correlation-id", correlation_id)
    };
    answer.instrument(span).await
}
