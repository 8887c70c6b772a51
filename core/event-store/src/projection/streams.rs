//! The orders of a segment of the event table, one after the other.

use crate::domain::event::OrderEvent;
use crate::domain::ids::OrderId;
use crate::domain::state::Order;
use dynamodb_event_store::{Commit, CommitError, EventStore, Place, Segment, StoreError};

/// All commits of one order, or the first of them that cannot be read.
pub(super) struct OrderStream {
    pub order_id: OrderId,
    pub commits: Result<Vec<Commit<OrderEvent>>, CommitError>,
    /// The place of the last of them: a scan that goes on after it misses nothing.
    pub end: Place,
}

/// Cuts the pages of a scan into whole orders. At any time it holds a page, and what it has seen of one order.
pub(super) struct OrderStreams<'a> {
    events: &'a EventStore<Order>,
    segment: Segment,
    next: Next,
    open: Option<OrderStream>,
}

enum Next {
    Start,
    After(Place),
    End,
}

impl<'a> OrderStreams<'a> {
    /// The orders of `segment` that lie after a place, which is the end of one, or the start.
    pub fn after(events: &'a EventStore<Order>, segment: Segment, place: Option<Place>) -> Self {
        Self { events, segment, next: place.map_or(Next::Start, Next::After), open: None }
    }

    /// The orders that the next page completes; `None` at the end of the segment.
    pub async fn next_page(&mut self) -> Result<Option<Vec<OrderStream>>, StoreError> {
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

    fn add(&mut self, place: Place, commit: Result<Commit<OrderEvent>, CommitError>) {
        match &mut self.open {
            Some(open) => {
                open.end = place;
                match (&mut open.commits, commit) {
                    (Ok(commits), Ok(commit)) => commits.push(commit),
                    (Ok(_), Err(error)) => open.commits = Err(error),
                    (Err(_), _) => {}
                }
            }
            none => match place.stream_id.as_str().parse() {
                Ok(order_id) => *none = Some(OrderStream { order_id, commits: commit.map(|c| vec![c]), end: place }),
                // Nothing writes such a stream, and no row could be made of it.
                Err(_) => tracing::error!(stream_id = %place.stream_id, "passed over a stream that is of no order"),
            },
        }
    }
}
