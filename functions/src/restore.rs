//! `restore-events`: copies the commits that the event table lacks from a table that still has them.

use dynamodb_event_store::{EventStore, InvalidSegment, RestoreProgress, Segment, StoreError};
use lambda_runtime::{Context, Diagnostic};
use orders_core::domain::Order;
use serde::{Deserialize, Serialize};

use crate::deadline;
use crate::failure;

/// What is to be copied. Give the answer back until its `progress` is `done`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The table that has the commits: a restored one, or the one that the stack had before.
    pub from_table: String,
    /// Which part of it, from 0; the first unless said.
    #[serde(default)]
    pub segment: u32,
    /// Of how many parts; of one unless said.
    #[serde(default = "one")]
    pub total_segments: u32,
    /// Only look: what would be copied, and what is not as it should be.
    #[serde(default)]
    pub dry_run: bool,
    /// How long this run goes on; 60 unless it says so. It ends with a page, and with the function's time at the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The answer of the run before; none in the first.
    #[serde(default)]
    pub progress: Option<RestoreProgress>,
}

fn one() -> u32 {
    1
}

/// A run that did not come to an end. What it copied stays; the same run again is safe.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// There is no such part of the table.
    #[error(transparent)]
    InvalidSegment(#[from] InvalidSegment),
    /// One of the two tables does not answer, or may not be used by this function.
    #[error("one of the two tables cannot be used; the other one is {from_table}")]
    Store {
        /// The table that was to be read.
        from_table: String,
        /// Why.
        #[source]
        source: StoreError,
    },
}

impl From<NotRestored> for Diagnostic {
    fn from(error: NotRestored) -> Self {
        failure::diagnostic("NotRestored", &error)
    }
}

/// Goes on with a restoration as far as the function's time suffices.
///
/// # Errors
/// See [`NotRestored`].
pub async fn run(events: &EventStore<Order>, mut asked: Restore, context: &Context) -> Result<Restore, NotRestored> {
    let segment = Segment::new(asked.segment, asked.total_segments)?;
    let restoration = asked.progress.take().unwrap_or_default();
    let (from, deadline) = (&asked.from_table, deadline::of_run(asked.seconds, context));
    let restoration = events
        .restore(from, segment, restoration, !asked.dry_run, deadline)
        .await
        .map_err(|source| NotRestored::Store { from_table: from.clone(), source })?;
    let RestoreProgress { streams, copied, left_out, damaged, done, .. } = restoration;
    tracing::info!(from, ?segment, streams, copied, left_out, damaged, done, "events restored so far");
    Ok(Restore { progress: Some(restoration), ..asked })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Shop, context};

    async fn run_on(shop: &Shop, asked: Value) -> Result<Value, NotRestored> {
        let restored = run(&shop.events(), serde_json::from_value(asked).unwrap(), &context()).await?;
        Ok(serde_json::to_value(restored).unwrap())
    }

    #[tokio::test]
    async fn what_another_shop_has_is_copied_once_and_only_looked_at_before() {
        let (from, to) = (Shop::open().await, Shop::open().await);
        let order_id = from.create_order(5.0).await;
        from.pay(&order_id, 5.0).await;
        let asked = json!({ "from_table": from.events_table(), "dry_run": true });
        for (dry_run, before, after) in [(true, 0, 0), (false, 0, 2), (false, 2, 2)] {
            assert_eq!(to.commits().await, before);
            let mut asked = asked.clone();
            asked["dry_run"] = dry_run.into();
            let progress = run_on(&to, asked).await.unwrap()["progress"].take();
            assert_eq!((&progress["copied"], &progress["done"]), (&json!(2 - before), &json!(true)), "{progress}");
            assert_eq!(to.commits().await, after);
        }
        assert_eq!(to.order(&order_id).await, from.order(&order_id).await);
    }

    #[tokio::test]
    async fn a_table_that_is_not_there_and_a_part_that_is_not_are_told() {
        let shop = Shop::open().await;
        let missing = run_on(&shop, json!({ "from_table": "orders-restored-nowhere" })).await.unwrap_err();
        assert!(missing.to_string().contains("orders-restored-nowhere"), "{missing}");
        let beyond = json!({ "from_table": "orders-restored", "segment": 1 });
        assert!(matches!(run_on(&shop, beyond).await, Err(NotRestored::InvalidSegment(_))));
        for unclear in [json!({}), json!({ "from_table": "t", "table": "t" })] {
            assert!(serde_json::from_value::<Restore>(unclear.clone()).is_err(), "{unclear}");
        }
    }

    #[test]
    fn what_was_found_is_given_back_as_objects_and_never_as_lists() {
        let read = |finding: Value| {
            let asked = json!({ "from_table": "t", "progress": { "findings": [finding] } }).to_string();
            strict_json::from_slice::<Restore>(asked.as_bytes()).map_err(|error| error.to_string())
        };
        let found = json!({ "finding": "missing", "stream_id": "s", "version": 3 });
        assert_eq!(serde_json::to_value(read(found.clone()).unwrap()).unwrap()["progress"]["findings"], json!([found]));
        let error = read(json!(["missing", "s", 3])).unwrap_err();
        assert!(error.starts_with("invalid type: sequence, expected a map"), "{error}");
    }
}
