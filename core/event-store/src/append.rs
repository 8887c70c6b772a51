//! The only code that writes to the event table.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_dynamodb::error::{BoxError, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use serde_dynamo::Item;

use super::aggregate::Aggregate;
use super::commit::Commit;
use super::error::{CommitError, StoreError};
use super::size::{MAX_ITEM_BYTES, item_bytes};
use super::stream::Stream;
use super::{EventStore, snapshot};

/// The result of a write.
#[derive(Debug)]
pub enum Appended<E> {
    /// Stored by this call.
    Stored,
    /// The version holds this commit: another writer's, or our own from an attempt whose response was lost.
    Conflict(Box<Commit<E>>),
    /// Not stored: DynamoDB rejected every attempt (throttled, unauthorized, …).
    Rejected(StoreError),
    /// Not sent: the commit exceeds the maximum item size.
    TooLarge {
        /// The size.
        bytes: usize,
    },
    /// At least one attempt got no response, so it may be stored, even later.
    Unknown(StoreError),
}

/// Counts the attempts of an operation that were sent and not rejected. The SDK reports the last attempt only, and a
/// throttled one may follow one whose response was lost.
#[derive(Clone, Debug, Default)]
struct UnansweredAttempts(Arc<AtomicUsize>);

impl UnansweredAttempts {
    fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Intercept for UnansweredAttempts {
    fn name(&self) -> &'static str {
        "UnansweredAttempts"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().status().is_client_error() {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl<A: Aggregate> EventStore<A> {
    /// See [`Backend::append`].
    pub(super) async fn put_commit(
        &self,
        commit: &Commit<A::Event>,
        next: &Stream<A>,
    ) -> Result<Appended<A::Event>, StoreError> {
        let mut item = item_of::<A>(commit)?;
        if let Some(bytes) = too_large(&item) {
            return Ok(Appended::TooLarge { bytes });
        }
        if snapshot::is_due(commit, self.snapshot_every) {
            snapshot::put(next, &mut item).map_err(|source| malformed(commit, source))?;
            if too_large(&item).is_some() {
                snapshot::detach(&mut item);
            }
        }
        let unanswered = UnansweredAttempts::default();
        let put = self.put_if_free(item).customize().interceptor(unanswered.clone());
        let Err(error) = put.send().await else { return Ok(Appended::Stored) };
        match existing_item(error) {
            Ok(item) => {
                let existing_item = Commit::from_item::<A>(item)?;
                // A key has one commit, unless the table has another key schema.
                if existing_item.first != commit.first
                    && let Some(wrong) = self.wrong_table().await
                {
                    return Err(wrong);
                }
                Ok(Appended::Conflict(Box::new(existing_item)))
            }
            Err(error) if unanswered.is_none() => Ok(Appended::Rejected(self.failed(error).await)),
            Err(error) => Ok(Appended::Unknown(StoreError::unavailable(error))),
        }
    }

    /// Writes a commit's item back if its version is free. Otherwise returns the item that is there, which may be the
    /// same one, stored by an attempt whose response was lost.
    pub(super) async fn restore_item(&self, item: Item) -> Result<Option<Item>, StoreError> {
        let Err(error) = self.put_if_free(item).send().await else { return Ok(None) };
        existing_item(error).map(Some).map_err(StoreError::unavailable)
    }

    /// A conditional put of a commit's item. If the version is taken, the failure holds the existing item.
    fn put_if_free(&self, item: Item) -> PutItemFluentBuilder {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item.into()))
            .condition_expression("attribute_not_exists(stream_id)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

/// The commit's item without a snapshot.
pub(super) fn item_of<A: Aggregate>(commit: &Commit<A::Event>) -> Result<Item, StoreError> {
    commit.to_item::<A>().map_err(|source| malformed(commit, source))
}

fn malformed<E>(commit: &Commit<E>, source: serde_dynamo::Error) -> StoreError {
    CommitError::Malformed { stream: commit.stream.to_string(), version: commit.first, source }.into()
}

/// The size of an item that exceeds the maximum.
pub(super) fn too_large(item: &Item) -> Option<usize> {
    Some(item_bytes(item)).filter(|bytes| *bytes > MAX_ITEM_BYTES)
}

/// The existing item, if the write failed because the version is taken.
#[expect(clippy::result_large_err, reason = "it comes from the SDK as large as it is, and goes no further")]
fn existing_item(error: SdkError<PutItemError>) -> Result<Item, SdkError<PutItemError>> {
    match error {
        SdkError::ServiceError(context) if context.err().is_conditional_check_failed_exception() => {
            let PutItemError::ConditionalCheckFailedException(failed) = context.into_err() else {
                unreachable!("the guard of this arm names the variant")
            };
            Ok(Item::from(failed.item.unwrap_or_default()))
        }
        error => Err(error),
    }
}
