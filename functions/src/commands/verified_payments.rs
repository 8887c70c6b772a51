//! Payments that are verified with the provider.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use orders_core::domain::{CancelOrder, ConfirmPayment, Money, PayOrder, PaymentStatus, Status, Verification};
use orders_local::payments::Mode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::pay_order::{self, VerifiedCommands};
use crate::answer::Answer;
use crate::http;
use crate::testing::{self, OWNER, Shop, body, call, problem, with_header};

async fn pay(shop: &Shop, event: Value) -> Answer {
    testing::answer(async |request| pay_order::handle(&shop.paying(), request).await, event).await
}

fn payment(order_id: &str, payment_id: &str) -> Value {
    call(OWNER, "orders:write", order_id, &json!({"payment_id": payment_id, "amount": 44.98}))
}

fn pay_command(payment_id: &str) -> PayOrder {
    let (payment_id, amount) = (payment_id.parse().unwrap(), Money(4_498));
    PayOrder { payment_id, amount, verification: Verification::Trusted }
}

async fn status_of(shop: &Shop, order_id: &str, payment_id: &str) -> Option<PaymentStatus> {
    shop.order(order_id).await.payment_status(&payment_id.parse().unwrap())
}

#[tokio::test]
async fn a_payment_that_the_provider_has_captured_pays_the_order() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    let order_id = shop.create_order(44.98).await;
    let answer = pay(&shop, payment(&order_id, "p1")).await;
    assert_eq!((answer.status(), answer.header("fallback")), (200, None), "{}", answer.body());
    assert_eq!(body(&answer), json!({"order_id": order_id, "version": 2, "status": "paid"}));
    assert_eq!(provider.requests_about("p1"), 1);
}

#[tokio::test]
async fn a_payment_that_the_provider_declines_is_rejected_and_recorded() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    provider.set_mode(Mode::Declines);
    let order_id = shop.create_order(44.98).await;
    let event = with_header(payment(&order_id, "p1"), "idempotency-key", "k1");
    let answer = pay(&shop, event.clone()).await;
    assert_eq!((answer.status(), problem(&answer).as_str()), (422, "payment-declined"), "{}", answer.body());
    assert!(body(&answer)["detail"].as_str().unwrap().contains("the card was declined"));
    assert!(matches!(status_of(&shop, &order_id, "p1").await, Some(PaymentStatus::Rejected(_))));
    assert_eq!(shop.order(&order_id).await.status, Status::Pending);
    let repeat = pay(&shop, event).await;
    assert_eq!((repeat.status(), repeat.header("idempotency-replayed")), (422, Some("true")));
    assert_eq!(provider.requests(), 1, "a retry does not call the provider");
}

#[tokio::test]
async fn a_payment_that_cannot_be_verified_is_deferred_and_the_response_says_so() {
    for mode in [Mode::Down, Mode::Slow] {
        let (shop, provider, _served) = Shop::with_provider("").await;
        provider.set_mode(mode);
        let order_id = shop.create_order(44.98).await;
        let event = with_header(payment(&order_id, "p1"), "idempotency-key", "k1");
        let begun = Instant::now();
        let answer = pay(&shop, event.clone()).await;
        assert!(begun.elapsed().as_secs() < 8);
        assert_eq!((answer.status(), answer.header("fallback")), (202, Some("payment-deferred")), "{mode:?}");
        let deferred = json!({
            "order_id": order_id, "version": 2, "status": "pending", "payment": "deferred", "fallback": true,
        });
        assert_eq!(body(&answer), deferred);
        assert_eq!(status_of(&shop, &order_id, "p1").await, Some(PaymentStatus::Deferred));
        let repeat = pay(&shop, event).await;
        assert_eq!((repeat.status(), repeat.body()), (202, answer.body()));
        assert_eq!(repeat.header("fallback"), Some("payment-deferred"));
        assert_eq!((repeat.header("idempotency-replayed"), provider.requests()), (Some("true"), 1));
    }
}

#[tokio::test]
async fn a_payment_is_deferred_when_the_request_has_no_time_for_the_provider() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    provider.set_mode(Mode::Slow);
    let order_id = shop.create_order(44.98).await;
    let mut context = testing::context();
    let soon = SystemTime::now() + Duration::from_millis(2_800);
    context.deadline = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
    let handle = async |request: &_| pay_order::handle(&shop.paying(), request).await;
    let event = payment(&order_id, "p1");
    let begun = Instant::now();
    let request = testing::request_in(event, context);
    let answer = http::respond(None, &request, handle(&request)).await;
    assert_eq!(answer.status(), 202, "{}", answer.body());
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn while_the_breaker_is_open_payments_are_deferred_without_a_call() {
    let (shop, provider, _served) = Shop::with_provider("failures=3; calls=3; open=1h; open-max=1h").await;
    provider.set_mode(Mode::Down);
    for n in 0..6 {
        let order_id = shop.create_order(44.98).await;
        assert_eq!(pay(&shop, payment(&order_id, &format!("p{n}"))).await.status(), 202);
    }
    assert_eq!(provider.requests(), 3);
}

#[tokio::test]
async fn the_provider_is_not_called_for_a_payment_that_the_order_cannot_accept() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    let order_id = shop.create_order(44.98).await;
    let amount = json!({"payment_id": "p1", "amount": 1});
    let mut foreign = payment(&order_id, "p1");
    foreign["requestContext"]["authorizer"]["jwt"]["claims"]["sub"] = "other-user".into();
    for (event, status, name) in [
        (call(OWNER, "orders:write", &order_id, &amount), 422, "amount-mismatch"),
        (foreign, 404, "not-found"),
        (with_header(payment(&order_id, "p1"), "if-match", "\"7\""), 412, "precondition-failed"),
        (payment("00000000-0000-4000-8000-000000000000", "p1"), 404, "not-found"),
    ] {
        let answer = pay(&shop, event).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (status, name));
    }
    shop.run(&order_id, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
    let answer = pay(&shop, payment(&order_id, "p1")).await;
    assert_eq!((answer.status(), problem(&answer).as_str()), (409, "order-not-pending"));
    assert_eq!(provider.requests(), 0);
}

#[tokio::test]
async fn a_recorded_payment_is_not_verified_again() {
    let (shop, provider, _served) = Shop::with_provider("").await;
    let order_id = shop.create_order(44.98).await;
    shop.run(&order_id, &ConfirmPayment { payment_id: "p1".parse().unwrap(), amount: Money(4_498) }).await;
    let answer = pay(&shop, payment(&order_id, "p1")).await;
    assert_eq!((answer.status(), &body(&answer)["status"]), (200, &json!("paid")));
    assert_eq!(provider.requests(), 0);
}

#[tokio::test]
async fn a_retry_of_a_deferred_payment_gets_the_providers_current_result() {
    let (shop, provider, _served) = Shop::with_provider("failures=100").await;
    provider.set_mode(Mode::Down);
    let order_id = shop.create_order(44.98).await;
    for _ in 0..2 {
        let answer = pay(&shop, payment(&order_id, "p1")).await;
        assert_eq!((answer.status(), &body(&answer)["version"]), (202, &json!(2)));
    }
    let other = pay(&shop, payment(&order_id, "p2")).await;
    assert_eq!((other.status(), problem(&other).as_str()), (409, "payment-in-progress"));
    provider.set_mode(Mode::Ok);
    let answer = pay(&shop, payment(&order_id, "p1")).await;
    assert_eq!((answer.status(), &body(&answer)["status"]), (200, &json!("paid")));
    assert_eq!((provider.requests_about("p1"), provider.requests_about("p2")), (3, 0));
}

/// A provider that has captured every payment, and holds its first response until it is released.
struct HeldProvider {
    url: String,
    called: Arc<Notify>,
    release: Arc<Notify>,
    serving: JoinHandle<()>,
}

impl HeldProvider {
    async fn start(order_id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (called, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (first_call, held, calls) = (called.clone(), release.clone(), Arc::new(AtomicU32::new(0)));
        let order_id = order_id.to_owned();
        let verify = get(async move |Path(payment_id): Path<String>| {
            if calls.fetch_add(1, SeqCst) == 0 {
                first_call.notify_one();
                held.notified().await;
            }
            let captured = json!({"status": "captured", "amount": 44.98, "currency": "EUR"});
            let mut body = json!({"payment_id": payment_id, "order_id": order_id});
            body.as_object_mut().unwrap().extend(captured.as_object().unwrap().clone());
            axum::Json(body)
        });
        let router = Router::new().route("/payments/{id}", verify);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, called, release, serving }
    }
}

#[tokio::test]
async fn a_retry_during_the_first_attempt_gets_what_the_first_attempt_records() {
    for (other_payment, if_match) in [(false, false), (true, false), (false, true), (true, true)] {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let provider = HeldProvider::start(&order_id).await;
        let paying = VerifiedCommands { payments: shop.verified(&provider.url, ""), ..shop.paying() };
        let event = with_header(payment(&order_id, "p1"), "idempotency-key", "k1");
        let event = if if_match { with_header(event, "if-match", "\"1\"") } else { event };
        let attempt = async |event: Value| {
            testing::answer(async |request| pay_order::handle(&paying, request).await, event).await
        };
        let repeat = async {
            provider.called.notified().await;
            if other_payment {
                let deferred = PayOrder { verification: Verification::Deferred, ..pay_command("p2") };
                shop.run(&order_id, &deferred).await;
            } else {
                shop.run(&order_id, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
            }
            let repeat = attempt(event.clone()).await;
            provider.release.notify_one();
            repeat
        };
        let (first, repeat) = tokio::join!(attempt(event.clone()), repeat);
        provider.serving.abort();
        assert_eq!((repeat.status(), &body(&repeat)["payment"]), (200, &json!("refund-due")), "{}", repeat.body());
        assert_eq!((first.status(), first.body()), (200, repeat.body()));
        assert_eq!(shop.order(&order_id).await.refunds.len(), 1);
    }
}

#[tokio::test]
async fn a_capture_of_another_amount_is_recorded_and_due_for_refund_at_once() {
    for cancelled in [false, true] {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let captured = json!({
            "payment_id": "p1", "order_id": order_id, "status": "captured", "amount": 40, "currency": "EUR",
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/payments/{id}", get(async move || axum::Json(captured)));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        if cancelled {
            shop.run(&order_id, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
        }
        let paying = VerifiedCommands { payments: shop.verified(&url, ""), ..shop.paying() };
        let handle = async |request: &_| pay_order::handle(&paying, request).await;
        let event = with_header(payment(&order_id, "p1"), "idempotency-key", "k1");
        let answer = testing::answer(handle, event).await;
        serving.abort();
        assert_eq!((answer.status(), &body(&answer)["payment"]), (200, &json!("refund-due")), "{}", answer.body());
        assert_eq!(shop.order(&order_id).await.refunds[0].amount, Money(4_000));
    }
}

#[tokio::test]
async fn a_capture_is_recorded_though_the_order_changed_after_if_match_was_checked() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    let provider = HeldProvider::start(&order_id).await;
    let paying = VerifiedCommands { payments: shop.verified(&provider.url, ""), ..shop.paying() };
    let event = with_header(payment(&order_id, "p1"), "if-match", "\"1\"");
    let attempt = testing::answer(async |request| pay_order::handle(&paying, request).await, event);
    let meanwhile = async {
        provider.called.notified().await;
        shop.run(&order_id, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
        provider.release.notify_one();
    };
    let (answer, ()) = tokio::join!(attempt, meanwhile);
    provider.serving.abort();
    assert_eq!((answer.status(), &body(&answer)["payment"]), (200, &json!("refund-due")), "{}", answer.body());
}

#[tokio::test]
async fn a_keyed_payment_is_rejected_only_when_the_provider_has_not_captured_it() {
    let [not_pending, unverified] = [(409, "order-not-pending"), (503, "payment-unverified")];
    for (mode, expected) in [(Mode::Declines, not_pending), (Mode::Down, unverified)] {
        let (shop, provider, _served) = Shop::with_provider("").await;
        provider.set_mode(mode);
        let order_id = shop.create_order(44.98).await;
        shop.run(&order_id, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
        let event = with_header(payment(&order_id, "p1"), "idempotency-key", "k1");
        let answer = pay(&shop, event.clone()).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), expected, "{mode:?}");
        let answer = pay(&shop, with_header(event, "if-match", "\"1\"")).await;
        let stale = if mode == Mode::Down { unverified } else { (412, "precondition-failed") };
        assert_eq!((answer.status(), problem(&answer).as_str()), stale, "{mode:?}");
        assert_eq!((provider.requests(), shop.commits().await), (2, 2));
    }
}

#[tokio::test]
async fn the_provider_is_called_once_even_if_the_order_changes_meanwhile() {
    let shop = Arc::new(Shop::open().await);
    let order_id = shop.create_order(44.98).await;
    // A provider that responds after the order is cancelled.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicU32::new(0));
    let (cancelling, cancelled, counted) = (shop.clone(), order_id.clone(), calls.clone());
    let verify = get(async move || {
        counted.fetch_add(1, SeqCst);
        cancelling.run(&cancelled, &CancelOrder { reason: "changed my mind".parse().unwrap() }).await;
        axum::Json(json!({
            "payment_id": "p1", "order_id": cancelled, "status": "captured", "amount": 44.98, "currency": "EUR",
        }))
    });
    let router = Router::new().route("/payments/{id}", verify);
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let paying = VerifiedCommands { payments: shop.verified(&url, ""), ..shop.paying() };
    let handle = async |request: &_| pay_order::handle(&paying, request).await;
    let answer = testing::answer(handle, payment(&order_id, "p1")).await;
    serving.abort();
    assert_eq!((answer.status(), &body(&answer)["payment"]), (200, &json!("refund-due")), "{}", answer.body());
    assert_eq!(calls.load(SeqCst), 1);
    let order = shop.order(&order_id).await;
    assert_eq!((order.status, order.refunds.len()), (Status::Cancelled, 1), "the money is not lost");
}
