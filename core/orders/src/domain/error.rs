//! Why a command is refused.

use super::ids::{PaymentId, RefundId};
use super::money::Money;
use super::state::{Order, PlacedOrder, Status, one_of};

/// A command that the rules refuse: nothing happened. The text is fit for a client; amounts are left to the caller,
/// who knows the currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// An order of this id was created before.
    #[error("the order exists already")]
    AlreadyExists,
    /// Everything ordered is free.
    #[error("the total of an order must be more than zero")]
    TotalNotPositive,
    /// The order's status does not allow it.
    #[error("the order is {actual}, but must be {}", one_of(expected.statuses))]
    WrongStatus {
        /// The statuses in which it is possible.
        expected: Expected,
        /// What it is.
        actual: Status,
    },
    /// Another payment of the order was taken on, and the provider has yet to settle it.
    #[error("payment {0} of this order is in progress: wait until it is settled before paying in another way")]
    PaymentInProgress(PaymentId),
    /// The order cannot take the payment, and nobody says whether it was captured. To be tried again.
    #[error("whether payment {0} was captured is not known, and the order cannot take it: try again")]
    PaymentUnverified(PaymentId),
    /// A payment must be of the order's total, no more and no less.
    #[error("the amount is not the order's total")]
    AmountMismatch {
        /// The order's total.
        total: Money,
        /// The amount named.
        given: Money,
    },
    /// The payment was recorded before, and with another amount.
    #[error("payment {payment_id} is recorded with another amount")]
    PaymentAmountDiffers {
        /// The payment.
        payment_id: PaymentId,
        /// The amount recorded.
        recorded: Money,
        /// The amount named.
        given: Money,
    },
    /// The order owes no refund of this payment.
    #[error("no refund of payment {0} is due")]
    RefundNotDue(PaymentId),
    /// What went back is not what was owed.
    #[error("the amount is not what is owed for payment {payment_id}")]
    RefundAmountDiffers {
        /// The payment.
        payment_id: PaymentId,
        /// What is owed.
        due: Money,
        /// The amount named.
        given: Money,
    },
    /// The payment was refunded before, by another refund.
    #[error("payment {payment_id} was refunded before, by refund {refund_id}")]
    AlreadyRefunded {
        /// The payment.
        payment_id: PaymentId,
        /// The refund on record.
        refund_id: RefundId,
    },
    /// One refund gives back one payment.
    #[error("refund {refund_id} is recorded as that of payment {payment_id}")]
    RefundOfOtherPayment {
        /// The refund.
        refund_id: RefundId,
        /// The payment on record.
        payment_id: PaymentId,
    },
}

impl DecisionError {
    /// The refusal's stable name, for problem types and rejection events.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::AlreadyExists => "order-exists",
            Self::TotalNotPositive => "total-not-positive",
            Self::WrongStatus { expected, .. } => expected.code,
            Self::PaymentInProgress(_) => "payment-in-progress",
            Self::PaymentUnverified(_) => "payment-unverified",
            Self::AmountMismatch { .. } => "amount-mismatch",
            Self::PaymentAmountDiffers { .. } => "payment-amount-differs",
            Self::RefundNotDue(_) => "refund-not-due",
            Self::RefundAmountDiffers { .. } => "refund-amount-differs",
            Self::AlreadyRefunded { .. } => "already-refunded",
            Self::RefundOfOtherPayment { .. } => "refund-of-other-payment",
        }
    }
}

/// The statuses in which a command is possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The name of the refusal in any other status.
    pub code: &'static str,
    /// In any of these.
    pub statuses: &'static [Status],
}

impl Order {
    pub(super) fn require(&self) -> Result<&PlacedOrder, DecisionError> {
        self.placed().ok_or(DecisionError::NotFound)
    }
}

impl PlacedOrder {
    pub(super) fn require_status(&self, expected: Expected) -> Result<&Self, DecisionError> {
        let actual = self.status;
        if expected.statuses.contains(&actual) {
            Ok(self)
        } else {
            Err(DecisionError::WrongStatus { expected, actual })
        }
    }

    /// A payment on record must be named with the amount that it captured.
    pub(super) fn require_same_amount(&self, payment_id: &PaymentId, given: Money) -> Result<(), DecisionError> {
        match self.captured(payment_id) {
            Some(recorded) if recorded != given => {
                Err(DecisionError::PaymentAmountDiffers { payment_id: payment_id.clone(), recorded, given })
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::harness::*;

    #[test]
    fn every_refusal_has_a_name_of_its_own_and_a_text() {
        let (payment_id, refund_id) = (payment_id("p1"), refund_id("r1"));
        let expected = Expected { code: "order-not-pending", statuses: &[Status::Pending] };
        let refusals = [
            DecisionError::NotFound,
            DecisionError::AlreadyExists,
            DecisionError::TotalNotPositive,
            DecisionError::WrongStatus { expected, actual: Status::Delivered },
            DecisionError::PaymentInProgress(payment_id.clone()),
            DecisionError::PaymentUnverified(payment_id.clone()),
            DecisionError::AmountMismatch { total: TOTAL, given: OTHER },
            DecisionError::PaymentAmountDiffers { payment_id: payment_id.clone(), recorded: TOTAL, given: OTHER },
            DecisionError::RefundNotDue(payment_id.clone()),
            DecisionError::RefundAmountDiffers { payment_id: payment_id.clone(), due: TOTAL, given: OTHER },
            DecisionError::AlreadyRefunded { payment_id: payment_id.clone(), refund_id: refund_id.clone() },
            DecisionError::RefundOfOtherPayment { refund_id, payment_id },
        ];
        let codes: BTreeSet<_> = refusals.iter().map(DecisionError::code).collect();
        let texts: BTreeSet<_> = refusals.iter().map(ToString::to_string).collect();
        assert_eq!((codes.len(), texts.len()), (refusals.len(), refusals.len()));
        assert_eq!(refusals[3].code(), "order-not-pending");
        assert_eq!(refusals[3].to_string(), "the order is delivered, but must be pending");
    }
}
