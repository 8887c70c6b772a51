//! The tables, what writes to them, and what reads from them.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_event_store::projection::{Projected, Projection};
use dynamodb_event_store::{
    Change, CommitKey, Consistency, EventStore, Loaded, Metadata, Request, Stream, StreamId, StreamRecord, Until,
    Version,
};
use dynamodb_testkit::proxy::Proxy;
use futures::future::join_all;
use orders_core::domain::{Order, OrderEvent, OrderId};
use orders_core::read_model::{OrderReader, OrderRows, OrderView, Orders};
use orders_tests::database::TestTables;
use serde_dynamo::{AttributeValue, Item};
use service_clock::Clock;
use service_clock::Timestamp;
use tokio::time::Instant;

use orders_tests::lives::start;

/// Everything, on tables of its own. What is under test goes through the proxy, and what checks does not. What prepares
/// does, so that the proxy can tell how the past was, but leaves no call behind.
pub struct World {
    pub tables: TestTables,
    pub proxy: Proxy,
    pub events: EventStore<Order>,
    pub projector: Projection<OrderRows>,
    pub orders: Orders,
    pub reader: OrderReader,
    through_proxy: EventStore<Order>,
}

impl World {
    /// Patient enough for a busy machine.
    pub async fn start() -> Self {
        Self::with_timeout(Duration::from_secs(10)).await
    }

    /// One that gives up an attempt of a call after a while.
    pub async fn with_timeout(attempt_timeout: Duration) -> Self {
        let tables = TestTables::create(&["OrderEvents", "Orders"]).await;
        let proxy = Proxy::start(tables.endpoint());
        let client = proxy.client(attempt_timeout);
        let every = NonZeroU32::new(4).unwrap();
        let through_proxy = EventStore::with_client(client.clone(), tables.name("OrderEvents"), every);
        let orders = Orders::new(client.clone(), tables.name("Orders"));
        Self {
            events: EventStore::with_client(tables.client(), tables.name("OrderEvents"), every),
            projector: Projection::new(client, tables.name("Orders"), through_proxy.clone(), OrderRows),
            reader: OrderReader::new(orders.clone(), through_proxy.clone()),
            through_proxy,
            orders,
            proxy,
            tables,
        }
    }

    /// Stores a commit after the head; answers the version of its last event.
    pub async fn store(&self, order_id: OrderId, events: Vec<OrderEvent>, recorded_at: Timestamp) -> Version {
        let id = StreamId::new(order_id.to_string());
        let loaded = match events.first() {
            Some(OrderEvent::OrderCreated { .. }) => Loaded::new_stream(id),
            _ => self.through_proxy.load(&id, Consistency::Strong).await.unwrap(),
        };
        let request = Request {
            key: CommitKey::unkeyed(),
            metadata: Metadata::default(),
            if_match: None,
            deadline: Instant::now() + Duration::from_secs(10),
        };
        let decide = |_: &Order, _| Ok::<_, Infallible>(events.clone());
        let version = self
            .through_proxy
            .clone()
            .with_clock(Clock::stopped_at(recorded_at))
            .execute(loaded, &request, decide)
            .await
            .unwrap()
            .version;
        self.proxy.faults.take_calls();
        version
    }

    /// Stores the lives of orders, a second between the commits of each.
    pub async fn store_lives(&self, lives: impl IntoIterator<Item = (OrderId, Vec<Vec<OrderEvent>>)>) {
        let store = |(order_id, life): (OrderId, Vec<Vec<OrderEvent>>)| async move {
            for (n, events) in (0..).zip(life) {
                self.store(order_id, events, start() + chrono::Duration::seconds(n)).await;
            }
        };
        join_all(lives.into_iter().map(store)).await;
    }

    /// The records of all commits that are stored, in the order of their keys.
    pub async fn records(&self) -> Vec<StreamRecord> {
        let scan =
            self.tables.client().scan().table_name(self.tables.name("OrderEvents")).into_paginator().items().send();
        let items = scan.try_collect().await.unwrap();
        let mut images: Vec<Item> = items.into_iter().map(Item::from).collect();
        images.sort_by_cached_key(key);
        (1..).zip(images).map(|(n, image)| inserted(&format!("{n:021}"), image)).collect()
    }

    /// The records of one order's commits.
    pub async fn records_of(&self, order_id: OrderId) -> Vec<StreamRecord> {
        let mut records = self.records().await;
        records.retain(|record| key(&record.keys).0 == order_id.to_string());
        records
    }

    /// Appends a commit of so many rejected payments, each with the longest reason there can be.
    pub async fn store_rejections(&self, order_id: OrderId, count: usize) {
        let rejected = |n| OrderEvent::OrderPaymentRejected {
            order_id,
            payment_id: format!("payment-{n}").parse().unwrap(),
            reason: "x".repeat(500).parse().unwrap(),
            rejected_at: start(),
        };
        self.store(order_id, (0..count).map(rejected).collect(), start()).await;
    }

    /// Gives all records, in one batch.
    pub async fn project_all(&self) -> Projected {
        self.projector.project(self.records().await).await
    }

    /// What the order is, by its events alone.
    pub async fn fold(&self, order_id: OrderId, until: Until) -> Option<OrderView> {
        let id = StreamId::new(order_id.to_string());
        let stream: Stream<Order> = self.events.load_until(&id, until, Consistency::Strong).await.unwrap();
        OrderView::of(&stream)
    }

    /// The row as the order table has it, damaged or not.
    pub async fn row(&self, order_id: OrderId) -> Option<Item> {
        let get = self.tables.client().get_item().table_name(self.tables.name("Orders")).consistent_read(true);
        get.key("order_id", text(order_id)).send().await.unwrap().item.map(Item::from)
    }

    /// Changes one attribute of a row, as nothing of ours would.
    pub async fn damage(&self, order_id: OrderId, attribute: &str, value: aws_sdk_dynamodb::types::AttributeValue) {
        self.tables
            .client()
            .update_item()
            .table_name(self.tables.name("Orders"))
            .key("order_id", text(order_id))
            .update_expression("SET #a = :a")
            .expression_attribute_names("#a", attribute)
            .expression_attribute_values(":a", value)
            .send()
            .await
            .unwrap();
    }

    pub async fn delete_row(&self, order_id: OrderId) {
        let delete = self.tables.client().delete_item().table_name(self.tables.name("Orders"));
        delete.key("order_id", text(order_id)).send().await.unwrap();
    }

    /// Puts an item into the event table past the store.
    pub async fn put_event(&self, item: Item) {
        let put = self.tables.client().put_item().table_name(self.tables.name("OrderEvents"));
        put.set_item(Some(item.into())).send().await.unwrap();
    }

    /// The row equals the fold of all events.
    #[track_caller]
    pub fn assert_up_to_date(&self, order_id: OrderId) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let row = self.orders.get(order_id).await.unwrap();
            assert_eq!(row, self.fold(order_id, Until::Head).await, "{order_id}, asked for at {caller}");
        }
    }
}

fn text(order_id: OrderId) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S(order_id.to_string())
}

/// The stream and the version of an item or a key.
pub fn key(item: &Item) -> (String, Version) {
    match (item.get("stream_id"), item.get("version")) {
        (Some(AttributeValue::S(stream)), Some(AttributeValue::N(version))) => {
            (stream.clone(), version.parse().unwrap())
        }
        other => panic!("not the key of a commit: {other:?}"),
    }
}

/// The record of a commit that was added.
pub fn inserted(sequence_number: &str, image: Item) -> StreamRecord {
    let keys = ["stream_id", "version"].map(|name| (name.to_owned(), image.get(name).unwrap().clone()));
    StreamRecord {
        sequence_number: sequence_number.into(),
        keys: Item::from(std::collections::HashMap::from(keys)),
        change: Change::Inserted(image),
    }
}

/// The image in a record.
pub fn image(record: &StreamRecord) -> Item {
    match &record.change {
        Change::Inserted(image) => image.clone(),
        other => panic!("no image: {other:?}"),
    }
}

/// The same commit, but its last event of a type that is not known here.
pub fn poisoned(record: &StreamRecord) -> StreamRecord {
    let mut item = image(record);
    let Some(AttributeValue::L(events)) = item.get_mut("events") else { panic!("no commit: {item:?}") };
    let Some(AttributeValue::M(event)) = events.last_mut() else { panic!("no event: {events:?}") };
    event.insert("type".into(), AttributeValue::S("OrderTeleported".into()));
    inserted(&record.sequence_number, item)
}
