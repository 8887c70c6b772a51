//! What a function that answers programs says when it failed.

use std::error::Error;

use lambda_runtime::Diagnostic;
use orders_core::error::chain;

/// The error as whoever invoked the function gets it, and as the record in a queue for redrive shows it. Retry rules and
/// alarms may go by `error_type`.
pub fn diagnostic(error_type: &'static str, error: &dyn Error) -> Diagnostic {
    Diagnostic { error_type: error_type.into(), error_message: chain(error) }
}
