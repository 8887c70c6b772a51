//! An outage of the payment provider, from the first failure to the last settled payment.

use std::time::{Duration, Instant};

use dynamodb_testkit::wait::until;
use futures::future::join_all;
use orders_local::payments::Mode;
use orders_tests::shop::{Response, Shop};
use serde_json::Value;
use service_clock::Timestamp;

use crate::support::{SETTLED, assert_deferred, breaker, breaker_status, deferred_payments, history, settle, status};

/// The timeout of the provider's client is two seconds; a busy machine needs more.
const TIME_OUT: Duration = Duration::from_secs(4);
/// The number of containers.
const CONTAINERS: u32 = 3;

/// Creates orders and pays them concurrently; returns the responses and their times.
async fn pay_new(shop: &Shop, orders: usize) -> Vec<(String, Response, Duration)> {
    let ids = join_all((0..orders).map(|_| shop.create())).await;
    join_all(ids.into_iter().map(|order_id| async {
        let begun = Instant::now();
        let response = shop.pay(&order_id).await;
        (order_id, response, begun.elapsed())
    }))
    .await
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}

/// Waits until the breaker admits probes.
async fn probes_are_due(shop: &Shop) {
    let open_until = time(&breaker_status(shop).await["open_until"]);
    until("the end of the open time", async || Timestamp::now() > open_until).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_payment_is_lost_or_charged_twice_in_an_outage_and_deferred_payments_are_settled_without_a_retry() {
    let settings = "failures=3; calls=3; ratio=10%; open=3s; open-max=3s; ramp=1s; cache=200ms";
    let shop = Shop::open_as(|options| {
        options.containers = CONTAINERS;
        options.reading.parameters.insert("PaymentBreaker".into(), settings.into());
    })
    .await;
    let provider = shop.stack.payments();
    let mut deferred = Vec::new();

    // The provider is up. Enough payments that every container has loaded the breaker.
    for (_, response, _) in pay_new(&shop, 2 * CONTAINERS as usize).await {
        response.expect(200);
    }
    let asked = provider.requests();
    assert_eq!((breaker(&shop).await, deferred_payments(&shop).await), (("closed".into(), 0), 0));
    assert!(
        breaker_status(&shop).await["since"].is_null() && status(&shop).await["deferred_payments"]["oldest"].is_null()
    );

    // The provider is down: payments are deferred, and after three failures it is not called.
    provider.set_mode(Mode::Down);
    while breaker(&shop).await.0 == "closed" {
        let [(order_id, response, took)] = pay_new(&shop, 1).await.try_into().unwrap();
        assert_deferred(&response);
        assert!(took < TIME_OUT && deferred.len() < 10, "{took:?}, {} failures", deferred.len());
        deferred.push(order_id);
    }
    let failures = provider.requests() - asked;
    assert_eq!((breaker(&shop).await, failures), (("open".into(), 1), 3));
    let asked = provider.requests();
    for (order_id, response, took) in pay_new(&shop, 6).await {
        assert_deferred(&response);
        assert!(took < TIME_OUT, "{took:?}");
        deferred.push(order_id);
    }
    assert_eq!(
        (provider.requests(), breaker(&shop).await),
        (asked, ("open".into(), 1)),
        "an open breaker calls no provider"
    );
    until("the deferred payments", async || deferred_payments(&shop).await == deferred.len() as u64).await;
    let oldest = &status(&shop).await["deferred_payments"];
    assert!(oldest["oldest_age_seconds"].as_i64().unwrap() <= 60, "{oldest}");
    assert!(time(&oldest["oldest"]) <= Timestamp::now());
    settle(&shop).await;
    assert_eq!(
        (provider.requests(), deferred_payments(&shop).await),
        (asked, deferred.len() as u64),
        "nor does the schedule"
    );

    // The provider hangs: one payment is the probe, and the others do not wait for it.
    provider.set_mode(Mode::Slow);
    probes_are_due(&shop).await;
    let probe = async {
        let [(order_id, response, took)] = pay_new(&shop, 1).await.try_into().unwrap();
        assert_deferred(&response);
        assert!(took < TIME_OUT, "{took:?}");
        (order_id, Instant::now())
    };
    let others = async {
        until("the probe", async || provider.requests() == asked + 1).await;
        assert_eq!(breaker(&shop).await, ("half-open".into(), 1));
        (pay_new(&shop, 6).await, Instant::now())
    };
    let ((order_id, probed), (paid, answered)) = tokio::join!(probe, others);
    assert!(answered < probed, "the other payments waited for the probe");
    deferred.push(order_id);
    for (order_id, response, _) in paid {
        assert_deferred(&response);
        deferred.push(order_id);
    }
    assert_eq!((provider.requests(), breaker(&shop).await), (asked + 1, ("open".into(), 2)), "one probe, which failed");

    // The provider is up again: two probes in sequence close the breaker.
    provider.set_mode(Mode::Ok);
    probes_are_due(&shop).await;
    let asked = provider.requests();
    for succeeded in 1..=2 {
        let [(_, response, _)] = pay_new(&shop, 1).await.try_into().unwrap();
        response.expect(200);
        assert_eq!(provider.requests(), asked + succeeded);
        if succeeded == 1 {
            let breaker = breaker_status(&shop).await;
            assert_eq!((&breaker["state"], &breaker["probes"]["succeeded"]), (&"half-open".into(), &1.into()));
        }
    }
    assert_eq!(breaker(&shop).await, ("closed".into(), 3));
    assert_eq!(deferred_payments(&shop).await, deferred.len() as u64);

    // The schedule settles the deferred payments.
    let asked = provider.requests();
    until("the settlement", async || {
        settle(&shop).await;
        deferred_payments(&shop).await == 0
    })
    .await;
    assert_eq!(provider.requests() - asked, deferred.len() as u32, "one call per payment");
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
    println!("{failures} failures, {} payments deferred, 1 probe failed, 2 succeeded", deferred.len());
    shop.close().await;
}
