//! Grouping a scan of the event table into whole streams.

use super::model::{EventOf, ReadModel};
use crate::EventStore;
use crate::commit::Commit;
use crate::error::{CommitError, StoreError};
use crate::scan::{CommitPosition, Segment};
use crate::stream_id::StreamId;

/// All commits of a stream, or its first error.
pub(super) struct WholeStream<E> {
    pub stream: StreamId,
    pub commits: Result<Vec<Commit<E>>, CommitError>,
    /// The position of the last commit, after which a scan can continue.
    pub end: CommitPosition,
}

/// Groups the pages of a scan into whole streams. Holds at most a page and the commits of one stream.
pub(super) struct WholeStreams<'a, M: ReadModel> {
    events: &'a EventStore<M::Aggregate>,
    model: &'a M,
    segment: Segment,
    next: Next,
    open: Option<WholeStream<EventOf<M>>>,
}

enum Next {
    Start,
    After(CommitPosition),
    End,
}

impl<'a, M: ReadModel> WholeStreams<'a, M> {
    /// The model's streams of `segment` after a position, which is the end of a stream or the start.
    pub fn after(
        events: &'a EventStore<M::Aggregate>,
        model: &'a M,
        segment: Segment,
        place: Option<CommitPosition>,
    ) -> Self {
        Self { events, model, segment, next: place.map_or(Next::Start, Next::After), open: None }
    }

    /// The streams that the next page completes; `None` at the end of the segment.
    pub async fn next_page(&mut self) -> Result<Option<Vec<WholeStream<EventOf<M>>>>, StoreError> {
        let after = match &self.next {
            Next::Start => None,
            Next::After(place) => Some(place),
            Next::End => return Ok(None),
        };
        let page = self.events.scan(self.segment, after).await?;
        let mut complete = Vec::new();
        for (place, commit) in page.commits {
            if self.open.as_ref().is_some_and(|open| open.end.stream_id != place.stream_id) {
                complete.extend(self.open.take());
            }
            self.add(place, commit);
        }
        self.next = page.next.map_or(Next::End, Next::After);
        if matches!(self.next, Next::End) {
            complete.extend(self.open.take());
        }
        Ok(Some(complete))
    }

    fn add(&mut self, place: CommitPosition, commit: Result<Commit<EventOf<M>>, CommitError>) {
        match &mut self.open {
            Some(open) => {
                open.end = place;
                match (&mut open.commits, commit) {
                    (Ok(commits), Ok(commit)) => commits.push(commit),
                    (Ok(_), Err(error)) => open.commits = Err(error),
                    (Err(_), _) => {}
                }
            }
            none if self.model.includes(&place.stream_id) => {
                let stream = place.stream_id.clone();
                *none = Some(WholeStream { stream, commits: commit.map(|commit| vec![commit]), end: place });
            }
            _ => {
                tracing::error!(model = M::NAME, stream_id = %place.stream_id, "stream unknown to the read model skipped")
            }
        }
    }
}
