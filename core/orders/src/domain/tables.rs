//! What every command comes to, and which events may follow, in every state of an order.

use super::command::Decide;
use super::error::{DecisionError, Expected};
use super::event::OrderEvent;
use super::harness::*;
use super::transition::BrokenRule;
use super::{
    CancelOrder, ConfirmPayment, ConfirmRefund, CreateOrder, DeliverOrder, ItemDraft, Items, Money, PayOrder,
    RejectPayment, ShipOrder, Verification,
};

/// The states, by a name, with a history that leads there. Where there is a payment, it is `p1`.
fn histories() -> Vec<(&'static str, Vec<OrderEvent>)> {
    let cancelled_paid = [created(), paid("p1"), cancelled(), refund_due("p1", TOTAL, "the order was cancelled")];
    vec![
        ("absent", vec![]),
        ("pending", vec![created()]),
        ("deferred", vec![created(), deferred("p1")]),
        ("rejected", vec![created(), rejected("p1")]),
        // p1 captured another amount, which is owed back; the order waits for its payment.
        ("misfit", vec![created(), refund_due("p1", OTHER, "the captured amount is not the order's total")]),
        ("paid", vec![created(), paid("p1")]),
        ("shipped", vec![created(), paid("p1"), shipped()]),
        ("delivered", vec![created(), paid("p1"), shipped(), delivered()]),
        // Cancelled: with no payment, a deferred one, a rejected one, one owed back, one given back.
        ("c-unpaid", vec![created(), cancelled()]),
        ("c-deferred", vec![created(), deferred("p1"), cancelled()]),
        ("c-rejected", vec![created(), rejected("p1"), cancelled()]),
        ("c-owing", cancelled_paid.to_vec()),
        ("c-refunded", [cancelled_paid.as_slice(), &[refunded("p1", "r1", TOTAL)]].concat()),
    ]
}

/// Compares each cell of a table, whose first line names the states, with what `cell` finds for its row and history.
fn check(table: &str, cell: impl Fn(&str, &[OrderEvent]) -> String) {
    let histories = histories();
    let mut lines = table.lines().map(|line| line.split('|').map(str::trim)).filter(|line| line.clone().count() > 1);
    let states: Vec<&str> = lines.next().unwrap().skip(1).collect();
    let mut wrong = Vec::new();
    for mut line in lines {
        let row = line.next().unwrap();
        let cells: Vec<&str> = line.collect();
        assert_eq!(cells.len(), states.len(), "{row}");
        for (state, expected) in states.iter().zip(cells) {
            let (_, history) = histories.iter().find(|(name, _)| name == state).unwrap();
            let found = cell(row, history);
            if found != expected {
                wrong.push(format!("{row}, when {state}: {found} instead of {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(row: &str, history: &[OrderEvent]) -> String {
    let words: Vec<&str> = row.split(' ').collect();
    let amount = |word: Option<&&str>| match word {
        Some(&"zero") => Money::ZERO,
        Some(&"other") => OTHER,
        _ => TOTAL,
    };
    let order = replay(history);
    let decided = match words.as_slice() {
        ["create"] => {
            let drafts = [ItemDraft { product_id: items()[0].product_id, quantity: "1", price: "40" }];
            let items = Items::parse(&drafts, &"EUR".parse().unwrap()).unwrap();
            CreateOrder { order_id: order_id(), user_id: user_id(), items }.decide(&order, now())
        }
        ["pay", payment, verification, rest @ ..] => {
            let verification = match *verification {
                "trusted" => Verification::Trusted,
                "verified" => Verification::Captured(amount(rest.first())),
                "deferred" => Verification::Deferred,
                _ => Verification::Declined(reason("card expired")),
            };
            let (payment_id, amount) = (payment_id(payment), amount(rest.first()));
            PayOrder { payment_id, amount, verification }.decide(&order, now())
        }
        ["confirm", payment, rest @ ..] => {
            ConfirmPayment { payment_id: payment_id(payment), amount: amount(rest.first()) }.decide(&order, now())
        }
        ["reject", payment] => {
            RejectPayment { payment_id: payment_id(payment), reason: reason("card expired") }.decide(&order, now())
        }
        ["refund", payment, refund, rest @ ..] => {
            let (payment_id, refund_id) = (payment_id(payment), refund_id(refund));
            ConfirmRefund { payment_id, refund_id, amount: amount(rest.first()) }.decide(&order, now())
        }
        ["ship"] => ShipOrder { tracking_number: tracking_number() }.decide(&order, now()),
        ["deliver"] => DeliverOrder.decide(&order, now()),
        ["cancel"] => CancelOrder { reason: reason("changed my mind") }.decide(&order, now()),
        other => panic!("{other:?}"),
    };
    match decided {
        Ok(events) if events.is_empty() => "-".to_owned(),
        Ok(events) => events.iter().map(short).collect::<Vec<_>>().join("+"),
        Err(error) => refusal(&error).to_owned(),
    }
}

fn short(event: &OrderEvent) -> &'static str {
    match event.name() {
        "OrderRefundDue" => "Due",
        name => name.trim_start_matches("Order").trim_start_matches("Payment"),
    }
}

fn refusal(error: &DecisionError) -> &'static str {
    match error {
        DecisionError::NotFound => "!found",
        DecisionError::AlreadyExists => "!new",
        DecisionError::TotalNotPositive => "!positive",
        DecisionError::WrongStatus { expected: Expected::Pending, .. } => "!pending",
        DecisionError::WrongStatus { expected: Expected::Paid, .. } => "!paid",
        DecisionError::WrongStatus { expected: Expected::Shipped, .. } => "!shipped",
        DecisionError::WrongStatus { expected: Expected::Cancellable, .. } => "!open",
        DecisionError::PaymentInProgress(_) => "!busy",
        DecisionError::PaymentUnverified(_) => "!unknown",
        DecisionError::AmountMismatch { .. } => "!total",
        DecisionError::PaymentAmountDiffers { .. } => "!amount",
        DecisionError::RefundNotDue(_) => "!due",
        DecisionError::RefundAmountDiffers { .. } => "!owed",
        DecisionError::AlreadyRefunded { .. } => "!refund",
        DecisionError::RefundOfOtherPayment { .. } => "!used",
    }
}

/// `other` and `zero` are amounts that are not the total. `-` is success without an event, `!` a refusal.
#[test]
fn every_command_in_every_state_of_an_open_order() {
    check(
        "
        command           | absent  | pending   | deferred  | rejected  | misfit    | paid          | shipped
        create            | Created | !new      | !new      | !new      | !new      | !new          | !new
        pay p1 trusted    | !found  | Paid      | Paid      | -         | !amount   | -             | -
        pay p1 verified   | !found  | Paid      | Paid      | Paid      | !amount   | -             | -
        pay p1 deferred   | !found  | Deferred  | -         | -         | !amount   | -             | -
        pay p1 declined   | !found  | Rejected  | Rejected  | -         | !amount   | -             | -
        pay p2 trusted    | !found  | Paid      | !busy     | Paid      | Paid      | !pending      | !pending
        pay p2 verified   | !found  | Paid      | Due       | Paid      | Paid      | Due           | Due
        pay p2 deferred   | !found  | Deferred  | !unknown  | Deferred  | Deferred  | !unknown      | !unknown
        pay p2 declined   | !found  | Rejected  | !busy     | Rejected  | Rejected  | !pending      | !pending
        pay p1 trusted other  | !found | !total | !total    | !total    | -         | !amount       | !amount
        pay p1 verified other | !found | Due    | Due       | Due       | -         | !amount       | !amount
        pay p1 deferred other | !found | !total | !total    | !total    | -         | !amount       | !amount
        pay p1 declined other | !found | !total | !total    | !total    | -         | !amount       | !amount
        pay p2 trusted other  | !found | !total | !total    | !total    | !total    | !pending      | !pending
        pay p2 verified other | !found | Due    | Due       | Due       | Due       | Due           | Due
        confirm p1        | !found  | Paid      | Paid      | Paid      | !amount   | -             | -
        confirm p2        | !found  | Paid      | Due       | Paid      | Paid      | Due           | Due
        confirm p1 other  | !found  | Due       | Due       | Due       | -         | !amount       | !amount
        confirm p2 other  | !found  | Due       | Due       | Due       | Due       | Due           | Due
        confirm p1 zero   | !found  | !total    | Rejected  | -         | !amount   | !amount       | !amount
        reject p1         | !found  | Rejected  | Rejected  | -         | -         | -             | -
        reject p2         | !found  | Rejected  | Rejected  | Rejected  | Rejected  | -             | -
        refund p1 r1      | !found  | !due      | !due      | !due      | !owed     | !due          | !due
        refund p1 r1 other| !found  | !due      | !due      | !due      | Refunded  | !due          | !due
        refund p2 r1      | !found  | !due      | !due      | !due      | !due      | !due          | !due
        ship              | !found  | !paid     | !paid     | !paid     | !paid     | Shipped       | !paid
        deliver           | !found  | !shipped  | !shipped  | !shipped  | !shipped  | !shipped      | Delivered
        cancel            | !found  | Cancelled | Cancelled | Cancelled | Cancelled | Cancelled+Due | Cancelled+Due
        ",
        run,
    );
}

#[test]
fn every_command_in_every_state_of_a_finished_order() {
    check(
        "
        command           | delivered | c-unpaid | c-deferred | c-rejected | c-owing  | c-refunded
        create            | !new      | !new     | !new       | !new       | !new     | !new
        pay p1 trusted    | -         | !pending | -          | -          | -        | -
        pay p1 verified   | -         | Due      | Due        | Due        | -        | -
        pay p1 deferred   | -         | !unknown | -          | -          | -        | -
        pay p1 declined   | -         | !pending | Rejected   | -          | -        | -
        pay p2 trusted    | !pending  | !pending | !pending   | !pending   | !pending | !pending
        pay p2 verified   | Due       | Due      | Due        | Due        | Due      | Due
        pay p2 deferred   | !unknown  | !unknown | !unknown   | !unknown   | !unknown | !unknown
        pay p2 declined   | !pending  | !pending | !pending   | !pending   | !pending | !pending
        pay p1 trusted other  | !amount | !pending | !total   | !total     | !amount  | !amount
        pay p1 verified other | !amount | Due      | Due      | Due        | !amount  | !amount
        pay p1 deferred other | !amount | !unknown | !total   | !total     | !amount  | !amount
        pay p1 declined other | !amount | !pending | !total   | !total     | !amount  | !amount
        pay p2 verified other | Due     | Due      | Due      | Due        | Due      | Due
        confirm p1        | -         | Due      | Due        | Due        | -        | -
        confirm p2        | Due       | Due      | Due        | Due        | Due      | Due
        confirm p1 other  | !amount   | Due      | Due        | Due        | !amount  | !amount
        confirm p2 other  | Due       | Due      | Due        | Due        | Due      | Due
        confirm p1 zero   | !amount   | !total   | Rejected   | -          | !amount  | !amount
        reject p1         | -         | -        | Rejected   | -          | -        | -
        reject p2         | -         | -        | -          | -          | -        | -
        refund p1 r1      | !due      | !due     | !due       | !due       | Refunded | -
        refund p1 r2      | !due      | !due     | !due       | !due       | Refunded | !refund
        refund p1 r1 other| !due      | !due     | !due       | !due       | !owed    | !owed
        refund p2 r1      | !due      | !due     | !due       | !due       | !due     | !due
        ship              | !paid     | !paid    | !paid      | !paid      | !paid    | !paid
        deliver           | !shipped  | !shipped | !shipped   | !shipped   | !shipped | !shipped
        cancel            | !open     | !open    | !open      | !open      | !open    | !open
        ",
        run,
    );
}

fn follow(row: &str, history: &[OrderEvent]) -> String {
    let mut event = match row.split(' ').collect::<Vec<_>>().as_slice() {
        ["Created"] => created(),
        ["Paid", payment, ..] => paid(payment),
        ["Shipped"] => shipped(),
        ["Delivered"] => delivered(),
        ["Cancelled"] => cancelled(),
        ["Deferred", payment, ..] => deferred(payment),
        ["Rejected", payment] => rejected(payment),
        ["Due", payment, ..] => refund_due(payment, TOTAL, "why not"),
        ["Refunded", payment, ..] => refunded(payment, "r2", TOTAL),
        other => panic!("{other:?}"),
    };
    if row.ends_with("other")
        && let OrderEvent::OrderPaid { amount, .. }
        | OrderEvent::OrderPaymentDeferred { amount, .. }
        | OrderEvent::OrderRefundDue { amount, .. }
        | OrderEvent::OrderRefunded { amount, .. } = &mut event
    {
        *amount = OTHER;
    }
    let (before, mut order) = (replay(history), replay(history));
    match order.apply(&event) {
        Ok(()) => "yes".to_owned(),
        Err(error) => {
            assert_eq!(order, before, "{row} was refused, and changed the order");
            let rule = match error.broken {
                BrokenRule::NotCreated => "none",
                BrokenRule::CreatedTwice => "twice",
                BrokenRule::OtherOrder(_) => "order",
                BrokenRule::Status(_) => "status",
                BrokenRule::Amount { .. } => "amount",
                BrokenRule::PaymentDeferred(_) => "deferred",
                BrokenRule::PaymentCaptured(_) => "captured",
                BrokenRule::NoRefundDue(_) => "nodue",
            };
            rule.to_owned()
        }
    }
}

#[test]
fn every_event_follows_in_the_right_states_only() {
    check(
        "
        event             | absent | pending | deferred | rejected | misfit   | paid     | shipped
        Created           | yes    | twice   | twice    | twice    | twice    | twice    | twice
        Paid p1           | none   | yes     | yes      | yes      | captured | status   | status
        Paid p2           | none   | yes     | deferred | yes      | yes      | status   | status
        Paid p1 other     | none   | amount  | amount   | amount   | captured | status   | status
        Shipped           | none   | status  | status   | status   | status   | yes      | status
        Delivered         | none   | status  | status   | status   | status   | status   | yes
        Cancelled         | none   | yes     | yes      | yes      | yes      | yes      | yes
        Deferred p1       | none   | yes     | deferred | yes      | captured | status   | status
        Deferred p2       | none   | yes     | deferred | yes      | yes      | status   | status
        Deferred p2 other | none   | amount  | deferred | amount   | amount   | status   | status
        Rejected p1       | none   | yes     | yes      | yes      | captured | status   | status
        Rejected p2       | none   | yes     | yes      | yes      | yes      | status   | status
        Due p1            | none   | yes     | yes      | yes      | captured | status   | status
        Due p2 other      | none   | yes     | yes      | yes      | yes      | yes      | yes
        Refunded p1       | none   | nodue   | nodue    | nodue    | amount   | nodue    | nodue
        Refunded p1 other | none   | nodue   | nodue    | nodue    | yes      | nodue    | nodue
        ",
        follow,
    );
    check(
        "
        event             | delivered | c-unpaid | c-deferred | c-rejected | c-owing  | c-refunded
        Created           | twice     | twice    | twice      | twice      | twice    | twice
        Paid p1           | status    | status   | status     | status     | status   | status
        Paid p2           | status    | status   | status     | status     | status   | status
        Shipped           | status    | status   | status     | status     | status   | status
        Delivered         | status    | status   | status     | status     | status   | status
        Cancelled         | status    | status   | status     | status     | status   | status
        Deferred p1       | status    | status   | status     | status     | status   | status
        Deferred p2       | status    | status   | status     | status     | status   | status
        Rejected p1       | status    | status   | yes        | status     | status   | status
        Rejected p2       | status    | status   | status     | status     | status   | status
        Due p1            | status    | yes      | yes        | yes        | captured | captured
        Due p2 other      | yes       | yes      | yes        | yes        | yes      | yes
        Refunded p1       | nodue     | nodue    | nodue      | nodue      | yes      | nodue
        Refunded p1 other | nodue     | nodue    | nodue      | nodue      | amount   | nodue
        ",
        follow,
    );
}
