//! Conditional writes of one row.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;

use super::Projection;
use super::counts::Counts;
use super::error::{Cause, ProjectionError};
use super::model::{COUNTED, ReadModel, RowChange, RowItem};
use super::state::{Condition, Expected, Parked, RowState, on_condition};
use crate::stream_id::{StreamId, Version};

/// The result of a conditional write: `None` if it was applied, otherwise the current row.
pub(super) type Written = Result<Option<RowState>, ProjectionError>;

/// A write of one row as DynamoDB expressions.
#[derive(Debug)]
pub(super) struct RowWrite {
    pub table: String,
    pub key: RowItem,
    pub action: Action,
    pub condition: Condition,
    /// The change of the totals.
    pub counts: Counts,
    /// The version of the newest event in the row.
    pub version: Version,
}

#[derive(Debug)]
pub(super) enum Action {
    Put(RowItem),
    /// An update expression.
    Update(String),
    Delete,
}

impl<M: ReadModel> Projection<M> {
    /// Changes some attributes of a row.
    pub(super) async fn update(
        &self,
        stream: &StreamId,
        version: Version,
        change: RowChange,
        expected: Expected<'_>,
    ) -> Written {
        let mut write = self.expecting(stream, version, expected);
        // A change that does not touch the counts does not depend on them.
        if let Some(counted) = change.attributes.get(COUNTED) {
            self.count(&mut write, expected, counted.as_ref())?;
        }
        // If the row has the attribute, the failed condition returns the whole row.
        if let Some(attribute) = change.unless_exists {
            write.condition.text += " AND attribute_not_exists(#unless)";
            write.condition.names.insert("#unless".into(), attribute.to_owned());
        }
        let Condition { names, values, .. } = &mut write.condition;
        names.insert("#version".into(), "version".into());
        values.insert(":to".into(), AttributeValue::N(version.to_string()));
        let (mut set, mut remove) = (vec!["#version=:to".to_owned()], Vec::new());
        for (n, (attribute, value)) in change.attributes.into_iter().enumerate() {
            names.insert(format!("#{n}"), attribute);
            match value {
                None => remove.push(format!("#{n}")),
                Some(value) => {
                    set.push(format!("#{n}=:{n}"));
                    values.insert(format!(":{n}"), value);
                }
            }
        }
        let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(",")) };
        write.action = Action::Update(format!("SET {}{remove}", set.join(",")));
        self.send(write).await
    }

    /// Creates or replaces a row.
    pub(super) async fn put(
        &self,
        stream: &StreamId,
        version: Version,
        row: RowItem,
        expected: Expected<'_>,
    ) -> Written {
        let mut write = self.expecting(stream, version, expected);
        self.count(&mut write, expected, row.get(COUNTED))?;
        self.send(RowWrite { action: Action::Put(row), ..write }).await
    }

    /// Removes a row.
    pub(super) async fn delete(&self, stream: &StreamId, seen: &RowState) -> Written {
        let expected = Expected::Unpark(seen);
        let mut write = self.expecting(stream, seen.version, expected);
        self.count(&mut write, expected, None)?;
        self.send(write).await
    }

    /// Parks the row, creating it if needed: it stays unchanged until it is repaired. False if the row already has the
    /// event of version `past` and was not parked.
    pub(super) async fn park(
        &self,
        stream: &StreamId,
        version: Version,
        reason: &'static str,
        past: Version,
    ) -> Result<bool, ProjectionError> {
        let mark = serde_dynamo::to_attribute_value(Parked { version, reason })
            .map_err(|error: serde_dynamo::Error| ProjectionError::unavailable(error))?;
        let write = RowWrite {
            table: self.table.clone(),
            key: self.key(stream),
            action: Action::Update("SET #parked = :mark".into()),
            condition: Condition {
                text: "attribute_not_exists(#parked) AND (attribute_not_exists(#version) OR #version < :past)".into(),
                names: [("#parked".into(), "parked".into()), ("#version".into(), "version".into())].into(),
                values: [(":mark".into(), mark), (":past".into(), AttributeValue::N(past.to_string()))].into(),
            },
            counts: Counts::default(),
            version,
        };
        Ok(self.send(write).await?.is_none_or(|found| found.parked.is_some()))
    }

    /// A conditional write, with deletion as its default action.
    fn expecting(&self, stream: &StreamId, version: Version, expected: Expected<'_>) -> RowWrite {
        let (table, key, counts) = (self.table.clone(), self.key(stream), Counts::default());
        RowWrite { table, key, action: Action::Delete, condition: expected.condition(), counts, version }
    }

    /// Adds the change of the row's counts to a write, on condition that the row still counts what was read.
    fn count(
        &self,
        write: &mut RowWrite,
        expected: Expected<'_>,
        counted: Option<&AttributeValue>,
    ) -> Result<(), ProjectionError> {
        let before = expected.row().and_then(|row| row.get(COUNTED));
        if before.is_none() && counted.is_none() && self.totals.is_none() {
            return Ok(());
        }
        write.condition.is(COUNTED, before);
        let reason = "the counts of the row are malformed";
        let unreadable = |source| ProjectionError::unprojectable(write.version, reason, source);
        let before = match (Counts::read(before), expected) {
            // The row is replaced. An audit of the totals corrects what the malformed counts left there.
            (Err(error), Expected::Unpark(_) | Expected::Replace(_)) => {
                tracing::error!(model = M::NAME, key = ?write.key, %error, "malformed counts ignored");
                Counts::default()
            }
            (before, _) => before.map_err(unreadable)?,
        };
        write.counts = Counts::read(counted).map_err(unreadable)?.difference(&before);
        Ok(())
    }

    async fn send(&self, write: RowWrite) -> Written {
        if !write.counts.is_empty() {
            return match &self.totals {
                Some(totals) => totals.commit(&self.client, write).await,
                None => Err(ProjectionError::unavailable("the read model counts, but has no table of totals")),
            };
        }
        let RowWrite { table, key, action, condition, version, counts: _ } = write;
        match action {
            Action::Put(row) => {
                let put = self.client.put_item().table_name(table).set_item(Some(row));
                settle(version, on_condition!(put, condition).send().await, |error| match error {
                    PutItemError::ConditionalCheckFailedException(failed) => Some(failed),
                    _ => None,
                })
            }
            Action::Update(update) => {
                let request = self.client.update_item().table_name(table).set_key(Some(key)).update_expression(update);
                settle(version, on_condition!(request, condition).send().await, |error| match error {
                    UpdateItemError::ConditionalCheckFailedException(failed) => Some(failed),
                    _ => None,
                })
            }
            Action::Delete => {
                let delete = self.client.delete_item().table_name(table).set_key(Some(key));
                settle(version, on_condition!(delete, condition).send().await, |error| match error {
                    DeleteItemError::ConditionalCheckFailedException(failed) => Some(failed),
                    _ => None,
                })
            }
        }
    }
}

/// The result of a write, from the SDK's result.
fn settle<T, E>(
    version: Version,
    sent: Result<T, SdkError<E>>,
    failed_condition: impl FnOnce(&E) -> Option<&ConditionalCheckFailedException>,
) -> Written
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Err(error) = sent else { return Ok(None) };
    if let Some(failed) = error.as_service_error().and_then(failed_condition) {
        return Ok(Some(RowState::of(failed.item.clone())));
    }
    let invalid = error.code() == Some("ValidationException");
    let message = error.message().map(str::to_owned);
    Err(not_written(version, invalid, message.as_deref(), error.into()))
}

/// The error for a row that was not written; `message` is DynamoDB's.
pub(super) fn not_written(version: Version, invalid: bool, message: Option<&str>, source: Cause) -> ProjectionError {
    let too_large = message.is_some_and(|message| message.starts_with("Item size") && message.contains("exceeded"));
    match invalid && too_large {
        true => ProjectionError::unprojectable(version, "the row exceeds the maximum item size", source),
        false => ProjectionError::Unavailable(source),
    }
}
