//! The deferred payments, which wait to be settled: the index `by-deferred`.

use aws_sdk_dynamodb::types::{AttributeValue, Select};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::orders::{Orders, RowsError};
use super::row::{RowItem, SHARDS, deferred_shard};
use crate::domain::ids::OrderId;
use service_clock::Timestamp;

/// How many pages of a shard are counted. A page has thousands of entries.
const COUNTED_PAGES: usize = 4;

/// An order with a deferred payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Deferred {
    /// The order.
    pub order_id: OrderId,
    /// Since when.
    pub deferred_at: Timestamp,
}

/// A page of a list.
#[derive(Debug)]
pub struct DeferredPage {
    /// Oldest first.
    pub entries: Vec<Deferred>,
    /// `None` at the end.
    pub next: Option<DeferredPlace>,
}

/// A position in one of the shards of the list.
#[derive(Clone, Debug)]
pub struct DeferredPlace {
    shard: u8,
    after: Option<RowItem>,
}

impl DeferredPlace {
    /// The start of every shard. Each order is in one of them.
    pub fn beginnings() -> impl Iterator<Item = Self> {
        (0..SHARDS).map(|shard| Self { shard, after: None })
    }
}

/// How many payments are deferred.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeferredCount {
    /// At least this many.
    pub waiting: u64,
    /// Whether there are more.
    pub and_more: bool,
    /// Since when the oldest has been deferred.
    pub oldest: Option<Timestamp>,
}

impl Orders {
    /// At most `limit` orders with a deferred payment, from a position on. Some may have been settled a moment ago.
    ///
    /// # Errors
    /// [`RowsError::Unavailable`].
    pub async fn deferred(&self, from: DeferredPlace, limit: i32) -> Result<DeferredPage, RowsError> {
        let DeferredPlace { shard, after } = from;
        let query = self.deferred_shard(shard).limit(limit).set_exclusive_start_key(after);
        let answer = query.send().await.map_err(RowsError::unavailable)?;
        let next = answer.last_evaluated_key.map(|after| DeferredPlace { shard, after: Some(after) });
        Ok(DeferredPage { entries: answer.items.unwrap_or_default().into_iter().filter_map(entry).collect(), next })
    }

    /// How many payments are deferred, and since when.
    ///
    /// # Errors
    /// [`RowsError::Unavailable`].
    pub async fn deferred_count(&self) -> Result<DeferredCount, RowsError> {
        let shards = try_join_all((0..SHARDS).map(|shard| self.deferred_in(shard))).await?;
        Ok(shards.into_iter().fold(DeferredCount::default(), |sum, shard| DeferredCount {
            waiting: sum.waiting + shard.waiting,
            and_more: sum.and_more || shard.and_more,
            oldest: sum.oldest.into_iter().chain(shard.oldest).min(),
        }))
    }

    async fn deferred_in(&self, shard: u8) -> Result<DeferredCount, RowsError> {
        let first = self.deferred_shard(shard).limit(1).send().await.map_err(RowsError::unavailable)?;
        let oldest = first.items.unwrap_or_default().into_iter().find_map(entry).map(|entry| entry.deferred_at);
        let (mut waiting, mut after) = (0, None);
        for _ in 0..COUNTED_PAGES {
            let query = self.deferred_shard(shard).select(Select::Count).set_exclusive_start_key(after.take());
            let page = query.send().await.map_err(RowsError::unavailable)?;
            waiting += u64::from(page.count.unsigned_abs());
            after = page.last_evaluated_key;
            if after.is_none() {
                break;
            }
        }
        Ok(DeferredCount { waiting, and_more: after.is_some(), oldest })
    }

    fn deferred_shard(&self, shard: u8) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .index_name("by-deferred")
            .key_condition_expression("#shard = :shard")
            .expression_attribute_names("#shard", "deferred_shard")
            .expression_attribute_values(":shard", AttributeValue::S(deferred_shard(shard)))
    }
}

/// An entry that cannot be read was not written by the projector; `verify-orders` finds it.
fn entry(item: RowItem) -> Option<Deferred> {
    let order_id = item.get("order_id").cloned();
    serde_dynamo::from_item(item)
        .inspect_err(|error| tracing::error!(?order_id, %error, "deferred payment skipped: unreadable row"))
        .ok()
}
