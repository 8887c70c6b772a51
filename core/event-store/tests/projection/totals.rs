//! Totals are the sum of the rows' counts, whatever else writes to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};
use dynamodb_event_store::projection::{
    COUNTED, ChangeError, Counts, CurrentRow, Difference, GroupResult, Projection, ReadModel, RebuildMode,
    RebuildProgress, RowChange, Totals, Verification,
};
use dynamodb_event_store::{Commit, Request, Segment, StreamId};
use dynamodb_testkit::counter_aggregate::{Command, Counter, CounterEvent};
use dynamodb_testkit::faults::Fault;
use dynamodb_testkit::simulation::Simulation;
use tokio::sync::Notify;

use crate::world::{World, later};

#[tokio::test(start_paused = true)]
async fn a_wrong_total_is_found_and_corrected_once() {
    let world = World::start().await;
    let batch = world.store(&["a", "b", "a"]).await;
    assert_eq!(world.project(&batch).await, GroupResult::default());
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
async fn a_damaged_total_is_skipped_and_does_not_end_a_rebuild() {
    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    assert_eq!(world.project(&batch).await, GroupResult::default());
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let update = world
        .database
        .client_without_faults()
        .update_item()
        .table_name("totals")
        .update_expression("SET events = :many");
    let update =
        update.key("shard", text("3")).key("name", text("all")).expression_attribute_values(":many", text("many"));
    update.send().await.unwrap();
    let (rebuilt, verified) = (world.rebuild().await, world.verify().await);
    assert_eq!((rebuilt.done, rebuilt.corrected, rebuilt.unsettled), (true, 0, 1));
    assert_eq!((verified.done, verified.different, verified.unsettled), (true, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_total_being_written_is_not_reported_as_wrong() {
    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    assert_eq!(world.project(&batch).await, GroupResult::default());
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
        world.project(&more).await
    };
    let (verified, settled) = tokio::join!(world.verify(), write);
    assert_eq!(settled, GroupResult::default());
    assert_eq!(verified, Verification { done: true, streams: 1, unsettled: 1, ..Verification::default() });
    world.database.faults.clear();
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
        before: CurrentRow<'_>,
    ) -> Result<RowChange, ChangeError> {
        let mut sum: i128 = match before {
            CurrentRow::Missing => 0,
            CurrentRow::NotRead => return Err(ChangeError::NeedsRow),
            CurrentRow::Row(row) => row["sum"].as_n().unwrap().parse().unwrap(),
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
        Ok(RowChange { attributes: attributes.into(), unless_exists: None })
    }
}

#[tokio::test(start_paused = true)]
async fn opposite_changes_of_rows_count_as_changes_of_the_total() {
    let world = World::start().await;
    let sums = Projection::new(world.database.client(), "counted", world.store.clone(), Sums).with_totals("totals");
    let batch = world.store(&["a", "b"]).await;
    assert_eq!(sums.project(batch).await.retry_from, None);
    let changes = async || {
        let totals =
            Totals::new(world.database.client_without_faults(), "totals").between("all", "all", true).await.unwrap();
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
async fn a_row_with_malformed_counts_is_recreated_and_the_total_corrected() {
    let world = World::start().await;
    let batch = world.store(&["a", "b", "a"]).await;
    assert_eq!(world.project(&batch).await, GroupResult::default());
    let damage = async |table: &str| {
        let update = world
            .database
            .client_without_faults()
            .update_item()
            .table_name(table)
            .update_expression("SET counted = :junk");
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
    let client = world.database.client_without_faults();
    for version in ["1", "2"] {
        let delete = client.delete_item().table_name(Simulation::TABLE).key("stream_id", AttributeValue::S("a".into()));
        delete.key("version", AttributeValue::N(version.into())).send().await.unwrap();
    }
    let lowered = world
        .counted
        .rebuild(Segment::WHOLE, RebuildProgress::default(), RebuildMode::AfterRestore, later())
        .await
        .unwrap();
    assert_eq!((lowered.done, lowered.removed, world.total().await["events"]), (true, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_gap_in_a_scan_is_read_again_and_one_in_a_stream_is_reported() {
    let world = World::start().await;
    let batch = world.store(&["a", "a", "a"]).await;
    assert_eq!(world.project(&batch).await, GroupResult::default());
    let key = |version: &str| {
        let text = AttributeValue::S("a".into());
        HashMap::from([("stream_id".to_owned(), text), ("version".to_owned(), AttributeValue::N(version.into()))])
    };
    let client = world.database.client_without_faults();
    client.delete_item().table_name(Simulation::TABLE).set_key(Some(key("2"))).send().await.unwrap();
    let rebuilt = world.rebuild().await;
    assert_eq!((rebuilt.written, rebuilt.unprojectable, world.version("counted", "a").await), (0, 1, 3), "{rebuilt:?}");
    let verified = world.verify().await;
    assert!(matches!(verified.differences[..], [Difference::Unprojectable { version: 2, .. }]), "{verified:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_without_counts_is_a_single_write() {
    /// How many events each counter has, and one in the total for each counter.
    #[derive(Clone, Debug)]
    struct Begun;

    impl ReadModel for Begun {
        type Aggregate = Counter;
        const NAME: &'static str = "begun";
        const KEY: &'static str = "id";

        fn change(
            &self,
            _: &StreamId,
            _: &[Commit<CounterEvent>],
            before: CurrentRow<'_>,
        ) -> Result<RowChange, ChangeError> {
            let mut change = RowChange::default();
            if before == CurrentRow::Missing {
                let mut counts = Counts::default();
                counts.add("all", "counters", 1);
                change.attributes.insert(COUNTED.to_owned(), Some(counts.to_attribute()));
            }
            Ok(change)
        }
    }

    let world = World::start().await;
    let begun = Projection::new(world.database.client(), "counted", world.store.clone(), Begun).with_totals("totals");
    assert_eq!(begun.project(world.store(&["a"]).await).await.retry_from, None);
    let mut batch = world.store(&["a"]).await;
    batch.retain(|record| record.keys.get("version") == Some(&serde_dynamo::AttributeValue::N("2".into())));
    world.database.faults.take_calls();
    assert_eq!(begun.project(batch).await.retry_from, None);
    assert_eq!(world.database.faults.take_calls().operations(), ["UpdateItem"]);
    assert_eq!((world.version("counted", "a").await, world.total().await["counters"]), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn an_invalid_total_name_parks_the_stream() {
    #[derive(Clone, Debug)]
    struct Misnamed(&'static str, &'static str);

    impl ReadModel for Misnamed {
        type Aggregate = Counter;
        const NAME: &'static str = "misnamed";
        const KEY: &'static str = "id";

        fn change(
            &self,
            _: &StreamId,
            _: &[Commit<CounterEvent>],
            _: CurrentRow<'_>,
        ) -> Result<RowChange, ChangeError> {
            let mut counts = Counts::default();
            counts.add(self.0, self.1, 1);
            Ok(RowChange {
                attributes: [(COUNTED.to_owned(), Some(counts.to_attribute()))].into(),
                unless_exists: None,
            })
        }
    }

    let world = World::start().await;
    let batch = world.store(&["a"]).await;
    for (n, (total, counter)) in [("", "n"), ("all", ""), ("all", "changes"), ("all", "shard")].into_iter().enumerate()
    {
        let table = format!("misnamed-{n}");
        let create = world.database.client_without_faults().create_table().table_name(&table);
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
