//! The local stack: runs what `template.yaml` says on this machine, with the real function binaries.

pub mod binaries;
pub mod containers;
pub mod database;
mod dev;
pub mod functions;
pub mod gateway;
pub mod logs;
pub mod options;
pub mod patterns;
mod runtime_api;
pub mod stack;
mod streams;
pub mod tables;
pub mod template;
pub mod tokens;
