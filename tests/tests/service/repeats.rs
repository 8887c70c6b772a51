//! Repeated and concurrent requests.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_with_the_same_key_has_the_same_response_and_stores_nothing() {
    let shop = Shop::open().await;
    let key = [("idempotency-key", "\"first-order\"")];
    let first = shop.post_with("storefront", "/orders", shop.basket(), &key).await.expect(201);
    let order_id = first.body["order_id"].as_str().unwrap().to_owned();
    shop.pay(&order_id).await.expect(200);
    let again = shop.post_with("storefront", "/orders", shop.basket(), &[("idempotency-key", "first-order")]).await;
    assert_eq!((again.status, &again.body), (201, &first.body), "the response is that of the first request");
    assert_eq!((first.header("idempotency-replayed"), again.header("idempotency-replayed")), (None, Some("true")));
    assert_eq!(again.header("location"), first.header("location"));

    let mut other = shop.basket();
    other["items"][0]["quantity"] = json!(3);
    let reused = shop.post_with("storefront", "/orders", other, &key).await;
    assert_eq!((reused.status, reused.problem()), (422, "idempotency-key-reused"));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_repeats_create_one_order() {
    let shop = Shop::open().await;
    let create = || shop.post_with("storefront", "/orders", shop.basket(), &[("idempotency-key", "k")]);
    let answers = join_all((0..8).map(|_| create())).await;
    let ids: BTreeSet<_> = answers.iter().map(|response| response.body["order_id"].to_string()).collect();
    assert!(answers.iter().all(|response| response.status == 201) && ids.len() == 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|response| response.header("idempotency-replayed").is_none()).count(), 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_concurrent_payments_one_pays_and_the_other_is_rejected_or_refunded() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let (one, two) = tokio::join!(shop.pay_with(&order_id, "p1"), shop.pay_with(&order_id, "p2"));
    let (paid, other) = if one.body["version"] == 2 { (one, two) } else { (two, one) };
    assert_eq!(paid.expect(200).body, json!({ "order_id": order_id, "version": 2, "status": "paid" }));
    // A request that loads the pending order asks the provider, which has captured this payment too.
    if other.status == 200 {
        assert_eq!((other.version(), &other.body["payment"]), (3, &json!("refund-due")), "{other:?}");
    } else {
        assert_eq!((other.status, other.problem()), (409, "order-not-pending"));
        assert_eq!(other.body["order_status"], "paid");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn if_match_of_an_old_version_is_412_and_of_the_current_version_succeeds() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    shop.pay(&order_id).await.expect(200);
    let path = format!("/orders/{order_id}/ship");
    let ship = async |etag| {
        shop.post_with("fulfilment", &path, json!({ "tracking_number": "TRK-1" }), &[("if-match", etag)]).await
    };
    let outdated = ship("\"1\"").await;
    assert_eq!(
        (outdated.status, outdated.problem(), outdated.header("etag")),
        (412, "precondition-failed", Some("\"2\""))
    );
    assert_eq!(ship("\"2\"").await.expect(200).version(), 3);
    shop.close().await;
}
