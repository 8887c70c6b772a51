//! Calls through a breaker, with a fallback.

use std::time::Duration;

use super::call::CircuitBreaker;
use super::circuit::Rejected;
use super::table::Store;
use super::transition::Outcome;

/// An error that knows whether the callee or the caller caused it.
pub trait ClassifyError {
    /// The class of this error.
    fn class(&self) -> ErrorClass;
}

/// Who caused an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The callee is down, overloaded or responds unexpectedly. Counts as a failure and triggers the fallback.
    Callee,
    /// The caller made a mistake that any callee would reject. Does not count, and is returned to the caller.
    Caller,
}

/// Why the fallback was called.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause<E> {
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The callee failed.
    #[error("the call failed")]
    Failed(#[source] E),
}

/// A value and its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallResult<T> {
    /// The value.
    pub value: T,
    /// Whether the fallback returned it. Responses should say so.
    pub from_fallback: bool,
}

/// Classifies a result whose error implements [`ClassifyError`].
pub fn classify<T, E: ClassifyError>(result: &Result<T, E>) -> Option<ErrorClass> {
    result.as_ref().err().map(ClassifyError::class)
}

impl<S: Store> CircuitBreaker<S> {
    /// Makes the call, if the circuit allows it. Calls `fallback` if it does not, or if the callee fails.
    ///
    /// A dropped call does not count; a probe's slot is then freed when its lease expires.
    ///
    /// # Errors
    /// Errors of `call` that the caller caused ([`ErrorClass::Caller`]).
    pub async fn call<T, E: ClassifyError>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        fallback: impl FnOnce(Cause<E>) -> T,
    ) -> Result<CallResult<T>, E> {
        let cause = match self.guard(call, classify).await {
            Ok(result) | Err(Cause::Failed(result @ Ok(_))) => {
                return result.map(|value| CallResult { value, from_fallback: false });
            }
            Err(Cause::Failed(Err(error))) => Cause::Failed(error),
            Err(Cause::Rejected(rejected)) => Cause::Rejected(rejected),
        };
        Ok(CallResult { value: fallback(cause), from_fallback: true })
    }

    /// Makes the call, if the circuit allows it, with a result of any type: `classify` returns the class of a failure,
    /// or `None` for a success. Returns the result unless the callee failed. A dropped call does not count.
    ///
    /// # Errors
    /// The call was rejected, or the callee failed; then the [`Cause`] holds the result.
    pub async fn guard<R>(
        &self,
        call: impl Future<Output = R>,
        classify: impl FnOnce(&R) -> Option<ErrorClass>,
    ) -> Result<R, Cause<R>> {
        let permit = self.admit().await?;
        let started = self.now();
        let result = call.await;
        let elapsed = Duration::from_micros(self.now().saturating_sub(started));
        let class = classify(&result);
        let outcome = match class {
            _ if self.settings().slow.is_some_and(|slow| elapsed > slow) => Outcome::Failure,
            None => Outcome::Success,
            Some(ErrorClass::Callee) => Outcome::Failure,
            Some(ErrorClass::Caller) => Outcome::Ignored,
        };
        self.record(permit, outcome).await;
        if class == Some(ErrorClass::Callee) { Err(Cause::Failed(result)) } else { Ok(result) }
    }
}
