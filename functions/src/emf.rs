//! Metrics, as log lines in CloudWatch's embedded metric format.

use std::env;

use metrics_cloudwatch_embedded::{Builder, Collector};

/// Collects what `metrics::counter!` and `metrics::histogram!` record from here on, namespace `Orders`, by function, until
/// it is flushed. No gauges: their last value would be written again at every flush.
///
/// # Errors
/// There is a collector already.
pub(crate) fn init() -> Result<&'static Collector, lambda_runtime::Error> {
    let function = env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|_| "unknown".into());
    Builder::new().cloudwatch_namespace("Orders").with_dimension("FunctionName", function).init()
}
