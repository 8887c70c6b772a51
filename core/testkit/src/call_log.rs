//! The calls made to DynamoDB, and their cost.

use serde_json::Value;

/// One HTTP request to DynamoDB: an attempt of an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// `PutItem`, `Query`, …
    pub operation: String,
    /// The table; empty if the request names none or several.
    pub table: String,
    /// 1 for the first attempt, more for the SDK's retries.
    pub attempt: u32,
    /// The database's response status; `None` if the request did not reach it.
    pub status: Option<u16>,
    /// The error in the database's response: `ConditionalCheckFailedException`, …
    pub error: Option<String>,
    /// The read or write units that the database reported.
    pub units: f64,
    /// The request.
    pub body: Value,
}

/// Calls in order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Calls(pub Vec<Call>);

impl Calls {
    /// The calls of an operation.
    pub fn of(&self, operation: &str) -> Self {
        self.filter(|call| call.operation == operation)
    }

    /// The calls on a table.
    pub fn on(&self, table: &str) -> Self {
        self.filter(|call| call.table == table)
    }

    /// The calls that failed with this error.
    pub fn failed_with(&self, error: &str) -> Self {
        self.filter(|call| call.error.as_deref() == Some(error))
    }

    /// The calls that match.
    pub fn filter(&self, which: impl Fn(&Call) -> bool) -> Self {
        Self(self.0.iter().filter(|call| which(call)).cloned().collect())
    }

    /// The number of calls.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The read or write units of all calls.
    pub fn units(&self) -> f64 {
        self.0.iter().map(|call| call.units).sum()
    }

    /// The operations in order, for short assertions.
    pub fn operations(&self) -> Vec<&str> {
        self.0.iter().map(|call| call.operation.as_str()).collect()
    }
}
