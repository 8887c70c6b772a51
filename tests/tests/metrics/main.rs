//! Every metric that an alarm or the dashboard names is written by a driven stack, with its dimensions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic")]

mod named;

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::proxy::Proxy;
use dynamodb_testkit::wait::{until, until_within};
use futures::future::join_all;
use orders_local::bus::Mode as Bus;
use orders_local::payments::Mode as Provider;
use orders_tests::bus::{put_and_handle, put_event, run_schedule};
use orders_tests::commits::poison;
use orders_tests::logs::LogLines;
use orders_tests::shop::{Response, Shop};
use serde_json::{Value, json};

use named::{Named, OF_LINES, Written};

/// An order that does not exist.
const UNKNOWN: &str = "00000000-0000-4000-8000-000000000000";
/// The functions whose calls to DynamoDB can fail.
const BEHIND_PROXY: [&str; 3] = ["cancel-order", "project-orders", "catch-up-read-models"];

const PARAMETERS: [(&str, &str); 7] = [
    // Metrics are written at every level.
    ("LogLevel", "ERROR"),
    ("SnapshotEvery", "2"),
    ("ExpireUnpaidAfterHours", "24"),
    ("PaymentBreaker", "failures=3; calls=3; open=1s; open-max=1s; ramp=1s; cache=100ms"),
    ("CreateRateLimit", "token-bucket; rate=1/h; burst=60; by=user; name=create"),
    ("ChangeRateLimit", "token-bucket; rate=1/h; burst=100; by=user; name=change"),
    ("ReadRateLimit", "token-bucket; rate=1/h; burst=60; by=user; name=read"),
];

struct Driven {
    shop: Shop,
    proxy: Proxy,
    log: LogLines,
}

impl Driven {
    async fn start() -> Self {
        let log = LogLines::default();
        let (shop, proxy) = Shop::open_behind_proxy(&BEHIND_PROXY, |options| {
            let parameters = PARAMETERS.map(|(name, value)| (name.to_owned(), value.to_owned()));
            options.reading.parameters.extend(parameters);
            options.environment.insert("AWS_LAMBDA_LOG_FORMAT".into(), "JSON".into());
            options.logs = log.sink();
        })
        .await;
        Self { shop, proxy, log }
    }

    /// Which metrics have not been written, of those that the template names.
    fn missing(&self) -> BTreeSet<Named> {
        let lines = self.log.json();
        let mut written: Vec<Written> = lines.iter().flat_map(named::written).collect();
        let counted = named::filters().into_iter().filter(|filter| lines.iter().any(|line| filter.counts(line)));
        written.extend(counted.map(|filter| Written {
            namespace: OF_LINES.to_owned(),
            name: filter.name,
            dimensions: [].into(),
        }));
        let is_missing = |named: &Named| !written.iter().any(|each| named.is(each));
        named::named().into_iter().filter(is_missing).collect()
    }

    fn is_written(&self, name: &str) -> bool {
        self.log.json().iter().flat_map(named::written).any(|metric| metric.name == name)
    }

    /// Lets calls of an operation on a table fail.
    fn fail(&self, fault: Fault, operation: &'static str, table: &str) {
        let table = self.shop.table(table).to_owned();
        self.proxy.faults.plan(move |call| Some(fault).filter(|_| call.operation == operation && call.table == table));
    }

    async fn commands(&self) {
        let shop = &self.shop;
        let order_id = shop.create().await;
        shop.ship(&order_id).await.expect(409);
        let key = [("idempotency-key", "k1")];
        let payment = json!({ "payment_id": "p1", "amount": 44.98 });
        for _ in 0..2 {
            shop.post_with("customer", &format!("/orders/{order_id}/pay"), payment.clone(), &key).await.expect(200);
        }
        shop.pay_with(&order_id, "p1").await.expect(200);
        shop.ship(&order_id).await.expect(200);
        shop.deliver(&order_id).await.expect(200);
        shop.post("fulfilment", &format!("/orders/{order_id}/return"), json!({ "reason": "x" })).await.expect(200);

        let by_events = shop.create().await;
        put_and_handle(
            shop,
            "PaymentCaptured",
            "e1",
            json!({ "order_id": by_events, "payment_id": "p2", "amount": 44.98 }),
        )
        .await;
        let dispatched = json!({ "order_id": by_events, "tracking_number": "T1" });
        put_and_handle(shop, "ShipmentDispatched", "e2", dispatched).await;
        let data = json!({ "order_id": UNKNOWN, "payment_id": "p3", "amount": 1 });
        for (source, detail_type) in [("payments", "PaymentCaptured"), ("shipping", "ShipmentDelivered")] {
            let detail = json!({ "metadata": { "correlation_id": [] }, "data": data });
            put_event(shop, json!({ "source": source, "detail-type": detail_type, "detail": detail })).await;
        }
        let old = shop.create_hours_ago(25).await;
        shop.projected(&old, 1).await;
        run_schedule(shop, "expire-orders").await;
        run_schedule(shop, "catch-up-read-models").await;
        until_within(CONTENTION, "a conflict", async || {
            let order_id = shop.create().await;
            join_all((0..4).map(|_| shop.pay(&order_id))).await;
            shop.cancel("customer", &order_id).await;
            self.is_written("EventStoreConflicts")
        })
        .await;
    }

    async fn failures(&self) {
        let shop = &self.shop;
        let order_id = shop.create().await;
        self.fail(Fault::Fail, "PutItem", "OrderEvents");
        shop.cancel("customer", &order_id).await.expect(503);
        self.fail(Fault::Fail, "UpdateItem", "RateLimits");
        shop.cancel("customer", UNKNOWN).await.expect(404);

        self.fail(Fault::Deny, "UpdateItem", "Orders");
        let refused = shop.create().await;
        until("a retried batch", async || self.is_written("ProjectionRefused")).await;
        self.proxy.faults.clear();
        shop.projected(&refused, 1).await;
        shop.stack.bus().faults().mode(Bus::Down);
        shop.create().await;
        let publisher_retries =
            |line: &Value| line["FunctionName"] == "PublishEvents" && line["BatchesRetried"].is_number();
        until("a batch that the publisher retries", async || self.log.json().iter().any(publisher_retries)).await;
        shop.stack.bus().faults().mode(Bus::Ok);

        // The stream has an unreadable event: for the projector, for the publisher, for a command, and in the backlog.
        poison(&shop.stack.client(), shop.table("OrderEvents"), &order_id, 2).await;
        until("an event that is not published", async || self.is_written("EventsUnpublished")).await;
        let projector_parks =
            |line: &Value| line["FunctionName"] == "ProjectOrders" && line["OrdersParked"].is_number();
        until("an order that the projector parks", async || self.log.json().iter().any(projector_parks)).await;
        shop.cancel("customer", &order_id).await.expect(500);
        let text = |text: &str| AttributeValue::S(text.to_owned());
        // Without its row the order is parked again, by the function that works through the backlog.
        let row = shop.stack.client().delete_item().table_name(shop.table("SalesOrders"));
        row.key("order_id", text(&order_id)).send().await.unwrap();
        let entry = shop.stack.client().put_item().table_name(shop.table("ReadModelBacklog"));
        let entry = entry.item("model", text("sales")).item("stream_id", text(&order_id));
        entry.item("version", AttributeValue::N("3".into())).send().await.unwrap();
        self.fail(Fault::Deny, "Query", "SalesTotals");
        run_schedule(shop, "catch-up-read-models").await;
        self.proxy.faults.clear();
        let altered = serde_json::from_str(include_str!("../../../events/project-orders-altered.json")).unwrap();
        shop.invoke("project-orders", &altered).await;
    }

    async fn outage(&self) {
        let (shop, provider) = (&self.shop, self.shop.stack.payments());
        provider.set_mode(Provider::Down);
        until("an open circuit", async || {
            let order_id = shop.create().await;
            shop.pay(&order_id).await.expect(202);
            shop.projected(&order_id, 2).await;
            self.is_written("CircuitOpened")
        })
        .await;
        run_schedule(shop, "settle-payments").await;
        provider.set_mode(Provider::Ok);
        let settled = |line: &Value| line["FunctionName"] == "SettlePayments" && line["CommandsStored"].is_number();
        until("a closed circuit", async || {
            run_schedule(shop, "settle-payments").await;
            self.is_written("CircuitClosed") && self.log.json().iter().any(settled)
        })
        .await;
    }

    async fn limits(&self) {
        let shop = &self.shop;
        limited(async || shop.post("admin", "/orders", shop.basket()).await).await;
        limited(async || shop.cancel("other_customer", UNKNOWN).await).await;
        limited(async || shop.get("other_customer", &format!("/orders/{UNKNOWN}")).await).await;
    }
}

/// How long it may take until two commands conflict.
const CONTENTION: std::time::Duration = std::time::Duration::from_secs(60);

/// Sends requests until one is over the limit.
async fn limited(send: impl AsyncFn() -> Response) {
    for _ in 0..50 {
        if join_all((0..10).map(|_| send())).await.iter().any(|response| response.status == 429) {
            return;
        }
    }
    panic!("no request is over the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_that_an_alarm_or_the_dashboard_names_is_written_with_its_dimensions() {
    let driven = Driven::start().await;
    driven.commands().await;
    driven.outage().await;
    driven.failures().await;
    driven.limits().await;
    assert!(named::named().len() > 40, "the template is not read");
    until("all metrics", async || {
        let missing = driven.missing();
        println!("{missing:#?}");
        missing.is_empty()
    })
    .await;
    driven.shop.close().await;
}
