//! The local stack runs `template.yaml` on this machine, with the real function binaries.
//!
//! [`stack`] composes it: [`template`] is what it runs, [`gateway`] serves the routes, [`lambda`] runs the functions,
//! [`dynamodb`] is the database, and [`bus`], streams and schedules invoke functions without a waiting client.
//!
//! # The crates of this workspace
//!
//! | crate | what it is |
//! |---|---|
//! | [`dynamodb_event_store`](../dynamodb_event_store/index.html) | streams of any aggregate on one DynamoDB table, and read models |
//! | [`dynamodb_rate_limit`](../dynamodb_rate_limit/index.html) | token buckets and sliding windows that all containers share |
//! | [`dynamodb_circuit_breaker`](../dynamodb_circuit_breaker/index.html) | a circuit breaker that all containers share |
//! | [`service_clock`](../service_clock/index.html), [`policy_text`](../policy_text/index.html), [`strict_json`](../strict_json/index.html) | time, one-line settings, strict JSON |
//! | [`dynamodb_testkit`](../dynamodb_testkit/index.html) | an embedded DynamoDB with faults and a paused clock, for tests |
//! | [`orders_core`](../orders_core/index.html) | the domain, read models, published events, the payment provider's client |
//! | [`orders_functions`](../orders_functions/index.html) | the HTTP edge, and what each Lambda function does |
//! | `orders_local` | this crate |
//! | [`orders_tests`](../orders_tests/index.html) | support for the end-to-end tests |

pub mod bus;
mod console;
mod dev;
pub mod dynamodb;
mod faults;
pub mod files;
mod gate;
pub mod gateway;
pub mod iam;
pub mod journal;
pub mod lambda;
pub mod payments;
pub mod queues;
mod schedules;
pub mod secrets;
pub mod served;
pub mod stack;
mod streams;
pub mod template;
pub mod traces;
