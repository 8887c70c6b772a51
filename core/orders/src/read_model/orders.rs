//! The rows of the order table, and the lists of them.

use std::collections::HashMap;
use std::error::Error;

use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::try_join_all;

use super::cursor::{InvalidCursor, Position, UserCursor, WorkCursor};
use super::row::{self, OpenStatus, RowItem, SHARDS, status_shard};
use super::view::{OrderSummary, OrderView};
use crate::domain::ids::{OrderId, UserId};
use crate::domain::state::Status;

/// The largest page that is requested when a list is filtered by status.
const MAX_PAGE: i32 = 1_000;

/// The order table, for reading. Cheap to clone.
///
/// All reads are eventually consistent, and the projector follows the events by a moment. [`super::OrderReader`] reads at
/// least a given version.
#[derive(Clone, Debug)]
pub struct Orders {
    pub(super) client: aws_sdk_dynamodb::Client,
    pub(super) table: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<OrderSummary>,
    /// Where the list continues: opaque, valid for the same list only. `None` at the end.
    pub next_cursor: Option<String>,
}

/// The order table could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// DynamoDB is unavailable; the SDK has retried already. The caller retries later.
    #[error("the order table is unavailable")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The row was not written by this program's projector. The order can be read from the event store.
    #[error("the row of order {order_id} cannot be read")]
    Unreadable {
        /// The order.
        order_id: OrderId,
        /// The reason.
        #[source]
        source: serde_dynamo::Error,
    },
    /// The caller restarts the list without a cursor.
    #[error(transparent)]
    InvalidCursor(#[from] InvalidCursor),
}

impl RowsError {
    pub(super) fn unavailable(error: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

/// One list: an index, a key of it, and a direction.
struct List<'a> {
    index: &'static str,
    attribute: &'static str,
    key: String,
    oldest_first: bool,
    status: Option<Status>,
    orders: &'a Orders,
}

impl Orders {
    /// The orders in `table`.
    pub fn new(client: aws_sdk_dynamodb::Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// The row of an order; `None` if there is no row, or only a mark of a parked order.
    ///
    /// # Errors
    /// [`RowsError::Unavailable`], [`RowsError::Unreadable`].
    pub async fn get(&self, order_id: OrderId) -> Result<Option<OrderView>, RowsError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some([row::key(order_id)].into()))
            .send()
            .await
            .map_err(RowsError::unavailable)?;
        let view = answer.item.map(row::view).transpose();
        Ok(view.map_err(|source| RowsError::Unreadable { order_id, source })?.flatten())
    }

    /// At most `limit` orders of a user, newest first, and of one status if it is given. A page is full unless it is
    /// the last.
    ///
    /// # Errors
    /// [`RowsError::Unavailable`]; [`RowsError::InvalidCursor`] for a cursor that is not of this user's list with this
    /// status.
    pub async fn by_user(
        &self,
        user_id: &UserId,
        status: Option<Status>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<OrderPage, RowsError> {
        let query = UserCursor { user_id, status };
        let start = cursor.map(|cursor| query.read(cursor)).transpose()?;
        let list = List {
            index: "by-user",
            attribute: "user_id",
            key: user_id.to_string(),
            oldest_first: false,
            status,
            orders: self,
        };
        let mut orders = list.after(start, limit + 1).await?;
        let more = orders.len() > limit;
        orders.truncate(limit);
        let last = orders.last().filter(|_| more);
        Ok(OrderPage { next_cursor: last.map(|last| query.write(Position::of(last))), orders })
    }

    /// At most `limit` orders of an open status, oldest first. A page is
    /// full unless it is the last.
    ///
    /// # Errors
    /// [`RowsError::Unavailable`]; [`RowsError::InvalidCursor`] for a cursor that is not of this status's list.
    pub async fn by_status(
        &self,
        status: OpenStatus,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<OrderPage, RowsError> {
        let query = WorkCursor { status };
        let mut starts = cursor.map(|cursor| query.read(cursor)).transpose()?.unwrap_or_default();
        let shards = (0..SHARDS).zip(starts).map(|(shard, start)| async move {
            let list = List {
                index: "by-status",
                attribute: "status_shard",
                key: status_shard(status, shard),
                oldest_first: true,
                status: None,
                orders: self,
            };
            list.after(start, limit + 1).await
        });
        let mut orders: Vec<(usize, OrderSummary)> = Vec::new();
        for (shard, found) in try_join_all(shards).await?.into_iter().enumerate() {
            orders.extend(found.into_iter().map(|order| (shard, order)));
        }
        // Stable, so that the orders of one shard stay in their index's order.
        orders.sort_by_key(|(_, order)| order.created_at);
        let more = orders.len() > limit;
        orders.truncate(limit);
        for (shard, order) in &orders {
            starts[*shard] = Some(Position::of(order));
        }
        let orders = orders.into_iter().map(|(_, order)| order).collect();
        Ok(OrderPage { next_cursor: more.then(|| query.write(&starts)), orders })
    }
}

impl List<'_> {
    /// The first `wanted` orders after a position, or all if there are fewer.
    async fn after(&self, start: Option<Position>, wanted: usize) -> Result<Vec<OrderSummary>, RowsError> {
        let mut found = Vec::new();
        let mut start = start.map(|position| self.key_of(position));
        let mut page = i32::try_from(wanted).unwrap_or(MAX_PAGE).min(MAX_PAGE);
        loop {
            let answer = self.page(start, page).await?;
            for entry in answer.items.unwrap_or_default() {
                let key = entry.get("order_id").cloned();
                match row::summary(entry) {
                    Ok(order) => found.push(order),
                    Err(error) => tracing::error!(order_id = ?key, %error, "order left out of a list: unreadable row"),
                }
            }
            start = answer.last_evaluated_key;
            if start.is_none() || found.len() >= wanted {
                found.truncate(wanted);
                return Ok(found);
            }
            page = page.saturating_mul(2).min(MAX_PAGE);
        }
    }

    async fn page(&self, start: Option<RowItem>, limit: i32) -> Result<QueryOutput, RowsError> {
        let query = self
            .orders
            .client
            .query()
            .table_name(&self.orders.table)
            .index_name(self.index)
            .key_condition_expression("#key = :key")
            .expression_attribute_names("#key", self.attribute)
            .expression_attribute_values(":key", AttributeValue::S(self.key.clone()))
            .scan_index_forward(self.oldest_first)
            .set_exclusive_start_key(start)
            .limit(limit);
        let query = match self.status {
            None => query,
            Some(status) => query
                .filter_expression("#status = :status")
                .expression_attribute_names("#status", "status")
                .expression_attribute_values(":status", AttributeValue::S(status.to_string())),
        };
        query.send().await.map_err(RowsError::unavailable)
    }

    /// The key of a position in this list. It need not be the key of an order that is still there.
    fn key_of(&self, position: Position) -> RowItem {
        HashMap::from([
            (self.attribute.into(), AttributeValue::S(self.key.clone())),
            ("created_at".into(), AttributeValue::S(position.created_at.to_string())),
            row::key(position.order_id),
        ])
    }
}
