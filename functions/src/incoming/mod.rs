//! Events of other services that are commands to an order: read tolerantly, run once, refused by name.

pub mod event;
pub mod payments;
pub mod run;
pub mod shipping;
