//! Random lives of orders, made by the order's own decisions.

use chrono::Duration;
use fastrand::Rng;
use orders_core::domain::{
    CancelOrder, ConfirmPayment, ConfirmRefund, CreateOrder, Currency, Decide, DecisionError, DeliverOrder,
    ExpireOrder, ItemDraft, Items, Money, Order, OrderEvent, OrderId, PayOrder, PaymentId, ProductId, RejectPayment,
    ReturnOrder, ShipOrder, UserId, Verification,
};
use service_clock::Timestamp;
use uuid::Uuid;

/// What an order of these tests costs.
pub const TOTAL: Money = Money(4_000);

/// The time at which the lives begin.
pub fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A random number generator whose seed the test prints; `SEED` brings one back.
pub fn seeded() -> Rng {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("SEED={seed}");
    Rng::with_seed(seed)
}

/// A new order's id.
pub fn new_id(rng: &mut Rng) -> OrderId {
    OrderId(Uuid::from_u128(rng.u128(1..)))
}

/// The command that creates an order of two lines.
pub fn create(order_id: OrderId, user: &str) -> CreateOrder {
    let product = |n| ProductId(Uuid::from_u128(n));
    let drafts = [
        ItemDraft { product_id: product(1), quantity: "3", price: "10" },
        ItemDraft { product_id: product(2), quantity: "1", price: "10.00" },
    ];
    let currency: Currency = "EUR".parse().unwrap();
    CreateOrder { order_id, user_id: user.parse::<UserId>().unwrap(), items: Items::parse(&drafts, &currency).unwrap() }
}

/// The events of an order's creation.
pub fn created(order_id: OrderId, user: &str, at: Timestamp) -> Vec<OrderEvent> {
    create(order_id, user).decide(&Order::default(), at).unwrap()
}

/// The name of a payment.
pub fn payment(name: &str) -> PaymentId {
    name.parse().unwrap()
}

/// Pays, ships, delivers: each with its event.
pub fn usual_course(order_id: OrderId) -> [OrderEvent; 3] {
    [
        OrderEvent::OrderPaid { order_id, payment_id: payment("p1"), amount: TOTAL, paid_at: start() },
        OrderEvent::OrderShipped { order_id, tracking_number: "1Z999".parse().unwrap(), shipped_at: start() },
        OrderEvent::OrderDelivered { order_id, delivered_at: start() },
    ]
}

/// A life: the events of its commits, the creation first. Nothing is said of the times but that they are near.
pub fn life(rng: &mut Rng, order_id: OrderId, user: &str, commands: usize) -> Vec<Vec<OrderEvent>> {
    life_within(rng, order_id, user, commands, Duration::seconds(5))
}

/// A life whose times are within so long of the start, in any order.
pub fn life_within(
    rng: &mut Rng,
    order_id: OrderId,
    user: &str,
    commands: usize,
    within: Duration,
) -> Vec<Vec<OrderEvent>> {
    let nanoseconds = within.num_nanoseconds().unwrap();
    let mut order = Order::default();
    let mut commits = Vec::new();
    for n in 0..=commands {
        let now = start() + Duration::nanoseconds(rng.i64(-5..nanoseconds));
        let create = || decided_by(&create(order_id, user), &order, now);
        let events = if n == 0 { create() } else { decide(rng, &order, now) }.1.unwrap_or_default();
        for event in &events {
            order.apply(event).unwrap();
        }
        commits.extend(Some(events).filter(|events| !events.is_empty()));
    }
    commits
}

/// The name of a command, and what it leads to.
type Decided = (&'static str, Result<Vec<OrderEvent>, DecisionError>);

fn decided_by<C: Decide>(command: &C, order: &Order, now: Timestamp) -> Decided {
    (C::NAME, command.decide(order, now))
}

/// A random command.
fn decide(rng: &mut Rng, order: &Order, now: Timestamp) -> Decided {
    let payment_id = payment(["p1", "p2", "p3", "é€𝄞#:."][rng.usize(..4)]);
    let amount = if rng.u8(..4) == 0 { Money(1) } else { TOTAL };
    let reason = "such is life".parse().unwrap();
    match rng.u8(..18) {
        0..=4 => {
            let verification = match rng.u8(..5) {
                0 => Verification::Captured(TOTAL),
                1 | 2 => Verification::Deferred,
                _ => Verification::Declined(reason),
            };
            decided_by(&PayOrder { payment_id, amount, verification }, order, now)
        }
        5..=7 => decided_by(&ConfirmPayment { payment_id, amount }, order, now),
        8 | 9 => decided_by(&RejectPayment { payment_id, reason }, order, now),
        10 | 11 => decided_by(&ConfirmRefund { payment_id, refund_id: "r".parse().unwrap(), amount }, order, now),
        12 | 13 => decided_by(&ShipOrder { tracking_number: "1Z999".parse().unwrap() }, order, now),
        14 => decided_by(&DeliverOrder, order, now),
        15 => decided_by(&ReturnOrder { reason }, order, now),
        16 => decided_by(&ExpireOrder { created_before: now }, order, now),
        _ => decided_by(&CancelOrder { reason }, order, now),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use orders_core::domain::COMMANDS;

    use super::*;

    #[test]
    fn random_lives_use_every_command_and_have_every_event() {
        let mut rng = seeded();
        let (mut used, mut events) = (BTreeSet::from([CreateOrder::NAME]), BTreeSet::new());
        for _ in 0..10_000 {
            let mut order = Order::default();
            let mut decided = created(new_id(&mut rng), "alice", start());
            for _ in 0..12 {
                for event in &decided {
                    order.apply(event).unwrap();
                    events.insert(event.name());
                }
                let (name, next) = decide(&mut rng, &order, start() + Duration::seconds(1));
                decided = next.unwrap_or_default();
                used.extend((!decided.is_empty()).then_some(name));
            }
        }
        assert_eq!(used, BTreeSet::from(COMMANDS), "a command never leads to an event: add it to `decide`");
        assert_eq!(events, BTreeSet::from(OrderEvent::NAMES), "an event never occurs: raise the weight of its command");
    }
}
