//! The local stack runs `template.yaml` on this machine, with the real function binaries.
//!
//! [`stack`] composes it: [`template`] is what it runs, [`gateway`] serves the routes, [`lambda`] runs the functions,
//! [`dynamodb`] is the database, and [`bus`], streams and schedules invoke functions without a waiting client.

pub mod bus;
mod dev;
pub mod dynamodb;
pub mod files;
pub mod gateway;
pub mod journal;
pub mod lambda;
pub mod payments;
pub mod queues;
mod schedules;
pub mod stack;
mod streams;
pub mod template;
