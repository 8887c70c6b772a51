//! The tables, the projector that writes to them, and the readers.

use std::num::NonZeroU32;
use std::time::Duration;

use dynamodb_event_store::projection::{Projected, Projection};
use dynamodb_event_store::{Consistency, EventStore, Stream, StreamRecord, Until};
use dynamodb_testkit::proxy::Proxy;
use futures::{StreamExt, stream};
use orders_core::domain::{Money, Order, OrderEvent, OrderId};
use orders_core::read_model::{OrderReader, OrderRows, OrderView, Orders};
use orders_tests::commits::{self, append, key};
use orders_tests::database::TestTables;
use serde_dynamo::Item;
use service_clock::Clock;
use service_clock::Timestamp;

use orders_tests::lives::{created, new_id, seeded, start, usual_course};

/// Tables, and what is under test on them. The calls under test go through the proxy, and those of checks do not. Commits
/// are stored through the proxy, which needs them for stale reads, but leave no calls in its log.
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
    /// Starts one with timeouts for a busy machine.
    pub async fn start() -> Self {
        Self::with_attempt_timeout(Duration::from_secs(10)).await
    }

    /// Starts one with this timeout per attempt.
    pub async fn with_attempt_timeout(attempt_timeout: Duration) -> Self {
        let (tables, proxy) = TestTables::create_behind_proxy(&["OrderEvents", "Orders"]).await;
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

    /// Appends a commit.
    pub async fn store(&self, order_id: OrderId, events: Vec<OrderEvent>, recorded_at: Timestamp) {
        let store = self.through_proxy.clone().with_clock(Clock::stopped_at(recorded_at));
        append(&store, order_id, events).await;
        self.proxy.faults.take_calls();
    }

    /// Stores new orders up to this version: created, paid, shipped and delivered.
    pub async fn orders_at(&self, count: usize, version: usize) -> Vec<OrderId> {
        let mut rng = seeded();
        let ids: Vec<OrderId> = (0..count).map(|_| new_id(&mut rng)).collect();
        let history = |id: OrderId| {
            let course = usual_course(id).into_iter().take(version - 1).map(|event| vec![event]);
            [created(id, "alice", start())].into_iter().chain(course).collect()
        };
        self.store_histories(ids.iter().map(|id| (*id, history(*id)))).await;
        ids
    }

    /// Stores two such orders.
    pub async fn two_orders(&self, version: usize) -> (OrderId, OrderId) {
        let ids = self.orders_at(2, version).await;
        (ids[0], ids[1])
    }

    /// Stores the histories of orders, whose commits are a second apart.
    pub async fn store_histories(&self, histories: impl IntoIterator<Item = (OrderId, Vec<Vec<OrderEvent>>)>) {
        let store = |(order_id, history): (OrderId, Vec<Vec<OrderEvent>>)| async move {
            for (n, events) in (0..).zip(history) {
                self.store(order_id, events, start() + chrono::Duration::seconds(n)).await;
            }
        };
        // A slow database does not finish more of them within their deadlines.
        stream::iter(histories).for_each_concurrent(16, store).await;
    }

    /// The records of all commits, in the order of their keys.
    pub async fn records(&self) -> Vec<StreamRecord> {
        commits::records(&self.tables.client(), self.tables.name("OrderEvents")).await
    }

    /// The records of one order's commits.
    pub async fn records_of(&self, order_id: OrderId) -> Vec<StreamRecord> {
        let mut records = self.records().await;
        records.retain(|record| key(&record.keys).0 == order_id.to_string());
        records
    }

    /// Appends a commit of that many rejected payments, each with a reason of maximum length.
    pub async fn store_rejections(&self, order_id: OrderId, count: usize) {
        let rejected = |n| OrderEvent::OrderPaymentRejected {
            order_id,
            payment_id: format!("payment-{n}").parse().unwrap(),
            reason: "x".repeat(500).parse().unwrap(),
            rejected_at: start(),
        };
        self.store(order_id, (0..count).map(rejected).collect(), start()).await;
    }

    /// Appends 190 refunds of 2.3 KB, which is more than a row can hold.
    pub async fn store_large_refunds(&self, order_id: OrderId) {
        for n in 0..10 {
            let payment = |m| format!("{n}-{m}{}", "é".repeat(120));
            let refunds = (0..19).map(|m| refund_due(order_id, &payment(m), &"𝄞".repeat(500)));
            self.store(order_id, refunds.collect(), start()).await;
        }
    }

    /// Projects all records in one batch.
    pub async fn project_all(&self) -> Projected {
        self.projector.project(self.records().await).await
    }

    /// The fold of an order's events.
    pub async fn fold(&self, order_id: OrderId, until: Until) -> Option<OrderView> {
        let stream: Stream<Order> = self.events.load_until(&order_id.into(), until, Consistency::Strong).await.unwrap();
        OrderView::of(&stream)
    }

    /// The row as it is in the table, damaged or not.
    pub async fn row(&self, order_id: OrderId) -> Option<Item> {
        let get = self.tables.client().get_item().table_name(self.tables.name("Orders")).consistent_read(true);
        get.key("order_id", text(order_id)).send().await.unwrap().item.map(Item::from)
    }

    /// Changes one attribute of a row directly.
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

    /// Puts an item into the event table directly.
    pub async fn put_event(&self, item: Item) {
        let put = self.tables.client().put_item().table_name(self.tables.name("OrderEvents"));
        put.set_item(Some(item.into())).send().await.unwrap();
    }

    /// Asserts that the row is the fold of all events.
    #[track_caller]
    pub fn assert_up_to_date(&self, order_id: OrderId) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let row = self.orders.get(order_id).await.unwrap();
            assert_eq!(row, self.fold(order_id, Until::Head).await, "{order_id}, at {caller}");
        }
    }
}

fn text(order_id: OrderId) -> aws_sdk_dynamodb::types::AttributeValue {
    aws_sdk_dynamodb::types::AttributeValue::S(order_id.to_string())
}

/// A refund of an order becomes due.
pub fn refund_due(order_id: OrderId, payment: &str, reason: &str) -> OrderEvent {
    let (payment_id, reason) = (payment.parse().unwrap(), reason.parse().unwrap());
    OrderEvent::OrderRefundDue { order_id, payment_id, amount: Money(1), reason, due_at: start() }
}
