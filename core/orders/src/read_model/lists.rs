//! Lists of orders. An index gives the keys in their order; what is shown is read from the rows.
//!
//! The indexes hold no more than their order needs, so that few changes of an order write to them: a write unit costs as much as
//! reading ten rows.

use std::collections::{HashMap, VecDeque};

use aws_sdk_dynamodb::types::AttributeValue;
use dynamodb_event_store::{Consistency, batch_get};
use futures::future::try_join_all;

use super::cursor::{Position, UserCursor, WorkCursor};
use super::orders::{Orders, RowsError};
use super::row::{self, OpenStatus, RowItem, SHARDS, open_shard};
use super::view::OrderSummary;
use crate::domain::ids::{OrderId, UserId};
use crate::domain::state::Status;

/// The most rows that are read at once when the first ones do not fill the page.
const MAX_BATCH: usize = 100;
/// The most keys of other statuses that are read past at once: about 1 MB, the most that a query reads.
const MAX_KEYS: usize = 10_000;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderPage {
    /// The orders.
    pub orders: Vec<OrderSummary>,
    /// Where the list continues: opaque, valid for the same list only. `None` at the end.
    pub next_cursor: Option<String>,
}

impl Orders {
    /// At most `limit` orders of a user, newest first, and of one status if it is given. A page is full unless it is
    /// the last.
    ///
    /// Costs one query and a read of each order's row; with a status also of the rows that have another one.
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
            oldest_first: false,
            status,
            has_status: false,
            orders: self,
        };
        let (orders, end) = list.page([list.partition(user_id.to_string(), start)], limit).await?;
        Ok(OrderPage { orders, next_cursor: end.and_then(|[end]| Some(query.write(end?))) })
    }

    /// At most `limit` orders of an open status, oldest first. A page is full unless it is the last.
    ///
    /// Costs one query of each shard, which reads past the keys of other open orders, and a read of each order's row.
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
        let starts = cursor.map(|cursor| query.read(cursor)).transpose()?.unwrap_or_default();
        let list = List {
            index: "by-status",
            attribute: "open_shard",
            oldest_first: true,
            status: Some(status.into()),
            has_status: true,
            orders: self,
        };
        let mut shard = 0..SHARDS;
        let partitions = starts.map(|start| list.partition(open_shard(shard.next().unwrap_or_default()), start));
        let (orders, ends) = list.page(partitions, limit).await?;
        Ok(OrderPage { orders, next_cursor: ends.map(|ends| query.write(&ends)) })
    }
}

/// One list: an index, a direction, and the status that its orders have.
struct List<'a> {
    index: &'static str,
    attribute: &'static str,
    oldest_first: bool,
    status: Option<Status>,
    /// Whether the index holds the status. DynamoDB rejects a filter by what an index does not hold.
    has_status: bool,
    orders: &'a Orders,
}

/// The keys of one partition of the index, from a position on.
struct Partition {
    key: String,
    /// Read, and not taken.
    keys: VecDeque<Position>,
    /// How many keys the next query reads.
    page: usize,
    rest: Rest,
    /// Where a former page ended.
    start: Option<Position>,
}

enum Rest {
    Beginning,
    After(RowItem),
    Nothing,
}

impl Partition {
    /// Whether its next key has to be read.
    fn is_unread(&self) -> bool {
        self.keys.is_empty() && !matches!(self.rest, Rest::Nothing)
    }
}

impl List<'_> {
    fn partition(&self, key: String, start: Option<Position>) -> Partition {
        let rest = start.map_or(Rest::Beginning, |start| Rest::After(self.key_of(&key, start)));
        Partition { key, keys: VecDeque::new(), page: 1, rest, start }
    }

    /// The first `limit` orders of all partitions, and up to where each was read if there are more. Several partitions are
    /// merged oldest first.
    async fn page<const N: usize>(
        &self,
        mut partitions: [Partition; N],
        limit: usize,
    ) -> Result<(Vec<OrderSummary>, Option<[Option<Position>; N]>), RowsError> {
        let mut orders = Vec::with_capacity(limit);
        let mut read = partitions.each_ref().map(|partition| partition.start);
        // One more than the page, to detect the last page.
        let mut batch = limit + 1;
        loop {
            let keys = self.take(&mut partitions, batch).await?;
            if keys.is_empty() {
                return Ok((orders, None));
            }
            let mut rows = self.rows(&keys).await?;
            for (partition, position) in keys {
                let shown = rows.remove(&position.order_id);
                let shown = shown.filter(|order| self.status.is_none_or(|status| status == order.status));
                if orders.len() == limit && shown.is_some() {
                    return Ok((orders, Some(read)));
                }
                orders.extend(shown);
                read[partition] = Some(position);
            }
            batch = (batch * 2).min(MAX_BATCH);
        }
    }

    /// The next keys, each with its partition.
    async fn take(&self, partitions: &mut [Partition], wanted: usize) -> Result<Vec<(usize, Position)>, RowsError> {
        let mut taken = Vec::with_capacity(wanted);
        while taken.len() < wanted {
            let unread = partitions.iter_mut().filter(|partition| partition.is_unread());
            try_join_all(unread.map(|partition| self.fill(partition, wanted))).await?;
            let heads = partitions.iter().enumerate().filter_map(|(n, partition)| Some((n, partition.keys.front()?)));
            let Some((first, _)) = heads.min_by_key(|(_, position)| position.created_at) else { break };
            taken.extend(partitions[first].keys.pop_front().map(|position| (first, position)));
        }
        Ok(taken)
    }

    /// Reads until there is a key, or no more. Where the index has the status, the keys of other statuses are left out. Each
    /// page is larger, since a list that needs several has few orders among many.
    async fn fill(&self, partition: &mut Partition, wanted: usize) -> Result<(), RowsError> {
        while partition.is_unread() {
            let start = match &partition.rest {
                Rest::After(key) => Some(key.clone()),
                Rest::Beginning | Rest::Nothing => None,
            };
            partition.page = partition.page.max(wanted).min(MAX_KEYS);
            let query = self
                .orders
                .client
                .query()
                .table_name(&self.orders.table)
                .index_name(self.index)
                .key_condition_expression("#key = :key")
                .expression_attribute_names("#key", self.attribute)
                .expression_attribute_values(":key", AttributeValue::S(partition.key.clone()))
                .scan_index_forward(self.oldest_first)
                .set_exclusive_start_key(start)
                .limit(i32::try_from(partition.page).unwrap_or(i32::MAX));
            let query = match self.status.filter(|_| self.has_status) {
                None => query,
                Some(status) => query
                    .filter_expression("#status = :status")
                    .expression_attribute_names("#status", "status")
                    .expression_attribute_values(":status", AttributeValue::S(status.to_string())),
            };
            let page = query.send().await.map_err(RowsError::unavailable)?;
            partition.page *= 8;
            partition.rest = page.last_evaluated_key.map_or(Rest::Nothing, Rest::After);
            for entry in page.items.unwrap_or_default() {
                match serde_dynamo::from_item(entry) {
                    Ok(position) => partition.keys.push_back(position),
                    Err(error) => tracing::error!(%error, "order left out of a list: unreadable key"),
                }
            }
        }
        Ok(())
    }

    /// What is shown of these orders. An index may be ahead of a stale read of the table, so what is not found is read
    /// consistently.
    async fn rows(&self, keys: &[(usize, Position)]) -> Result<HashMap<OrderId, OrderSummary>, RowsError> {
        let mut found = HashMap::with_capacity(keys.len());
        for consistency in [Consistency::Eventual, Consistency::Strong] {
            let missing = keys.iter().filter(|(_, position)| !found.contains_key(&position.order_id));
            let missing: Vec<RowItem> = missing.map(|(_, position)| [row::key(position.order_id)].into()).collect();
            if missing.is_empty() {
                break;
            }
            let Orders { client, table } = self.orders;
            let items = batch_get(client, table, &missing, consistency, None).await.map_err(RowsError::unavailable)?;
            for item in items {
                let key = item.get("order_id").cloned();
                match row::summary(item) {
                    Ok(order) => drop(found.insert(order.order_id, order)),
                    Err(error) if consistency == Consistency::Strong => {
                        tracing::error!(order_id = ?key, %error, "order left out of a list: unreadable row");
                    }
                    Err(_) => {}
                }
            }
        }
        Ok(found)
    }

    /// The key of a position in this list. It need not be the key of an order that is still there.
    fn key_of(&self, partition: &str, position: Position) -> RowItem {
        HashMap::from([
            (self.attribute.into(), AttributeValue::S(partition.into())),
            ("created_at".into(), AttributeValue::S(position.created_at.to_string())),
            row::key(position.order_id),
        ])
    }
}
