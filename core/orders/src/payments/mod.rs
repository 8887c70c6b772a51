//! The payment provider, who knows whether a payment holds.
//!
//! Asking changes nothing at the provider, so a question may be repeated, and may be left unanswered: what nobody could
//! say is settled later. [`HttpProvider`] asks over HTTP as `docs/payments.md` describes.

mod answer;
mod guarded;
mod http;

use std::error::Error;

pub use guarded::GuardedProvider;
pub use http::{HttpProvider, InvalidProvider, Timeouts};

use crate::domain::{Currency, Money, OrderId, PaymentId, Reason};
use dynamodb_circuit_breaker::{ClassifyError, ErrorClass};

/// A payment that somebody says pays an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The provider's name of the payment.
    pub payment_id: PaymentId,
    /// The order that it is said to pay.
    pub order_id: OrderId,
    /// What it is said to have captured.
    pub amount: Money,
    /// In which currency.
    pub currency: Currency,
}

/// The provider's word on a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The payment captured exactly what is claimed, for this order.
    Captured,
    /// The payment is this order's, and the provider has yet to decide on it.
    Pending,
    /// The payment is this order's, and the provider refused it.
    Declined(Reason),
}

/// No word on a claim. None of these is a no: the payment may hold.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The provider could not be reached, or did not answer in time.
    #[error("the payment provider does not answer")]
    Unanswered(#[source] Box<dyn Error + Send + Sync>),
    /// The caller had no time left to wait for the answer.
    #[error("no time is left for the payment provider")]
    OutOfTime,
    /// The provider answered with an error: it is in trouble, too busy, or does not accept our credentials.
    #[error("the payment provider answered with status {0}")]
    Status(u16),
    /// The provider's answer is not what it should be.
    #[error("the payment provider's answer makes no sense: {0}")]
    Nonsense(String),
    /// The provider knows no such payment, yet or at all.
    #[error("the payment provider knows no such payment")]
    Unknown,
    /// The payment is another order's.
    #[error("the payment provider knows the payment as another order's")]
    OtherOrder,
    /// The payment was captured with another amount.
    #[error("the payment provider has captured another amount")]
    OtherAmount {
        /// What it captured, in the currency of the claim.
        captured: Money,
    },
    /// The payment was captured in another currency.
    #[error("the payment provider has captured the payment in another currency")]
    OtherCurrency,
}

impl VerifyError {
    /// Why the payment is none of the order's, where the provider says so. It may still learn of it.
    pub fn not_of_this_order(&self) -> Option<Reason> {
        match self {
            Self::Unknown => Some("the provider does not know the payment"),
            Self::OtherOrder => Some("the payment is another order's"),
            Self::OtherCurrency => Some("the payment is in another currency"),
            Self::Unanswered(_) | Self::OutOfTime | Self::Status(_) | Self::Nonsense(_) | Self::OtherAmount { .. } => {
                None
            }
        }
        .map(Reason::literal)
    }
}

/// Claims are made by clients: what is wrong with one says nothing about the provider, and nobody can stop a provider
/// from being asked by claiming payments that do not exist.
impl ClassifyError for VerifyError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Unanswered(_) | Self::Status(_) | Self::Nonsense(_) => ErrorClass::Callee,
            Self::OutOfTime | Self::Unknown | Self::OtherOrder | Self::OtherAmount { .. } | Self::OtherCurrency => {
                ErrorClass::Caller
            }
        }
    }
}

/// Somebody who can say whether a payment holds.
pub trait PaymentProvider: Send + Sync {
    /// Asks about a claim, once.
    ///
    /// # Errors
    /// [`VerifyError`]: ask again later. What the provider captured differently than claimed needs a person's eye, or
    /// the provider's own event.
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
