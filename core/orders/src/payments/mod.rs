//! The payment provider, which verifies payments.
//!
//! Verification changes nothing at the provider, so it can be retried or skipped: a payment that could not be verified is
//! settled later. [`HttpProvider`] verifies over HTTP as `docs/payments.md` describes.

mod answer;
mod guarded;
mod http;
mod secrets_manager;
mod token;

use std::error::Error;

pub use answer::read as read_response;
pub use guarded::GuardedProvider;
pub use http::{HttpProvider, InvalidProvider, Timeouts};
pub use secrets_manager::SecretsManager;
pub use token::{Secret, SecretError, Token};

use crate::domain::{Currency, Money, OrderId, PaymentId, Reason};
use dynamodb_circuit_breaker::{ClassifyError, ErrorClass};

/// A payment as the caller claims it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The provider's id of the payment.
    pub payment_id: PaymentId,
    /// The order that it should pay.
    pub order_id: OrderId,
    /// The amount that it should have captured.
    pub amount: Money,
    /// The currency of the amount.
    pub currency: Currency,
}

/// The provider's verdict on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The payment captured exactly the claimed amount, for this order.
    Captured,
    /// The payment belongs to this order, and the provider has yet to decide on it.
    Pending,
    /// The payment belongs to this order, and the provider declined it.
    Declined(Reason),
}

/// A claim that could not be verified. None of these is a decline: the payment may have been captured.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The provider could not be reached, or timed out.
    #[error("the payment provider did not respond")]
    Unanswered(#[source] Box<dyn Error + Send + Sync>),
    /// The caller had no time left to wait for the response.
    #[error("no time left to call the payment provider")]
    OutOfTime,
    /// The provider responded with an error: it fails, is overloaded, or does not accept our credentials.
    #[error("the payment provider responded with status {0}")]
    Status(u16),
    /// The provider's response does not have the expected form.
    #[error("unexpected provider response: {0}")]
    UnexpectedResponse(String),
    /// The provider does not know the payment, yet or at all.
    #[error("the payment provider does not know the payment")]
    Unknown,
    /// The payment belongs to another order.
    #[error("the payment belongs to another order")]
    OtherOrder,
    /// The payment was captured with another amount.
    #[error("the payment provider captured another amount")]
    OtherAmount {
        /// What it captured, in the currency of the claim.
        captured: Money,
    },
    /// The payment was captured in another currency.
    #[error("the payment provider captured the payment in another currency")]
    OtherCurrency,
}

impl VerifyError {
    /// Why the payment does not belong to the order, if the provider reports that. A payment that is unknown may become
    /// known later.
    pub fn not_of_this_order(&self) -> Option<Reason> {
        match self {
            Self::Unknown => Some("the provider does not know the payment"),
            Self::OtherOrder => Some("the payment is another order's"),
            Self::OtherCurrency => Some("the payment is in another currency"),
            Self::Unanswered(_)
            | Self::OutOfTime
            | Self::Status(_)
            | Self::UnexpectedResponse(_)
            | Self::OtherAmount { .. } => None,
        }
        .map(Reason::literal)
    }
}

/// Claims are made by clients: a wrong claim is not a failure of the provider. So a client cannot open the circuit breaker
/// by claiming payments that do not exist.
impl ClassifyError for VerifyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unanswered(_) | Self::Status(_) | Self::UnexpectedResponse(_) => ErrorClass::Callee,
            Self::OutOfTime | Self::Unknown | Self::OtherOrder | Self::OtherAmount { .. } | Self::OtherCurrency => {
                ErrorClass::Caller
            }
        }
    }
}

/// A service that verifies payments.
pub trait PaymentProvider: Send + Sync {
    /// Verifies a claim. No request is repeated but one with a rejected token, with another token.
    ///
    /// # Errors
    /// [`VerifyError`]: retry later. A capture that differs from the claim needs manual attention, or the provider's own
    /// event.
    fn verify(&self, claim: &Claim) -> impl Future<Output = Result<Verdict, VerifyError>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    pub const ORDER: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

    /// With a payment id as it may have been stored.
    pub fn claim(payment_id: &str) -> Claim {
        Claim {
            payment_id: serde_json::from_value(payment_id.into()).unwrap(),
            order_id: ORDER.parse().unwrap(),
            amount: Money(4_498),
            currency: "EUR".parse().unwrap(),
        }
    }
}
