//! Sales by day: how many orders were created and their status, what was captured, and what is refunded.
//!
//! The row of an order says what it adds to the totals of which days. The store keeps the totals equal to the sum of all
//! rows, however often and in whatever order events are delivered. [`SalesTotals`] reads them.

mod day;
mod figure;
mod model;
mod report;

pub use day::{Day, InvalidDay, InvalidSpan, Span};
pub use figure::{Figure, Figures, Tally};
pub use model::Sales;
pub use report::{SalesError, SalesReport, SalesTotals};
