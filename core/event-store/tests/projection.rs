//! Several read models on one stream, what they leave behind, and totals held against rows.
#![allow(clippy::unwrap_used, reason = "tests fail by a panic that says why")]

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use dynamodb_event_store::projection::{
    Ahead, Backlog, BatchSettled, Before, Behind, COUNTED, CaughtUp, Counters, Counts, Difference, NoChange, Progress,
    Projection, ReadModel, RowChange, SideBySide, Totals, Verification, create_backlog_table, create_totals_table,
};
use dynamodb_event_store::{Change, Commit, EventStore, Request, Segment, StreamId, StreamRecord};
use dynamodb_testkit::call_log::Call;
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use tokio::sync::Notify;
use tokio::time::{Instant, advance, sleep};

/// A row for each counter: how many events it has.
#[derive(Clone, Debug)]
struct Plain;

/// The same, and a total of all of them.
#[derive(Clone, Debug)]
struct Counted;

fn events_after(commits: &[Commit<CounterEvent>]) -> u64 {
    commits.last().map_or(0, Commit::last)
}

impl ReadModel for Plain {
    type Aggregate = Counter;
    const NAME: &'static str = "plain";
    const KEY: &'static str = "id";

    fn change(&self, _: &StreamId, commits: &[Commit<CounterEvent>], _: Before<'_>) -> Result<RowChange, NoChange> {
        let events = AttributeValue::N(events_after(commits).to_string());
        Ok(RowChange { attributes: [("events".to_owned(), Some(events))].into(), unless: None })
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
        before: Before<'_>,
    ) -> Result<RowChange, NoChange> {
        if before == Before::Unseen {
            return Err(NoChange::NeedsRow);
        }
        let mut counts = Counts::default();
        counts.add("all", "events", events_after(commits).into());
        Ok(RowChange { attributes: [(COUNTED.to_owned(), Some(counts.to_attribute()))].into(), unless: None })
    }
}

struct World {
    database: Simulation,
    store: EventStore<Counter>,
    plain: Projection<Plain>,
    counted: Projection<Counted>,
    backlog: Backlog,
    side_by_side: SideBySide,
}

impl World {
    async fn start() -> Self {
        let database = Simulation::start().with_table("plain", &[("id", "S")]).with_table("counted", &[("id", "S")]);
        create_totals_table(&database.plain_client(), "totals").unwrap().send().await.unwrap();
        create_backlog_table(&database.plain_client(), "backlog").unwrap().send().await.unwrap();
        let client = database.client();
        let store = EventStore::with_client(client.clone(), Simulation::TABLE, NonZeroU32::MIN);
        let backlog = Backlog::new(client.clone(), "backlog");
        Self {
            plain: Projection::new(client.clone(), "plain", store.clone(), Plain),
            counted: Projection::new(client, "counted", store.clone(), Counted).with_totals("totals"),
            side_by_side: SideBySide::new(backlog.clone()),
            backlog,
            store,
            database,
        }
    }

    /// Stores one more event in each of these streams; answers the records of all that is stored.
    async fn store(&self, streams: &[&str]) -> Vec<StreamRecord> {
        for stream in streams {
            let add = |counter: &Counter, _| Command::Add(1).decide(counter);
            self.store.run(&StreamId::new(*stream), &Request::unkeyed(), add).await.unwrap();
        }
        let items = self.database.plain_client().scan().table_name(Simulation::TABLE).send().await.unwrap();
        let record = |(n, item): (usize, HashMap<String, AttributeValue>)| {
            let keys = ["stream_id", "version"].map(|key| (key.to_owned(), item[key].clone()));
            let keys = HashMap::from(keys).into();
            StreamRecord { sequence_number: (100 + n).to_string(), keys, change: Change::Inserted(item.into()) }
        };
        items.items.unwrap().into_iter().enumerate().map(record).collect()
    }

    async fn take(&self, batch: &[StreamRecord]) -> BatchSettled {
        let plain = self.side_by_side.take(&self.plain, batch.to_vec()).await;
        let counted = self.side_by_side.take(&self.counted, batch.to_vec()).await;
        self.side_by_side.settle(&[plain, counted]).await
    }

    /// The version of a row; 0 if there is none.
    async fn version(&self, table: &str, stream: &str) -> u64 {
        let key = AttributeValue::S(stream.into());
        let row = self.database.plain_client().get_item().table_name(table).key("id", key).send().await.unwrap();
        row.item.map_or(0, |row| row["version"].as_n().unwrap().parse().unwrap())
    }

    async fn total(&self) -> Counters {
        let totals = Totals::new(self.database.plain_client(), "totals");
        totals.between("all", "all", true).await.unwrap().remove("all").unwrap_or_default().counters
    }

    async fn verify(&self) -> Verification {
        self.counted.verify(Segment::WHOLE, Verification::default(), later()).await.unwrap()
    }

    async fn rebuild(&self) -> Progress {
        self.counted.rebuild(Segment::WHOLE, Progress::default(), Ahead::Left, later()).await.unwrap()
    }

    /// Somebody else writes to the totals.
    async fn damage(&self, shard: u8, events: i64) {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        let update = self.database.plain_client().update_item().table_name("totals").update_expression("ADD events :n");
        let update = update.key("shard", text(&shard.to_string())).key("name", text("all"));
        update.expression_attribute_values(":n", AttributeValue::N(events.to_string())).send().await.unwrap();
    }
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(600)
}

/// Calls of one of the tables.
fn of(table: &'static str) -> impl Fn(&Call) -> bool {
    move |call| call.table == table || call.body.to_string().contains(&format!("\"TableName\":\"{table}\""))
}

const WAIT: Duration = Duration::from_secs(11);

#[tokio::test(start_paused = true)]
async fn a_model_that_fails_for_a_moment_has_the_batch_given_again() {
    let world = World::start().await;
    let batch = world.store(&["a", "b"]).await;
    let counted = of("counted");
    world.database.faults.plan(move |call| Some(Fault::Throttle).filter(|_| counted(call)));
    assert_eq!(world.take(&batch).await, BatchSettled { retry_from: Some("100".into()), noted: 0 });
    assert_eq!(world.version("plain", "a").await, 1, "the other one did its work");
    world.database.faults.none();
    assert_eq!(world.take(&batch).await, BatchSettled::default());
    assert_eq!(world.total().await["events"], 2);
}

#[tokio::test(start_paused = true)]
async fn a_model_that_goes_on_failing_holds_up_no_other_and_catches_up_later() {
    for fault in [Fault::Throttle, Fault::Hang, Fault::Deny] {
        let world = World::start().await;
        let batch = world.store(&["a", "b"]).await;
        let counted = of("counted");
        world.database.faults.plan(move |call| Some(fault).filter(|_| counted(call)));
        assert!(world.take(&batch).await.retry_from.is_some());
        advance(WAIT).await;
        let began = Instant::now();
        assert_eq!(world.take(&batch).await, BatchSettled { retry_from: None, noted: 2 });
        assert!(began.elapsed() <= Duration::from_millis(1_500), "{:?}", began.elapsed());

        let still = world.backlog.catch_up(&world.counted, later()).await.unwrap();
        assert_eq!((still.done, still.failed, still.left), (0, 2, 2), "{fault:?}");
        world.database.faults.none();
        let caught_up = world.backlog.catch_up(&world.counted, later()).await.unwrap();
        assert_eq!(caught_up, CaughtUp { done: 2, ..CaughtUp::default() });
        assert_eq!((world.total().await["events"], world.version("counted", "b").await), (2, 1));

        // It is well again, and waited for again.
        assert_eq!(world.take(&batch).await, BatchSettled::default());
        advance(Duration::from_secs(61)).await;
        let counted = of("counted");
        world.database.faults.plan(move |call| Some(fault).filter(|_| counted(call)));
        let more = world.store(&["a"]).await;
        assert!(world.take(&more).await.retry_from.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn while_all_models_fail_or_nothing_can_be_noted_the_batch_is_given_again() {
    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    for tables in [["plain", "counted"], ["backlog", "counted"]] {
        let fails = tables.map(of);
        world.database.faults.plan(move |call| Some(Fault::Fail).filter(|_| fails.iter().any(|fails| fails(call))));
        for _ in 0..3 {
            assert_eq!(world.take(&batch).await, BatchSettled { retry_from: Some("100".into()), noted: 0 });
            advance(WAIT).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_noted_again_while_it_is_caught_up_on_stays_noted() {
    let world = World::start().await;
    world.store(&["a"]).await;
    let behind = |version| Behind { stream: StreamId::new("a"), version };
    world.backlog.note("plain", &[behind(1)]).await.unwrap();
    world.database.faults.plan(|call| {
        Some(Fault::Delay(Duration::from_millis(200)))
            .filter(|_| call.operation == "UpdateItem" || call.operation == "PutItem")
    });
    let again = async {
        sleep(Duration::from_millis(50)).await;
        let others = Backlog::new(world.database.plain_client(), "backlog");
        others.note("plain", &[behind(2)]).await.unwrap();
        // An older note changes nothing.
        others.note("plain", &[behind(1)]).await.unwrap();
    };
    let (caught_up, ()) = tokio::join!(world.backlog.catch_up(&world.plain, later()), again);
    assert_eq!(caught_up.unwrap(), CaughtUp { done: 1, left: 1, ..CaughtUp::default() });
}

#[tokio::test(start_paused = true)]
async fn a_total_that_somebody_else_wrote_to_is_found_and_corrected_once() {
    let world = World::start().await;
    let batch = world.store(&["a", "b", "a"]).await;
    assert_eq!(world.take(&batch).await, BatchSettled::default());
    assert_eq!(world.verify().await, Verification { done: true, streams: 2, ..Verification::default() });
    for (shard, wrong) in [(0, 5), (7, -1), (15, -2)] {
        world.damage(shard, wrong).await;
        let found = world.verify().await;
        let counters = |n: i64| BTreeMap::from([("events".to_owned(), n.to_string())]);
        let total = Difference::Total { total: "all".into(), rows: counters(3), counters: counters(3 + wrong) };
        assert_eq!((found.done, found.different, found.differences), (true, 1, vec![total]));
        let (one, other) = tokio::join!(world.rebuild(), world.rebuild());
        assert_eq!((one.done, other.done, one.corrected + other.corrected), (true, true, 1), "shard {shard}");
        assert_eq!(world.total().await["events"], 3);
        assert_eq!(world.verify().await.different, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_total_that_is_being_written_is_not_taken_for_a_wrong_one() {
    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    assert_eq!(world.take(&batch).await, BatchSettled::default());
    // The sum of the rows is made, and then the totals change before they are read.
    let summing = Arc::new(Notify::new());
    let tell = summing.clone();
    world.database.faults.plan(move |call| {
        let rows = call.operation == "Scan" && call.body["ConsistentRead"] == true;
        rows.then(|| tell.notify_one());
        Some(Fault::Delay(Duration::from_millis(500))).filter(|_| rows)
    });
    let write = async {
        summing.notified().await;
        let more = world.store(&["b", "a"]).await;
        world.take(&more).await
    };
    let (verified, settled) = tokio::join!(world.verify(), write);
    assert_eq!(settled, BatchSettled::default());
    assert_eq!(verified, Verification { done: true, streams: 1, unsettled: 1, ..Verification::default() });
    world.database.faults.none();
    assert_eq!(world.verify().await, Verification { done: true, streams: 2, ..Verification::default() });
}

/// A row for each counter, and the sum of all of them: what one counter loses another one may gain.
#[derive(Clone, Debug)]
struct Sums;

impl ReadModel for Sums {
    type Aggregate = Counter;
    const NAME: &'static str = "sums";
    const KEY: &'static str = "id";

    fn change(
        &self,
        _: &StreamId,
        commits: &[Commit<CounterEvent>],
        before: Before<'_>,
    ) -> Result<RowChange, NoChange> {
        let mut sum: i128 = match before {
            Before::Nothing => 0,
            Before::Unseen => return Err(NoChange::NeedsRow),
            Before::Row(row) => row["sum"].as_n().unwrap().parse().unwrap(),
        };
        for (_, event) in commits.iter().flat_map(Commit::versioned) {
            match event {
                CounterEvent::Added(n) => sum += i128::from(*n),
                CounterEvent::Taken(n) => sum -= i128::from(*n),
                CounterEvent::Labelled(_) => {}
            }
        }
        let mut counts = Counts::default();
        counts.add("all", "sum", sum);
        let attributes = [
            ("sum".to_owned(), Some(AttributeValue::N(sum.to_string()))),
            (COUNTED.to_owned(), Some(counts.to_attribute())),
        ];
        Ok(RowChange { attributes: attributes.into(), unless: None })
    }
}

#[tokio::test(start_paused = true)]
async fn rows_that_change_against_each_other_are_seen_to_have_changed() {
    let world = World::start().await;
    let sums = Projection::new(world.database.client(), "counted", world.store.clone(), Sums).with_totals("totals");
    let batch = world.store(&["a", "b"]).await;
    assert_eq!(sums.project(batch).await.retry_from, None);
    let changes = async || {
        let totals = Totals::new(world.database.plain_client(), "totals").between("all", "all", true).await.unwrap();
        (totals["all"].counters.clone(), totals["all"].changes)
    };
    let before = changes().await;
    let take = |counter: &Counter, _| Command::Take(1).decide(counter);
    world.store.run(&StreamId::new("a"), &Request::unkeyed(), take).await.unwrap();
    let mut batch = world.store(&["b"]).await;
    batch.retain(|record| record.keys.get("version") == Some(&serde_dynamo::AttributeValue::N("2".into())));
    assert_eq!(sums.project(batch).await.retry_from, None);
    assert_eq!(
        changes().await,
        (before.0, before.1 + 1),
        "one transaction, which a comparison of totals has to notice"
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_whose_counts_are_damaged_is_made_anew_and_the_total_corrected() {
    let world = World::start().await;
    let batch = world.store(&["a", "b", "a"]).await;
    assert_eq!(world.take(&batch).await, BatchSettled::default());
    let damage = async |table: &str| {
        let update =
            world.database.plain_client().update_item().table_name(table).update_expression("SET counted = :junk");
        let update = update.key("id", AttributeValue::S("a".into()));
        update.expression_attribute_values(":junk", AttributeValue::S("junk".into())).send().await.unwrap();
    };
    damage("counted").await;
    assert_eq!(world.counted.repair(&StreamId::new("a")).await.unwrap(), Some(2));
    assert_eq!(world.total().await["events"], 5, "what the damaged row had counted is left");
    let rebuilt = world.rebuild().await;
    assert_eq!((rebuilt.done, rebuilt.corrected, world.total().await["events"]), (true, 1, 3));

    // Of a stream that has no event any more.
    damage("counted").await;
    let client = world.database.plain_client();
    for version in ["1", "2"] {
        let delete = client.delete_item().table_name(Simulation::TABLE).key("stream_id", AttributeValue::S("a".into()));
        delete.key("version", AttributeValue::N(version.into())).send().await.unwrap();
    }
    let lowered = world.counted.rebuild(Segment::WHOLE, Progress::default(), Ahead::Lowered, later()).await.unwrap();
    assert_eq!((lowered.done, lowered.removed, world.total().await["events"]), (true, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_hole_in_a_scan_is_read_again_and_one_in_a_stream_is_told() {
    let world = World::start().await;
    let batch = world.store(&["a", "a", "a"]).await;
    assert_eq!(world.take(&batch).await, BatchSettled::default());
    let key = |version: &str| {
        let text = AttributeValue::S("a".into());
        HashMap::from([("stream_id".to_owned(), text), ("version".to_owned(), AttributeValue::N(version.into()))])
    };
    let client = world.database.plain_client();
    client.delete_item().table_name(Simulation::TABLE).set_key(Some(key("2"))).send().await.unwrap();
    let rebuilt = world.rebuild().await;
    assert_eq!((rebuilt.written, rebuilt.unprojectable, world.version("counted", "a").await), (0, 1, 3), "{rebuilt:?}");
    let verified = world.verify().await;
    assert!(matches!(verified.differences[..], [Difference::Unprojectable { version: 2, .. }]), "{verified:?}");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_no_total_can_have_parks_the_stream() {
    #[derive(Clone, Debug)]
    struct Misnamed(&'static str, &'static str);

    impl ReadModel for Misnamed {
        type Aggregate = Counter;
        const NAME: &'static str = "misnamed";
        const KEY: &'static str = "id";

        fn change(&self, _: &StreamId, _: &[Commit<CounterEvent>], _: Before<'_>) -> Result<RowChange, NoChange> {
            let mut counts = Counts::default();
            counts.add(self.0, self.1, 1);
            Ok(RowChange { attributes: [(COUNTED.to_owned(), Some(counts.to_attribute()))].into(), unless: None })
        }
    }

    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    for (n, (total, counter)) in [("", "n"), ("all", ""), ("all", "changes"), ("all", "shard")].into_iter().enumerate()
    {
        let table = format!("misnamed-{n}");
        let create = world.database.plain_client().create_table().table_name(&table);
        let create = create.billing_mode(BillingMode::PayPerRequest).attribute_definitions(
            AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S).build().unwrap(),
        );
        let key = KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap();
        create.key_schema(key).send().await.unwrap();
        let rows = Projection::new(world.database.client(), table, world.store.clone(), Misnamed(total, counter));
        let projected = rows.with_totals("totals").project(batch.clone()).await;
        assert_eq!((projected.retry_from, projected.parked), (None, 1), "{total:?} {counter:?}");
    }
}
