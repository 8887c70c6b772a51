//! Tests of decisions in the form given, when, then; the order that they are about; and examples of every event, status
//! and command. What is missing here makes the tests of [`super::tables`] and [`super::lifetimes`] fail.

use chrono::Duration;
use dynamodb_testkit::given_when_then::{self, When};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::json;
use uuid::Uuid;

use super::event::Item;
use super::{
    CancelOrder, Command, ConfirmPayment, ConfirmRefund, CreateOrder, Decide, DecisionError, DeliverOrder, ExpireOrder,
    ItemDraft, Items, Money, Order, OrderEvent, OrderId, PayOrder, PaymentId, ProductId, Reason, RefundId,
    RejectPayment, ReturnOrder, ShipOrder, TrackingNumber, UserId, Verification,
};
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
    /// Decides the command at [`now`].
    pub fn when(self, command: impl Decide) -> When<Order, DecisionError> {
        self.0.when(|order| command.decide(order, now()))
    }
}

/// The time of every command, after the history.
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

/// An event of the history, moved to the time of the command: what the command leads to.
pub trait Now {
    /// The same event, at [`now`].
    fn now(self) -> Self;
}

impl Now for OrderEvent {
    fn now(mut self) -> Self {
        *self.occurred_at_mut() = now();
        self
    }
}

/// An example of every event, in the order of their definition.
pub fn every_event() -> [OrderEvent; OrderEvent::NAMES.len()] {
    [
        created(),
        paid("p1"),
        shipped(),
        delivered(),
        returned(),
        cancelled(),
        deferred("p1"),
        rejected("p1"),
        refund_due("p1", TOTAL, "the order was cancelled"),
        refunded("p1", "r1", TOTAL),
    ]
}

/// The examples, each with every one of these payments and amounts where it has one.
pub fn variants(payments: &[&str], amounts: &[Money]) -> Vec<OrderEvent> {
    let mut variants = Vec::new();
    for event in every_event() {
        for (payment, amount) in payments.iter().flat_map(|payment| amounts.iter().map(move |amount| (payment, amount)))
        {
            let mut variant = serde_json::to_value(&event).unwrap();
            let data = variant["data"].as_object_mut().unwrap();
            data.entry("payment_id").and_modify(|field| *field = json!(payment));
            data.entry("amount").and_modify(|field| *field = json!(amount));
            let variant: OrderEvent = serde_json::from_value(variant).unwrap();
            if !variants.contains(&variant) {
                variants.push(variant);
            }
        }
    }
    variants
}

/// Histories that lead to every state that makes a difference to a rule, by name. Where there is a payment, it is `p1`.
pub fn histories() -> Vec<(&'static str, Vec<OrderEvent>)> {
    let cancelled_paid = [created(), paid("p1"), cancelled(), refund_due("p1", TOTAL, "the order was cancelled")];
    let due = refund_due("p1", TOTAL, "the order was returned");
    let returned_paid = [created(), paid("p1"), shipped(), delivered(), returned(), due];
    vec![
        ("absent", vec![]),
        ("pending", vec![created()]),
        ("deferred", vec![created(), deferred("p1")]),
        ("rejected", vec![created(), rejected("p1")]),
        // p1 captured another amount, which is due for refund. The order still waits for its payment.
        ("mismatch", vec![created(), refund_due("p1", OTHER, "the captured amount is not the order's total")]),
        ("paid", vec![created(), paid("p1")]),
        ("shipped", vec![created(), paid("p1"), shipped()]),
        ("delivered", vec![created(), paid("p1"), shipped(), delivered()]),
        ("returned", returned_paid.to_vec()),
        // Cancelled: without a payment, with a deferred, a rejected, a refund-due and a refunded one.
        ("c-unpaid", vec![created(), cancelled()]),
        ("c-deferred", vec![created(), deferred("p1"), cancelled()]),
        ("c-rejected", vec![created(), rejected("p1"), cancelled()]),
        ("c-owing", cancelled_paid.to_vec()),
        ("c-refunded", [cancelled_paid.as_slice(), &[refunded("p1", "r1", TOTAL)]].concat()),
    ]
}

/// The rows of the table of decisions: every command under a name, with the inputs that make a difference.
pub fn examples() -> Vec<(&'static str, Command)> {
    let create = |price| CreateOrder { order_id: order_id(), user_id: user_id(), items: one_item(price) };
    let pay = |payment, amount, verification| PayOrder { payment_id: payment_id(payment), amount, verification };
    let captured = Verification::Captured;
    let declined = || Verification::Declined(reason("card expired"));
    let (trusted, deferred) = (|| Verification::Trusted, || Verification::Deferred);
    let confirm = |payment, amount| ConfirmPayment { payment_id: payment_id(payment), amount };
    let reject = |payment| RejectPayment { payment_id: payment_id(payment), reason: reason("card expired") };
    let refund = |payment, refund, amount| {
        let (payment_id, refund_id) = (payment_id(payment), refund_id(refund));
        ConfirmRefund { payment_id, refund_id, amount }
    };
    vec![
        ("create", create("40").into()),
        ("create for nothing", create("0").into()),
        ("pay p1 trusted", pay("p1", TOTAL, trusted()).into()),
        ("pay p1 verified", pay("p1", TOTAL, captured(TOTAL)).into()),
        ("pay p1 deferred", pay("p1", TOTAL, deferred()).into()),
        ("pay p1 declined", pay("p1", TOTAL, declined()).into()),
        ("pay p2 trusted", pay("p2", TOTAL, trusted()).into()),
        ("pay p2 verified", pay("p2", TOTAL, captured(TOTAL)).into()),
        ("pay p2 deferred", pay("p2", TOTAL, deferred()).into()),
        ("pay p2 declined", pay("p2", TOTAL, declined()).into()),
        ("pay p1 trusted other", pay("p1", OTHER, trusted()).into()),
        ("pay p1 verified other", pay("p1", OTHER, captured(OTHER)).into()),
        ("pay p1 deferred other", pay("p1", OTHER, deferred()).into()),
        ("pay p1 declined other", pay("p1", OTHER, declined()).into()),
        ("pay p2 trusted other", pay("p2", OTHER, trusted()).into()),
        ("pay p2 verified other", pay("p2", OTHER, captured(OTHER)).into()),
        ("confirm p1", confirm("p1", TOTAL).into()),
        ("confirm p2", confirm("p2", TOTAL).into()),
        ("confirm p1 other", confirm("p1", OTHER).into()),
        ("confirm p2 other", confirm("p2", OTHER).into()),
        ("confirm p1 zero", confirm("p1", Money::ZERO).into()),
        ("reject p1", reject("p1").into()),
        ("reject p2", reject("p2").into()),
        ("refund p1 r1", refund("p1", "r1", TOTAL).into()),
        ("refund p1 r2", refund("p1", "r2", TOTAL).into()),
        ("refund p1 r1 other", refund("p1", "r1", OTHER).into()),
        ("refund p2 r1", refund("p2", "r1", TOTAL).into()),
        ("ship", ShipOrder { tracking_number: tracking_number() }.into()),
        ("deliver", DeliverOrder.into()),
        ("return", ReturnOrder { reason: reason("too small") }.into()),
        ("cancel", CancelOrder { reason: reason("changed my mind") }.into()),
        ("expire", ExpireOrder { created_before: now() }.into()),
        ("expire too early", ExpireOrder { created_before: earlier() }.into()),
    ]
}

/// A random command, for [`super::lifetimes`]. The weights let many orders be delivered.
pub fn any_command() -> impl Strategy<Value = Command> {
    let payment = || prop::sample::select(vec!["p1", "p2", "p3"]).prop_map(payment_id);
    let refund = prop::sample::select(vec!["r1", "r2"]).prop_map(refund_id);
    let amount = || prop_oneof![6 => Just(TOTAL), 2 => Just(OTHER), 1 => Just(Money::ZERO), 1 => Just(Money::MAX)];
    let verification = prop_oneof![
        Just(Verification::Trusted),
        amount().prop_map(Verification::Captured),
        Just(Verification::Deferred),
        Just(Verification::Declined(reason("card expired"))),
    ];
    let pay = (payment(), amount(), verification).prop_map(|(payment_id, amount, verification)| PayOrder {
        payment_id,
        amount,
        verification,
    });
    let confirm = (payment(), amount()).prop_map(|(payment_id, amount)| ConfirmPayment { payment_id, amount });
    let reject = payment().prop_map(|payment_id| RejectPayment { payment_id, reason: reason("no") });
    let refund = (payment(), refund, amount()).prop_map(|(payment_id, refund_id, amount)| ConfirmRefund {
        payment_id,
        refund_id,
        amount,
    });
    let expire = prop::sample::select(vec![earlier(), now() + Duration::hours(1)])
        .prop_map(|created_before| ExpireOrder { created_before });
    prop_oneof![
        1 => Just(creation()),
        6 => pay.prop_map(Command::from),
        4 => confirm.prop_map(Command::from),
        3 => reject.prop_map(Command::from),
        4 => refund.prop_map(Command::from),
        2 => Just(ShipOrder { tracking_number: tracking_number() }.into()),
        2 => Just(DeliverOrder.into()),
        2 => Just(ReturnOrder { reason: reason("too small") }.into()),
        1 => Just(CancelOrder { reason: reason("changed my mind") }.into()),
        1 => expire.prop_map(Command::from),
    ]
}

/// The command that most lives begin with.
pub fn creation() -> Command {
    CreateOrder { order_id: order_id(), user_id: user_id(), items: one_item("40") }.into()
}

fn one_item(price: &str) -> Items {
    let draft = ItemDraft { product_id: items()[0].product_id, quantity: "1", price };
    Items::parse(&[draft], &"EUR".parse().unwrap()).unwrap()
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

pub fn returned() -> OrderEvent {
    OrderEvent::OrderReturned { order_id: order_id(), reason: reason("too small"), returned_at: earlier() }
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

/// Checks a property for random inputs, and prints their seed: `PROPTEST_RNG_SEED` set to it repeats them.
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
