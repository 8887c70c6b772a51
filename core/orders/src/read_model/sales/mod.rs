//! Sales by day: how many orders were created and where they stand, what was captured, and what goes back.
//!
//! The row of an order says what it adds to the totals of which days; the store keeps the totals at the sum of all rows,
//! however often, in whatever order and with whatever interruptions the events come. [`SalesTotals`] reads them.

mod day;
mod figure;
mod model;
mod report;

pub use day::{Day, InvalidDay, InvalidSpan, Span};
pub use figure::{Figure, Figures, Tally};
pub use model::Sales;
pub use report::{SalesError, SalesReport, SalesTotals};
