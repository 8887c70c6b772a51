//! A table of limits or of breakers that answers with errors, or not at all.

use std::time::{Duration, Instant};

use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use orders_local::payments::Mode;
use orders_tests::database::TestTables;
use orders_tests::shop::{Answer, Shop};
use serde_json::json;

use crate::support::{breaker, status, taken_on};

const FAULTS: [Fault; 5] = [Fault::Hang, Fault::Fail, Fault::Throttle, Fault::LoseResponse, Fault::LoseRequest];

/// A shop whose functions reach one of their tables, or all, through this proxy.
async fn shop_behind(tables: &TestTables, proxy: &Proxy, parameters: &[(&str, &str)]) -> Shop {
    Shop::open_as(|options| {
        options.dynamodb = Some(tables.endpoint().to_owned());
        options.containers = 1;
        options.environment.insert("AWS_ENDPOINT_URL_DYNAMODB".into(), proxy.endpoint().to_owned());
        options.reading.parameters.extend(parameters.iter().map(|(name, value)| ((*name).into(), (*value).into())));
    })
    .await
}

fn fail(proxy: &Proxy, table: &'static str, fault: Fault) {
    proxy.faults.plan(move |call| Some(fault).filter(|_| call.table.contains(table)));
}

/// Everything that customers and the shop do with an order, each of which has to work.
async fn live(shop: &Shop) {
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
    let given_up = shop.create().await;
    shop.post("customer", &format!("/orders/{given_up}/cancel"), json!({ "reason": "too late" })).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_limits_that_does_not_help_hinders_nobody() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let shop = shop_behind(&tables, &proxy, &[]).await;
    live(&shop).await;
    for fault in FAULTS {
        fail(&proxy, "RateLimits", fault);
        let begun = Instant::now();
        live(&shop).await;
        println!("{fault:?}: ten requests in {:?}", begun.elapsed());
        assert!(begun.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", begun.elapsed());
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_table_a_limit_does_what_its_policy_says_and_a_refusal_stores_nothing() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let limit = "token-bucket; rate=1/h; burst=3; by=user";
    let (create, change, read) = (
        format!("{limit}; name=create; on_error=allow"),
        format!("{limit}; name=change; on_error=deny"),
        format!("{limit}; name=read; on_error=local"),
    );
    let parameters = [("CreateRateLimit", &*create), ("ChangeRateLimit", &*change), ("ReadRateLimit", &*read)];
    let shop = shop_behind(&tables, &proxy, &parameters).await;
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
        assert_eq!(shop.stack.payments().asked(), 0);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_table_a_breaker_lives_on_in_its_container_and_payments_do_not_fail() {
    let tables = TestTables::create(&[]).await;
    let proxy = Proxy::start(tables.endpoint());
    let settings = "failures=3; calls=3; ratio=1%; open=1h; open-max=1h; cache=200ms";
    let shop = shop_behind(&tables, &proxy, &[("PaymentBreaker", settings)]).await;
    let provider = shop.stack.payments();
    let pay = async || -> Answer {
        let order_id = shop.create().await;
        shop.pay(&order_id).await
    };
    for fault in FAULTS {
        fail(&proxy, "CircuitBreakers", fault);
        provider.behave(Mode::Ok);
        let begun = Instant::now();
        for _ in 0..3 {
            pay().await.expect(200);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{fault:?}: {:?}", begun.elapsed());
        assert_eq!(status(&shop).await["breakers"], json!([{"name": "payments", "state": "unknown"}]));

        provider.behave(Mode::Down);
        let asked = provider.asked();
        for _ in 0..8 {
            taken_on(&pay().await);
        }
        // The table may have taken a failure whose answer was lost, and shown it since.
        let asked = provider.asked() - asked;
        assert!((2..=3).contains(&asked), "{fault:?}: {asked}: the container's own breaker opened");

        // The table is back, and says that nothing was wrong.
        proxy.faults.clear();
        provider.behave(Mode::Ok);
        orders_tests::shop::until(async || pay().await.status == 200).await;
        assert_eq!(breaker(&shop).await, ("closed".into(), 0));
    }
    shop.close().await;
}
