//! Events of other services that are commands to an order: read tolerantly, run once, refused by name.

pub mod event;
pub mod payments;
pub mod run;
pub mod shipping;

use lambda_runtime::Context;
use orders_core::error::chain;
use orders_core::publication::EventBridge;
use tracing::Instrument as _;

use crate::config::{self, Config};
use crate::runtime::Runtime;
use crate::{publishing, telemetry};
use event::Event;
use run::{NotDone, Received, Runner};

/// What runs the commands of this deployment.
///
/// # Errors
/// The bus that refusals are published on cannot be used.
pub async fn runner(config: &Config) -> Result<Runner<EventBridge>, lambda_runtime::Error> {
    let client = config::dynamodb_client().await;
    let store = config.event_store(client);
    Ok(Runner { store, publisher: publishing::publisher().await? })
}

/// Receives events from the Lambda runtime, one after the other. One that could not be processed is an error of the
/// function, so that Lambda retries it and in the end moves it to a dead-letter queue.
///
/// # Errors
/// The runtime's API is gone; the container ends.
pub async fn serve(
    runtime: Runtime,
    handle: impl AsyncFn(&Received) -> Result<(), NotDone>,
) -> Result<(), lambda_runtime::Error> {
    let handle = &handle;
    runtime.run(async |event, context: &Context, cold_start| receive(handle, event, context, cold_start).await).await
}

/// Deals with one event, and writes a log line if that fails.
async fn receive(
    handle: impl AsyncFn(&Received) -> Result<(), NotDone>,
    event: Event,
    context: &Context,
    cold_start: bool,
) -> Result<(), NotDone> {
    let received = Received::new(event, context);
    let span = telemetry::request(received.correlation_id(), cold_start);
    let work = async {
        received.count_dropped();
        // Boxed, since the compiler gives up on a future as deep as the SDK's within the runtime's.
        let done = Box::pin(handle(&received)).await;
        done.inspect_err(|error| tracing::error!(error = chain(error), "an event was not dealt with"))
    };
    work.instrument(span).await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use orders_core::domain::Status;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, Bus, Shop};

    struct Incoming {
        shop: Shop,
        bus: Bus,
        runner: Runner<Bus>,
    }

    impl Incoming {
        async fn open() -> Self {
            let (shop, bus) = (Shop::open().await, Bus::default());
            let runner = Runner { store: shop.events(), publisher: bus.relay().publisher };
            Self { shop, bus, runner }
        }

        /// Takes an event of that source and type, whose producer calls it so.
        async fn take(&self, detail_type: &str, id: &str, data: Value) -> Result<(), NotDone> {
            self.take_as(detail_type, json!({"metadata": {"event_id": id, "correlation_id": "c"}, "data": data})).await
        }

        /// Takes an event of that type with that detail.
        async fn take_as(&self, detail_type: &str, detail: Value) -> Result<(), NotDone> {
            let source = if detail_type.starts_with("Shipment") { "shipping" } else { "payments" };
            let event = json!({"id": "bus-1", "source": source, "detail-type": detail_type, "detail": detail});
            let event = serde_json::from_str(&event.to_string()).unwrap();
            let currency = "EUR".parse().unwrap();
            let handle = async |received: &Received| match source {
                "shipping" => shipping::handle(&self.runner, received).await,
                _ => payments::handle(&self.runner, &currency, received).await,
            };
            receive(handle, event, &testing::context(), false).await
        }

        /// The code and reason of the one refusal that was published.
        fn refusal(&self) -> (String, String) {
            let mut taken = self.bus.taken();
            let (name, detail) = taken.pop().unwrap();
            assert_eq!((name.as_str(), taken.len()), ("OrderCommandRejected", 0));
            let text = |field: &str| detail["data"][field].as_str().unwrap().to_owned();
            (text("code"), text("reason"))
        }
    }

    #[tokio::test]
    async fn a_captured_payment_pays_its_order_once_however_often_the_event_comes() {
        let incoming = Incoming::open().await;
        let order_id = incoming.shop.create_order(19.99).await;
        for _ in 0..3 {
            let data = json!({"order_id": order_id, "payment_id": "p", "amount": 19.99});
            incoming.take("PaymentCaptured", "e1", data).await.unwrap();
        }
        assert_eq!(incoming.shop.order(&order_id).await.status, Status::Paid);
        assert_eq!(incoming.shop.commits().await, 2);
        assert!(incoming.bus.taken().is_empty());
    }

    #[tokio::test]
    async fn money_that_comes_late_or_in_another_amount_is_owed_back() {
        let incoming = Incoming::open().await;
        for (cancel, amount, owed) in [(true, 19.99, 1999), (false, 5.0, 500)] {
            let order_id = incoming.shop.create_order(19.99).await;
            if cancel {
                incoming.shop.cancel(&order_id).await;
            }
            let data = json!({"order_id": order_id, "payment_id": "p", "amount": amount});
            incoming.take("PaymentCaptured", &order_id, data).await.unwrap();
            let order = incoming.shop.order(&order_id).await;
            let due: Vec<u64> = order.refunds.iter().map(|refund| refund.amount.0).collect();
            assert_eq!(due, [owed], "{order:?}");
        }
        assert!(incoming.bus.taken().is_empty());
    }

    #[tokio::test]
    async fn what_the_rules_refuse_is_published_with_the_reason_and_is_done() {
        let incoming = Incoming::open().await;
        let order_id = incoming.shop.create_order(19.99).await;
        incoming.shop.cancel(&order_id).await;
        incoming.take("ShipmentDelivered", "e1", json!({ "order_id": order_id })).await.unwrap();
        let (code, reason) = incoming.refusal();
        assert_eq!(code, "order-not-shipped");
        assert!(reason.contains("cancelled"), "{reason}");
        let (_, detail) = incoming.bus.taken().remove(0);
        assert_eq!((&detail["data"]["order_id"], &detail["data"]["event_id"]), (&json!(order_id), &json!("e1")));
        assert_eq!(
            (&detail["metadata"]["correlation_id"], &detail["metadata"]["causation_id"]),
            (&json!("c"), &json!("e1"))
        );
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_published_by_name_and_changes_nothing() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(19.99).await;
        let unknown = "00000000-0000-5000-8000-000000000000";
        let long = "x".repeat(2_000);
        for (name, data, code, said) in [
            ("PaymentCaptured", json!({"payment_id": "p", "amount": 1}), "invalid-event", "order_id"),
            ("PaymentCaptured", json!({"order_id": 7, "payment_id": "p", "amount": 1}), "invalid-event", "order_id"),
            (
                "PaymentCaptured",
                json!({"order_id": order_id, "payment_id": [], "amount": 1}),
                "invalid-event",
                "payment_id",
            ),
            (
                "PaymentCaptured",
                json!({"order_id": order_id, "payment_id": "p", "amount": "1"}),
                "invalid-event",
                "amount",
            ),
            (
                "PaymentCaptured",
                json!({"order_id": order_id, "payment_id": long, "amount": 1}),
                "invalid-event",
                "payment_id",
            ),
            ("PaymentCaptured", json!({"order_id": long, "payment_id": "p", "amount": 1}), "invalid-event", "order_id"),
            ("PaymentCaptured", json!({"order_id": unknown, "payment_id": "p", "amount": 1}), "not-found", "order"),
            ("PaymentCaptured", json!("text"), "invalid-event", "detail.data"),
            (
                "RefundCompleted",
                json!({"order_id": order_id, "payment_id": "p", "refund_id": "r", "amount": 1}),
                "",
                "",
            ),
            ("PaymentPondered", json!({ "order_id": order_id }), "unknown-detail-type", "not known"),
            (
                "ShipmentDispatched",
                json!({"order_id": order_id, "tracking_number": null}),
                "invalid-event",
                "tracking_number",
            ),
            ("ShipmentDelivered", json!(null), "invalid-event", "data"),
        ] {
            let bus = Bus::default();
            let runner = Runner { store: shop.events(), publisher: bus.relay().publisher };
            let incoming = Incoming { shop: Shop::open().await, bus, runner };
            incoming.take(name, "e", data).await.unwrap();
            let (told, reason) = incoming.refusal();
            assert!(code.is_empty() || told == code, "{name}: {told}: {reason}");
            assert!(reason.contains(said), "{name}: {told}: {reason}");
            assert!(reason.len() < 300, "{name}: {reason}");
        }
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn money_that_cannot_be_recorded_is_told_with_its_event_whole_and_nothing_else_is() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(19.99).await;
        let unknown = "00000000-0000-5000-8000-000000000000";
        let captured = |change: Value| {
            let mut data = json!({"order_id": order_id, "payment_id": "p", "refund_id": "r", "amount": 19.99});
            data.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            json!({"metadata": {"event_id": "e"}, "data": data})
        };
        for (name, detail, code) in [
            ("PaymentCaptured", captured(json!({"order_id": unknown})), "not-found"),
            ("PaymentCaptured", captured(json!({"order_id": "seven"})), "invalid-event"),
            ("PaymentCaptured", captured(json!({"currency": "USD"})), "invalid-event"),
            ("PaymentCaptured", captured(json!({"amount": 19.999})), "invalid-event"),
            ("PaymentCaptured", captured(json!({"amount": 0})), "amount-mismatch"),
            ("PaymentCaptured", json!({"data": ["order", "p", 19.99]}), "invalid-event"),
            ("PaymentCaptured", json!({"metadata": ["e", "c"], "data": captured(json!({}))["data"]}), "invalid-event"),
            ("PaymentCaptured", json!(["metadata", "data"]), "invalid-event"),
            ("RefundCompleted", captured(json!({})), "refund-not-due"),
            ("RefundCompleted", captured(json!({"currency": "usd"})), "invalid-event"),
        ] {
            let bus = Bus::default();
            let runner = Runner { store: shop.events(), publisher: bus.relay().publisher };
            let incoming = Incoming { shop: Shop::open().await, bus, runner };
            incoming.take_as(name, detail.clone()).await.unwrap();
            let [(_, told)] = incoming.bus.taken().try_into().unwrap();
            assert_eq!(
                (&told["data"]["code"], &told["data"]["unrecorded_money"]),
                (&json!(code), &json!(true)),
                "{name}"
            );
            assert_eq!(told["data"]["event"]["detail"], detail, "{name}");
            assert_eq!(told["data"]["event"]["id"], "bus-1");
        }
        for (name, data) in
            [("PaymentFailed", json!({"order_id": unknown, "payment_id": "p"})), ("ShipmentDelivered", json!({}))]
        {
            let incoming = Incoming::open().await;
            incoming.take(name, "e", data).await.unwrap();
            let [(_, told)] = incoming.bus.taken().try_into().unwrap();
            assert_eq!((&told["data"]["unrecorded_money"], &told["data"]["event"]), (&json!(false), &Value::Null));
        }
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn money_whose_event_is_too_large_to_be_told_with_it_fails_so_that_it_is_kept_whole() {
        let incoming = Incoming::open().await;
        let data = json!({"order_id": "seven", "payment_id": "x".repeat(1_000_000), "amount": 1});
        let error = incoming.take("PaymentCaptured", "e1", data).await.unwrap_err();
        assert!(matches!(error, NotDone::TooLarge { .. }), "{error:?}");
        assert_eq!(incoming.refusal().0, "invalid-event", "and it is told");
    }

    #[tokio::test]
    async fn what_an_event_can_do_without_is_dropped_when_it_is_odd_and_the_fact_is_kept() {
        let incoming = Incoming::open().await;
        for (number, odd) in [
            json!({}),
            json!([]),
            json!(7),
            json!(true),
            json!("x".repeat(100_000)),
            json!("\n\u{202e}"),
            json!("\u{200b}"),
        ]
        .iter()
        .enumerate()
        {
            let order_id = incoming.shop.create_order(19.99).await;
            let data = json!({"order_id": order_id, "payment_id": "p", "reason": odd, "amount": odd, "currency": odd});
            let metadata = json!({"event_id": odd, "correlation_id": odd});
            incoming.take_as("PaymentFailed", json!({"metadata": metadata, "data": data})).await.unwrap();
            assert!(incoming.bus.taken().is_empty(), "{:?}", incoming.refusal());
            assert_eq!(incoming.shop.commits().await, 2 * (number as i32 + 1), "{odd}");
        }
        let order_id = incoming.shop.create_order(19.99).await;
        let data = json!({"order_id": order_id, "payment_id": "p", "amount": 19.99, "currency": null});
        incoming.take_as("PaymentCaptured", json!({"metadata": null, "data": data})).await.unwrap();
        assert_eq!(incoming.shop.order(&order_id).await.status, Status::Paid);
    }

    #[tokio::test]
    async fn an_order_is_named_by_whatever_can_be_read() {
        let incoming = Incoming::open().await;
        let data = json!({"order_id": "seven"});
        incoming.take_as("ShipmentDelivered", json!({"metadata": "m", "data": data})).await.unwrap();
        let [(_, told)] = incoming.bus.taken().try_into().unwrap();
        assert_eq!((&told["data"]["order_id"], &told["data"]["event_id"]), (&json!("seven"), &json!("bus-1")));
    }

    #[tokio::test]
    async fn an_id_that_stood_for_another_event_before_is_refused() {
        let incoming = Incoming::open().await;
        let order_id = incoming.shop.create_order(19.99).await;
        let data = json!({"order_id": order_id, "payment_id": "p", "amount": 19.99});
        incoming.take("PaymentCaptured", "e1", data).await.unwrap();
        let data = json!({"order_id": order_id, "payment_id": "q", "amount": 19.99});
        incoming.take("PaymentCaptured", "e1", data).await.unwrap();
        assert_eq!(incoming.refusal().0, "idempotency-key-reused");
    }

    #[tokio::test]
    async fn what_cannot_be_done_for_now_fails_so_that_it_comes_again() {
        let incoming = Incoming {
            runner: Runner { store: testing::unreachable_events(), ..Incoming::open().await.runner },
            ..Incoming::open().await
        };
        let order_id = incoming.shop.create_order(19.99).await;
        let error = incoming.take("ShipmentDelivered", "e1", json!({ "order_id": order_id })).await.unwrap_err();
        assert!(matches!(error, NotDone::Store(_)), "{error:?}");
        assert!(incoming.bus.taken().is_empty());

        let incoming = Incoming::open().await;
        incoming.bus.down.store(true, Ordering::Relaxed);
        let error = incoming.take("ShipmentDelivered", "e1", json!({})).await.unwrap_err();
        assert!(matches!(error, NotDone::Rejection { .. }), "{error:?}");
        assert!(chain(&error).contains("the bus is down"), "{error:?}");
    }
}
