//! An outage of the payment provider, from the first failure to the last settled payment.

use std::time::{Duration, Instant};

use futures::future::join_all;
use orders_local::payments::Mode;
use orders_tests::shop::{Answer, Shop, until};
use serde_json::Value;
use service_clock::Timestamp;

use crate::support::{SETTLED, breaker, history, settle, shown, status, taken_on, waiting};

/// The provider's client gives up after two seconds; the rest is a machine with other things to do.
const TIME_OUT: Duration = Duration::from_secs(4);
/// As many as there are containers, so that all of them know the breaker before it matters.
const CONTAINERS: u32 = 3;

/// New orders, and what their customers are answered who pay them at once.
async fn pay_new(shop: &Shop, orders: usize) -> Vec<(String, Answer, Duration)> {
    let ids = join_all((0..orders).map(|_| shop.create())).await;
    join_all(ids.into_iter().map(|order_id| async {
        let begun = Instant::now();
        let answer = shop.pay(&order_id).await;
        (order_id, answer, begun.elapsed())
    }))
    .await
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Waits until probes may go.
async fn due(shop: &Shop) {
    let open_until = time(&shown(shop).await["open_until"]);
    until(async || Timestamp::now() > open_until).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_is_lost_or_paid_twice_in_an_outage_and_whoever_never_tried_again_sees_it_paid() {
    let settings = "failures=3; calls=3; ratio=10%; open=3s; open-max=3s; ramp=1s; cache=200ms";
    let shop = Shop::open_as(|options| {
        options.containers = CONTAINERS;
        options.reading.parameters.insert("PaymentBreaker".into(), settings.into());
    })
    .await;
    let provider = shop.stack.payments();
    let mut deferred = Vec::new();

    // All is well.
    for (_, answer, _) in pay_new(&shop, 2 * CONTAINERS as usize).await {
        answer.expect(200);
    }
    let asked = provider.requests();
    assert_eq!((breaker(&shop).await, waiting(&shop).await), (("closed".into(), 0), 0));
    assert!(shown(&shop).await["since"].is_null() && status(&shop).await["deferred_payments"]["oldest"].is_null());

    // The provider is down: payments are taken on, and after three failures nobody asks any more.
    provider.set_mode(Mode::Down);
    while breaker(&shop).await.0 == "closed" {
        let [(order_id, answer, took)] = pay_new(&shop, 1).await.try_into().unwrap();
        taken_on(&answer);
        assert!(took < TIME_OUT && deferred.len() < 10, "{took:?}, {} failures", deferred.len());
        deferred.push(order_id);
    }
    let failures = provider.requests() - asked;
    assert_eq!((breaker(&shop).await, failures), (("open".into(), 1), 3));
    let asked = provider.requests();
    for (order_id, answer, took) in pay_new(&shop, 6).await {
        taken_on(&answer);
        assert!(took < TIME_OUT, "{took:?}");
        deferred.push(order_id);
    }
    assert_eq!(
        (provider.requests(), breaker(&shop).await),
        (asked, ("open".into(), 1)),
        "nobody waited for the provider"
    );
    until(async || waiting(&shop).await == deferred.len() as u64).await;
    let oldest = &status(&shop).await["deferred_payments"];
    assert!(oldest["oldest_age_seconds"].as_i64().unwrap() <= 60, "{oldest}");
    assert!(time(&oldest["oldest"]) <= Timestamp::now());
    settle(&shop).await;
    assert_eq!((provider.requests(), waiting(&shop).await), (asked, deferred.len() as u64), "nor did the schedule ask");

    // It is up, but does not answer: one customer's payment is the probe, and nobody waits beside it.
    provider.set_mode(Mode::Slow);
    due(&shop).await;
    let probe = async {
        let [(order_id, answer, took)] = pay_new(&shop, 1).await.try_into().unwrap();
        taken_on(&answer);
        assert!(took < TIME_OUT, "{took:?}");
        (order_id, Instant::now())
    };
    let others = async {
        until(async || provider.requests() == asked + 1).await;
        assert_eq!(breaker(&shop).await, ("half-open".into(), 1));
        (pay_new(&shop, 6).await, Instant::now())
    };
    let ((order_id, probed), (paid, answered)) = tokio::join!(probe, others);
    assert!(answered < probed, "they waited for the probe");
    deferred.push(order_id);
    for (order_id, answer, _) in paid {
        taken_on(&answer);
        deferred.push(order_id);
    }
    assert_eq!((provider.requests(), breaker(&shop).await), (asked + 1, ("open".into(), 2)), "one probe, which failed");

    // It is well again: two probes, one after the other, close the circuit.
    provider.set_mode(Mode::Ok);
    due(&shop).await;
    let asked = provider.requests();
    for succeeded in 1..=2 {
        let [(_, answer, _)] = pay_new(&shop, 1).await.try_into().unwrap();
        answer.expect(200);
        assert_eq!(provider.requests(), asked + succeeded);
        if succeeded == 1 {
            let shown = shown(&shop).await;
            assert_eq!((&shown["state"], &shown["probes"]["succeeded"]), (&"half-open".into(), &1.into()));
        }
    }
    assert_eq!(breaker(&shop).await, ("closed".into(), 3));
    assert_eq!(waiting(&shop).await, deferred.len() as u64);

    // And the schedule settles what was taken on.
    let asked = provider.requests();
    until(async || {
        settle(&shop).await;
        waiting(&shop).await == 0
    })
    .await;
    assert_eq!(provider.requests() - asked, deferred.len() as u32, "each is asked about once");
    for order_id in &deferred {
        let order = shop.get("customer", &format!("/orders/{order_id}?min_version=3")).await.expect(200);
        assert_eq!(
            (&order.body["status"], &order.body["payment"]["payment_id"]),
            (&"paid".into(), &format!("pay-{order_id}").into())
        );
        assert_eq!(history(&shop, order_id).await, SETTLED);
    }
    assert!(status(&shop).await["deferred_payments"]["oldest"].is_null());
    assert_eq!(breaker(&shop).await, ("closed".into(), 3));
    println!("{failures} failures, {} payments taken on, 1 probe that failed, 2 that succeeded", deferred.len());
    shop.close().await;
}
