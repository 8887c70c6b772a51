//! The local stack: runs what `template.yaml` says on this machine, with the real function binaries.

mod asynchronous;
pub mod binaries;
pub mod bus;
pub mod containers;
pub mod database;
mod dev;
pub mod functions;
pub mod gateway;
pub mod journal;
pub mod logs;
pub mod options;
pub mod patterns;
pub mod payments;
mod process;
pub mod queues;
mod relay;
mod runtime_api;
pub mod schedule_expression;
mod schedules;
pub mod stack;
mod streams;
pub mod tables;
pub mod template;
pub mod tokens;
