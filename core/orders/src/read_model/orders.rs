//! The rows of the order table.

use std::error::Error;

use super::cursor::InvalidCursor;
use super::row;
use super::view::OrderView;
use crate::domain::ids::OrderId;

/// The order table, for reading. Cheap to clone.
///
/// All reads are eventually consistent, and the projector follows the events by a moment. [`super::OrderReader`] reads at
/// least a given version.
#[derive(Clone, Debug)]
pub struct Orders {
    pub(super) client: aws_sdk_dynamodb::Client,
    pub(super) table: String,
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
}
