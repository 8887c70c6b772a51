//! `restore-events`: copies the commits that the event table lacks from a table that still has them.

use dynamodb_event_store::{EventStore, InvalidSegment, RestoreProgress, Segment, StoreError};
use lambda_runtime::{Context, Diagnostic};
use orders_core::domain::Order;
use serde::{Deserialize, Serialize};

use crate::deadline;
use crate::failure;

/// What to copy. Send the response as the next request until its `progress` is `done`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Restore {
    /// The table that has the commits: a restored one, or the one that the stack had before the restore.
    pub from_table: String,
    /// The segment of that table, from 0; 0 by default.
    #[serde(default)]
    pub segment: u32,
    /// The number of segments; 1 by default.
    #[serde(default = "one")]
    pub total_segments: u32,
    /// Only report what would be copied, and what is damaged.
    #[serde(default)]
    pub dry_run: bool,
    /// How long this run takes; 60 by default. It ends after a page, and before the function times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// The progress of the run before; `None` in the first.
    #[serde(default)]
    pub progress: Option<RestoreProgress>,
}

fn one() -> u32 {
    1
}

/// A run that failed. What it copied stays, and repeating it is safe.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// There is no such segment.
    #[error(transparent)]
    InvalidSegment(#[from] InvalidSegment),
    /// One of the two tables is unavailable, or this function has no permission for it.
    #[error("table {from_table} or the event table is unavailable")]
    Store {
        /// The table to copy from.
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

/// Continues a restoration until the time is up.
///
/// # Errors
/// See [`NotRestored`].
pub async fn run(events: &EventStore<Order>, mut request: Restore, context: &Context) -> Result<Restore, NotRestored> {
    let segment = Segment::new(request.segment, request.total_segments)?;
    let restoration = request.progress.take().unwrap_or_default();
    let (from, deadline) = (&request.from_table, deadline::of_run(request.seconds, context));
    let restoration = events
        .restore(from, segment, restoration, !request.dry_run, deadline)
        .await
        .map_err(|source| NotRestored::Store { from_table: from.clone(), source })?;
    let RestoreProgress { streams, copied, left_out, damaged, done, .. } = restoration;
    tracing::info!(from, ?segment, streams, copied, left_out, damaged, done, "events restored so far");
    Ok(Restore { progress: Some(restoration), ..request })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Shop, context};

    async fn run_on(shop: &Shop, request: Value) -> Result<Value, NotRestored> {
        let restored = run(&shop.events(), serde_json::from_value(request).unwrap(), &context()).await?;
        Ok(serde_json::to_value(restored).unwrap())
    }

    #[tokio::test]
    async fn missing_commits_are_copied_once_and_a_dry_run_copies_nothing() {
        let (from, to) = (Shop::open().await, Shop::open().await);
        let order_id = from.create_order(5.0).await;
        from.pay(&order_id, 5.0).await;
        let request = json!({ "from_table": from.events_table() });
        for (dry_run, before, after) in [(true, 0, 0), (false, 0, 2), (false, 2, 2)] {
            assert_eq!(to.commits().await, before);
            let mut request = request.clone();
            request["dry_run"] = dry_run.into();
            let progress = run_on(&to, request).await.unwrap()["progress"].take();
            assert_eq!((&progress["copied"], &progress["done"]), (&json!(2 - before), &json!(true)), "{progress}");
            assert_eq!(to.commits().await, after);
        }
        assert_eq!(to.order(&order_id).await, from.order(&order_id).await);
    }

    #[tokio::test]
    async fn a_missing_table_and_an_invalid_segment_are_errors() {
        let shop = Shop::open().await;
        let missing = run_on(&shop, json!({ "from_table": "orders-restored-nowhere" })).await.unwrap_err();
        assert!(missing.to_string().contains("orders-restored-nowhere"), "{missing}");
        let beyond = json!({ "from_table": "orders-restored", "segment": 1 });
        assert!(matches!(run_on(&shop, beyond).await, Err(NotRestored::InvalidSegment(_))));
        for invalid in [json!({}), json!({ "from_table": "t", "table": "t" })] {
            assert!(serde_json::from_value::<Restore>(invalid.clone()).is_err(), "{invalid}");
        }
    }

    #[test]
    fn findings_are_read_as_objects_and_never_as_lists() {
        let read = |finding: Value| {
            let request = json!({ "from_table": "t", "progress": { "findings": [finding] } }).to_string();
            strict_json::from_slice::<Restore>(request.as_bytes()).map_err(|error| error.to_string())
        };
        let found = json!({ "finding": "missing", "stream_id": "s", "version": 3 });
        assert_eq!(serde_json::to_value(read(found.clone()).unwrap()).unwrap()["progress"]["findings"], json!([found]));
        let error = read(json!(["missing", "s", 3])).unwrap_err();
        assert!(error.starts_with("invalid type: sequence, expected a map"), "{error}");
    }
}
