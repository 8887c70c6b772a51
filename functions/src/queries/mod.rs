//! The functions that read orders.

pub mod get_order;
pub mod list_orders;
pub mod list_user_orders;
pub mod order_history;
mod sales_forms;
pub mod sales_report;

use std::fmt::Display;

use dynamodb_event_store::{EventStore, StreamId};
use orders_core::domain::{Currency, Order};
use orders_core::read_model::{OrderPage, OrderReader, Orders, ReadError, RowsError};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout_at;

use crate::answer::Answer;
use crate::caller::{Caller, Needs};
use crate::config::Config;
use crate::ownership;
use crate::problem::Problem;
use crate::request::Request;

/// What the functions that read orders share. Created once per container.
#[derive(Clone, Debug)]
pub struct Queries {
    reader: OrderReader,
    rows: Orders,
    events: EventStore<Order>,
    currency: Currency,
    scope_prefix: String,
}

impl Queries {
    /// On the tables that the environment names.
    pub fn new(config: &Config, client: aws_sdk_dynamodb::Client) -> Self {
        let events = config.event_store(client.clone());
        let rows = Orders::new(client, &config.orders_table);
        let reader = OrderReader::new(rows.clone(), events.clone());
        Self { reader, rows, events, currency: config.currency, scope_prefix: config.scope_prefix.clone() }
    }

    /// The caller.
    ///
    /// # Errors
    /// 401 and 403.
    fn authorize(&self, request: &Request, needs: Needs) -> Result<Caller, Problem> {
        Caller::authorize(request, &self.scope_prefix, needs)
    }

    /// Reads an order before the request's deadline. Only a caller who may access the order learns why it cannot be read.
    async fn read<T, E: Into<Problem>>(
        &self,
        request: &Request,
        caller: &Caller,
        stream: &StreamId,
        read: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Problem> {
        match in_time(request, read).await {
            Ok(read) => Ok(read),
            Err(failure) => Err(ownership::visible_failure(&self.events, stream, request, caller, failure).await),
        }
    }

    fn page(&self, page: OrderPage) -> Result<Answer, Problem> {
        let orders = page.orders.into_iter().map(|order| to_json(&order.on_the_wire(&self.currency)));
        let orders = orders.collect::<Result<Vec<_>, _>>()?;
        Ok(Answer::json(200, &json!({"orders": orders, "next_cursor": page.next_cursor})))
    }
}

/// Reads before the request's deadline.
async fn in_time<T, E: Into<Problem>>(
    request: &Request,
    read: impl Future<Output = Result<T, E>>,
) -> Result<T, Problem> {
    timeout_at(request.deadline, read).await.map_err(Problem::unavailable)?.map_err(Into::into)
}

fn to_json(value: &impl Serialize) -> Result<Value, Problem> {
    serde_json::to_value(value).map_err(Problem::internal)
}

fn invalid_cursor(reason: impl Display) -> Problem {
    Problem::invalid_field("cursor", reason.to_string())
}

impl From<RowsError> for Problem {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Unavailable(_) => Self::unavailable(error),
            RowsError::Unreadable { .. } => Self::internal(error),
            RowsError::InvalidCursor(reason) => invalid_cursor(reason),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::VersionNotReached { head } => Self::version_not_reached(head),
            ReadError::Rows(error) => error.into(),
            ReadError::Store(error) => error.into(),
        }
    }
}
