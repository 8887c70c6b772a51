//! The read models of orders.
//!
//! Writing: [`OrderRows`] says how events change an order's row, and the event store's [`Projection`] stores it.
//! Reading: [`OrderReader`] returns one order, as it is or as it was; [`Orders`] returns rows and lists of them.
//!
//! [`Projection`]: dynamodb_event_store::projection::Projection

mod cursor;
mod deferred;
mod lists;
mod order_reader;
mod order_rows;
mod orders;
mod row;
pub mod sales;
mod view;

pub use cursor::InvalidCursor;
pub use deferred::{Deferred, DeferredCount, DeferredPage, DeferredPlace};
pub use lists::OrderPage;
pub use order_reader::{OrderReader, ReadError};
pub use order_rows::OrderRows;
pub use orders::{Orders, RowsError};
pub use row::{NotOpen, OpenStatus};
pub use sales::Sales;
pub use view::{ItemView, OrderSummary, OrderView, RefundView};
