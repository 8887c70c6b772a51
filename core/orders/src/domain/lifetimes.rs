//! Random sequences of commands to an order: no money is lost, and the events alone restore the state.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use proptest::prelude::*;

use super::harness::*;
use super::{
    COMMANDS, Command, ConfirmPayment, DecisionError, DeliverOrder, Money, Order, OrderEvent, PayOrder, PaymentId,
    PaymentStatus, Status, Verification, decode, encode,
};

impl Command {
    /// The capture that the provider reports.
    fn capture(&self) -> Option<(&PaymentId, Money)> {
        match self {
            Self::ConfirmPayment(ConfirmPayment { payment_id, amount })
            | Self::PayOrder(PayOrder { payment_id, verification: Verification::Captured(amount), .. }) => {
                Some((payment_id, *amount))
            }
            _ => None,
        }
    }

    /// Whether a repetition right after the command leads to no event.
    fn is_about_a_payment(&self) -> bool {
        matches!(self, Self::PayOrder(_) | Self::ConfirmPayment(_) | Self::RejectPayment(_) | Self::ConfirmRefund(_))
    }
}

/// The commands of a life. Most begin with the order's creation.
pub(crate) fn commands() -> impl Strategy<Value = Vec<Command>> {
    let first = prop_oneof![9 => Just(creation()), 1 => Just(DeliverOrder.into())];
    (first, prop::collection::vec(any_command(), 0..30)).prop_map(|(first, rest)| [vec![first], rest].concat())
}

/// The captured money that the order accounts for: its payment, and refunds that are due or done.
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
        let decided = command.decide(&order, now());
        for event in decided.iter().flatten() {
            prop_assert_eq!(order.apply(event), Ok(()), "{:?} decided an event that is not valid", command);
            history.push(event.clone());
            if let OrderEvent::OrderPaid { payment_id, amount, .. } = event {
                captured.insert(payment_id.clone(), *amount);
            }
        }
        if let Some((payment_id, amount)) = command.capture() {
            let before = captured.get(payment_id).copied();
            let rejected = matches!(
                decided,
                Err(DecisionError::NotFound
                    | DecisionError::PaymentAmountDiffers { .. }
                    | DecisionError::AmountMismatch { given: Money::ZERO, .. })
            );
            // A capture of zero ends a deferred payment; otherwise it is rejected.
            let status = placed_before.as_ref().and_then(|placed| placed.payment_status(payment_id));
            let waits = matches!(status, Some(PaymentStatus::Deferred | PaymentStatus::Rejected(_)));
            let nothing = amount == Money::ZERO;
            let may_reject = placed_before.is_none() || before.map_or(nothing && !waits, |known| known != amount);
            prop_assert_eq!(decided.is_err(), may_reject, "{:?}: {:?}", command, decided);
            prop_assert_eq!(rejected, may_reject);
            if !rejected && !nothing {
                captured.insert(payment_id.clone(), amount);
            }
        }
        prop_assert_eq!(accounted(&order), captured.values().map(|amount| amount.0).sum::<u64>(), "{:?}", command);
        if decided.is_ok() && command.is_about_a_payment() {
            prop_assert_eq!(command.decide(&order, now()), Ok(Vec::new()), "{:?} was recorded twice", command);
        }
        let after = order.placed().map(|placed| placed.status);
        prop_assert!(before == after || TRANSITIONS.contains(&(before, after)), "{:?} became {:?}", before, after);
    }
    Ok((order, history))
}

/// The changes of status in the table of decisions.
static TRANSITIONS: LazyLock<BTreeSet<(Option<Status>, Option<Status>)>> = LazyLock::new(|| {
    let status = |order: &Order| order.placed().map(|placed| placed.status);
    let (mut transitions, examples) = (BTreeSet::new(), examples());
    for (before, (_, command)) in
        histories().iter().flat_map(|(_, history)| examples.iter().map(move |example| (replay(history), example)))
    {
        let mut after = before.clone();
        for event in command.decide(&before, now()).into_iter().flatten() {
            after.apply(&event).unwrap();
        }
        transitions.insert((status(&before), status(&after)));
    }
    transitions
});

#[test]
fn random_lives_use_every_command_and_reach_every_event_and_status() {
    let (used, events, reached) =
        (RefCell::new(BTreeSet::new()), RefCell::new(BTreeSet::new()), RefCell::new(BTreeSet::new()));
    properties(1_000, &commands(), |commands| {
        let mut order = Order::default();
        for command in commands {
            let decided = command.decide(&order, now()).unwrap_or_default();
            if !decided.is_empty() {
                used.borrow_mut().insert(command.name());
            }
            for event in decided {
                order.apply(&event).unwrap();
                events.borrow_mut().insert(event.name());
                reached.borrow_mut().extend(order.placed().map(|placed| placed.status));
            }
        }
        Ok(())
    });
    let advice = "add it to harness::any_command";
    assert_eq!(used.into_inner(), BTreeSet::from(COMMANDS), "a command never leads to an event: {advice}");
    assert_eq!(events.into_inner(), BTreeSet::from(OrderEvent::NAMES), "an event never happens: {advice}");
    assert_eq!(reached.into_inner(), BTreeSet::from(Status::ALL), "a status is never reached: {advice}");
}

#[test]
fn every_captured_amount_pays_the_order_or_is_due_for_refund() {
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
fn no_payment_has_two_refunds_due_and_none_is_refunded_twice() {
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

/// Events in any order, of any payment. Most of them are not valid.
#[test]
fn an_event_that_is_not_valid_changes_nothing() {
    let event = prop::sample::select(variants(&["p1", "p2"], &[TOTAL, OTHER, Money::ZERO, Money(u64::MAX)]));
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
