//! The provider behind its circuit breaker.

use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;
use tracing::field::Empty;

use super::{Claim, PaymentProvider, Verdict, VerifyError};
use dynamodb_circuit_breaker::{Cause, CircuitBreaker, Store, Table};

/// A provider that is called only while its circuit breaker allows it.
pub struct GuardedProvider<P, S = Table> {
    provider: P,
    breaker: CircuitBreaker<S>,
}

impl<P: PaymentProvider, S: Store> GuardedProvider<P, S> {
    /// The provider behind that breaker.
    pub fn new(provider: P, breaker: CircuitBreaker<S>) -> Self {
        Self { provider, breaker }
    }

    /// The breaker.
    pub fn breaker(&self) -> &CircuitBreaker<S> {
        &self.breaker
    }

    /// Verifies a claim with at most one request, and waits for the response until then.
    ///
    /// The deadline applies to the provider, not the breaker: a response that came in time is not lost while it is counted.
    ///
    /// # Errors
    /// The claim could not be verified: [`Cause::Rejected`] if the provider was not called, [`Cause::Failed`] if it was.
    pub async fn verify(&self, claim: &Claim, until: Instant) -> Result<Verdict, Cause<VerifyError>> {
        let asked = async {
            let answer = timeout_at(until, self.provider.verify(claim)).await;
            answer.unwrap_or(Err(VerifyError::OutOfTime)).map(Ok)
        };
        let span = tracing::info_span!(
            target: "trace", "verify payment", order_id = %claim.order_id, outcome = Empty, "otel.status_code" = Empty,
        );
        let verified = match self.breaker.call(asked, Err).instrument(span.clone()).await {
            Ok(answer) => answer.value,
            Err(error) => Err(Cause::Failed(error)),
        };
        let outcome = match &verified {
            Ok(Verdict::Captured) => "captured",
            Ok(Verdict::Declined(_)) => "declined",
            Ok(Verdict::Pending) => "pending",
            Err(Cause::Rejected(_)) => "rejected by the breaker",
            Err(Cause::Failed(_)) => "failed",
        };
        span.record("outcome", outcome);
        if verified.is_err() {
            span.record("otel.status_code", "ERROR");
        }
        verified
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;
    use std::time::Duration;

    use super::super::tests::claim;
    use super::*;
    use crate::domain::{Money, Reason};
    use dynamodb_circuit_breaker::{Change, Changed, Item, Rejected, Unavailable};

    /// A provider with scripted responses.
    struct Script(Mutex<VecDeque<Result<Verdict, VerifyError>>>);

    impl PaymentProvider for Script {
        async fn verify(&self, _: &Claim) -> Result<Verdict, VerifyError> {
            self.0.lock().unwrap().pop_front().expect("one more request than expected")
        }
    }

    #[derive(Default)]
    struct Memory(Mutex<Item>);

    impl Store for Memory {
        async fn read(&self, _: &str, _: bool) -> Result<Item, Unavailable> {
            Ok(self.0.lock().unwrap().clone())
        }

        async fn change(&self, _: &str, change: &Change) -> Result<Changed, Unavailable> {
            let mut item = self.0.lock().unwrap();
            let changed = change.apply(item.clone());
            if let Changed::Applied(after) = &changed {
                *item = after.clone();
            }
            Ok(changed)
        }
    }

    fn guarded<const N: usize>(script: [Result<Verdict, VerifyError>; N]) -> GuardedProvider<Script, Memory> {
        let settings = "failures=2; calls=2".parse().unwrap();
        let breaker = CircuitBreaker::new("payments", settings, Memory::default());
        GuardedProvider::new(Script(Mutex::new(VecDeque::from(script))), breaker)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(1)
    }

    /// A provider that answers after a time.
    struct Late(Duration);

    impl PaymentProvider for Late {
        async fn verify(&self, _: &Claim) -> Result<Verdict, VerifyError> {
            tokio::time::sleep(self.0).await;
            Ok(Verdict::Captured)
        }
    }

    /// A table that takes a second for every change.
    struct SlowTable(Memory);

    impl Store for SlowTable {
        async fn read(&self, name: &str, consistent: bool) -> Result<Item, Unavailable> {
            self.0.read(name, consistent).await
        }

        async fn change(&self, name: &str, change: &Change) -> Result<Changed, Unavailable> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.change(name, change).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_came_in_time_is_not_lost_while_the_breaker_counts_it() {
        let late = Late(Duration::from_millis(990));
        let breaker = CircuitBreaker::new("payments", "slow=1ms".parse().unwrap(), SlowTable(Memory::default()));
        let provider = GuardedProvider::new(late, breaker);
        assert_eq!(provider.verify(&claim("p1"), soon()).await.unwrap(), Verdict::Captured);
    }

    #[tokio::test(start_paused = true)]
    async fn no_time_is_no_word_and_no_fault_of_the_providers() {
        let breaker = CircuitBreaker::new("payments", "failures=1; calls=1".parse().unwrap(), Memory::default());
        let provider = GuardedProvider::new(Late(Duration::from_secs(2)), breaker);
        for _ in 0..3 {
            let told = provider.verify(&claim("p1"), soon()).await;
            assert!(matches!(told, Err(Cause::Failed(VerifyError::OutOfTime))), "{told:?}");
        }
    }

    #[tokio::test]
    async fn every_word_of_the_provider_is_passed_on_and_says_that_it_is_well() {
        let declined = || Verdict::Declined(Reason::literal("card expired"));
        let provider = guarded([Ok(Verdict::Captured), Ok(Verdict::Pending), Ok(declined())]);
        for expected in [Verdict::Captured, Verdict::Pending, declined()] {
            assert_eq!(provider.verify(&claim("p1"), soon()).await.unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn claims_that_are_wrong_do_not_keep_others_from_asking() {
        let provider = guarded([
            Err(VerifyError::Unknown),
            Err(VerifyError::OtherOrder),
            Err(VerifyError::OtherCurrency),
            Err(VerifyError::OtherAmount { captured: Money(1) }),
            Ok(Verdict::Captured),
        ]);
        for _ in 0..4 {
            assert!(matches!(provider.verify(&claim("p1"), soon()).await, Err(Cause::Failed(_))));
        }
        assert_eq!(provider.verify(&claim("p1"), soon()).await.unwrap(), Verdict::Captured);
    }

    #[tokio::test]
    async fn a_provider_in_trouble_is_not_asked_any_more() {
        let provider = guarded([Err(VerifyError::Status(500)), Err(VerifyError::UnexpectedResponse("<html>".into()))]);
        for _ in 0..2 {
            assert!(matches!(provider.verify(&claim("p1"), soon()).await, Err(Cause::Failed(_))));
        }
        for _ in 0..3 {
            assert!(matches!(provider.verify(&claim("p1"), soon()).await, Err(Cause::Rejected(Rejected::Open { .. }))));
        }
    }
}
