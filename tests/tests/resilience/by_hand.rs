//! A circuit breaker that an administrator holds open or closed, and lets go.

use std::time::{Duration, Instant};

use orders_local::payments::Mode;
use orders_tests::shop::{Answer, Shop, until};
use serde_json::{Value, json};

use crate::support::{shown, taken_on};

const SETTINGS: &str = "failures=3; calls=3; open=1h; open-max=1h; cache=200ms";
/// When all containers follow: the cache time, and half as much again.
const FOLLOWED: Duration = Duration::from_millis(300);

/// Has the breaker held or let go, and waits until all containers follow.
async fn order(shop: &Shop, body: Value) -> Value {
    let shown = shop.put("admin", "/ops/breakers/payments/override", body).await.expect(200).body;
    let ordered = Instant::now();
    until(async || ordered.elapsed() > FOLLOWED).await;
    shown
}

async fn pay_new(shop: &Shop) -> Answer {
    shop.pay(&shop.create().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_follow_the_breaker_as_an_administrator_holds_it_and_the_status_says_who_and_why() {
    let shop = Shop::open_as(|options| {
        options.containers = 2;
        options.reading.parameters.insert("PaymentBreaker".into(), SETTINGS.into());
    })
    .await;
    let provider = shop.stack.payments();
    pay_new(&shop).await.expect(200);
    assert!(shown(&shop).await["override"].is_null());

    // Forced open: payments are taken on, and the provider, which is well, is not asked.
    let asked = provider.requests();
    let told = order(&shop, json!({"state": "open", "reason": "It confirms what it does not have"})).await;
    for _ in 0..4 {
        taken_on(&pay_new(&shop).await);
    }
    assert_eq!(provider.requests(), asked);
    let status = shown(&shop).await;
    assert_eq!((&status["state"], &status["override"]), (&json!("open"), &told["override"]));
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

    // Let go: it is asked again, at once and every time.
    order(&shop, json!({"state": "none", "reason": "It is right again"})).await;
    for _ in 0..4 {
        pay_new(&shop).await.expect(200);
    }
    assert_eq!(provider.requests(), asked + 4);

    // Forced closed: it is asked every time, however often it fails.
    order(&shop, json!({"state": "closed", "reason": "A drill", "until": "2999-01-01T00:00:00Z"})).await;
    provider.set_mode(Mode::Down);
    for _ in 0..6 {
        taken_on(&pay_new(&shop).await);
    }
    assert_eq!(provider.requests(), asked + 10);
    let status = shown(&shop).await;
    assert_eq!((&status["state"], &status["window"]["failures"]), (&json!("closed"), &json!(6)));

    // Let go, it opens by its own rules.
    order(&shop, json!({"state": "none", "reason": "The drill is over"})).await;
    for _ in 0..6 {
        taken_on(&pay_new(&shop).await);
    }
    assert_eq!(provider.requests(), asked + 13);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_hold_a_breaker_and_only_one_that_exists() {
    let shop = Shop::open().await;
    let body = || json!({"state": "open", "reason": "x"});
    for caller in ["customer", "storefront", "fulfilment"] {
        shop.put(caller, "/ops/breakers/payments/override", body()).await.expect(403);
    }
    let unknown = shop.put("admin", "/ops/breakers/shipping/override", body()).await.expect(404);
    assert_eq!(unknown.problem(), "not-found");
    assert!(shown(&shop).await["override"].is_null());
    shop.close().await;
}
