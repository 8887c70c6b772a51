//! One order, as it is now or as it was, as fresh as the caller needs it.

use super::orders::{Orders, RowsError};
use super::view::OrderView;
use crate::domain::ids::OrderId;
use crate::domain::state::Order;
use dynamodb_event_store::{Consistency, EventStore, StoreError, Until, Version};
use service_clock::Timestamp;

/// Reads one order: from its row, or from the event store if the row is missing, stale, parked or damaged.
#[derive(Clone, Debug)]
pub struct OrderReader {
    rows: Orders,
    events: EventStore<Order>,
}

/// An order could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The order has not reached the requested version.
    #[error("the order is at version {head}, below the requested version")]
    VersionNotReached {
        /// The order's newest version.
        head: Version,
    },
    /// The order table could not be read.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// The event store could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl OrderReader {
    /// A reader of these.
    pub fn new(rows: Orders, events: EventStore<Order>) -> Self {
        Self { rows, events }
    }

    /// The order as it is now, at `min_version` or later; `None` if there is no such order.
    ///
    /// Costs one eventually consistent read of the row, and a strongly consistent load only if the row is not usable.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn newest(
        &self,
        order_id: OrderId,
        min_version: Option<Version>,
    ) -> Result<Option<OrderView>, ReadError> {
        let row = match self.rows.get(order_id).await {
            Ok(row) => row,
            Err(error @ RowsError::Unreadable { .. }) => {
                tracing::error!(%order_id, %error, "reading from the event store instead");
                None
            }
            Err(error) => return Err(error.into()),
        };
        if let Some(row) = row.filter(|row| !row.parked && min_version.is_none_or(|version| version <= row.version)) {
            return Ok(Some(row));
        }
        match self.readable(order_id, min_version).await? {
            Some(view) if min_version.is_some_and(|version| version > view.version) => {
                Err(ReadError::VersionNotReached { head: view.version })
            }
            view => Ok(view),
        }
    }

    /// The order as far as it can be read. If an event cannot be read, this is the state before it, marked as parked, until
    /// a program that can read the event is deployed.
    async fn readable(&self, order_id: OrderId, min_version: Option<Version>) -> Result<Option<OrderView>, StoreError> {
        let error = match self.load(order_id, Until::Head, Consistency::Strong).await {
            Ok(view) => return Ok(view),
            Err(error) => error,
        };
        let before = match &error {
            StoreError::Unavailable(_) => None,
            StoreError::Unreadable(obstacle) => obstacle.version().checked_sub(1),
            StoreError::Corrupt(obstacle) => obstacle.version.checked_sub(1),
        };
        let Some(before) = before.filter(|version| *version >= min_version.unwrap_or(1)) else { return Err(error) };
        tracing::error!(%order_id, %error, version = before, "returning the last state that can be read");
        let view = self.load(order_id, Until::Version(before), Consistency::Strong).await?;
        Ok(view.map(|view| OrderView { parked: true, ..view }))
    }

    /// The order as it was at `version`; `None` if there is no such order.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn at_version(&self, order_id: OrderId, version: Version) -> Result<Option<OrderView>, ReadError> {
        // A version never changes, so a stale read that reaches it is sufficient.
        let mut view = self.load(order_id, Until::Version(version), Consistency::Eventual).await?;
        if view.as_ref().is_none_or(|view| view.version < version) {
            view = self.load(order_id, Until::Version(version), Consistency::Strong).await?;
        }
        match view {
            Some(view) if view.version < version => Err(ReadError::VersionNotReached { head: view.version }),
            view => Ok(view),
        }
    }

    /// The order as it was at a time; `None` if there was no such order then.
    ///
    /// # Errors
    /// [`ReadError::Store`].
    pub async fn as_of(&self, order_id: OrderId, time: Timestamp) -> Result<Option<OrderView>, ReadError> {
        Ok(self.load(order_id, Until::Time(time), Consistency::Strong).await?)
    }

    async fn load(
        &self,
        order_id: OrderId,
        until: Until,
        consistency: Consistency,
    ) -> Result<Option<OrderView>, StoreError> {
        let stream = self.events.load_until(&order_id.into(), until, consistency).await?;
        Ok(OrderView::of(&stream))
    }
}
