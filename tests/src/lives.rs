//! Random lives of orders, made by the order's own decisions.

use chrono::Duration;
use fastrand::Rng;
use orders_core::domain::{
    CancelOrder, ConfirmPayment, ConfirmRefund, CreateOrder, Currency, Decide, DeliverOrder, ItemDraft, Items, Money,
    Order, OrderEvent, OrderId, PayOrder, PaymentId, ProductId, RejectPayment, ShipOrder, UserId, Verification,
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
        let decided = if n == 0 { create(order_id, user).decide(&order, now) } else { decide(rng, &order, now) };
        let events = decided.unwrap_or_default();
        for event in &events {
            order.apply(event).unwrap();
        }
        commits.extend(Some(events).filter(|events| !events.is_empty()));
    }
    commits
}

fn decide(rng: &mut Rng, order: &Order, now: Timestamp) -> Result<Vec<OrderEvent>, orders_core::domain::DecisionError> {
    let payment_id = payment(["p1", "p2", "p3", "é€𝄞#:."][rng.usize(..4)]);
    let amount = if rng.u8(..4) == 0 { Money(1) } else { TOTAL };
    let reason = "such is life".parse().unwrap();
    match rng.u8(..16) {
        0..=4 => {
            let verification = match rng.u8(..5) {
                0 => Verification::Captured(TOTAL),
                1 | 2 => Verification::Deferred,
                _ => Verification::Declined(reason),
            };
            PayOrder { payment_id, amount, verification }.decide(order, now)
        }
        5..=7 => ConfirmPayment { payment_id, amount }.decide(order, now),
        8 | 9 => RejectPayment { payment_id, reason }.decide(order, now),
        10 | 11 => ConfirmRefund { payment_id, refund_id: "r".parse().unwrap(), amount }.decide(order, now),
        12 | 13 => ShipOrder { tracking_number: "1Z999".parse().unwrap() }.decide(order, now),
        14 => DeliverOrder.decide(order, now),
        _ => CancelOrder { reason }.decide(order, now),
    }
}
