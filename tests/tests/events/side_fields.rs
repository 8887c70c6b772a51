//! What an event can do without: dropped when it is odd, and counted.

use std::sync::{Arc, Mutex};

use orders_local::lambda::Logs;
use orders_tests::shop::{Shop, until};
use serde_json::{Value, json};

use crate::consumer::{ended, put, refusals, stored};

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_is_kept_when_a_side_field_is_odd_and_the_function_counts_what_it_dropped() {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let written = lines.clone();
    let shop = Shop::open_as(|options| {
        options.logs = Logs::to(move |function, line| {
            let line = serde_json::from_str::<Value>(line).ok().filter(|_| function == "on-payment-event");
            written.lock().unwrap().extend(line);
        });
    })
    .await;
    let order_id = shop.create().await;
    let declined = json!({ "order_id": order_id, "payment_id": "p-1", "reason": { "code": 51 } });
    let id = put(&shop, "PaymentFailed", "evt-1", declined).await;
    assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    let data = json!({ "order_id": order_id, "payment_id": "p-2", "amount": 44.98 });
    for metadata in [json!({ "event_id": 7, "correlation_id": [] }), Value::Null] {
        let detail = json!({ "metadata": metadata, "data": data });
        let event = json!({ "source": "payments", "detail-type": "PaymentCaptured", "detail": detail });
        let id = shop.post("admin", "/dev/events", event).await.expect(200).body["id"].as_str().unwrap().to_owned();
        assert_eq!(ended(&shop, &id).await, (1, json!("done")));
    }
    let names: Vec<String> = stored(&shop).await.into_iter().map(|(.., name)| name).collect();
    assert_eq!(names, ["OrderCreated", "OrderPaymentRejected", "OrderPaid"]);
    assert_eq!(refusals(&shop), []);

    let counted = || -> Vec<Value> {
        let lines = lines.lock().unwrap();
        lines.iter().filter(|line| !line["_aws"].is_null()).map(|line| line["EventFieldsDropped"].clone()).collect()
    };
    until(async || counted().len() == 2).await;
    assert_eq!(counted(), [json!(1), json!(2)], "written at the end of each invocation that counted something");
    shop.close().await;
}
