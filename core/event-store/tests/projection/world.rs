//! Two read models of counters on one stream, one of which counts.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::projection::{
    Backlog, COUNTED, ChangeError, Counters, Counts, CurrentRow, GroupResult, Projection, ReadModel, ReadModelGroup,
    RebuildMode, RebuildProgress, RowChange, Totals, Verification, create_backlog_table, create_totals_table,
};
use dynamodb_event_store::{Change, Commit, EventStore, Request, Segment, StreamId, StreamRecord};
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use dynamodb_testkit::simulation::Simulation;
use tokio::time::Instant;

/// A row per counter with its number of events.
#[derive(Clone, Debug)]
pub struct Plain;

/// The same, with a total.
#[derive(Clone, Debug)]
pub struct Counted;

fn events_after(commits: &[Commit<CounterEvent>]) -> u64 {
    commits.last().map_or(0, Commit::last)
}

impl ReadModel for Plain {
    type Aggregate = Counter;
    const NAME: &'static str = "plain";
    const KEY: &'static str = "id";

    fn change(
        &self,
        _: &StreamId,
        commits: &[Commit<CounterEvent>],
        _: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError> {
        let events = AttributeValue::N(events_after(commits).to_string());
        Ok(RowChange { attributes: [("events".to_owned(), Some(events))].into(), unless_exists: None })
    }
}

impl ReadModel for Counted {
    type Aggregate = Counter;
    const NAME: &'static str = "counted";
    const KEY: &'static str = "id";

    fn change(
        &self,
        _: &StreamId,
        commits: &[Commit<CounterEvent>],
        before: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError> {
        if before == CurrentRow::NotRead {
            return Err(ChangeError::NeedsRow);
        }
        let mut counts = Counts::default();
        counts.add("all", "events", events_after(commits).into());
        Ok(RowChange { attributes: [(COUNTED.to_owned(), Some(counts.to_attribute()))].into(), unless_exists: None })
    }
}

pub struct World {
    pub database: Simulation,
    pub store: EventStore<Counter>,
    pub plain: Projection<Plain>,
    pub counted: Projection<Counted>,
    pub backlog: Backlog,
    pub side_by_side: ReadModelGroup,
}

impl World {
    pub async fn start() -> Self {
        let database = Simulation::start().with_table("plain", &[("id", "S")]).with_table("counted", &[("id", "S")]);
        create_totals_table(&database.client_without_faults(), "totals").unwrap().send().await.unwrap();
        create_backlog_table(&database.client_without_faults(), "backlog").unwrap().send().await.unwrap();
        let client = database.client();
        let store = EventStore::with_client(client.clone(), Simulation::TABLE, NonZeroU32::MIN);
        let backlog = Backlog::new(client.clone(), "backlog");
        Self {
            plain: Projection::new(client.clone(), "plain", store.clone(), Plain),
            counted: Projection::new(client, "counted", store.clone(), Counted).with_totals("totals"),
            side_by_side: ReadModelGroup::new(backlog.clone()),
            backlog,
            store,
            database,
        }
    }

    /// Stores one more event in each of these streams and returns the records of all events.
    pub async fn store(&self, streams: &[&str]) -> Vec<StreamRecord> {
        for stream in streams {
            let add = |counter: &Counter, _| Command::Add(1).decide(counter);
            self.store.run(&StreamId::new(*stream), &Request::unkeyed(), add).await.unwrap();
        }
        let items = self.database.client_without_faults().scan().table_name(Simulation::TABLE).send().await.unwrap();
        let record = |(n, item): (usize, HashMap<String, AttributeValue>)| {
            let keys = ["stream_id", "version"].map(|key| (key.to_owned(), item[key].clone()));
            let keys = HashMap::from(keys).into();
            StreamRecord { sequence_number: (100 + n).to_string(), keys, change: Change::Inserted(item.into()) }
        };
        items.items.unwrap().into_iter().enumerate().map(record).collect()
    }

    pub async fn project(&self, batch: &[StreamRecord]) -> GroupResult {
        let plain = self.side_by_side.project(&self.plain, batch.to_vec()).await;
        let counted = self.side_by_side.project(&self.counted, batch.to_vec()).await;
        self.side_by_side.combine(&[plain, counted]).await
    }

    /// The version of a row; 0 if it does not exist.
    pub async fn version(&self, table: &str, stream: &str) -> u64 {
        let key = AttributeValue::S(stream.into());
        let row =
            self.database.client_without_faults().get_item().table_name(table).key("id", key).send().await.unwrap();
        row.item.map_or(0, |row| row["version"].as_n().unwrap().parse().unwrap())
    }

    pub async fn total(&self) -> Counters {
        let totals = Totals::new(self.database.client_without_faults(), "totals");
        totals.between("all", "all", true).await.unwrap().remove("all").unwrap_or_default().counters
    }

    pub async fn verify(&self) -> Verification {
        self.counted.verify(Segment::WHOLE, Verification::default(), later()).await.unwrap()
    }

    pub async fn rebuild(&self) -> RebuildProgress {
        self.counted.rebuild(Segment::WHOLE, RebuildProgress::default(), RebuildMode::Live, later()).await.unwrap()
    }

    /// Writes wrong totals.
    pub async fn damage(&self, shard: u8, events: i64) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let update =
            self.database.client_without_faults().update_item().table_name("totals").update_expression("ADD events :n");
        let update = update.key("shard", text(&shard.to_string())).key("name", text("all"));
        update.expression_attribute_values(":n", AttributeValue::N(events.to_string())).send().await.unwrap();
    }
}

pub fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// Calls of one of the tables.
pub fn of(table: &'static str) -> impl Fn(&Call) -> bool {
    move |call| call.table == table || call.body.to_string().contains(&format!("\"TableName\":\"{table}\""))
}
