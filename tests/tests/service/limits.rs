//! Rate limits over HTTP.

use serde_json::json;

use crate::shop::{Response, Shop};

/// An order that does not exist.
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";

/// Returns the first rejection where two requests may pass. With a slow table a container admits its own quota, so the
/// third and fourth request may pass as well.
async fn first_rejection(mut send: impl AsyncFnMut(usize) -> Response) -> Response {
    for sent in 0..5 {
        let response = send(sent).await;
        assert!(
            response.header("ratelimit-policy").is_some() && response.header("ratelimit").is_some(),
            "{response:?}"
        );
        if response.status == 429 {
            assert!(sent >= 2, "rejected too early: {response:?}");
            return response;
        }
    }
    panic!("five requests passed where two may");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_its_limit_is_rejected_with_the_time_to_retry_and_nothing_changes() {
    let shop = Shop::open_with(&[("ChangeRateLimit", "token-bucket; rate=1/h; burst=2; by=user; name=change")]).await;
    let order_id = shop.create().await;
    let rejected = first_rejection(async |_| shop.cancel("customer", UNKNOWN).await).await;
    assert_eq!(rejected.problem(), "rate-limited");
    assert_eq!(rejected.body["violated-policies"], json!(["change"]));
    let wait: u64 = rejected.header("retry-after").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    assert_eq!(rejected.header("ratelimit-policy"), Some("\"change\";q=2;w=7200"));
    assert_eq!(rejected.header("ratelimit"), Some(format!("\"change\";r=0;t={wait}").as_str()));

    shop.cancel("customer", &order_id).await.expect(429);
    let order = shop.get("customer", &format!("/orders/{order_id}?min_version=1")).await.expect(200);
    assert_eq!((order.body["status"].as_str(), order.version()), (Some("pending"), 1));
    // Another caller has a quota of its own.
    shop.cancel("other_customer", UNKNOWN).await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_does_not_evade_a_limit_by_address() {
    let limit = "sliding-window; limit=2; window=1h; by=ip";
    let shop = Shop::open_with(&[("ChangeRateLimit", limit)]).await;
    let path = format!("/orders/{UNKNOWN}/cancel");
    first_rejection(async |sent| {
        let forged = format!("198.51.100.{sent}");
        let headers = [("x-forwarded-for", forged.as_str()), ("x-real-ip", &forged), ("forwarded", &forged)];
        shop.post_with("customer", &path, json!({ "reason": "changed my mind" }), &headers).await
    })
    .await;
    shop.close().await;
}
