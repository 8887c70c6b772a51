//! The edge that the functions share.
