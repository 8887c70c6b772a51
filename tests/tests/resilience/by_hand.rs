//! A circuit breaker that an administrator forces open or closed, and releases.

use std::time::{Duration, Instant};

use dynamodb_testkit::wait::until;
use orders_local::payments::Mode;
use orders_tests::shop::{Response, Shop};
use serde_json::{Value, json};

use crate::support::{assert_deferred, breaker_status};

const SETTINGS: &str = "failures=3; calls=3; open=1h; open-max=1h; cache=200ms";
/// The time after which all containers have read the change: one and a half cache times.
const CACHE_TIME: Duration = Duration::from_millis(300);

/// Changes the override, and waits until all containers have read it.
async fn set_override(shop: &Shop, body: Value) -> Value {
    let status = shop.put("admin", "/ops/breakers/payments/override", body).await.expect(200).body;
    let changed = Instant::now();
    until("the end of the cache time", async || changed.elapsed() > CACHE_TIME).await;
    status
}

async fn pay_new(shop: &Shop) -> Response {
    shop.pay(&shop.create().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_follow_an_administrators_override_of_the_breaker_and_the_status_shows_who_set_it_and_why() {
    let shop = Shop::open_as(|options| {
        options.containers = 2;
        options.reading.parameters.insert("PaymentBreaker".into(), SETTINGS.into());
    })
    .await;
    let provider = shop.stack.payments();
    pay_new(&shop).await.expect(200);
    assert!(breaker_status(&shop).await["override"].is_null());

    // Forced open: payments are deferred, and the provider, which is up, is not called.
    let asked = provider.requests();
    let forced = set_override(&shop, json!({"state": "open", "reason": "It confirms what it does not have"})).await;
    for _ in 0..4 {
        assert_deferred(&pay_new(&shop).await);
    }
    assert_eq!(provider.requests(), asked);
    let status = breaker_status(&shop).await;
    assert_eq!((&status["state"], &status["override"]), (&json!("open"), &forced["override"]));
    let held = &status["override"];
    assert_eq!(
        (&held["state"], &held["in_force"], &held["by"], &held["reason"], &held["until"]),
        (
            &json!("open"),
            &json!(true),
            &json!(shop.sub("admin")),
            &json!("It confirms what it does not have"),
            &Value::Null
        )
    );

    // Released: the provider is called for every payment.
    set_override(&shop, json!({"state": "none", "reason": "It is right again"})).await;
    for _ in 0..4 {
        pay_new(&shop).await.expect(200);
    }
    assert_eq!(provider.requests(), asked + 4);

    // Forced closed: the provider is called for every payment, even when it fails.
    set_override(&shop, json!({"state": "closed", "reason": "A drill", "until": "2999-01-01T00:00:00Z"})).await;
    provider.set_mode(Mode::Down);
    for _ in 0..6 {
        assert_deferred(&pay_new(&shop).await);
    }
    assert_eq!(provider.requests(), asked + 10);
    let status = breaker_status(&shop).await;
    assert_eq!((&status["state"], &status["window"]["failures"]), (&json!("closed"), &json!(6)));

    // Released: the breaker opens after three failures.
    set_override(&shop, json!({"state": "none", "reason": "The drill is over"})).await;
    for _ in 0..6 {
        assert_deferred(&pay_new(&shop).await);
    }
    assert_eq!(provider.requests(), asked + 13);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_override_a_breaker_and_only_an_existing_one() {
    let shop = Shop::open().await;
    let body = || json!({"state": "open", "reason": "x"});
    for caller in ["customer", "storefront", "fulfilment"] {
        shop.put(caller, "/ops/breakers/payments/override", body()).await.expect(403);
    }
    let unknown = shop.put("admin", "/ops/breakers/shipping/override", body()).await.expect(404);
    assert_eq!(unknown.problem(), "not-found");
    assert!(breaker_status(&shop).await["override"].is_null());
    shop.close().await;
}
