//! The table of limits or of breakers fails or does not respond.

use std::time::{Duration, Instant};

use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use dynamodb_testkit::wait::until;
use orders_local::payments::Mode;
use orders_tests::shop::{Response, Shop};
use serde_json::json;

use crate::support::{assert_deferred, breaker, status};

const FAULTS: [Fault; 5] = [Fault::Hang, Fault::Fail, Fault::Throttle, Fault::LoseResponse, Fault::LoseRequest];

/// A stack with one container per function, and with these parameters.
async fn open(parameters: &[(&str, &str)]) -> (Shop, Proxy) {
    Shop::open_behind_proxy(&[], |options| {
        options.containers = 1;
        options.reading.parameters.extend(parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    })
    .await
}

fn fail(proxy: &Proxy, table: &'static str, fault: Fault) {
    proxy.faults.plan(move |call| Some(fault).filter(|_| call.table.contains(table)));
}

/// Asserts that every request on orders succeeds.
async fn assert_all_requests_succeed(shop: &Shop) {
    let order_id = shop.create().await;
    shop.pay(&order_id).await.expect(200);
    shop.ship(&order_id).await.expect(200);
    shop.deliver(&order_id).await.expect(200);
    let customer = shop.sub("customer");
    for path in [
        format!("/orders/{order_id}?min_version=4"),
        format!("/orders/{order_id}/events"),
        format!("/users/{customer}/orders"),
    ] {
        shop.get("customer", &path).await.expect(200);
    }
    shop.get("fulfilment", "/orders?status=paid").await.expect(200);
    shop.cancel("customer", &shop.create().await).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_succeed_while_the_table_of_limits_fails() {
    let (shop, proxy) = open(&[]).await;
    assert_all_requests_succeed(&shop).await;
    for fault in FAULTS {
        fail(&proxy, "RateLimits", fault);
        let begun = Instant::now();
        assert_all_requests_succeed(&shop).await;
        println!("{fault:?}: all requests in {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", begun.elapsed());
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_table_a_limit_follows_its_policy_and_a_rejection_stores_nothing() {
    let limit = "token-bucket; rate=1/h; burst=3; by=user";
    let (create, change, read) = (
        format!("{limit}; name=create; on_error=allow"),
        format!("{limit}; name=change; on_error=deny"),
        format!("{limit}; name=read; on_error=local"),
    );
    let parameters = [("CreateRateLimit", &*create), ("ChangeRateLimit", &*change), ("ReadRateLimit", &*read)];
    let (shop, proxy) = open(&parameters).await;
    for (number, fault) in FAULTS.into_iter().enumerate() {
        fail(&proxy, "RateLimits", fault);
        let order_id = shop.create().await;
        let denied = shop.pay(&order_id).await.expect(503);
        assert_eq!((denied.problem(), denied.header("retry-after")), ("unavailable", Some("1")));
        let read = shop.get("customer", &format!("/orders/{order_id}")).await;
        if number < 3 {
            assert_eq!((read.expect(200).body["status"].as_str(), number), (Some("pending"), number));
        } else {
            assert_eq!(read.expect(429).problem(), "rate-limited");
        }
        assert_eq!(shop.stack.payments().requests(), 0);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_table_a_breaker_works_per_container_and_payments_do_not_fail() {
    let settings = "failures=3; calls=3; ratio=1%; open=1h; open-max=1h; cache=200ms";
    let (shop, proxy) = open(&[("PaymentBreaker", settings)]).await;
    let provider = shop.stack.payments();
    let pay = async || -> Response {
        let order_id = shop.create().await;
        shop.pay(&order_id).await
    };
    for fault in FAULTS {
        fail(&proxy, "CircuitBreakers", fault);
        provider.set_mode(Mode::Ok);
        let begun = Instant::now();
        for _ in 0..3 {
            pay().await.expect(200);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{fault:?}: {:?}", begun.elapsed());
        assert_eq!(status(&shop).await["breakers"], json!([{"name": "payments", "state": "unknown"}]));

        provider.set_mode(Mode::Down);
        let asked = provider.requests();
        for _ in 0..8 {
            assert_deferred(&pay().await);
        }
        // The table may have stored a failure whose response was lost, and returned it later.
        let asked = provider.requests() - asked;
        assert!((2..=3).contains(&asked), "{fault:?}: {asked} calls");

        // The table is back, and its breaker is closed.
        proxy.faults.clear();
        provider.set_mode(Mode::Ok);
        until("a payment", async || pay().await.status == 200).await;
        assert_eq!(breaker(&shop).await, ("closed".into(), 0));
    }
    shop.close().await;
}
