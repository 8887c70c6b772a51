//! Publishing again from the event table.

use orders_tests::shop::Shop;
use serde_json::{Value, json};
use service_clock::Timestamp;

use crate::consumer::{consumed, everything_arrives, taken};

async fn republish(shop: &Shop, asked: Value) -> Value {
    let answer = shop.stack.invoke("republish", asked.to_string().into()).await.unwrap().unwrap();
    serde_json::from_slice(&answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_published_again_under_their_ids_by_order_and_by_time() {
    let shop = Shop::open().await;
    let (first, second) = (shop.create().await, shop.create().await);
    shop.pay(&first).await.expect(200);
    everything_arrives(&shop).await;
    let (once, count) = (consumed(&shop), taken(&shop).len());

    assert_eq!(
        republish(&shop, json!({ "order_id": first })).await,
        json!({ "published": 2, "unpublished": 0, "done": true })
    );
    assert_eq!(taken(&shop).len(), count + 2);
    let now = Timestamp::now();
    let span = json!({ "from": now - chrono::TimeDelta::hours(1), "until": now + chrono::TimeDelta::hours(1) });
    assert_eq!(republish(&shop, span).await, json!({ "published": 3, "unpublished": 0, "done": true }));
    let past = json!({ "from": now - chrono::TimeDelta::hours(2), "until": now - chrono::TimeDelta::hours(1) });
    assert_eq!(republish(&shop, past).await, json!({ "published": 0, "unpublished": 0, "done": true }));
    assert_eq!(consumed(&shop), once, "a consumer that drops repeats has what it had");
    assert!(once.into_values().any(|(order, ..)| order == second));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_wrongly_is_told() {
    let shop = Shop::open().await;
    for (asked, said) in [
        (json!({}), "NotRepublished\",\"errorMessage\":\"give either `order_id`, or `from` and `until`"),
        (json!({ "order_id": uuid::Uuid::new_v4() }), "NotRepublished\",\"errorMessage\":\"there is no order"),
        (json!({ "order_id": "seven" }), "UUID"),
        (json!({ "since": "yesterday" }), "unknown field `since`"),
    ] {
        let error = shop.stack.invoke("republish", asked.to_string().into()).await.unwrap().unwrap_err();
        assert!(error.to_string().contains(said), "{asked}: {error}");
    }
    shop.close().await;
}
