//! Paying an order: the caller names a payment, which is verified or not.
use serde::Serialize;

use super::confirm_payment::{self, ConfirmPayment};
use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::ids::{PaymentId, Reason};
use super::money::Money;
use super::reject_payment::{self, RejectPayment};
use super::state::{Order, PaymentStatus, PlacedOrder, Status};
use service_clock::Timestamp;

const PENDING: Expected = Expected { code: "order-not-pending", statuses: &[Status::Pending] };

/// Pay an order. Serialized it is the client's request, without the verification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PayOrder {
    /// The provider's id of the payment.
    pub payment_id: PaymentId,
    /// Its amount, as the client claims it.
    pub amount: Money,
    /// The result of its verification.
    #[serde(skip)]
    pub verification: Verification,
}

/// The result of verifying a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Not verified: this deployment trusts the caller. If the payment is rejected, the money is the caller's concern.
    Trusted,
    /// The provider has captured this amount. From here on the money must not be lost, whatever the order's state.
    Captured(Money),
    /// The provider did not respond. The payment is deferred, and settled later.
    Deferred,
    /// The provider declined the payment, for this reason.
    Declined(Reason),
}

/// Whether a payment has to be verified with the provider before [`decide`]. A payment that cannot be accepted is rejected
/// here, before the provider is called.
///
/// # Errors
/// The rejections of [`decide`] for a payment that is not captured.
pub fn needs_verification(order: &Order, payment_id: &PaymentId, amount: Money) -> Result<bool, DecisionError> {
    let order = order.require()?;
    admit(order, payment_id, amount)?;
    Ok(order.captured(payment_id).is_none())
}

/// The order must be pending, the amount its total, and no other payment in progress. A recorded payment is success
/// without an event, as long as its amount is the same; a deferred one is settled, and a declined one stays declined
/// until the provider reports otherwise.
///
/// A payment that the provider has captured is never just rejected: it is decided as [`ConfirmPayment`] is. An unverified
/// payment may have been captured, so it is not rejected for the order's state either.
///
/// # Errors
/// [`DecisionError::NotFound`], [`DecisionError::WrongStatus`], [`DecisionError::AmountMismatch`],
/// [`DecisionError::PaymentInProgress`], [`DecisionError::PaymentAmountDiffers`]; [`DecisionError::PaymentUnverified`]
/// instead of the order's state for an unverified payment.
pub fn decide(order: &Order, command: &PayOrder, now: Timestamp) -> Result<Vec<OrderEvent>, DecisionError> {
    let PayOrder { payment_id, amount, verification } = command;
    let placed = order.require()?;
    if let Verification::Captured(amount) = *verification {
        return confirm_payment::decide(order, &ConfirmPayment { payment_id: payment_id.clone(), amount }, now);
    }
    admit(placed, payment_id, *amount).map_err(|rejection| match (verification, rejection) {
        (Verification::Deferred, DecisionError::WrongStatus { .. } | DecisionError::PaymentInProgress(_)) => {
            DecisionError::PaymentUnverified(payment_id.clone())
        }
        (_, rejection) => rejection,
    })?;
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
        order.require_status(PENDING)?;
    }
    if given != order.total {
        return Err(DecisionError::AmountMismatch { total: order.total, given });
    }
    match &order.deferred {
        Some(deferred) if unknown => Err(DecisionError::PaymentInProgress(deferred.payment_id.clone())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::harness::*;

    fn pay(payment: &str, verification: Verification) -> PayOrder {
        PayOrder { payment_id: payment_id(payment), amount: TOTAL, verification }
    }

    fn declined() -> Verification {
        Verification::Declined(reason("card expired"))
    }

    /// Every verification but a capture.
    fn not_captured() -> [Verification; 3] {
        [Verification::Trusted, Verification::Deferred, declined()]
    }

    fn not_pending(actual: Status) -> DecisionError {
        DecisionError::WrongStatus { expected: PENDING, actual }
    }

    #[test]
    fn a_pending_order_is_paid_by_a_trusted_caller_or_a_capture() {
        given(&[created()]).when(pay("p1", Verification::Trusted)).then(&[paid("p1").now()]);
        given(&[created()]).when(pay("p1", Verification::Captured(TOTAL))).then(&[paid("p1").now()]);
    }

    #[test]
    fn a_payment_that_cannot_be_verified_is_deferred() {
        given(&[created()]).when(pay("p1", Verification::Deferred)).then(&[deferred("p1").now()]);
        given(&[created(), rejected("p1")]).when(pay("p2", Verification::Deferred)).then(&[deferred("p2").now()]);
    }

    #[test]
    fn a_declined_payment_is_recorded_and_the_order_can_still_be_paid() {
        given(&[created()]).when(pay("p1", declined())).then(&[rejected("p1").now()]);
        given(&[created(), rejected("p1")]).when(pay("p2", Verification::Captured(TOTAL))).then(&[paid("p2").now()]);
    }

    #[test]
    fn the_amount_must_be_the_total() {
        for amount in [Money::ZERO, OTHER, Money(TOTAL.0 + 1)] {
            let mismatch = DecisionError::AmountMismatch { total: TOTAL, given: amount };
            for history in [vec![created()], vec![created(), deferred("p1")], vec![created(), rejected("p1")]] {
                for verification in not_captured() {
                    let pay = PayOrder { amount, ..pay("p1", verification) };
                    given(&history).when(pay).then_rejected(mismatch.clone());
                }
            }
        }
    }

    #[test]
    fn an_order_cannot_be_paid_twice() {
        for verification in [Verification::Trusted, declined()] {
            let again = pay("p2", verification);
            given(&[created(), paid("p1")]).when(again.clone()).then_rejected(not_pending(Status::Paid));
            given(&[created(), paid("p1"), shipped()]).when(again.clone()).then_rejected(not_pending(Status::Shipped));
            given(&[created(), cancelled()]).when(again).then_rejected(not_pending(Status::Cancelled));
        }
    }

    #[test]
    fn an_order_cannot_be_paid_while_another_payment_is_in_progress() {
        let in_progress = DecisionError::PaymentInProgress(payment_id("p1"));
        for verification in [Verification::Trusted, declined()] {
            given(&[created(), deferred("p1")]).when(pay("p2", verification)).then_rejected(in_progress.clone());
        }
        let order = replay(&[created(), deferred("p1")]);
        assert_eq!(needs_verification(&order, &payment_id("p2"), TOTAL), Err(in_progress));
    }

    #[test]
    fn a_payment_that_may_have_been_captured_is_not_rejected_for_the_orders_state() {
        let unverified = DecisionError::PaymentUnverified(payment_id("p2"));
        for history in [vec![created(), cancelled()], vec![created(), paid("p1")], vec![created(), deferred("p1")]] {
            given(&history).when(pay("p2", Verification::Deferred)).then_rejected(unverified.clone());
        }
        let mismatch = DecisionError::AmountMismatch { total: TOTAL, given: OTHER };
        let other = PayOrder { amount: OTHER, ..pay("p2", Verification::Deferred) };
        given(&[created()]).when(other).then_rejected(mismatch);
    }

    #[test]
    fn a_capture_of_another_amount_than_claimed_is_due_for_refund() {
        let due = refund_due("p1", OTHER, "the captured amount is not the order's total").now();
        given(&[created()]).when(pay("p1", Verification::Captured(OTHER))).then(&[due]);
    }

    #[test]
    fn captured_money_that_cannot_pay_the_order_is_due_for_refund() {
        let cases = [
            (vec![created(), cancelled()], "captured after the order was cancelled"),
            (vec![created(), paid("p1")], "the order was paid with another payment"),
            (vec![created(), deferred("p1")], "another payment of the order was in progress"),
        ];
        for (history, why) in cases {
            let due = refund_due("p2", TOTAL, why).now();
            given(&history).when(pay("p2", Verification::Captured(TOTAL))).then(&[due]);
        }
    }

    #[test]
    fn a_repeated_payment_is_success_without_an_event() {
        let cancel = [cancelled(), refund_due("p1", TOTAL, "the order was cancelled"), refunded("p1", "r1", TOTAL)];
        let history = [[created(), paid("p1"), shipped()].as_slice(), &cancel].concat();
        for lived in 2..=history.len() {
            for verification in [not_captured().as_slice(), &[Verification::Captured(TOTAL)]].concat() {
                given(&history[..lived]).when(pay("p1", verification)).then_no_events();
            }
        }
        given(&[created(), deferred("p1")]).when(pay("p1", Verification::Deferred)).then_no_events();
    }

    #[test]
    fn a_repeated_payment_cannot_change_its_amount() {
        let differs =
            DecisionError::PaymentAmountDiffers { payment_id: payment_id("p1"), recorded: TOTAL, given: OTHER };
        for verification in [not_captured().as_slice(), &[Verification::Captured(OTHER)]].concat() {
            let changed = PayOrder { amount: OTHER, ..pay("p1", verification) };
            given(&[created(), paid("p1"), shipped()]).when(changed).then_rejected(differs.clone());
        }
    }

    #[test]
    fn paying_again_settles_a_deferred_payment() {
        let history = [created(), deferred("p1")];
        given(&history).when(pay("p1", Verification::Captured(TOTAL))).then(&[paid("p1").now()]);
        given(&history).when(pay("p1", Verification::Trusted)).then(&[paid("p1").now()]);
        given(&history).when(pay("p1", declined())).then(&[rejected("p1").now()]);
    }

    #[test]
    fn a_cancelled_order_settles_its_deferred_payment_only_when_it_is_verified() {
        let history = [created(), deferred("p1"), cancelled()];
        let due = refund_due("p1", TOTAL, "captured after the order was cancelled");
        given(&history).when(pay("p1", Verification::Captured(TOTAL))).then(&[due.now()]);
        given(&history).when(pay("p1", declined())).then(&[rejected("p1").now()]);
        given(&history).when(pay("p1", Verification::Trusted)).then_no_events();
        given(&history).when(pay("p1", Verification::Deferred)).then_no_events();
    }

    #[test]
    fn a_rejected_payment_stays_rejected_until_the_provider_captures_it() {
        let history = [created(), rejected("p1")];
        for verification in not_captured() {
            given(&history).when(pay("p1", verification)).then_no_events();
        }
        given(&history).when(pay("p1", Verification::Captured(TOTAL))).then(&[paid("p1").now()]);
    }

    #[test]
    fn a_rejected_payment_that_is_no_longer_stored_is_a_new_payment() {
        let others = (0..16).map(|n| rejected(&format!("other-{n}")));
        let history: Vec<_> = [created(), rejected("p1")].into_iter().chain(others).collect();
        let order = replay(&history);
        assert_eq!(needs_verification(&order, &payment_id("p1"), TOTAL), Ok(true), "the provider is asked again");
        given(&history).when(pay("p1", declined())).then(&[rejected("p1").now()]);
        given(&history).when(pay("p1", Verification::Deferred)).then(&[deferred("p1").now()]);
        given(&history).when(pay("p1", Verification::Captured(TOTAL))).then(&[paid("p1").now()]);
        given(&history).when(pay("p1", Verification::Trusted)).then(&[paid("p1").now()]);
    }

    #[test]
    fn payments_that_could_be_accepted_and_are_not_captured_need_verification() {
        let asked = |history: &[OrderEvent], amount| needs_verification(&replay(history), &payment_id("p1"), amount);
        assert_eq!(asked(&[created()], TOTAL), Ok(true));
        assert_eq!(asked(&[created(), deferred("p1")], TOTAL), Ok(true));
        assert_eq!(asked(&[created(), rejected("p1")], TOTAL), Ok(true));
        assert_eq!(asked(&[created(), paid("p1"), shipped()], TOTAL), Ok(false));
        assert_eq!(asked(&[created(), cancelled()], TOTAL), Err(not_pending(Status::Cancelled)));
        let mismatch = DecisionError::AmountMismatch { total: TOTAL, given: OTHER };
        assert_eq!(asked(&[created()], OTHER), Err(mismatch));
        assert_eq!(asked(&[], TOTAL), Err(DecisionError::NotFound));
    }

    #[test]
    fn the_serialized_command_does_not_depend_on_the_verification() {
        let asked = |verification| serde_json::to_value(pay("p1", verification)).unwrap();
        assert_eq!(asked(Verification::Deferred), asked(Verification::Captured(TOTAL)));
        assert_eq!(asked(declined()), serde_json::json!({"payment_id": "p1", "amount": 4000}));
    }
}
