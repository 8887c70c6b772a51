//! The local stack: runs what `template.yaml` says on this machine, with the real function binaries.

pub mod database;
pub mod tables;
pub mod template;
