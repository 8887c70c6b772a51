//! Reading the commits of a stream in order.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_dynamo::Item;

use super::EventStore;
use super::aggregate::Aggregate;
use super::commit::{Commit, StoredCommit};
use super::error::{CommitError, CorruptStream, StoreError};
use super::stream_id::{StreamId, Version};

/// Commits of a stream, oldest first.
#[derive(Debug)]
pub struct Page<E> {
    /// The commits.
    pub commits: Vec<Commit<E>>,
    /// The version to continue after; `None` at the end.
    pub next: Option<Version>,
    /// The next commit, if it cannot be read: the page ends before it.
    pub unreadable: Option<CommitError>,
}

impl<E> Page<E> {
    /// The page, unless it ends at an unreadable commit.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn readable(self) -> Result<Self, StoreError> {
        match self.unreadable {
            Some(unreadable) => Err(unreadable.into()),
            None => Ok(self),
        }
    }
}

impl<A: Aggregate> EventStore<A> {
    /// All commits after version `after` (0 or the last version of a commit), by a consistent read.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn commits_after(&self, id: &StreamId, after: Version) -> Result<Vec<Commit<A::Event>>, StoreError> {
        Ok(self.page_after(id, after, usize::MAX).await?.readable()?.commits)
    }

    /// Up to `limit` commits (at least 1) after version `after` (0 or the last version of a commit), by a consistent
    /// read.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn page_after(&self, id: &StreamId, after: Version, limit: usize) -> Result<Page<A::Event>, StoreError> {
        let mut commits: Vec<Commit<A::Event>> = Vec::new();
        let (mut after, mut start) = (after, None);
        let mut gap = None;
        'pages: loop {
            let room = limit.max(1) - commits.len();
            let output = self
                .client
                .query()
                .table_name(&self.table)
                .key_condition_expression("stream_id = :stream AND version > :after")
                .expression_attribute_values(":stream", AttributeValue::S(id.to_string()))
                .expression_attribute_values(":after", AttributeValue::N(after.to_string()))
                .consistent_read(true)
                .set_limit(i32::try_from(room).ok())
                .set_exclusive_start_key(start)
                .send()
                .await;
            let output = match output {
                Ok(output) => output,
                Err(error) => return Err(self.failed(error).await),
            };
            for item in output.items.unwrap_or_default() {
                let stored = StoredCommit::from_item(Item::from(item));
                let commit = match stored.and_then(StoredCommit::decode::<A>) {
                    Ok(commit) => commit,
                    Err(unreadable) => return Ok(Page { commits, next: None, unreadable: Some(unreadable) }),
                };
                let last = commits.last().map_or(after, Commit::last);
                if commit.first != last + 1 {
                    // A Query is not a snapshot: it may pass the position of a commit before that is stored and return
                    // the next one. Reading again finds the first.
                    if gap.replace(last) == Some(last) {
                        let why = format!("the commit after version {last} starts at {}", commit.first);
                        return Err(CorruptStream { stream: id.clone(), version: last + 1, why }.into());
                    }
                    (after, start) = (last, None);
                    continue 'pages;
                }
                commits.push(commit);
            }
            start = output.last_evaluated_key;
            if start.is_none() || commits.len() >= limit.max(1) {
                let next = start.and(commits.last().map(Commit::last));
                return Ok(Page { commits, next, unreadable: None });
            }
        }
    }
}
