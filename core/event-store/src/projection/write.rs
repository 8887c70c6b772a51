//! Writing one row, on condition that it is what it was taken for.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::Projection;
use super::counts::Counts;
use super::error::{Cause, ProjectionError};
use super::model::{COUNTED, ReadModel, RowChange, RowItem};
use super::state::{Condition, Expected, Parked, RowState};
use crate::stream_id::{StreamId, Version};

/// What became of a conditional write: `None` if it was done, or else the row that is there instead.
pub(super) type Written = Result<Option<RowState>, ProjectionError>;

/// A write of one row, in DynamoDB's language.
#[derive(Debug)]
pub(super) struct RowWrite {
    pub table: String,
    pub key: RowItem,
    pub action: Action,
    pub condition: Condition,
    /// What the totals change by.
    pub counts: Counts,
    /// The version of the newest event in it.
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
        // A change that leaves alone what the row counts does not depend on it.
        if let Some(counted) = change.attributes.get(COUNTED) {
            self.count(&mut write, expected, counted.as_ref())?;
        }
        // Where the row has the attribute after all, it comes back whole.
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

    /// Replaces a row, or makes it.
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

    /// Marks the row, or makes one that is only a mark: it stands still until it is repaired. False if the row has the
    /// event of version `past` already, and nothing was marked.
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

    /// A write that removes the row, as long as its action is no other one, on condition of what is expected.
    fn expecting(&self, stream: &StreamId, version: Version, expected: Expected<'_>) -> RowWrite {
        let (table, key, counts) = (self.table.clone(), self.key(stream), Counts::default());
        RowWrite { table, key, action: Action::Delete, condition: expected.condition(), counts, version }
    }

    /// Has the totals change by what the row counts after a write, and did not before: on condition that it did just that.
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
        let reason = "what the row counts cannot be read";
        let unreadable = |source| ProjectionError::unprojectable(write.version, reason, source);
        let before = match (Counts::read(before), expected) {
            // Whatever it was, it is over. A comparison of the totals with the rows finds what it has left there.
            (Err(error), Expected::Unpark(_) | Expected::Replace(_)) => {
                tracing::error!(model = M::NAME, key = ?write.key, %error, "taken for nothing");
                Counts::default()
            }
            (before, _) => before.map_err(unreadable)?,
        };
        write.counts = Counts::read(counted).map_err(unreadable)?.since(&before);
        Ok(())
    }

    async fn send(&self, write: RowWrite) -> Written {
        if !write.counts.is_empty() {
            return match &self.totals {
                Some(totals) => totals.commit(&self.client, write).await,
                None => Err(ProjectionError::unavailable("the read model counts, and has no table of totals")),
            };
        }
        let RowWrite { table, key, action, condition, version, counts: _ } = write;
        let Condition { text: condition, names, values } = condition;
        let values = Some(values).filter(|values| !values.is_empty());
        let all_old = ReturnValuesOnConditionCheckFailure::AllOld;
        match action {
            Action::Put(row) => {
                let put = self.client.put_item().table_name(table).set_item(Some(row)).condition_expression(condition);
                let put = put.set_expression_attribute_names(Some(names)).set_expression_attribute_values(values);
                settle(version, put.return_values_on_condition_check_failure(all_old).send().await, |error| match error
                {
                    PutItemError::ConditionalCheckFailedException(failed) => Some(failed),
                    _ => None,
                })
            }
            Action::Update(update) => {
                let request = self.client.update_item().table_name(table).set_key(Some(key)).update_expression(update);
                let request = request.condition_expression(condition).set_expression_attribute_names(Some(names));
                let request = request.set_expression_attribute_values(values);
                let sent = request.return_values_on_condition_check_failure(all_old).send().await;
                settle(version, sent, |error| match error {
                    UpdateItemError::ConditionalCheckFailedException(failed) => Some(failed),
                    _ => None,
                })
            }
            Action::Delete => {
                let delete =
                    self.client.delete_item().table_name(table).set_key(Some(key)).condition_expression(condition);
                let delete = delete.set_expression_attribute_names(Some(names)).set_expression_attribute_values(values);
                let sent = delete.return_values_on_condition_check_failure(all_old).send().await;
                settle(version, sent, |error| match error {
                    DeleteItemError::ConditionalCheckFailedException(failed) => Some(failed),
                    _ => None,
                })
            }
        }
    }
}

/// Tells a write that was done from one whose condition failed, and what may be tried again from what may not.
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

/// Why a row was not written: for what DynamoDB calls invalid, and what it says of it.
pub(super) fn not_written(version: Version, invalid: bool, message: Option<&str>, source: Cause) -> ProjectionError {
    let too_large = message.is_some_and(|message| message.starts_with("Item size") && message.contains("exceeded"));
    match invalid && too_large {
        true => ProjectionError::unprojectable(version, "the row would be larger than DynamoDB allows", source),
        false => ProjectionError::Unavailable(source),
    }
}
