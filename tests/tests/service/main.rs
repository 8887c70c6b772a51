//! The whole service over HTTP, with the real function binaries.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic")]

mod authorization;
mod conditions;
mod cost;
mod hostile;
mod lifecycle;
mod limits;
mod poison;
mod rare_calls;
mod rebuild;
mod rejections;
mod repeats;
mod sales;
mod side_by_side;
mod tokens;

use orders_tests::shop;
