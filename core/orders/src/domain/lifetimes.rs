//! Random lives of an order: whatever is asked of it, no money is lost, and its events tell everything.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::command::Decide;
use super::harness::*;
use super::{
    CancelOrder, ConfirmPayment, ConfirmRefund, CreateOrder, DecisionError, DeliverOrder, ItemDraft, Items, Money,
    Order, OrderEvent, PayOrder, PaymentId, PaymentStatus, RejectPayment, ShipOrder, Status, Verification, decode,
    encode,
};

#[derive(Clone, Debug)]
pub(crate) enum Command {
    Create(CreateOrder),
    Pay(PayOrder),
    Confirm(ConfirmPayment),
    Reject(RejectPayment),
    Refund(ConfirmRefund),
    Ship(ShipOrder),
    Deliver(DeliverOrder),
    Cancel(CancelOrder),
}

impl Command {
    fn decide(&self, order: &Order) -> Result<Vec<OrderEvent>, DecisionError> {
        match self {
            Self::Create(command) => command.decide(order, now()),
            Self::Pay(command) => command.decide(order, now()),
            Self::Confirm(command) => command.decide(order, now()),
            Self::Reject(command) => command.decide(order, now()),
            Self::Refund(command) => command.decide(order, now()),
            Self::Ship(command) => command.decide(order, now()),
            Self::Deliver(command) => command.decide(order, now()),
            Self::Cancel(command) => command.decide(order, now()),
        }
    }

    /// What the provider says that it captured.
    fn capture(&self) -> Option<(&PaymentId, Money)> {
        match self {
            Self::Confirm(ConfirmPayment { payment_id, amount })
            | Self::Pay(PayOrder { payment_id, verification: Verification::Captured(amount), .. }) => {
                Some((payment_id, *amount))
            }
            _ => None,
        }
    }

    /// Whether a second run right after the first has nothing left to do.
    fn is_about_a_payment(&self) -> bool {
        matches!(self, Self::Pay(_) | Self::Confirm(_) | Self::Reject(_) | Self::Refund(_))
    }
}

pub(crate) fn commands() -> impl Strategy<Value = Vec<Command>> {
    let payment = || prop::sample::select(vec!["p1", "p2", "p3"]).prop_map(payment_id);
    let amount = || prop_oneof![6 => Just(TOTAL), 2 => Just(OTHER), 1 => Just(Money::ZERO), 1 => Just(Money::MAX)];
    let verification = prop_oneof![
        Just(Verification::Trusted),
        amount().prop_map(Verification::Captured),
        Just(Verification::Deferred),
        Just(Verification::Declined(reason("card expired"))),
    ];
    let product_id = items()[0].product_id;
    let items = Items::parse(&[ItemDraft { product_id, quantity: "1", price: "40" }], &"EUR".parse().unwrap()).unwrap();
    let create = Command::Create(CreateOrder { order_id: order_id(), user_id: user_id(), items });
    let command = prop_oneof![
        1 => Just(create.clone()),
        6 => (payment(), amount(), verification)
            .prop_map(|(payment_id, amount, verification)| Command::Pay(PayOrder { payment_id, amount, verification })),
        4 => (payment(), amount()).prop_map(|(payment_id, amount)| Command::Confirm(ConfirmPayment { payment_id, amount })),
        3 => payment().prop_map(|payment_id| Command::Reject(RejectPayment { payment_id, reason: reason("no") })),
        4 => (payment(), prop::sample::select(vec!["r1", "r2"]), amount()).prop_map(|(payment_id, refund, amount)| {
            Command::Refund(ConfirmRefund { payment_id, refund_id: refund_id(refund), amount })
        }),
        2 => Just(Command::Ship(ShipOrder { tracking_number: tracking_number() })),
        2 => Just(Command::Deliver(DeliverOrder)),
        1 => Just(Command::Cancel(CancelOrder { reason: reason("changed my mind") })),
    ];
    // Most lives begin with a birth.
    let first = prop_oneof![9 => Just(create), 1 => Just(Command::Deliver(DeliverOrder))];
    (first, prop::collection::vec(command, 0..30)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

/// What the shop holds of the captured money, and what it owes or gave back.
fn accounted(order: &Order) -> u64 {
    let Some(order) = order.placed() else { return 0 };
    let paid = order.payment.as_ref().filter(|payment| order.refund(&payment.payment_id).is_none());
    let back: u64 = order.refunds.iter().map(|refund| refund.amount.0).sum();
    paid.map_or(0, |_| order.total.0) + back
}

/// Runs the commands, checking every step; the order and all its events.
pub(crate) fn live(commands: &[Command]) -> Result<(Order, Vec<OrderEvent>), TestCaseError> {
    let (mut order, mut history) = (Order::default(), Vec::new());
    let mut captured = BTreeMap::<PaymentId, Money>::new();
    for command in commands {
        let before = order.placed().map(|placed| placed.status);
        let placed_before = order.placed().cloned();
        let decided = command.decide(&order);
        for event in decided.iter().flatten() {
            prop_assert_eq!(order.apply(event), Ok(()), "{:?} decided what cannot follow", command);
            history.push(event.clone());
            if let OrderEvent::OrderPaid { payment_id, amount, .. } = event {
                captured.insert(payment_id.clone(), *amount);
            }
        }
        if let Some((payment_id, amount)) = command.capture() {
            let before = captured.get(payment_id).copied();
            let refused = matches!(
                decided,
                Err(DecisionError::NotFound
                    | DecisionError::PaymentAmountDiffers { .. }
                    | DecisionError::AmountMismatch { given: Money::ZERO, .. })
            );
            // A capture of nothing ends a payment that waits, and otherwise is no capture.
            let status = placed_before.as_ref().and_then(|placed| placed.payment_status(payment_id));
            let waits = matches!(status, Some(PaymentStatus::Deferred | PaymentStatus::Rejected(_)));
            let nothing = amount == Money::ZERO;
            let may_refuse = placed_before.is_none() || before.map_or(nothing && !waits, |known| known != amount);
            prop_assert_eq!(decided.is_err(), may_refuse, "{:?}: {:?}", command, decided);
            prop_assert_eq!(refused, may_refuse);
            if !refused && !nothing {
                captured.insert(payment_id.clone(), amount);
            }
        }
        prop_assert_eq!(accounted(&order), captured.values().map(|amount| amount.0).sum::<u64>(), "{:?}", command);
        if decided.is_ok() && command.is_about_a_payment() {
            prop_assert_eq!(command.decide(&order), Ok(Vec::new()), "{:?} was not recorded once for all", command);
        }
        let after = order.placed().map(|placed| placed.status);
        prop_assert!(before == after || may_become(before, after), "{:?} became {:?}", before, after);
    }
    Ok((order, history))
}

fn may_become(before: Option<Status>, after: Option<Status>) -> bool {
    use Status::{Cancelled, Delivered, Paid, Pending, Shipped};
    matches!(
        (before, after),
        (None, Some(Pending))
            | (Some(Pending), Some(Paid | Cancelled))
            | (Some(Paid), Some(Shipped | Cancelled))
            | (Some(Shipped), Some(Delivered | Cancelled))
    )
}

#[test]
fn every_captured_amount_pays_the_order_or_is_owed_back() {
    properties(1_000, &commands(), |commands| live(&commands).map(|_| ()));
}

#[test]
fn replaying_the_events_from_any_snapshot_gives_the_same_order() {
    properties(500, &(commands(), any::<prop::sample::Index>()), |(commands, cut)| {
        let (order, history) = live(&commands)?;
        let cut = cut.index(history.len() + 1);
        let snapshot = serde_json::to_vec(&replay(&history[..cut])).unwrap();
        let mut again: Order = serde_json::from_slice(&snapshot).unwrap();
        for event in &history[cut..] {
            let (event_type, schema, data) = encode(event);
            again.apply(&decode(event_type, schema, data).unwrap()).unwrap();
        }
        prop_assert_eq!(again, order);
        Ok(())
    });
}

#[test]
fn no_payment_owes_two_refunds_and_none_is_given_back_twice() {
    properties(500, &commands(), |commands| {
        let (order, history) = live(&commands)?;
        let (mut due, mut done) = (BTreeSet::new(), BTreeSet::new());
        for event in &history {
            match event {
                OrderEvent::OrderRefundDue { payment_id, .. } => prop_assert!(due.insert(payment_id.clone())),
                OrderEvent::OrderRefunded { payment_id, .. } => prop_assert!(done.insert(payment_id.clone())),
                _ => {}
            }
        }
        prop_assert!(done.is_subset(&due));
        for payment_id in due {
            let expected = done.contains(&payment_id);
            let found = order.placed().and_then(|placed| placed.payment_status(&payment_id));
            prop_assert_eq!(found == Some(PaymentStatus::Refunded), expected);
        }
        Ok(())
    });
}

/// Events in any order, of any payment: most cannot follow, and none breaks anything.
#[test]
fn an_event_that_cannot_follow_changes_nothing() {
    let payments = || prop::sample::select(vec!["p1", "p2"]);
    let amounts = || prop::sample::select(vec![TOTAL, OTHER, Money::ZERO, Money(u64::MAX)]);
    let event = prop_oneof![
        Just(created()),
        payments().prop_map(paid),
        Just(shipped()),
        Just(delivered()),
        Just(cancelled()),
        payments().prop_map(deferred),
        payments().prop_map(rejected),
        (payments(), amounts()).prop_map(|(payment, amount)| refund_due(payment, amount, "why not")),
        (payments(), amounts()).prop_map(|(payment, amount)| refunded(payment, "r1", amount)),
    ];
    properties(500, &prop::collection::vec(event, 0..20), |events| {
        let mut order = replay(&[created()]);
        for event in &events {
            let before = order.clone();
            if order.apply(event).is_err() {
                prop_assert_eq!(&order, &before);
            }
        }
        Ok(())
    });
}
