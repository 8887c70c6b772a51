//! Tests of decisions in the form given, when, then; and the one order that they tell of.

use chrono::Duration;
use dynamodb_testkit::given_when_then::{self, When};
use proptest::strategy::Strategy;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use uuid::Uuid;

use super::command::Decide;
use super::error::DecisionError;
use super::event::{Item, OrderEvent};
use super::ids::{OrderId, PaymentId, ProductId, Reason, RefundId, TrackingNumber, UserId};
use super::money::Money;
use super::state::Order;
use service_clock::Timestamp;

/// What the order of these tests costs: 2 × 15.00 + 10.00.
pub const TOTAL: Money = Money(4_000);
/// Another amount.
pub const OTHER: Money = Money(3_999);

/// An order with this history, before the command.
pub struct Given(given_when_then::Given<Order>);

/// An order with this history.
#[track_caller]
pub fn given(history: &[OrderEvent]) -> Given {
    Given(given_when_then::given(history))
}

/// The order after this history.
#[track_caller]
pub fn replay(history: &[OrderEvent]) -> Order {
    given_when_then::replay(history)
}

impl Given {
    /// The command is decided, at [`now`].
    pub fn when(self, command: impl Decide) -> When<Order, DecisionError> {
        self.0.when(|order| command.decide(order, now()))
    }
}

/// The time of every command. The history lies before it.
pub fn now() -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::days(20_000)
}

fn earlier() -> Timestamp {
    now() - Duration::hours(1)
}

pub fn order_id() -> OrderId {
    OrderId(Uuid::from_u128(0x0de7))
}

pub fn user_id() -> UserId {
    "alice".parse().unwrap()
}

pub fn payment_id(text: &str) -> PaymentId {
    text.parse().unwrap()
}

pub fn refund_id(text: &str) -> RefundId {
    text.parse().unwrap()
}

pub fn reason(text: &str) -> Reason {
    text.parse().unwrap()
}

pub fn tracking_number() -> TrackingNumber {
    "1Z999".parse().unwrap()
}

pub fn items() -> Vec<Item> {
    let product = |n| ProductId(Uuid::from_u128(n));
    vec![
        Item { product_id: product(1), quantity: 2, price: Money(1_500) },
        Item { product_id: product(2), quantity: 1, price: Money(1_000) },
    ]
}

/// A fact of the history, moved to the time of the command: what the command comes to.
pub trait Now {
    /// The same fact, at [`now`].
    fn now(self) -> Self;
}

impl Now for OrderEvent {
    fn now(mut self) -> Self {
        match &mut self {
            Self::OrderCreated { created_at: at, .. }
            | Self::OrderPaid { paid_at: at, .. }
            | Self::OrderShipped { shipped_at: at, .. }
            | Self::OrderDelivered { delivered_at: at, .. }
            | Self::OrderCancelled { cancelled_at: at, .. }
            | Self::OrderPaymentDeferred { deferred_at: at, .. }
            | Self::OrderPaymentRejected { rejected_at: at, .. }
            | Self::OrderRefundDue { due_at: at, .. }
            | Self::OrderRefunded { refunded_at: at, .. } => *at = now(),
        }
        self
    }
}

pub fn created() -> OrderEvent {
    let (order_id, user_id, items) = (order_id(), user_id(), items());
    OrderEvent::OrderCreated { order_id, user_id, items, total: TOTAL, created_at: earlier() }
}

pub fn paid(payment: &str) -> OrderEvent {
    let (order_id, payment_id) = (order_id(), payment_id(payment));
    OrderEvent::OrderPaid { order_id, payment_id, amount: TOTAL, paid_at: earlier() }
}

pub fn shipped() -> OrderEvent {
    OrderEvent::OrderShipped { order_id: order_id(), tracking_number: tracking_number(), shipped_at: earlier() }
}

pub fn delivered() -> OrderEvent {
    OrderEvent::OrderDelivered { order_id: order_id(), delivered_at: earlier() }
}

pub fn cancelled() -> OrderEvent {
    OrderEvent::OrderCancelled { order_id: order_id(), reason: reason("changed my mind"), cancelled_at: earlier() }
}

pub fn deferred(payment: &str) -> OrderEvent {
    let (order_id, payment_id) = (order_id(), payment_id(payment));
    OrderEvent::OrderPaymentDeferred { order_id, payment_id, amount: TOTAL, deferred_at: earlier() }
}

pub fn rejected(payment: &str) -> OrderEvent {
    rejected_for(payment, "card expired")
}

pub fn rejected_for(payment: &str, why: &str) -> OrderEvent {
    let (order_id, payment_id, reason) = (order_id(), payment_id(payment), reason(why));
    OrderEvent::OrderPaymentRejected { order_id, payment_id, reason, rejected_at: earlier() }
}

pub fn refund_due(payment: &str, amount: Money, why: &str) -> OrderEvent {
    let (order_id, payment_id, reason) = (order_id(), payment_id(payment), reason(why));
    OrderEvent::OrderRefundDue { order_id, payment_id, amount, reason, due_at: earlier() }
}

pub fn refunded(payment: &str, refund: &str, amount: Money) -> OrderEvent {
    let (order_id, payment_id, refund_id) = (order_id(), payment_id(payment), refund_id(refund));
    OrderEvent::OrderRefunded { order_id, payment_id, refund_id, amount, refunded_at: earlier() }
}

/// Checks a property for random inputs, and prints the seed that they come from: `PROPTEST_RNG_SEED` set to it brings
/// them back.
#[track_caller]
pub fn properties<S: Strategy>(cases: u32, inputs: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seed = std::env::var("PROPTEST_RNG_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("PROPTEST_RNG_SEED={seed}");
    let config = Config { cases, rng_seed: RngSeed::Fixed(seed), failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(inputs, property) {
        panic!("PROPTEST_RNG_SEED={seed}: {error}");
    }
}
