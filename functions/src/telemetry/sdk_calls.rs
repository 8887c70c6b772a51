//! A span for each call of DynamoDB and of the bus: operation, table, capacity, attempts, outcome. Never keys or items.
//! Beside it, the metric of DynamoDB's retries; DynamoDB counts the calls itself.

use aws_sdk_dynamodb::error::{BoxError, ProvideErrorMetadata};
use aws_sdk_dynamodb::operation as dynamodb;
use aws_sdk_dynamodb::types::ReturnConsumedCapacity;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextMut, Error, FinalizerInterceptorContextRef, Input, Output,
};
use aws_smithy_runtime_api::client::orchestrator::Metadata;
use aws_smithy_runtime_api::client::retries::RequestAttempts;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use tracing::Span;
use tracing::field::Empty;

/// Records the calls of a client, where spans are exported.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SdkCalls;

#[derive(Debug)]
struct CallSpan(Span);

impl Storable for CallSpan {
    type Storer = StoreReplace<Self>;
}

impl Intercept for SdkCalls {
    fn name(&self) -> &'static str {
        "SdkCalls"
    }

    /// The first hook that knows the operation.
    fn modify_before_serialization(
        &self,
        context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let Some(call) = config.load::<Metadata>() else { return Ok(()) };
        let (service, operation) = (call.service(), call.name());
        let span = tracing::info_span!(
            target: "trace",
            "sdk call",
            "otel.name" = format!("{service}.{operation}"),
            "otel.kind" = "client",
            "otel.status_code" = Empty,
            "error.type" = Empty,
            "rpc.system.name" = "aws-api",
            "rpc.method" = format!("{service}/{operation}"),
            "db.system.name" = (service == "DynamoDB").then_some("aws.dynamodb"),
            "db.operation.name" = (service == "DynamoDB").then_some(operation),
            "db.collection.name" = table(context.input()),
            "aws.dynamodb.capacity_units" = Empty,
            "http.request.resend_count" = Empty,
        );
        if !span.is_disabled() {
            config.interceptor_state().store_put(CallSpan(span));
            return_capacity(context.input_mut());
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let retries = config.load::<RequestAttempts>().map_or(0, |attempts| attempts.attempts().saturating_sub(1));
        if retries > 0 && config.load::<Metadata>().is_some_and(|call| call.service() == "DynamoDB") {
            metrics::counter!("DynamoDbRetries").increment(u64::from(retries));
        }
        let Some(CallSpan(span)) = config.load::<CallSpan>() else { return Ok(()) };
        if retries > 0 {
            span.record("http.request.resend_count", retries);
        }
        match context.output_or_error() {
            Some(Ok(output)) => {
                if let Some(units) = units(output) {
                    span.record("aws.dynamodb.capacity_units", units);
                }
            }
            Some(Err(error)) => {
                let code = error.as_operation_error().and_then(code).unwrap_or("unanswered");
                span.record("error.type", code);
                // A condition that fails is an outcome of a write, not a fault.
                if code != "ConditionalCheckFailedException" {
                    span.record("otel.status_code", "ERROR");
                }
            }
            None => {}
        }
        Ok(())
    }
}

/// The operations of DynamoDB that functions use: on one table, and on several.
macro_rules! operations {
    ($($module:ident: $input:ident, $output:ident, $error:ident $(, $table:ident)?;)*) => {
        fn table(input: &Input) -> Option<&str> {
            $($(if let Some(input) = input.downcast_ref::<dynamodb::$module::$input>() {
                return input.$table();
            })?)*
            None
        }

        /// Has DynamoDB return what a call costs, which is free of charge.
        fn return_capacity(input: &mut Input) {
            $(if let Some(input) = input.downcast_mut::<dynamodb::$module::$input>() {
                input.return_consumed_capacity.get_or_insert(ReturnConsumedCapacity::Total);
            })*
        }

        fn units(output: &Output) -> Option<f64> {
            $(if let Some(output) = output.downcast_ref::<dynamodb::$module::$output>() {
                return output.consumed_capacity().into_iter().map(|capacity| capacity.capacity_units()).sum();
            })*
            None
        }

        fn code(error: &Error) -> Option<&str> {
            $(if let Some(error) = error.downcast_ref::<dynamodb::$module::$error>() {
                return error.code();
            })*
            None
        }
    };
}

operations! {
    get_item: GetItemInput, GetItemOutput, GetItemError, table_name;
    put_item: PutItemInput, PutItemOutput, PutItemError, table_name;
    update_item: UpdateItemInput, UpdateItemOutput, UpdateItemError, table_name;
    delete_item: DeleteItemInput, DeleteItemOutput, DeleteItemError, table_name;
    query: QueryInput, QueryOutput, QueryError, table_name;
    scan: ScanInput, ScanOutput, ScanError, table_name;
    batch_get_item: BatchGetItemInput, BatchGetItemOutput, BatchGetItemError;
    transact_write_items: TransactWriteItemsInput, TransactWriteItemsOutput, TransactWriteItemsError;
}
