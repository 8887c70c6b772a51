//! Running a function that answers HTTP requests.

use std::convert::Infallible;

use lambda_runtime::Context;
use tracing::Instrument as _;

use crate::answer::Answer;
use crate::limits::{Admission, Limits};
use crate::problem::Problem;
use crate::request::{Event, Request};
use crate::{runtime, telemetry};

/// Takes requests from the Lambda runtime, one after the other, and answers those that the limits let pass.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn serve(
    limits: &Limits,
    handle: impl AsyncFn(&Request) -> Result<Answer, Problem>,
) -> Result<(), lambda_runtime::Error> {
    let handle = &handle;
    runtime::run(async |event, context: &Context, cold_start| {
        Ok::<_, Infallible>(respond(Some(limits), handle, event, context, cold_start).await)
    })
    .await
}

/// The answer to one event, and the log line about it.
pub(crate) async fn respond(
    limits: Option<&Limits>,
    handle: impl AsyncFn(&Request) -> Result<Answer, Problem>,
    event: Event,
    context: &Context,
    cold_start: bool,
) -> Answer {
    let mut request = Request::new(event, context);
    request.admission = limits.map(|_| Admission::pending()).unwrap_or_default();
    let request = request;
    let correlation_id = &request.correlation_id;
    let span = telemetry::request(correlation_id, cold_start);
    let answer = async {
        // Boxed, since the compiler gives up on a future as deep as the SDK's within the runtime's.
        let handled = Box::pin(handle(&request));
        let outcome = match limits {
            Some(limits) => Box::pin(limits.admit(&request, handled)).await,
            None => handled.await,
        };
        let answer = match outcome {
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
