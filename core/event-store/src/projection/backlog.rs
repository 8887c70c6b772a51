//! The backlog: streams whose rows are brought up to date later.
//!
//! A DynamoDB stream supports at most two readers, so several read models share one function. What one of them cannot
//! process must not delay the others. It is recorded here, one item per model and stream, and caught up from the event
//! store.

use std::error::Error;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableFluentBuilder;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ScalarAttributeType, Select};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::time::Instant;

use super::Projection;
use super::batch::LaggingStream;
use super::error::ProjectionError;
use super::model::{ReadModel, RowItem};
use crate::error::chain;
use crate::stream_id::StreamId;
use crate::table::keyed_table;

/// How many streams are recorded or caught up concurrently.
const IN_FLIGHT: usize = 24;
/// The page size.
const PAGE: i32 = 100;
/// A table of streams that read models lag behind on. Cheap to clone.
#[derive(Clone, Debug)]
#[doc(alias = "retry_queue")]
pub struct Backlog {
    client: Client,
    table: String,
}

/// The backlog could not be read or written, after the SDK's retries. Retry later.
#[derive(Debug, thiserror::Error)]
#[error("the read models' backlog table is unavailable")]
pub struct BacklogError(#[source] Box<dyn Error + Send + Sync>);

/// The result of catching up on a model's backlog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CatchUpResult {
    /// Streams whose rows are up to date again.
    pub done: u64,
    /// Of these, streams that are parked now.
    pub parked: u64,
    /// Streams that still failed.
    pub failed: u64,
    /// Streams left in the backlog after the run.
    pub left: u64,
}

impl Backlog {
    /// The backlog in `table`.
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Records the streams on which a model lags behind.
    ///
    /// # Errors
    /// [`BacklogError`]; some of them may be recorded.
    pub async fn record(&self, model: &str, behind: &[LaggingStream]) -> Result<(), BacklogError> {
        stream::iter(behind).map(Ok).try_for_each_concurrent(IN_FLIGHT, |each| self.record_one(model, each)).await
    }

    async fn record_one(
        &self,
        model: &str,
        LaggingStream { stream, version }: &LaggingStream,
    ) -> Result<(), BacklogError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(model, stream)))
            .update_expression("SET #version = :version")
            .condition_expression("attribute_not_exists(#version) OR #version < :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", AttributeValue::N(version.to_string()));
        match update.send().await {
            Ok(_) => Ok(()),
            Err(error)
                if matches!(error.as_service_error(), Some(UpdateItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(())
            }
            Err(error) => Err(BacklogError(error.into())),
        }
    }

    /// Catches up on a model's backlog, until it is empty, the first page after the deadline, or a page of failures
    /// only. Safe beside the projection and other runs.
    ///
    /// # Errors
    /// [`BacklogError`]; the streams caught up on before are done.
    pub async fn catch_up<M: ReadModel>(
        &self,
        projection: &Projection<M>,
        deadline: Instant,
    ) -> Result<CatchUpResult, BacklogError> {
        let (mut caught_up, mut after) = (CatchUpResult::default(), None);
        // From a random end, so that streams which keep failing do not block all others.
        let forward = fastrand::bool();
        loop {
            let page =
                self.query(M::NAME).scan_index_forward(forward).limit(PAGE).set_exclusive_start_key(after).send().await;
            let page = page.map_err(|error| BacklogError(error.into()))?;
            let behind: Vec<LaggingStream> = page.items.unwrap_or_default().iter().filter_map(read).collect();
            let done = caught_up.done;
            let ends = stream::iter(&behind).map(|each| self.catch_up_one(projection, each));
            for end in ends.buffer_unordered(IN_FLIGHT).try_collect::<Vec<_>>().await? {
                match end {
                    Ok(parked) => {
                        caught_up.done += 1;
                        caught_up.parked += u64::from(parked);
                    }
                    Err(error) => {
                        caught_up.failed += 1;
                        tracing::warn!(model = M::NAME, error = chain(&error), "still behind");
                    }
                }
            }
            after = page.last_evaluated_key;
            if after.is_none() || Instant::now() >= deadline || caught_up.done == done {
                caught_up.left = self.count(M::NAME).await?;
                return Ok(caught_up);
            }
        }
    }

    async fn catch_up_one<M: ReadModel>(
        &self,
        projection: &Projection<M>,
        behind: &LaggingStream,
    ) -> Result<Result<bool, ProjectionError>, BacklogError> {
        let parked = match projection.catch_up_to(behind).await {
            Ok(parked) => parked,
            Err(error) => return Ok(Err(error)),
        };
        // A newer entry stays.
        let delete = self
            .client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(key(M::NAME, &behind.stream)))
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", AttributeValue::N(behind.version.to_string()));
        match delete.send().await {
            Ok(_) => Ok(Ok(parked)),
            Err(error)
                if matches!(error.as_service_error(), Some(DeleteItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(Ok(parked))
            }
            Err(error) => Err(BacklogError(error.into())),
        }
    }

    /// The number of streams in a model's backlog.
    async fn count(&self, model: &str) -> Result<u64, BacklogError> {
        let (mut pages, mut count) = (self.query(model).select(Select::Count).into_paginator().send(), 0);
        while let Some(page) = pages.next().await {
            count += u64::from(page.map_err(|error| BacklogError(error.into()))?.count.unsigned_abs());
        }
        Ok(count)
    }

    fn query(&self, model: &str) -> aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder {
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("#model = :model")
            .expression_attribute_names("#model", "model")
            .expression_attribute_values(":model", AttributeValue::S(model.to_owned()))
            .consistent_read(true)
    }
}

fn key(model: &str, stream: &StreamId) -> RowItem {
    let text = |text: &str| AttributeValue::S(text.to_owned());
    [("model".to_owned(), text(model)), ("stream_id".to_owned(), text(stream.as_str()))].into()
}

fn read(item: &RowItem) -> Option<LaggingStream> {
    let stream = StreamId::new(item.get("stream_id")?.as_s().ok()?);
    Some(LaggingStream { stream, version: item.get("version")?.as_n().ok()?.parse().ok()? })
}

/// The request that creates a backlog of this name, to be sent as it is or with more settings.
///
/// Its key is `model` (S) and `stream_id` (S); it is billed on demand.
///
/// # Errors
/// None with this version of the SDK, whose builders check what is given to them.
pub fn create_backlog_table(client: &Client, name: impl Into<String>) -> Result<CreateTableFluentBuilder, BuildError> {
    let text = |name| (name, ScalarAttributeType::S);
    Ok(keyed_table(client, text("model"), text("stream_id"))?.table_name(name))
}
