//! The provider behind its circuit breaker.

use super::{Claim, PaymentProvider, Verdict, VerifyError};
use crate::breaker::{Cause, CircuitBreaker, Store, Table};

/// A provider that is only asked while its circuit breaker allows it.
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

    /// Asks about a claim, once at most.
    ///
    /// # Errors
    /// There is no word on the claim: [`Cause::Rejected`] if the provider was not asked, [`Cause::Failed`] if it was.
    pub async fn verify(&self, claim: &Claim) -> Result<Verdict, Cause<VerifyError>> {
        let asked = async { self.provider.verify(claim).await.map(Ok) };
        match self.breaker.call(asked, Err).await {
            Ok(answer) => answer.value,
            Err(error) => Err(Cause::Failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::Mutex;

    use super::super::tests::claim;
    use super::*;
    use crate::breaker::{Change, Changed, Item, Rejected, Unavailable};
    use crate::order::{Money, Reason};

    /// A provider whose answers are known before.
    struct Script(Mutex<VecDeque<Result<Verdict, VerifyError>>>);

    impl PaymentProvider for Script {
        async fn verify(&self, _: &Claim) -> Result<Verdict, VerifyError> {
            self.0.lock().unwrap().pop_front().expect("one more question than expected")
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
            if let Changed::Made(after) = &changed {
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

    #[tokio::test]
    async fn every_word_of_the_provider_is_passed_on_and_says_that_it_is_well() {
        let declined = || Verdict::Declined(Reason::literal("card expired"));
        let provider = guarded([Ok(Verdict::Captured), Ok(Verdict::Pending), Ok(declined())]);
        for expected in [Verdict::Captured, Verdict::Pending, declined()] {
            assert_eq!(provider.verify(&claim("p1")).await.unwrap(), expected);
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
            assert!(matches!(provider.verify(&claim("p1")).await, Err(Cause::Failed(_))));
        }
        assert_eq!(provider.verify(&claim("p1")).await.unwrap(), Verdict::Captured);
    }

    #[tokio::test]
    async fn a_provider_in_trouble_is_not_asked_any_more() {
        let provider = guarded([Err(VerifyError::Status(500)), Err(VerifyError::Nonsense("<html>".into()))]);
        for _ in 0..2 {
            assert!(matches!(provider.verify(&claim("p1")).await, Err(Cause::Failed(_))));
        }
        for _ in 0..3 {
            assert!(matches!(provider.verify(&claim("p1")).await, Err(Cause::Rejected(Rejected::Open { .. }))));
        }
    }
}
