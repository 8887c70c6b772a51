//! Calls through a breaker, and what answers where there is no answer.

use std::time::Duration;

use super::call::CircuitBreaker;
use super::circuit::Rejected;
use super::table::Store;
use super::transition::Outcome;

/// An error that knows whose fault it is.
pub trait ClassifyError {
    /// Whose fault it is.
    fn class(&self) -> ErrorClass;
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The callee's: it is down, overloaded or talks nonsense. Counts, and the fallback answers.
    Callee,
    /// The caller's: any callee would have said this. Does not count, and is the caller's to deal with.
    Caller,
}

/// Why the fallback answers.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Cause<E> {
    /// The call was not made.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// The call was made, and the callee failed.
    #[error("the call failed")]
    Failed(#[source] E),
}

/// An answer, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Whether it is the fallback's. Whoever passes it on says so.
    pub from_fallback: bool,
}

/// Whose fault a result is that has an error which knows, if it is a failure.
pub fn blame<T, E: ClassifyError>(result: &Result<T, E>) -> Option<ErrorClass> {
    result.as_ref().err().map(ClassifyError::class)
}

impl<S: Store> CircuitBreaker<S> {
    /// Makes the call, if the circuit allows it. Where it does not, and where the callee fails, `fallback` answers.
    ///
    /// Dropped half-way, a call counts for nothing; a probe's slot is free again when its lease ends.
    ///
    /// # Errors
    /// Those of `call` that are the caller's own fault ([`ErrorClass::Caller`]).
    pub async fn call<T, E: ClassifyError>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        fallback: impl FnOnce(Cause<E>) -> T,
    ) -> Result<Answer<T>, E> {
        let cause = match self.guard(call, blame).await {
            Ok(result) | Err(Cause::Failed(result @ Ok(_))) => {
                return result.map(|value| Answer { value, from_fallback: false });
            }
            Err(Cause::Failed(Err(error))) => Cause::Failed(error),
            Err(Cause::Rejected(rejected)) => Cause::Rejected(rejected),
        };
        Ok(Answer { value: fallback(cause), from_fallback: true })
    }

    /// Makes the call, if the circuit allows it, whatever its results look like: `judge` says whose fault one is, if it is
    /// a failure. The result, unless the callee failed.
    ///
    /// Dropped half-way, a call counts for nothing, as with [`CircuitBreaker::call`].
    ///
    /// # Errors
    /// The call was not made, or the callee failed; the result is in the [`Cause`] then.
    pub async fn guard<R>(
        &self,
        call: impl Future<Output = R>,
        judge: impl FnOnce(&R) -> Option<ErrorClass>,
    ) -> Result<R, Cause<R>> {
        let permit = self.admit().await?;
        let started = self.now();
        let result = call.await;
        let elapsed = Duration::from_micros(self.now().saturating_sub(started));
        let blame = judge(&result);
        let outcome = match blame {
            _ if self.settings().slow.is_some_and(|slow| elapsed > slow) => Outcome::Failure,
            None => Outcome::Success,
            Some(ErrorClass::Callee) => Outcome::Failure,
            Some(ErrorClass::Caller) => Outcome::Ignored,
        };
        self.record(permit, outcome).await;
        if blame == Some(ErrorClass::Callee) { Err(Cause::Failed(result)) } else { Ok(result) }
    }
}
