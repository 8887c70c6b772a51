//! Settlement of deferred payments, for every behaviour of the provider.

use orders_core::domain::{
    CancelOrder, CreateOrder, ItemDraft, Items, Money, PayOrder, PaymentId, PlacedOrder, Status, Verification,
};
use orders_local::payments::Mode;
use service_clock::Clock;

use super::*;
use crate::testing::{Shop, context};

const TOTAL: Money = Money(4_498);

fn payment(name: &str) -> PaymentId {
    name.parse().unwrap()
}

/// An order with a deferred payment, which may be cancelled after it.
async fn deferred(shop: &Shop, name: &str, cancelled: bool) -> String {
    let order_id = shop.create_order(44.98).await;
    let pay = PayOrder { payment_id: payment(name), amount: TOTAL, verification: Verification::Deferred };
    shop.run(&order_id, &pay).await;
    if cancelled {
        shop.run(&order_id, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
    }
    order_id
}

/// An order of this age with a payment that was deferred at once.
async fn deferred_before(shop: &Shop, age: TimeDelta) -> String {
    let store = shop.events().with_clock(Clock::stopped_at(Timestamp::now() - age));
    let order_id = uuid::Uuid::new_v4().to_string();
    let item = ItemDraft { product_id: uuid::Uuid::nil().to_string().parse().unwrap(), quantity: "1", price: "44.98" };
    let items = Items::parse(&[item], &"EUR".parse().unwrap()).unwrap();
    let create = CreateOrder { order_id: order_id.parse().unwrap(), user_id: "ada".parse().unwrap(), items };
    let pay = PayOrder { payment_id: payment("p1"), amount: TOTAL, verification: Verification::Deferred };
    let stream = StreamId::new(order_id.as_str());
    store.run(&stream, &Request::unkeyed(), |order, now| create.decide(order, now)).await.unwrap();
    store.run(&stream, &Request::unkeyed(), |order, now| pay.decide(order, now)).await.unwrap();
    order_id
}

async fn payment_status(shop: &Shop, order_id: &str, name: &str) -> (Status, PaymentStatus) {
    let order: PlacedOrder = shop.order(order_id).await;
    (order.status, order.payment_status(&payment(name)).unwrap())
}

/// Serves a provider at the returned address.
pub(super) async fn serve(provider: axum::Router) -> (String, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, provider).await.unwrap() }))
}

async fn settle(shop: &Shop) -> Run {
    shop.settlement().run(&context()).await.unwrap()
}

#[tokio::test]
async fn a_captured_payment_pays_the_order_or_is_due_for_refund() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    let (waits, cancelled) = (deferred(&shop, "p1", false).await, deferred(&shop, "p2", true).await);
    shop.project().await;
    assert_eq!(settle(&shop).await, Run { paid: 1, refund_due: 1, ..Run::default() });
    assert_eq!(payment_status(&shop, &waits, "p1").await, (Status::Paid, PaymentStatus::Paid));
    let (status, due) = payment_status(&shop, &cancelled, "p2").await;
    assert!(status == Status::Cancelled && matches!(due, PaymentStatus::RefundDue(_)), "{due:?}");
    assert_eq!(provider.requests(), 2);
    shop.project().await;
    assert_eq!(settle(&shop).await, Run::default(), "nothing is left");
    assert_eq!(provider.requests(), 2);
}

#[tokio::test]
async fn a_declined_payment_is_recorded_and_the_order_can_be_paid_in_another_way() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    provider.set_mode(Mode::Declines);
    let (waits, cancelled) = (deferred(&shop, "p1", false).await, deferred(&shop, "p2", true).await);
    shop.project().await;
    assert_eq!(settle(&shop).await, Run { rejected: 2, ..Run::default() });
    assert!(matches!(payment_status(&shop, &waits, "p1").await, (Status::Pending, PaymentStatus::Rejected(_))));
    let (status, rejected) = payment_status(&shop, &cancelled, "p2").await;
    assert!(status == Status::Cancelled && matches!(rejected, PaymentStatus::Rejected(_)), "{rejected:?}");
    shop.project().await;
    assert_eq!(settle(&shop).await, Run::default());
}

#[tokio::test]
async fn concurrent_runs_and_the_providers_events_settle_each_payment_once() {
    let (shop, _provider, _served) = Shop::with_provider("").await;
    let mut orders = Vec::new();
    for n in 0..8 {
        orders.push(deferred(&shop, &format!("p{n}"), false).await);
    }
    shop.project().await;
    let event = async {
        for (n, order_id) in orders.iter().enumerate().rev() {
            shop.run(order_id, &ConfirmPayment { payment_id: payment(&format!("p{n}")), amount: TOTAL }).await;
        }
    };
    let (first, second, ()) = tokio::join!(settle(&shop), settle(&shop), event);
    assert_eq!((first.failed, second.failed), (0, 0));
    let commits = shop.commits().await;
    assert_eq!(commits, 3 * 8, "created, deferred and paid, each once");
    for (n, order_id) in orders.iter().enumerate() {
        let paid = payment_status(&shop, order_id, &format!("p{n}")).await;
        assert_eq!(paid, (Status::Paid, PaymentStatus::Paid));
    }
    let later = settle(&shop).await;
    assert_eq!(later, Run { gone: 8, ..Run::default() }, "the list lags behind, and nothing is settled twice");
    assert_eq!(shop.commits().await, commits);
}

#[tokio::test]
async fn a_provider_that_is_down_is_called_until_the_breaker_opens() {
    let (shop, provider, _served) = Shop::with_provider("failures=3; calls=3; open=1h; open-max=1h").await;
    for n in 0..20 {
        deferred(&shop, &format!("p{n}"), false).await;
    }
    shop.project().await;
    provider.set_mode(Mode::Down);
    let run = settle(&shop).await;
    assert!(run.circuit_open && run.paid == 0 && run.failed == 0, "{run:?}");
    let requests = provider.requests();
    // Calls that had begun before it opened, one of each list.
    assert!((3..=6).contains(&requests), "{requests}");
    provider.set_mode(Mode::Ok);
    let run = settle(&shop).await;
    assert!(run.circuit_open && run.paid == 0);
    assert_eq!(provider.requests(), requests);
}

#[tokio::test]
async fn when_the_provider_recovers_probes_close_the_breaker_and_all_payments_are_settled() {
    let breaker = "failures=3; calls=3; open=100ms; open-max=100ms; ramp=200ms";
    let (shop, provider, _served) = Shop::with_provider(breaker).await;
    for n in 0..20 {
        deferred(&shop, &format!("p{n}"), n % 4 == 0).await;
    }
    shop.project().await;
    provider.set_mode(Mode::Down);
    settle(&shop).await;
    provider.set_mode(Mode::Ok);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    let mut sum = Run::default();
    while sum.paid + sum.refund_due < 20 {
        assert!(std::time::Instant::now() < deadline, "{sum:?}");
        sum = sum.add(settle(&shop).await);
        shop.project().await;
    }
    assert_eq!((sum.paid, sum.refund_due, sum.failed), (15, 5, 0));
}

#[tokio::test]
async fn a_payment_that_the_provider_does_not_know_waits_and_is_not_a_failure_of_the_provider() {
    let shop = Shop::open().await;
    let unknown = axum::Router::new().fallback(async || axum::http::StatusCode::NOT_FOUND);
    let (url, serving) = serve(unknown).await;
    for n in 0..12 {
        deferred(&shop, &format!("p{n}"), false).await;
    }
    shop.project().await;
    let settlement = Settlement { payments: shop.verified(&url, "failures=1; calls=1"), ..shop.settlement() };
    let run = settlement.run(&context()).await.unwrap();
    serving.abort();
    assert_eq!(run, Run { waiting: 12, ..Run::default() });
}

#[tokio::test]
async fn a_payment_that_the_provider_does_not_know_after_a_day_is_rejected() {
    let shop = Shop::open().await;
    let (url, serving) = serve(axum::Router::new().fallback(async || axum::http::StatusCode::NOT_FOUND)).await;
    let settlement = Settlement { payments: shop.verified(&url, ""), ..shop.settlement() };
    for (hours, waits) in [(23, true), (25, false)] {
        let order_id = deferred_before(&shop, TimeDelta::hours(hours)).await;
        let (context, deadline) = (context(), Instant::now() + Duration::from_secs(20));
        let Payments::Verified(provider) = &settlement.payments else { panic!("there is a provider") };
        let (now, stopped) = (Timestamp::now(), AtomicBool::new(false));
        let work = Work { settlement: &settlement, provider, context: &context, now, deadline, stopped };
        let outcome = work.settle(order_id.parse().unwrap()).await;
        assert_eq!(matches!(outcome, Outcome::Waiting), waits, "{hours}");
        let (status, settled) = payment_status(&shop, &order_id, "p1").await;
        assert_eq!((status, settled == PaymentStatus::Deferred), (Status::Pending, waits));
        if !waits {
            shop.run(&order_id, &ConfirmPayment { payment_id: payment("p1"), amount: TOTAL }).await;
            assert_eq!(payment_status(&shop, &order_id, "p1").await.0, Status::Paid, "a late capture is recorded");
        }
    }
    serving.abort();
}

#[tokio::test]
async fn a_capture_of_another_amount_is_due_for_refund() {
    let shop = Shop::open().await;
    let order_id = deferred(&shop, "p1", false).await;
    let body = serde_json::json!({
        "payment_id": "p1", "order_id": order_id, "status": "captured", "amount": 40, "currency": "EUR",
    });
    let (url, serving) = serve(axum::Router::new().fallback(async move || axum::Json(body))).await;
    shop.project().await;
    let settlement = Settlement { payments: shop.verified(&url, ""), ..shop.settlement() };
    let run = settlement.run(&context()).await.unwrap();
    serving.abort();
    assert_eq!(run, Run { refund_due: 1, ..Run::default() });
    let order = shop.order(&order_id).await;
    assert_eq!((order.status, order.refunds[0].amount, order.deferred), (Status::Pending, Money(4_000), None));
}

#[tokio::test]
async fn a_payment_that_is_deferred_again_is_settled_again_however_many_commits_lie_between() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    let order_id = deferred(&shop, "p1", false).await;
    provider.set_mode(Mode::Declines);
    shop.project().await;
    assert_eq!(settle(&shop).await, Run { rejected: 1, ..Run::default() });
    for n in 0..16 {
        let declined = Verification::Declined("card expired".parse().unwrap());
        let other = PayOrder { payment_id: payment(&format!("other-{n}")), amount: TOTAL, verification: declined };
        shop.run(&order_id, &other).await;
    }
    let again = PayOrder { payment_id: payment("p1"), amount: TOTAL, verification: Verification::Deferred };
    shop.run(&order_id, &again).await;
    assert_eq!(payment_status(&shop, &order_id, "p1").await, (Status::Pending, PaymentStatus::Deferred));
    shop.project().await;
    assert_eq!(settle(&shop).await, Run { rejected: 1, ..Run::default() }, "the same result as the first time");
    shop.run(&order_id, &again).await;
    for n in 16..32 {
        let rejected = RejectPayment { payment_id: payment(&format!("other-{n}")), reason: "no".parse().unwrap() };
        shop.run(&order_id, &rejected).await;
    }
    shop.run(&order_id, &again).await;
    provider.set_mode(Mode::Ok);
    shop.project().await;
    assert_eq!(settle(&shop).await, Run { paid: 1, ..Run::default() });
    assert_eq!(payment_status(&shop, &order_id, "p1").await, (Status::Paid, PaymentStatus::Paid));
}

#[tokio::test]
async fn a_capture_of_zero_is_rejected_and_the_order_can_be_paid_in_another_way() {
    let shop = Shop::open().await;
    let order_id = deferred(&shop, "p1", false).await;
    let body = serde_json::json!({
        "payment_id": "p1", "order_id": order_id, "status": "captured", "amount": 0, "currency": "EUR",
    });
    let (url, serving) = serve(axum::Router::new().fallback(async move || axum::Json(body))).await;
    shop.project().await;
    let settlement = Settlement { payments: shop.verified(&url, ""), ..shop.settlement() };
    let run = settlement.run(&context()).await.unwrap();
    serving.abort();
    assert_eq!(run, Run { rejected: 1, ..Run::default() });
    shop.run(&order_id, &ConfirmPayment { payment_id: payment("p2"), amount: TOTAL }).await;
    assert_eq!(payment_status(&shop, &order_id, "p2").await, (Status::Paid, PaymentStatus::Paid));
}

#[tokio::test]
async fn a_settlement_has_the_time_at_which_it_is_stored_and_not_of_its_runs_start() {
    let shop = Shop::open().await;
    let order_id = deferred(&shop, "p1", false).await;
    let answered = std::sync::Arc::new(std::sync::Mutex::new(None));
    let body = serde_json::json!({
        "payment_id": "p1", "order_id": order_id, "status": "captured", "amount": 44.98, "currency": "EUR",
    });
    let noted = answered.clone();
    let provider = axum::Router::new().fallback(async move || {
        // The clock must have moved on from the beginning of the run.
        let begun = Timestamp::now();
        while Timestamp::now() <= begun {
            tokio::task::yield_now().await;
        }
        *noted.lock().unwrap() = Some(Timestamp::now());
        axum::Json(body)
    });
    let (url, serving) = serve(provider).await;
    shop.project().await;
    let settlement = Settlement { payments: shop.verified(&url, ""), ..shop.settlement() };
    assert_eq!(settlement.run(&context()).await.unwrap(), Run { paid: 1, ..Run::default() });
    serving.abort();
    let (paid_at, answered) = (shop.order(&order_id).await.payment.unwrap().paid_at, answered.lock().unwrap().unwrap());
    assert!(paid_at >= answered, "{paid_at} is before {answered}");
}

#[tokio::test]
async fn without_a_provider_nothing_is_settled() {
    let shop = Shop::open().await;
    deferred(&shop, "p1", false).await;
    shop.project().await;
    assert_eq!(settle(&shop).await, Run::default());
}

#[test]
fn the_older_a_payment_the_less_often_it_is_verified() {
    let now = Timestamp::now();
    let share = |minutes| {
        let entry =
            Deferred { order_id: OrderId(uuid::Uuid::nil()), deferred_at: now - chrono::TimeDelta::minutes(minutes) };
        (0..4_000).filter(|_| is_due(&entry, now)).count()
    };
    assert_eq!((share(-1), share(0), share(19)), (4_000, 4_000, 4_000));
    let (hours, day) = (share(200), share(24 * 60));
    assert!((300..500).contains(&hours) && (20..110).contains(&day), "{hours} {day}");
}
