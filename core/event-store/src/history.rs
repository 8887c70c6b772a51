//! Reading a stream forwards: the commits themselves, in order.

use aws_sdk_dynamodb::types::AttributeValue;
use serde_dynamo::Item;

use super::EventStore;
use super::aggregate::Aggregate;
use super::commit::{Commit, StoredCommit};
use super::error::{CommitError, CorruptStream, StoreError};
use super::stream_id::{StreamId, Version};

/// Some commits of a stream, oldest first.
#[derive(Debug)]
pub struct Page<E> {
    /// The commits.
    pub commits: Vec<Commit<E>>,
    /// The version to go on after; none at the end.
    pub next: Option<Version>,
    /// What follows these commits and cannot be read: then the page ends before it, and nothing can go on after it.
    pub obstacle: Option<CommitError>,
}

impl<E> Page<E> {
    /// The page, if it does not end because something cannot be read.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`].
    pub fn readable(self) -> Result<Self, StoreError> {
        match self.unreadable {
            Some(obstacle) => Err(obstacle.into()),
            None => Ok(self),
        }
    }
}

impl<A: Aggregate> EventStore<A> {
    /// Every commit above `after`, which is 0 or the last version of a commit, read strongly: what a reader at that
    /// version has to catch up on.
    ///
    /// # Errors
    /// See [`StoreError`].
    pub async fn commits_after(&self, id: &StreamId, after: Version) -> Result<Vec<Commit<A::Event>>, StoreError> {
        Ok(self.page_after(id, after, usize::MAX).await?.readable()?.commits)
    }

    /// At most `limit` commits (at least 1), read strongly, that begin above `after`, which is 0 or the last version of a commit.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    pub async fn page_after(&self, id: &StreamId, after: Version, limit: usize) -> Result<Page<A::Event>, StoreError> {
        let mut commits: Vec<Commit<A::Event>> = Vec::new();
        let (mut after, mut start) = (after, None);
        let mut hole = None;
        'pages: loop {
            let room = limit.max(1) - commits.len();
            let answer = self
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
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => return Err(self.failed(error).await),
            };
            for item in answer.items.unwrap_or_default() {
                let stored = StoredCommit::from_item(Item::from(item));
                let commit = match stored.and_then(StoredCommit::decode::<A>) {
                    Ok(commit) => commit,
                    Err(obstacle) => return Ok(Page { commits, next: None, obstacle: Some(obstacle) }),
                };
                let last = commits.last().map_or(after, Commit::last);
                if commit.first != last + 1 {
                    // A Query is not one view of its items: while it goes forwards, it can pass the place of a commit,
                    // miss it, and meet the one stored after that. Read again, the first of them is there.
                    if hole.replace(last) == Some(last) {
                        let why = format!("the commit after version {last} begins at {}", commit.first);
                        return Err(CorruptStream { stream: id.clone(), version: last + 1, why }.into());
                    }
                    (after, start) = (last, None);
                    continue 'pages;
                }
                commits.push(commit);
            }
            start = answer.last_evaluated_key;
            if start.is_none() || commits.len() >= limit.max(1) {
                let next = start.and(commits.last().map(Commit::last));
                return Ok(Page { commits, next, obstacle: None });
            }
        }
    }
}
