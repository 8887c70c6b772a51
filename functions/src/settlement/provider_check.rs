//! Whether the payment provider responds, without a payment.

use std::time::Duration;

use dynamodb_circuit_breaker::Cause;
use lambda_runtime::Context;
use orders_core::domain::{Money, OrderId, PaymentId};
use orders_core::error::chain;
use orders_core::payments::{Claim, VerifyError};
use serde::Serialize;
use uuid::Uuid;

use super::Settlement;
use crate::deadline::deadline;
use crate::payments::Payments;

/// Whether the payment provider responds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ProviderCheck {
    /// `trusted` without a provider, `responds`, or `fails`.
    pub provider: &'static str,
    /// The provider's reply to a payment that does not exist, or why there was none.
    pub detail: Option<String>,
}

impl Settlement {
    /// Asks the provider about a payment of an order that does not exist. The call goes through the circuit breaker, and
    /// no order is changed.
    #[doc(alias = "health check")]
    pub async fn check_provider(&self, payment_id: PaymentId, context: &Context) -> ProviderCheck {
        let Payments::Verified(provider) = &self.payments else {
            return ProviderCheck { provider: "trusted", detail: None };
        };
        let claim = Claim { payment_id, order_id: OrderId(Uuid::nil()), amount: Money(1), currency: self.currency };
        match provider.verify(&claim, deadline(context, Duration::ZERO)).await {
            Ok(_) => ProviderCheck { provider: "responds", detail: None },
            Err(cause) => ProviderCheck {
                provider: if responds(&cause) { "responds" } else { "fails" },
                detail: Some(chain(&cause)),
            },
        }
    }
}

/// Whether the error is the provider's reply about the payment.
fn responds(cause: &Cause<VerifyError>) -> bool {
    use VerifyError::{OtherAmount, OtherCurrency, OtherOrder, Unknown};
    matches!(cause, Cause::Failed(Unknown | OtherOrder | OtherAmount { .. } | OtherCurrency))
}

#[cfg(test)]
mod tests {
    use orders_local::payments::Mode;

    use super::*;
    use crate::testing::{Shop, context};

    async fn check(shop: &Shop) -> ProviderCheck {
        shop.settlement().check_provider("deployment-check".parse().unwrap(), &context()).await
    }

    #[tokio::test]
    async fn a_provider_that_knows_the_payment_or_not_responds() {
        let (mut shop, _provider, _served) = Shop::with_provider("").await;
        assert_eq!(check(&shop).await, ProviderCheck { provider: "responds", detail: None });
        let (url, _serving) = super::super::tests::serve(axum::Router::new()).await;
        shop.payments = shop.verified(&url, "");
        let unknown = "the call failed: the payment provider does not know the payment".to_owned();
        assert_eq!(check(&shop).await, ProviderCheck { provider: "responds", detail: Some(unknown) });
    }

    #[tokio::test]
    async fn a_provider_that_is_down_fails_with_the_reason() {
        let (shop, provider, _served) = Shop::with_provider("").await;
        provider.set_mode(Mode::Down);
        let down = "the call failed: the payment provider responded with status 503".to_owned();
        assert_eq!(check(&shop).await, ProviderCheck { provider: "fails", detail: Some(down) });
    }

    #[tokio::test]
    async fn without_a_provider_callers_are_trusted() {
        assert_eq!(check(&Shop::open().await).await, ProviderCheck { provider: "trusted", detail: None });
    }
}
