//! The errors of functions that programs invoke.

use std::error::Error;

use lambda_runtime::Diagnostic;
use orders_core::error::chain;

/// The error as the invoker receives it, and as a record in a dead-letter queue shows it. Retry rules and alarms may depend
/// on `error_type`.
pub fn diagnostic(error_type: &'static str, error: &dyn Error) -> Diagnostic {
    Diagnostic { error_type: error_type.into(), error_message: chain(error) }
}
