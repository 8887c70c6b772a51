//! Several read models on one stream, their backlog, and audits of totals.
#![allow(clippy::unwrap_used, reason = "tests fail by a panic that says why")]

mod side_by_side;
mod totals;
mod world;
