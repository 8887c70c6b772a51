//! The edge that the functions share.

pub mod incoming;
