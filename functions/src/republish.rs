//! `republish`: publishes the events of one order or of a time range again, from the event table.
//!
//! Events keep their ids, so consumers that drop duplicates are not affected, and any run can be repeated.

use std::ops::Range;
use std::time::Duration;

use dynamodb_event_store::{Commit, CommitPosition, EventStore, InvalidSegment, Segment, StoreError, StreamId};
use lambda_runtime::{Context, Diagnostic};
use orders_core::domain::event::OrderEvent;
use orders_core::domain::{Order, OrderId};
use orders_core::error::chain;
use orders_core::publication::{EventBus, PutError, Relay};
use serde::{Deserialize, Serialize};
use service_clock::Timestamp;
use tokio::time::Instant;

use crate::deadline::deadline;
use crate::failure;

/// Time reserved at the end of an invocation: for a request in flight and the response.
const RESERVE: Duration = Duration::from_secs(10);
/// Commits of one order per page.
const PAGE: usize = 100;

/// What to publish again: an order's events, or those recorded in a time range.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Republish {
    /// The order.
    pub order_id: Option<OrderId>,
    /// The start of the range, inclusive.
    pub from: Option<Timestamp>,
    /// Its end, exclusive.
    pub until: Option<Timestamp>,
    /// The segment of the event table to scan for a range, from 0; 0 by default.
    pub segment: Option<u32>,
    /// The number of segments; 1 by default.
    pub total_segments: Option<u32>,
    /// Where to continue: the `after` of a response that was not `done`.
    pub after: Option<CommitPosition>,
}

/// The result of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Republished {
    /// Events that the bus accepted in this run.
    pub published: u64,
    /// Commits that cannot be read, and events that the bus rejects permanently; the log names them.
    pub unpublished: u64,
    /// Whether everything was published. If not, repeat the request with `after`.
    pub done: bool,
    /// Where to continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<CommitPosition>,
    /// Why this run ended before its time was up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A run that failed.
#[derive(Debug, thiserror::Error)]
pub enum NotRepublished {
    /// The request names neither an order nor a valid range, or both.
    #[error("give either `order_id`, or `from` and `until`, with `from` before `until`")]
    InvalidRequest,
    /// There is no such segment.
    #[error(transparent)]
    InvalidSegment(#[from] InvalidSegment),
    /// There is no such order.
    #[error("order {0} does not exist")]
    NoSuchOrder(OrderId),
    /// The event table could not be read.
    #[error("the events cannot be read")]
    Store(#[from] StoreError),
}

impl From<NotRepublished> for Diagnostic {
    fn from(error: NotRepublished) -> Self {
        failure::diagnostic("NotRepublished", &error)
    }
}

/// Publishes events from the event table.
#[derive(Clone, Debug)]
pub struct Republisher<B> {
    /// The events.
    pub store: EventStore<Order>,
    /// The relay to the bus.
    pub relay: Relay<B>,
}

/// Some commits, and where to continue after them.
struct Page {
    commits: Vec<Commit<OrderEvent>>,
    unreadable: u64,
    next: Option<CommitPosition>,
}

/// What a valid request names.
enum Source {
    Order(OrderId),
    Recorded(Segment, Range<Timestamp>),
}

impl<B: EventBus> Republisher<B> {
    /// Publishes until everything is published or the time is up.
    ///
    /// # Errors
    /// See [`NotRepublished`]. Some events may have been published.
    pub async fn run(&self, request: Republish, context: &Context) -> Result<Republished, NotRepublished> {
        let segment = request.segment.or(request.total_segments);
        let source = match (request.order_id, request.from, request.until) {
            (Some(order_id), None, None) if segment.is_none() => Source::Order(order_id),
            (None, Some(from), Some(until)) if from < until => {
                let segment = Segment::new(request.segment.unwrap_or(0), request.total_segments.unwrap_or(1))?;
                Source::Recorded(segment, from..until)
            }
            _ => return Err(NotRepublished::InvalidRequest),
        };
        let deadline = deadline(context, RESERVE);
        let mut so_far = Republished { after: request.after, ..Republished::default() };
        while Instant::now() < deadline {
            let page = match &source {
                Source::Order(order_id) => self.of_order(*order_id, so_far.after.as_ref()).await?,
                Source::Recorded(segment, range) => self.recorded(*segment, range, so_far.after.as_ref()).await?,
            };
            so_far.unpublished += page.unreadable;
            if let Err(problem) = self.publish(&page.commits, &mut so_far, deadline).await {
                so_far.problem = Some(problem);
                break;
            }
            so_far.done = page.next.is_none();
            so_far.after = page.next;
            if so_far.done {
                break;
            }
        }
        let Republished { published, unpublished, done, .. } = so_far;
        tracing::info!(published, unpublished, done, after = ?so_far.after, problem = so_far.problem, "republished");
        Ok(so_far)
    }

    async fn of_order(&self, order_id: OrderId, after: Option<&CommitPosition>) -> Result<Page, NotRepublished> {
        let stream = StreamId::from(order_id);
        let page = self.store.page_after(&stream, after.map_or(0, |place| place.version), PAGE).await?.readable()?;
        if after.is_none() && page.commits.is_empty() {
            return Err(NotRepublished::NoSuchOrder(order_id));
        }
        let next = page.next.map(|version| CommitPosition { stream_id: stream, version });
        Ok(Page { commits: page.commits, unreadable: 0, next })
    }

    async fn recorded(
        &self,
        segment: Segment,
        range: &Range<Timestamp>,
        after: Option<&CommitPosition>,
    ) -> Result<Page, NotRepublished> {
        let page = self.store.scan(segment, after).await?;
        let (mut commits, mut unreadable) = (Vec::new(), 0);
        for (place, commit) in page.commits {
            match commit {
                Ok(commit) if range.contains(&commit.recorded_at) => commits.push(commit),
                Ok(_) => {}
                // It is also unknown whether it is in the range.
                Err(error) => {
                    tracing::error!(?place, error = chain(&error), "a commit that cannot be read is not published");
                    unreadable += 1;
                }
            }
        }
        Ok(Page { commits, unreadable, next: page.next })
    }

    /// # Errors
    /// Why the bus does not accept an event at the moment.
    async fn publish(
        &self,
        commits: &[Commit<OrderEvent>],
        so_far: &mut Republished,
        deadline: Instant,
    ) -> Result<(), String> {
        let entries: Vec<_> = commits.iter().flat_map(|commit| self.relay.envelopes.of(commit)).collect();
        let failures = self.relay.publisher.publish(&entries, deadline).await.0;
        so_far.published += (entries.len() - failures.len()) as u64;
        for (index, error) in failures {
            if matches!(error, PutError::ForNow(_)) {
                return Err(error.to_string());
            }
            tracing::error!(event_id = %entries[index].event_id, %error, "an event is not published");
            so_far.unpublished += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering;

    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{Bus, Shop, context};

    struct Bench {
        shop: Shop,
        bus: Bus,
        republisher: Republisher<Bus>,
    }

    impl Bench {
        async fn open() -> Self {
            let (shop, bus) = (Shop::open().await, Bus::default());
            let republisher = Republisher { store: shop.events(), relay: bus.relay() };
            Self { shop, bus, republisher }
        }

        async fn run(&self, request: Value) -> Result<Republished, NotRepublished> {
            self.republisher.run(serde_json::from_value(request).unwrap(), &context()).await
        }

        fn ids(&self) -> BTreeSet<uuid::Uuid> {
            self.bus.taken.lock().unwrap().iter().map(|entry| entry.event_id).collect()
        }
    }

    fn around_now() -> (Timestamp, Timestamp) {
        (Timestamp::now() - chrono::TimeDelta::hours(1), Timestamp::now() + chrono::TimeDelta::hours(1))
    }

    #[tokio::test]
    async fn all_events_of_an_order_are_published_again_with_their_ids() {
        let bench = Bench::open().await;
        let order_id = bench.shop.create_order(5.0).await;
        bench.shop.pay(&order_id, 5.0).await;
        bench.shop.cancel(&order_id).await;
        for _ in 0..2 {
            let republished = bench.run(json!({ "order_id": order_id })).await.unwrap();
            assert_eq!(republished, Republished { published: 4, done: true, ..Republished::default() });
        }
        let names: Vec<String> = bench.bus.taken().into_iter().map(|(name, _)| name).take(4).collect();
        assert_eq!(names, ["OrderCreated", "OrderPaid", "OrderCancelled", "OrderRefundDue"]);
        assert_eq!((bench.bus.taken().len(), bench.ids().len()), (8, 4));
    }

    #[tokio::test]
    async fn a_range_selects_the_events_recorded_in_it() {
        let bench = Bench::open().await;
        for _ in 0..3 {
            bench.shop.create_order(5.0).await;
        }
        let (from, until) = around_now();
        assert_eq!(bench.run(json!({ "from": from, "until": until })).await.unwrap().published, 3);
        let before = bench.run(json!({ "from": from, "until": from + chrono::TimeDelta::minutes(1) })).await.unwrap();
        assert_eq!(before, Republished { done: true, ..Republished::default() });
    }

    #[tokio::test]
    async fn a_run_that_the_bus_stops_says_why_and_where_to_continue() {
        let bench = Bench::open().await;
        let order_id = bench.shop.create_order(5.0).await;
        bench.bus.down.store(true, Ordering::Relaxed);
        let stopped = bench.run(json!({ "order_id": order_id })).await.unwrap();
        assert!(!stopped.done && stopped.problem.as_deref().unwrap().contains("the bus is down"), "{stopped:?}");
        bench.bus.down.store(false, Ordering::Relaxed);
        let mut next = json!({ "order_id": order_id });
        next["after"] = serde_json::to_value(&stopped).unwrap()["after"].clone();
        assert_eq!(bench.run(next).await.unwrap().published, 1);
    }

    #[tokio::test]
    async fn a_run_continues_after_the_position_in_the_request() {
        let bench = Bench::open().await;
        for _ in 0..4 {
            bench.shop.create_order(5.0).await;
        }
        let page = bench.shop.events().scan(Segment::WHOLE, None).await.unwrap();
        let (from, until) = around_now();
        let second = &page.commits[1].0;
        let rest = bench.run(json!({ "from": from, "until": until, "after": second })).await.unwrap();
        assert_eq!((rest.published, rest.done), (2, true));
    }

    #[tokio::test]
    async fn the_segments_of_a_range_publish_each_event_once() {
        let bench = Bench::open().await;
        for _ in 0..8 {
            bench.shop.create_order(5.0).await;
        }
        let (from, until) = around_now();
        for segment in 0..3 {
            let request = json!({ "from": from, "until": until, "segment": segment, "total_segments": 3 });
            assert!(bench.run(request).await.unwrap().done);
        }
        assert_eq!((bench.bus.taken().len(), bench.ids().len()), (8, 8));
        let beyond = json!({ "from": from, "until": until, "segment": 3, "total_segments": 3 });
        assert!(matches!(bench.run(beyond).await, Err(NotRepublished::InvalidSegment(_))));
    }

    #[tokio::test]
    async fn an_invalid_request_and_an_unknown_order_are_errors() {
        let bench = Bench::open().await;
        let (from, until) = around_now();
        let order_id = "00000000-0000-5000-8000-000000000000";
        for request in [
            json!({}),
            json!({ "from": from }),
            json!({ "from": until, "until": from }),
            json!({ "order_id": order_id, "from": from, "until": until }),
            json!({ "order_id": order_id, "total_segments": 2 }),
        ] {
            assert!(matches!(bench.run(request.clone()).await, Err(NotRepublished::InvalidRequest)), "{request}");
        }
        let missing = bench.run(json!({ "order_id": order_id })).await;
        assert!(matches!(missing, Err(NotRepublished::NoSuchOrder(_))), "{missing:?}");
        assert!(serde_json::from_value::<Republish>(json!({ "order": order_id })).is_err());
    }
}
