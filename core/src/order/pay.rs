//! Paying an order: a customer names a payment, and somebody vouches for it or not.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::confirm_payment::{self, ConfirmPayment};
use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::money::Money;
use super::reject_payment::{self, RejectPayment};
use super::state::{Order, PaymentStatus, PlacedOrder, Status};

/// Pay an order. Serialised it is what the client asked for, without the verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PayOrder {
    /// The provider's name of the payment.
    pub payment_id: PaymentId,
    /// Its amount, in the client's words.
    pub amount: Money,
    /// What is known of it besides.
    #[serde(skip)]
    pub verification: Verification,
}

/// Who says that a payment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// The caller, whom this deployment trusts. A refusal leaves the money to the caller.
    Trusted,
    /// The provider: the amount is captured. From here on the money must not be lost, whatever the order's state.
    Verified,
    /// Nobody yet: the provider does not answer. The payment is taken on, and settled later.
    Deferred,
    /// Nobody: the provider refused the payment, for this reason.
    Declined(Reason),
}

/// Whether the provider has to be asked about a payment before it is decided with [`decide`]; `false` when all is known.
/// Asked first, what cannot be paid is refused before the provider is troubled.
///
/// # Errors
/// What [`decide`] would refuse a payment with that nobody has captured.
pub fn needs_verification(order: &Order, payment_id: &PaymentId, amount: Money) -> Result<bool, DecisionError> {
    let order = order.require()?;
    admit(order, payment_id, amount)?;
    Ok(order.captured(payment_id).is_none())
}

/// The order must be pending, the amount its total, and no other payment in progress. A payment on record is success
/// without an event, as long as its amount is the same; it is settled if it was deferred, and what the provider
/// refused stays refused until the provider itself says otherwise.
///
/// A payment that the provider has captured is never just refused: it is decided as [`ConfirmPayment`] is.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`], [`DecisionError::AmountMismatch`],
/// [`DecisionError::PaymentInProgress`], [`DecisionError::PaymentAmountDiffers`].
pub fn decide(order: &Order, command: &PayOrder, now: DateTime<Utc>) -> Result<Vec<OrderEvent>, DecisionError> {
    let PayOrder { payment_id, amount, verification } = command;
    let placed = order.require()?;
    if *verification == Verification::Verified {
        return confirm_payment::decide(
            order,
            &ConfirmPayment { payment_id: payment_id.clone(), amount: *amount },
            now,
        );
    }
    admit(placed, payment_id, *amount)?;
    let (order_id, amount) = (placed.order_id, *amount);
    let pending = placed.status == Status::Pending;
    match (placed.payment_status(payment_id), verification) {
        (None | Some(PaymentStatus::Deferred), Verification::Declined(reason)) => {
            let rejection = RejectPayment { payment_id: payment_id.clone(), reason: reason.clone() };
            reject_payment::decide(order, &rejection, now)
        }
        (None | Some(PaymentStatus::Deferred), Verification::Trusted) if pending => {
            Ok(vec![OrderEvent::OrderPaid { order_id, payment_id: payment_id.clone(), amount, paid_at: now }])
        }
        (None, Verification::Deferred) => Ok(vec![OrderEvent::OrderPaymentDeferred {
            order_id,
            payment_id: payment_id.clone(),
            amount,
            deferred_at: now,
        }]),
        _ => Ok(Vec::new()),
    }
}

fn admit(order: &PlacedOrder, payment_id: &PaymentId, given: Money) -> Result<(), DecisionError> {
    order.require_same_amount(payment_id, given)?;
    if order.captured(payment_id).is_some() {
        return Ok(());
    }
    let unknown = order.payment_status(payment_id).is_none();
    if unknown {
        order.require_status(Expected::Pending)?;
    }
    if given != order.total {
        return Err(DecisionError::AmountMismatch { total: order.total, given });
    }
    match &order.deferred {
        Some(deferred) if unknown => Err(DecisionError::PaymentInProgress(deferred.payment_id.clone())),
        _ => Ok(()),
    }
}
