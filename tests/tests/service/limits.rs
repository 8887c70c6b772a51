//! Rate limits, as callers meet them.

use std::process::Command;

use serde_json::json;

use crate::shop::{Answer, Shop, binaries};

/// A table that is slow to answer lets a container pass as much once more, so the third request may pass, or the fourth.
async fn first_refusal(mut ask: impl AsyncFnMut(usize) -> Answer) -> Answer {
    for asked in 0..5 {
        let answer = ask(asked).await;
        assert!(answer.header("ratelimit-policy").is_some() && answer.header("ratelimit").is_some(), "{answer:?}");
        if answer.status == 429 {
            assert!(asked >= 2, "refused too early: {answer:?}");
            return answer;
        }
    }
    panic!("five requests passed where two may");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back_and_changes_nothing() {
    let shop = Shop::open_with(&[("ChangeRateLimit", "token-bucket; rate=1/h; burst=2; by=user; name=change")]).await;
    let unknown = "/orders/00000000-0000-4000-8000-000000000000/cancel";
    let order_id = shop.create().await;
    let reason = json!({ "reason": "changed my mind" });
    let refused = first_refusal(async |_| shop.post("customer", unknown, reason.clone()).await).await;
    assert_eq!(refused.problem(), "rate-limited");
    assert_eq!(refused.body["violated-policies"], json!(["change"]));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((3_000..=3_600).contains(&wait), "{wait}");
    assert_eq!(refused.header("ratelimit-policy"), Some("\"change\";q=2;w=7200"));
    assert_eq!(refused.header("ratelimit"), Some(format!("\"change\";r=0;t={wait}").as_str()));

    shop.post("customer", &format!("/orders/{order_id}/cancel"), reason.clone()).await.expect(429);
    let order = shop.get("customer", &format!("/orders/{order_id}?min_version=1")).await.expect(200);
    assert_eq!((order.body["status"].as_str(), order.version()), (Some("pending"), 1));
    // Somebody else's quota is untouched.
    shop.post("other_customer", unknown, reason).await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_address_does_not_get_around_a_limit_by_address() {
    let limit = "sliding-window; limit=2; window=1h; by=ip";
    let shop = Shop::open_with(&[("ChangeRateLimit", limit)]).await;
    let unknown = "/orders/00000000-0000-4000-8000-000000000000/cancel";
    first_refusal(async |asked| {
        let forged = format!("198.51.100.{asked}");
        let headers = [("x-forwarded-for", forged.as_str()), ("x-real-ip", &forged), ("forwarded", &forged)];
        shop.post_with("customer", unknown, json!({ "reason": "changed my mind" }), &headers).await
    })
    .await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_with_a_policy_that_makes_no_sense_does_not_start_and_says_why() {
    let environment = [
        ("ORDER_EVENTS_TABLE", "events"),
        ("ORDERS_TABLE", "orders"),
        ("CURRENCY", "EUR"),
        ("SCOPE_PREFIX", "orders:"),
        ("SNAPSHOT_EVERY", "14"),
        ("RATE_LIMITS_TABLE", "limits"),
        ("RATE_LIMIT", "token-bucket; rate=5/s; burst=0; by=user"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ];
    let mut function = Command::new(binaries().await.join("ship-order"));
    let ended = function.env_clear().envs(environment).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success());
    assert!(said.contains("RATE_LIMIT is wrong: ") && said.contains("at \"0\": expected a whole number"), "{said}");
}
