//! The whole service as its clients see it: over HTTP, through the real function binaries, with the projector behind.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by a panic that says why")]

mod conditions;
mod hostile;
mod lifecycle;
mod limits;
mod poison;
mod rebuild;
mod refusals;
mod repeats;
mod sales;
mod side_by_side;

use orders_tests::shop;
