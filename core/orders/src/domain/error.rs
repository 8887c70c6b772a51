//! Why a command is rejected.

use super::ids::{PaymentId, RefundId};
use super::money::Money;
use super::state::{Order, PlacedOrder, Status, one_of};

/// A command that the rules reject: nothing happened. The text can be shown to clients. It names no
/// amounts: the caller adds them, in the currency.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// There is no such order.
    #[error("the order does not exist")]
    NotFound,
    /// An order with this id exists.
    #[error("the order already exists")]
    AlreadyExists,
    /// All items are free.
    #[error("the total of an order must be more than zero")]
    TotalNotPositive,
    /// The command is not possible in the order's status.
    #[error("the order is {actual}, but must be {}", one_of(expected.statuses))]
    WrongStatus {
        /// The statuses in which it is possible.
        expected: Expected,
        /// What it is.
        actual: Status,
    },
    /// Another payment of the order is deferred: the provider has yet to settle it.
    #[error("payment {0} of this order is in progress: wait until it is settled before paying with another one")]
    PaymentInProgress(PaymentId),
    /// The order cannot accept the payment, and whether it was captured is unknown. To be retried.
    #[error("payment {0} could not be verified, and the order cannot accept it: try again")]
    PaymentUnverified(PaymentId),
    /// The amount of a payment must equal the order's total.
    #[error("the amount is not the order's total")]
    AmountMismatch {
        /// The order's total.
        total: Money,
        /// The amount given.
        given: Money,
    },
    /// The payment is recorded, with another amount.
    #[error("payment {payment_id} is recorded with another amount")]
    PaymentAmountDiffers {
        /// The payment.
        payment_id: PaymentId,
        /// The amount recorded.
        recorded: Money,
        /// The amount given.
        given: Money,
    },
    /// The order owes no refund of this payment.
    #[error("no refund of payment {0} is due")]
    RefundNotDue(PaymentId),
    /// The amount of a refund must equal what is due.
    #[error("the amount is not the refund that is due for payment {payment_id}")]
    RefundAmountDiffers {
        /// The payment.
        payment_id: PaymentId,
        /// The refund that is due.
        due: Money,
        /// The amount given.
        given: Money,
    },
    /// The payment was already refunded, by another refund.
    #[error("payment {payment_id} was already refunded, by refund {refund_id}")]
    AlreadyRefunded {
        /// The payment.
        payment_id: PaymentId,
        /// The refund on record.
        refund_id: RefundId,
    },
    /// A refund belongs to one payment.
    #[error("refund {refund_id} is already recorded for payment {payment_id}")]
    RefundOfOtherPayment {
        /// The refund.
        refund_id: RefundId,
        /// The payment on record.
        payment_id: PaymentId,
    },
}

impl DecisionError {
    /// The rejection's stable name, for problem types and rejection events.
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
    /// The name of the rejection in any other status.
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

    /// A recorded payment must be repeated with the amount that it captured.
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
    fn every_rejection_has_its_own_name_and_text() {
        let (payment_id, refund_id) = (payment_id("p1"), refund_id("r1"));
        let expected = Expected { code: "order-not-pending", statuses: &[Status::Pending] };
        let rejections = [
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
        let codes: BTreeSet<_> = rejections.iter().map(DecisionError::code).collect();
        let texts: BTreeSet<_> = rejections.iter().map(ToString::to_string).collect();
        assert_eq!((codes.len(), texts.len()), (rejections.len(), rejections.len()));
        assert_eq!(rejections[3].code(), "order-not-pending");
        assert_eq!(rejections[3].to_string(), "the order is delivered, but must be pending");
    }
}
