//! The edge that the functions share.

pub mod expiry;
pub mod incoming;
