//! The order: facts, decisions, transitions. Pure.

pub mod event;
pub mod ids;
pub mod money;
