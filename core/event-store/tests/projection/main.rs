//! Several read models on one stream, what they leave behind, and totals held against rows.
#![allow(clippy::unwrap_used, reason = "tests fail by a panic that says why")]

mod side_by_side;
mod totals;
mod world;
