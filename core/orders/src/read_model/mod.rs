//! Events to rows, and rows to answers.
//!
//! Rows: the [`Projector`] follows the event table's stream, and mends what it finds missing from the event store.
//! Answers: [`OrderReader`] has one order, as it is or as it was; [`Orders`] has the rows, and the lists of them.
//! [`sales`] counts orders and money by day.

mod cursor;
mod deferred;
mod error;
mod follow;
mod order_reader;
mod orders;
mod orphans;
mod patch;
mod projector;
mod rebuild;
mod row;
pub mod sales;
mod streams;
mod verify;
mod view;

pub use cursor::InvalidCursor;
pub use deferred::{Deferred, DeferredCount, DeferredPage, DeferredPlace};
pub use error::ProjectionError;
pub use order_reader::{OrderReader, ReadError};
pub use orders::{OrderPage, Orders, RowsError};
pub use projector::{Projected, Projector};
pub use rebuild::{Ahead, Progress, RebuildError};
pub use row::{NotOpen, OpenStatus};
pub use verify::{Difference, Reached, Verification, VerifyError};
pub use view::{ItemView, OrderSummary, OrderView, RefundView};
