//! Between the events of API Gateway's HTTP APIs (payload format 2.0) and the types of `http`.

mod event;
mod response;

pub use event::{Unreadable, request};
pub use response::Response;
