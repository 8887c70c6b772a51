//! Metrics, as log lines in CloudWatch's embedded metric format.

use std::env;

use metrics_cloudwatch_embedded::{Builder, Collector};

/// Has what `metrics::counter!` counts from here on written, namespace `Orders`, by function. The caller flushes at the
/// end of each invocation, since the container may stand still after it for good.
///
/// # Errors
/// Somebody has done so before.
pub fn init() -> Result<&'static Collector, lambda_runtime::Error> {
    let function = env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "unknown".into());
    Builder::new().cloudwatch_namespace("Orders").with_dimension("FunctionName", function).init()
}
