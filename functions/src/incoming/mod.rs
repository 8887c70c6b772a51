//! Events of other services that run commands on orders: read tolerantly, run once, rejected with a code.

pub mod event;
pub mod payments;
pub mod run;
pub mod shipping;

use crate::config::{self, Config};
use crate::publishing;
use crate::runtime::Runtime;
use crate::telemetry::{self, Invocation, Trigger};
use event::Event;
use lambda_runtime::Context;
use orders_core::error::chain;
use orders_core::publication::EventBridge;
use run::{NotProcessed, Received, Runner};

/// The runner of this deployment.
///
/// # Errors
/// The bus on which rejections are published cannot be used.
pub async fn runner(config: &Config) -> Result<Runner<EventBridge>, lambda_runtime::Error> {
    let client = config::dynamodb_client().await;
    let store = config.event_store(client);
    Ok(Runner { store, publisher: publishing::publisher().await? })
}

/// Receives events from the Lambda runtime, one at a time. One that could not be processed is an error of the function, so
/// that Lambda retries it and finally moves it to a dead-letter queue.
///
/// # Errors
/// The runtime's API is unavailable; the container ends.
pub async fn serve(
    runtime: Runtime,
    handle: impl AsyncFn(&Received) -> Result<(), NotProcessed>,
) -> Result<(), lambda_runtime::Error> {
    let handle = &handle;
    runtime.run(async |event, context: &Context, cold_start| receive(handle, event, context, cold_start).await).await
}

/// Processes one event, and logs a failure.
async fn receive(
    handle: impl AsyncFn(&Received) -> Result<(), NotProcessed>,
    event: Event,
    context: &Context,
    cold_start: bool,
) -> Result<(), NotProcessed> {
    let received = Received::new(event, context);
    let work = async {
        received.count_dropped();
        // Boxed, since the nested futures of the runtime and the SDK exceed the compiler's limit.
        let done = Box::pin(handle(&received)).await;
        done.inspect_err(|error| {
            telemetry::record_failure("NotProcessed");
            tracing::error!(error = chain(error), "event not processed");
        })
    };
    let trigger = Trigger::Event { detail_type: received.detail_type() };
    let (correlation_id, trace) = (received.correlation_id(), received.trace());
    Invocation::new(trigger, correlation_id, &context.request_id, cold_start, trace).run(work).await
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

        /// Processes an event of this type with this id of its producer.
        async fn process(&self, detail_type: &str, id: &str, data: Value) -> Result<(), NotProcessed> {
            self.process_detail(detail_type, json!({"metadata": {"event_id": id, "correlation_id": "c"}, "data": data}))
                .await
        }

        /// Processes an event of this type with this detail.
        async fn process_detail(&self, detail_type: &str, detail: Value) -> Result<(), NotProcessed> {
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

        /// The code and reason of the only rejection that was published.
        fn rejection(&self) -> (String, String) {
            let mut taken = self.bus.taken();
            let (name, detail) = taken.pop().unwrap();
            assert_eq!((name.as_str(), taken.len()), ("OrderCommandRejected", 0));
            let text = |field: &str| detail["data"][field].as_str().unwrap().to_owned();
            (text("code"), text("reason"))
        }
    }

    #[tokio::test]
    async fn a_captured_payment_pays_its_order_once_however_often_the_event_is_delivered() {
        let incoming = Incoming::open().await;
        let order_id = incoming.shop.create_order(19.99).await;
        for _ in 0..3 {
            let data = json!({"order_id": order_id, "payment_id": "p", "amount": 19.99});
            incoming.process("PaymentCaptured", "e1", data).await.unwrap();
        }
        assert_eq!(incoming.shop.order(&order_id).await.status, Status::Paid);
        assert_eq!(incoming.shop.commits().await, 2);
        assert!(incoming.bus.taken().is_empty());
    }

    #[tokio::test]
    async fn a_capture_that_is_late_or_of_another_amount_is_due_for_refund() {
        let incoming = Incoming::open().await;
        for (cancel, amount, expected) in [(true, 19.99, 1999), (false, 5.0, 500)] {
            let order_id = incoming.shop.create_order(19.99).await;
            if cancel {
                incoming.shop.cancel(&order_id).await;
            }
            let data = json!({"order_id": order_id, "payment_id": "p", "amount": amount});
            incoming.process("PaymentCaptured", &order_id, data).await.unwrap();
            let order = incoming.shop.order(&order_id).await;
            let due: Vec<u64> = order.refunds.iter().map(|refund| refund.amount.0).collect();
            assert_eq!(due, [expected], "{order:?}");
        }
        assert!(incoming.bus.taken().is_empty());
    }

    #[tokio::test]
    async fn a_rejection_by_the_rules_is_published_with_the_reason_and_not_retried() {
        let incoming = Incoming::open().await;
        let order_id = incoming.shop.create_order(19.99).await;
        incoming.shop.cancel(&order_id).await;
        incoming.process("ShipmentDelivered", "e1", json!({ "order_id": order_id })).await.unwrap();
        let (code, reason) = incoming.rejection();
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
    async fn an_invalid_event_is_published_with_a_code_and_changes_nothing() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(19.99).await;
        let unknown = "00000000-0000-5000-8000-000000000000";
        let long = "x".repeat(2_000);
        for (name, data, code, expected) in [
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
            ("PaymentPondered", json!({ "order_id": order_id }), "unknown-detail-type", "unknown"),
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
            incoming.process(name, "e", data).await.unwrap();
            let (rejected_as, reason) = incoming.rejection();
            assert!(code.is_empty() || rejected_as == code, "{name}: {rejected_as}: {reason}");
            assert!(reason.contains(expected), "{name}: {rejected_as}: {reason}");
            assert!(reason.len() < 300, "{name}: {reason}");
        }
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn only_a_rejection_of_money_carries_the_whole_event() {
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
            incoming.process_detail(name, detail.clone()).await.unwrap();
            let [(_, rejection)] = incoming.bus.taken().try_into().unwrap();
            assert_eq!(
                (&rejection["data"]["code"], &rejection["data"]["unrecorded_money"]),
                (&json!(code), &json!(true)),
                "{name}"
            );
            assert_eq!(rejection["data"]["event"]["detail"], detail, "{name}");
            assert_eq!(rejection["data"]["event"]["id"], "bus-1");
        }
        for (name, data) in
            [("PaymentFailed", json!({"order_id": unknown, "payment_id": "p"})), ("ShipmentDelivered", json!({}))]
        {
            let incoming = Incoming::open().await;
            incoming.process(name, "e", data).await.unwrap();
            let [(_, rejection)] = incoming.bus.taken().try_into().unwrap();
            let data = &rejection["data"];
            assert_eq!((&data["unrecorded_money"], &data["event"]), (&json!(false), &Value::Null));
        }
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn an_event_of_money_that_is_too_large_for_its_rejection_fails_so_that_it_is_retained() {
        let incoming = Incoming::open().await;
        let data = json!({"order_id": "seven", "payment_id": "x".repeat(1_000_000), "amount": 1});
        let error = incoming.process("PaymentCaptured", "e1", data).await.unwrap_err();
        assert!(matches!(error, NotProcessed::TooLarge { .. }), "{error:?}");
        assert_eq!(incoming.rejection().0, "invalid-event", "the rejection is published");
    }

    #[tokio::test]
    async fn invalid_optional_fields_are_dropped_and_the_event_is_processed() {
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
            incoming.process_detail("PaymentFailed", json!({"metadata": metadata, "data": data})).await.unwrap();
            assert!(incoming.bus.taken().is_empty(), "{:?}", incoming.rejection());
            assert_eq!(incoming.shop.commits().await, 2 * (number as i32 + 1), "{odd}");
        }
        let order_id = incoming.shop.create_order(19.99).await;
        let data = json!({"order_id": order_id, "payment_id": "p", "amount": 19.99, "currency": null});
        incoming.process_detail("PaymentCaptured", json!({"metadata": null, "data": data})).await.unwrap();
        assert_eq!(incoming.shop.order(&order_id).await.status, Status::Paid);
    }

    #[tokio::test]
    async fn a_rejection_names_the_order_as_received() {
        let incoming = Incoming::open().await;
        let data = json!({"order_id": "seven"});
        incoming.process_detail("ShipmentDelivered", json!({"metadata": "m", "data": data})).await.unwrap();
        let [(_, rejection)] = incoming.bus.taken().try_into().unwrap();
        let data = &rejection["data"];
        assert_eq!((&data["order_id"], &data["event_id"]), (&json!("seven"), &json!("bus-1")));
    }

    #[tokio::test]
    async fn an_event_with_the_id_of_another_event_is_rejected() {
        let incoming = Incoming::open().await;
        let order_id = incoming.shop.create_order(19.99).await;
        let data = json!({"order_id": order_id, "payment_id": "p", "amount": 19.99});
        incoming.process("PaymentCaptured", "e1", data).await.unwrap();
        let data = json!({"order_id": order_id, "payment_id": "q", "amount": 19.99});
        incoming.process("PaymentCaptured", "e1", data).await.unwrap();
        assert_eq!(incoming.rejection().0, "idempotency-key-reused");
    }

    #[tokio::test]
    async fn a_transient_failure_is_an_error_so_that_the_event_is_retried() {
        let incoming = Incoming {
            runner: Runner { store: testing::unreachable_events(), ..Incoming::open().await.runner },
            ..Incoming::open().await
        };
        let order_id = incoming.shop.create_order(19.99).await;
        let error = incoming.process("ShipmentDelivered", "e1", json!({ "order_id": order_id })).await.unwrap_err();
        assert!(matches!(error, NotProcessed::Store(_)), "{error:?}");
        assert!(incoming.bus.taken().is_empty());

        let incoming = Incoming::open().await;
        incoming.bus.down.store(true, Ordering::Relaxed);
        let error = incoming.process("ShipmentDelivered", "e1", json!({})).await.unwrap_err();
        assert!(matches!(error, NotProcessed::Rejection { .. }), "{error:?}");
        assert!(chain(&error).contains("the bus is down"), "{error:?}");
    }
}
