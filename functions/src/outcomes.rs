//! Counts the outcomes of commands, for every function that runs them.
//!
//! The function's name is the command's, except that events and schedules run several. A metric's name says the outcome, so
//! that a command takes one line of metrics; only a rejection has a dimension of its own, the rule.

use dynamodb_event_store::{ExecuteError, Executed, Resolution};
use metrics::counter;
use orders_core::domain::{DecisionError, Order};

/// Counts the outcome of a command.
pub(crate) fn count(outcome: &Result<Executed<Order>, ExecuteError<DecisionError>>) {
    match outcome {
        Ok(executed) => count_resolution(executed.resolution),
        Err(error) => count_error(error),
    }
}

/// Counts a command that was run.
pub(crate) fn count_resolution(resolution: Resolution) {
    let name = match resolution {
        Resolution::Stored => "CommandsStored",
        Resolution::Replayed => "CommandsReplayed",
        Resolution::Unchanged => "CommandsUnchanged",
    };
    counter!(name).increment(1);
}

/// Counts a command that was rejected or failed.
pub(crate) fn count_error(error: &ExecuteError<DecisionError>) {
    match error {
        ExecuteError::Rejected(error) => count_rejection(error.code()),
        ExecuteError::PreconditionFailed { .. } => count_rejection("precondition-failed"),
        ExecuteError::KeyReused => count_rejection("idempotency-key-reused"),
        ExecuteError::Contended
        | ExecuteError::OutcomeUnknown(_)
        | ExecuteError::TooLarge { .. }
        | ExecuteError::Store(_) => count_failure(),
    }
}

/// Counts a command that failed, such as one whose order could not be loaded.
pub(crate) fn count_failure() {
    counter!("CommandsFailed").increment(1);
}

/// Counts a rejection by a rule: one of the codes of the API's problems or of `OrderCommandRejected`.
pub(crate) fn count_rejection(rule: &'static str) {
    counter!("CommandsRejected", "Rule" => rule).increment(1);
}
