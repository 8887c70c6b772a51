//! Bringing the row of one order up to its events.

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::error::ConditionalCheckFailedException;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValuesOnConditionCheckFailure};

use super::error::ProjectionError;
use super::order_reader::stream_of;
use super::patch::{Patch, Waiting};
use super::projector::Projector;
use super::row::{self, Parked, RowItem, Standing};
use crate::domain::event::OrderEvent;
use crate::domain::ids::OrderId;
use crate::domain::state::Order;
use dynamodb_event_store::{Commit, CommitError, Page, StoreError, Version};

/// How often a row may turn out to be other than it just was before it is left for later.
pub(super) const MAX_ROUNDS: usize = 8;
/// The most attributes that are changed by name. DynamoDB allows an expression 300 operators and 4 KB.
const MAX_CHANGES: usize = 150;

/// What a row must still be like for a write to be right.
#[derive(Clone, Copy)]
pub(super) enum Expected<'a> {
    /// Not parked, and at this version; 0 is a row without one, or none.
    At(Version),
    /// Not parked, and at the version that was seen.
    Seen(&'a Standing),
    /// At the version that was seen. Parked or not, it will not be parked any more.
    Unpark(&'a Standing),
}

impl Expected<'_> {
    /// The payment that waits, as far as it was seen.
    fn waiting(self) -> Waiting {
        match self {
            Self::At(0) => Waiting::For(None),
            Self::At(_) => Waiting::Unknown,
            Self::Seen(seen) | Self::Unpark(seen) => Waiting::For(seen.waiting.clone()),
        }
    }

    fn version(self) -> Version {
        match self {
            Self::At(version) => version,
            Self::Seen(seen) | Self::Unpark(seen) => seen.version,
        }
    }

    /// The condition on `#version` and `#parked`, and its `:expected`.
    pub(super) fn condition(self) -> (&'static str, Option<AttributeValue>) {
        let version = match self {
            Self::At(version) => (version > 0).then(|| AttributeValue::N(version.to_string())),
            Self::Seen(seen) | Self::Unpark(seen) => seen.stored_version.clone(),
        };
        let condition = match (self, &version) {
            (Self::Unpark(_), None) => "attribute_not_exists(#version)",
            (Self::Unpark(_), Some(_)) => "#version = :expected",
            (_, None) => "attribute_not_exists(#version) AND attribute_not_exists(#parked)",
            (_, Some(_)) => "#version = :expected AND attribute_not_exists(#parked)",
        };
        (condition, version)
    }
}

/// What became of a conditional write: `None` if it was done, or else the row that is there instead.
pub(super) type Written = Result<Option<Standing>, ProjectionError>;

impl Projector {
    /// Brings the row up to commits that follow each other: with one write and no read, if the row has everything
    /// before them and nothing of them.
    pub(super) async fn follow(
        &self,
        order_id: OrderId,
        commits: &[Commit<OrderEvent>],
    ) -> Result<(), ProjectionError> {
        let (Some(first), Some(last)) = (commits.first(), commits.last().map(Commit::last)) else { return Ok(()) };
        let found = self.patch(order_id, commits, Expected::At(first.first - 1)).await?;
        self.reach(order_id, last, commits, found).await
    }

    /// Brings the row to `version`, or as far as the event store can be read.
    pub(super) async fn heal(&self, order_id: OrderId, version: Version) -> Result<(), ProjectionError> {
        let found = Standing::of(self.read_row(order_id).await?);
        self.reach(order_id, version, &[], Some(found)).await
    }

    /// Goes on from what a write has found, until the row is at `last` or parked.
    async fn reach(
        &self,
        order_id: OrderId,
        last: Version,
        mut commits: &[Commit<OrderEvent>],
        mut found: Option<Standing>,
    ) -> Result<(), ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let Some(seen) = found else { return Ok(()) };
            if seen.parked || seen.version >= last {
                return Ok(());
            }
            commits = &commits[commits.partition_point(|commit| commit.first <= seen.version)..];
            found = match commits.first() {
                Some(next) if next.first == seen.version + 1 => {
                    self.patch(order_id, commits, Expected::Seen(&seen)).await?
                }
                _ => self.catch_up(order_id, &seen).await?,
            };
        }
        Err(ProjectionError::Unavailable("others wrote the row between all attempts".into()))
    }

    /// Makes one order's row anew from its events, and has it follow the coming ones again if it was parked. Answers
    /// the version that the row is at; `None` if there are no events of this order.
    ///
    /// Safe at any time, beside the projector too. Costs a read of the row, one of the events, and a write.
    ///
    /// # Errors
    /// See [`ProjectionError`]; the row stays as it was.
    pub async fn repair(&self, order_id: OrderId) -> Result<Option<Version>, ProjectionError> {
        for _ in 0..MAX_ROUNDS {
            let row = self.read_row(order_id).await?;
            // Read after the row, so the events cannot be older than it.
            let Some((version, refolded)) = self.fold(order_id).await? else { return Ok(None) };
            let seen = Standing::of(row);
            let put = self.put(version, refolded, Expected::Unpark(&seen)).await?;
            // A row that was ahead made the projector pass over what was stored meanwhile: looked at once more.
            if put.is_none() && seen.version <= version {
                return Ok(Some(version));
            }
        }
        Err(ProjectionError::Unavailable("others wrote the row between all attempts".into()))
    }

    /// The row as it is, read strongly.
    pub(super) async fn read_row(&self, order_id: OrderId) -> Result<Option<RowItem>, ProjectionError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some([row::key(order_id)].into()));
        let answer = get.consistent_read(true).send().await;
        Ok(answer.map_err(|error| ProjectionError::Unavailable(error.into()))?.item)
    }

    /// Marks the row, or makes one that is only a mark: it stands still until it is repaired. False if the row has the
    /// event of version `past` already, and nothing was marked.
    pub(super) async fn park(
        &self,
        order_id: OrderId,
        version: Version,
        reason: &'static str,
        past: Version,
    ) -> Result<bool, ProjectionError> {
        let mark = Parked { version, reason: reason.into() };
        let mark = serde_dynamo::to_attribute_value(mark)
            .map_err(|error: serde_dynamo::Error| ProjectionError::Unavailable(error.into()))?;
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some([row::key(order_id)].into()))
            .update_expression("SET #parked = :mark")
            .condition_expression(
                "attribute_not_exists(#parked) AND (attribute_not_exists(#version) OR #version < :past)",
            )
            .expression_attribute_names("#parked", "parked")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":mark", mark)
            .expression_attribute_values(":past", AttributeValue::N(past.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let found = settle_update(version, update.send().await)?;
        Ok(found.is_none_or(|seen| seen.parked))
    }

    /// Applies commits to the row as it is.
    async fn patch(&self, order_id: OrderId, commits: &[Commit<OrderEvent>], expected: Expected<'_>) -> Written {
        let patch = Patch::of(order_id, commits, expected.waiting())?;
        if patch.len() > MAX_CHANGES {
            return self.refold(order_id, expected).await;
        }
        let (condition, version) = expected.condition();
        // Where a payment waits after all, the row that comes back says which one.
        let condition = match patch.assumes_none_waits {
            true => format!("{condition} AND attribute_not_exists(deferred_shard)"),
            false => condition.to_owned(),
        };
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some([row::key(order_id)].into()))
            .condition_expression(condition)
            .expression_attribute_names("#version", "version")
            .expression_attribute_names("#parked", "parked")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if let Some(version) = version {
            update = update.expression_attribute_values(":expected", version);
        }
        let (mut set, mut remove) = (Vec::new(), Vec::new());
        for (n, (attribute, value)) in patch.into_iter().enumerate() {
            update = update.expression_attribute_names(format!("#{n}"), attribute);
            match value {
                None => remove.push(format!("#{n}")),
                Some(value) => {
                    set.push(format!("#{n}=:{n}"));
                    update = update.expression_attribute_values(format!(":{n}"), value);
                }
            }
        }
        let remove = if remove.is_empty() { String::new() } else { format!(" REMOVE {}", remove.join(",")) };
        let update = update.update_expression(format!("SET {}{remove}", set.join(",")));
        settle_update(commits.last().map_or(0, Commit::last), update.send().await)
    }

    /// Applies what the row lacks, from the event store; makes it anew where that does not follow what it has.
    async fn catch_up(&self, order_id: OrderId, seen: &Standing) -> Written {
        if seen.version > 0 {
            match self.events.page_after(&stream_of(order_id), seen.version, usize::MAX).await {
                Ok(tail) if !tail.commits.is_empty() => {
                    return stopped(self.patch(order_id, &tail.commits, Expected::Seen(seen)).await?, tail.obstacle);
                }
                Ok(Page { obstacle: Some(obstacle), .. }) => return stopped(None, Some(obstacle)),
                Ok(_) | Err(StoreError::Corrupt(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.refold(order_id, Expected::Seen(seen)).await
    }

    /// Replaces the row by one made of all events, or of those before the first that cannot be read if the row has not
    /// got that far.
    async fn refold(&self, order_id: OrderId, expected: Expected<'_>) -> Written {
        let Page { commits, obstacle, .. } = self.events.page_after(&stream_of(order_id), 0, usize::MAX).await?;
        let written = match row_of(order_id, &commits)? {
            Some((version, row)) if obstacle.is_none() || version > expected.version() => {
                self.put(version, row, expected).await?
            }
            None if obstacle.is_none() => {
                return Err(ProjectionError::corrupt(1, "the event table has no event of this order"));
            }
            _ => None,
        };
        stopped(written, obstacle)
    }

    /// The row that all events of an order make, and its version. The events are read strongly, and checked.
    pub(super) async fn fold(&self, order_id: OrderId) -> Result<Option<(Version, RowItem)>, ProjectionError> {
        row_of(order_id, &self.events.commits_after(&stream_of(order_id), 0).await?)
    }

    async fn put(&self, version: Version, row: RowItem, expected: Expected<'_>) -> Written {
        let (condition, expected_version) = expected.condition();
        let parked = (!matches!(expected, Expected::Unpark(_))).then(|| ("#parked".into(), "parked".into()));
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(row))
            .condition_expression(condition)
            .set_expression_attribute_names(Some(
                parked.into_iter().chain([("#version".into(), "version".into())]).collect(),
            ))
            .set_expression_attribute_values(expected_version.map(|version| [(":expected".into(), version)].into()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        settle_put(version, put.send().await)
    }
}

/// What became of a write that goes as far as an obstacle: when it is done, the obstacle is what is left.
fn stopped(written: Option<Standing>, obstacle: Option<CommitError>) -> Written {
    match (written, obstacle) {
        (None, Some(obstacle)) => Err(StoreError::from(obstacle).into()),
        (written, _) => Ok(written),
    }
}

/// The row that all commits of an order make, and its version; none if there are none.
pub(super) fn row_of(
    order_id: OrderId,
    commits: &[Commit<OrderEvent>],
) -> Result<Option<(Version, RowItem)>, ProjectionError> {
    let Some(last) = commits.last() else { return Ok(None) };
    let mut order = Order::default();
    for (version, event) in commits.iter().flat_map(Commit::versioned) {
        order.apply(event).map_err(|error| ProjectionError::corrupt(version, error))?;
    }
    Ok(Some((last.last(), Patch::of(order_id, commits, Waiting::For(None))?.into_row(order_id))))
}

pub(super) fn settle_put<T>(version: Version, sent: Result<T, SdkError<PutItemError>>) -> Written {
    settle(version, sent, |error| match error {
        PutItemError::ConditionalCheckFailedException(failed) => Some(failed),
        _ => None,
    })
}

fn settle_update<T>(version: Version, sent: Result<T, SdkError<UpdateItemError>>) -> Written {
    settle(version, sent, |error| match error {
        UpdateItemError::ConditionalCheckFailedException(failed) => Some(failed),
        _ => None,
    })
}

/// Tells a write that was done from one whose condition failed, and what may be tried again from what may not.
pub(super) fn settle<T, E>(
    version: Version,
    sent: Result<T, SdkError<E>>,
    failed_condition: impl FnOnce(&E) -> Option<&ConditionalCheckFailedException>,
) -> Written
where
    E: ProvideErrorMetadata + Error + Send + Sync + 'static,
{
    let Err(error) = sent else { return Ok(None) };
    if let Some(failed) = error.as_service_error().and_then(failed_condition) {
        return Ok(Some(Standing::of(failed.item.clone())));
    }
    let too_large = error.code() == Some("ValidationException")
        && error.message().is_some_and(|message| message.starts_with("Item size") && message.contains("exceeded"));
    Err(match too_large {
        true => ProjectionError::Unprojectable {
            version,
            reason: "the row would be larger than DynamoDB allows",
            source: error.into(),
        },
        false => ProjectionError::Unavailable(error.into()),
    })
}
