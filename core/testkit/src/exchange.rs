//! Requests to DynamoDB and their responses.

use serde_json::Value;

/// A request to DynamoDB.
#[derive(Clone, Debug)]
pub struct Request {
    /// The header `x-amz-target`.
    pub target: String,
    /// 1 for the first attempt of an operation.
    pub attempt: u32,
    /// The request body.
    pub body: Value,
}

/// A response of DynamoDB.
#[derive(Clone, Debug)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The JSON body.
    pub body: Vec<u8>,
}
