//! List prices of us-east-1 in USD, as of November 2026 (the AWS pricing page of each service). Free tiers are left out.

/// An HTTP API request of at most 512 KB (Amazon API Gateway, first 300 million a month).
pub const API_REQUEST: f64 = 1.00 / MILLION;
/// An invocation (AWS Lambda).
pub const INVOCATION: f64 = 0.20 / MILLION;
/// A GB-second on arm64 (AWS Lambda).
pub const GB_SECOND: f64 = 0.000_013_333_4;
/// A write request unit of an on-demand table (Amazon DynamoDB). A transaction's writes take two each.
pub const WRITE_UNIT: f64 = 0.625 / MILLION;
/// A read request unit of an on-demand table (Amazon DynamoDB).
pub const READ_UNIT: f64 = 0.125 / MILLION;
/// A custom event of at most 64 KB (Amazon EventBridge).
pub const EVENT: f64 = 1.00 / MILLION;
/// A GB of ingested logs (Amazon CloudWatch Logs).
pub const LOG_GB: f64 = 0.50;
/// The bytes that CloudWatch Logs adds to each line (`PutLogEvents` in its API reference).
pub const LOG_LINE_BYTES: usize = 26;
/// About what Lambda itself logs for an invocation, as JSON: `platform.start` and `platform.report`.
pub const LAMBDA_LOG_BYTES: usize = 600;
/// A recorded trace (AWS X-Ray).
pub const TRACE: f64 = 5.00 / MILLION;
/// The share of requests that are traced, above one a second (X-Ray's default sampling rule).
pub const TRACED: f64 = 0.05;

const MILLION: f64 = 1e6;
