//! Optional fields of an event that cannot be read are dropped and counted.

use dynamodb_testkit::wait::until;
use orders_tests::logs::LogLines;
use orders_tests::shop::Shop;
use serde_json::{Value, json};

use crate::consumer::{assert_handled, put_and_handle, put_event, rejections, stored};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_an_unreadable_optional_field_is_recorded_and_the_dropped_field_is_counted() {
    let log = LogLines::default();
    let shop = Shop::open_as(|options| options.logs = log.sink()).await;
    let order_id = shop.create().await;
    let declined = json!({ "order_id": order_id, "payment_id": "p-1", "reason": { "code": 51 } });
    put_and_handle(&shop, "PaymentFailed", "evt-1", declined).await;
    let data = json!({ "order_id": order_id, "payment_id": "p-2", "amount": 44.98 });
    for metadata in [json!({ "event_id": 7, "correlation_id": [] }), Value::Null] {
        let detail = json!({ "metadata": metadata, "data": data });
        let event = json!({ "source": "payments", "detail-type": "PaymentCaptured", "detail": detail });
        assert_handled(&shop, &put_event(&shop, event).await).await;
    }
    let names: Vec<String> = stored(&shop).await.into_iter().map(|(.., name)| name).collect();
    assert_eq!(names, ["OrderCreated", "OrderPaymentRejected", "OrderPaid"]);
    assert_eq!(rejections(&shop), []);

    let counted = || -> Vec<Value> {
        let lines = log.json_of("on-payment-event").into_iter();
        lines.map(|mut line| line["EventFieldsDropped"].take()).filter(|count| !count.is_null()).collect()
    };
    until("two metrics", async || counted().len() == 2).await;
    assert_eq!(counted(), [json!(1), json!(2)], "one metric per invocation");
    shop.close().await;
}
