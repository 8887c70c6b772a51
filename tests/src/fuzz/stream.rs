//! Batches of the event table's stream.

use aws_lambda_events::dynamodb::{Event, StreamRecord};
use dynamodb_event_store::Commit;
use orders_core::domain::{Order, OrderId};
use orders_functions::publishing;
use serde_json::{Value, json};
use strict_json::Strict;

use super::service;
use crate::simulation::expression::Item;
use crate::simulation::tables::ROWS;

/// Of a batch nothing is to be retried, since tables and bus work. Every commit that was added is in its order's row, or the
/// row is parked. Every event that can be read is on the bus.
pub fn check(input: &[u8]) {
    let read = || serde_json::from_slice::<Strict<Event>>(input).ok().map(|Strict(batch)| batch);
    let Some(batch) = read() else { return };
    let added = batch.records.iter().filter(|record| record.event_name == "INSERT");
    let Some(added) = added.map(|record| Added::of(&record.change)).collect::<Option<Vec<_>>>() else { return };
    service::with(|service| {
        for commit in &added {
            service.store(&commit.image);
        }
        let (context, again) = (service.context(), read().expect("it was read before"));
        let projected = service.run(service.models.project(batch));
        let published = service.run(publishing::handle(&service.relay, again, &context));
        let retried = [projected, published].map(|response| response.batch_item_failures.len());
        assert_eq!(retried, [0, 0], "records to retry");
        let outside = service.network.outside();
        let readable: usize = added.iter().map(|commit| commit.events).sum();
        assert_eq!(outside.bus.entries.len(), readable, "events on the bus");
        for Added { order, version, .. } in added {
            let is_its = |row: &&Item| row["order_id"]["S"] == order.to_string();
            let row = outside.tables.items(ROWS).find(is_its).unwrap_or_else(|| panic!("order {order} has no row"));
            let reached: u64 = row.get("version").and_then(|version| version["N"].as_str()?.parse().ok()).unwrap_or(0);
            assert!(
                row.contains_key("parked") || reached >= version,
                "order {order} is at {reached}, not at {version}"
            );
        }
    });
}

/// A commit that was added.
struct Added {
    order: OrderId,
    version: u64,
    image: Value,
    /// How many events of it can be read.
    events: usize,
}

impl Added {
    /// `None` if no record of the event table's stream is like that: its key is another one than its image's, or is none.
    fn of(change: &StreamRecord) -> Option<Self> {
        let (keys, image) = (json!(change.keys), json!(change.new_image));
        let stream = keys["stream_id"]["S"].as_str()?;
        let order: OrderId = stream.parse().ok()?;
        let version = keys["version"]["N"].as_str()?.parse().ok()?;
        let same = ["stream_id", "version"].iter().all(|name| image[name] == keys[name]);
        // Versions have 38 digits in DynamoDB, but no order lives that long.
        let possible = same && order.to_string() == stream && (1..u64::MAX / 2).contains(&version);
        let events = Commit::from_item::<Order>(change.new_image.clone()).map_or(0, |commit| commit.events.len());
        possible.then_some(Self { order, version, image, events })
    }
}
