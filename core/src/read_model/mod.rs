//! Events to rows, and rows to answers.
//!
//! Answers: [`OrderReader`] has one order, as it is or as it was; [`Orders`] has the rows, and the lists of them.

mod cursor;
mod order_reader;
mod orders;
mod row;
mod view;

pub use cursor::InvalidCursor;
pub use order_reader::{OrderReader, ReadError};
pub use orders::{OrderPage, Orders, RowsError};
pub use row::{NotOpen, OpenStatus};
pub use view::{ItemView, OrderSummary, OrderView, RefundView};
