//! `republish`: publishes events again from the event table, of one order or of a span of time.
//!
//! Each event goes out under the id that it always has, so a consumer that drops repeats is not troubled by it, and any
//! run can be made again.

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

/// What is kept of the function's time: a request that is under way at the deadline, and the answer.
const RESERVE: Duration = Duration::from_secs(10);
/// How many commits of one order are published at a time.
const PAGE: usize = 100;

/// What is to be published again: an order's events, or those recorded in a span of time.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// The order.
    pub order_id: Option<OrderId>,
    /// The beginning of the span.
    pub from: Option<Timestamp>,
    /// Its end, which is no part of it.
    pub until: Option<Timestamp>,
    /// Which part of the event table is looked through for a span, from 0; the first unless said.
    pub segment: Option<u32>,
    /// Of how many parts; of one unless said.
    pub total_segments: Option<u32>,
    /// Where to go on: the `after` of an answer that was not `done`.
    pub after: Option<CommitPosition>,
}

/// How far a run came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Republished {
    /// Events that the bus took in this run.
    pub published: u64,
    /// Commits that cannot be read, and events that the bus refuses for good; the log names them.
    pub unpublished: u64,
    /// Whether that is all. If not, ask again, with `after`.
    pub done: bool,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<CommitPosition>,
    /// Why this run ended early, unless its time was over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Nothing could be done at all.
#[derive(Debug, thiserror::Error)]
pub enum NotRepublished {
    /// Ask for one of the two.
    #[error("give either `order_id`, or `from` and `until`, with `from` before `until`")]
    Unclear,
    /// There is no such part of the table.
    #[error(transparent)]
    InvalidSegment(#[from] InvalidSegment),
    /// There is no such order.
    #[error("there is no order {0}")]
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

/// Publishes from the event table.
#[derive(Clone, Debug)]
pub struct Republisher<B> {
    /// The events.
    pub store: EventStore<Order>,
    /// The way to the bus.
    pub relay: Relay<B>,
}

/// Some commits, and where to go on after them.
struct Page {
    commits: Vec<Commit<OrderEvent>>,
    unreadable: u64,
    next: Option<CommitPosition>,
}

/// What is asked for, once it is clear.
enum Source {
    Order(OrderId),
    Span(Segment, Range<Timestamp>),
}

impl<B: EventBus> Republisher<B> {
    /// Goes on with a run as far as the function's time suffices.
    ///
    /// # Errors
    /// See [`NotRepublished`]. What was published before stays published.
    pub async fn run(&self, asked: Asked, context: &Context) -> Result<Republished, NotRepublished> {
        let part = asked.segment.or(asked.total_segments);
        let source = match (asked.order_id, asked.from, asked.until) {
            (Some(order_id), None, None) if part.is_none() => Source::Order(order_id),
            (None, Some(from), Some(until)) if from < until => {
                let segment = Segment::new(asked.segment.unwrap_or(0), asked.total_segments.unwrap_or(1))?;
                Source::Span(segment, from..until)
            }
            _ => return Err(NotRepublished::Unclear),
        };
        let deadline = deadline(context, RESERVE);
        let mut so_far = Republished { after: asked.after, ..Republished::default() };
        while Instant::now() < deadline {
            let page = match &source {
                Source::Order(order_id) => self.of_order(*order_id, so_far.after.as_ref()).await?,
                Source::Span(segment, span) => self.of_span(*segment, span, so_far.after.as_ref()).await?,
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

    async fn of_span(
        &self,
        segment: Segment,
        span: &Range<Timestamp>,
        after: Option<&CommitPosition>,
    ) -> Result<Page, NotRepublished> {
        let page = self.store.scan(segment, after).await?;
        let (mut commits, mut unreadable) = (Vec::new(), 0);
        for (place, commit) in page.commits {
            match commit {
                Ok(commit) if span.contains(&commit.recorded_at) => commits.push(commit),
                Ok(_) => {}
                // Whether it belongs to the span is not known either.
                Err(error) => {
                    tracing::error!(?place, error = chain(&error), "a commit that cannot be read is not published");
                    unreadable += 1;
                }
            }
        }
        Ok(Page { commits, unreadable, next: page.next })
    }

    /// # Errors
    /// What keeps the bus from taking an event for now.
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

    struct Again {
        shop: Shop,
        bus: Bus,
        republisher: Republisher<Bus>,
    }

    impl Again {
        async fn open() -> Self {
            let (shop, bus) = (Shop::open().await, Bus::default());
            let republisher = Republisher { store: shop.events(), relay: bus.relay() };
            Self { shop, bus, republisher }
        }

        async fn run(&self, asked: Value) -> Result<Republished, NotRepublished> {
            self.republisher.run(serde_json::from_value(asked).unwrap(), &context()).await
        }

        fn ids(&self) -> BTreeSet<uuid::Uuid> {
            self.bus.taken.lock().unwrap().iter().map(|entry| entry.event_id).collect()
        }
    }

    fn span() -> (Timestamp, Timestamp) {
        (Timestamp::now() - chrono::TimeDelta::hours(1), Timestamp::now() + chrono::TimeDelta::hours(1))
    }

    #[tokio::test]
    async fn all_events_of_an_order_go_out_again_under_the_ids_that_they_have() {
        let again = Again::open().await;
        let order_id = again.shop.create_order(5.0).await;
        again.shop.pay(&order_id, 5.0).await;
        again.shop.cancel(&order_id).await;
        for _ in 0..2 {
            let republished = again.run(json!({ "order_id": order_id })).await.unwrap();
            assert_eq!(republished, Republished { published: 4, done: true, ..Republished::default() });
        }
        let names: Vec<String> = again.bus.taken().into_iter().map(|(name, _)| name).take(4).collect();
        assert_eq!(names, ["OrderCreated", "OrderPaid", "OrderCancelled", "OrderRefundDue"]);
        assert_eq!((again.bus.taken().len(), again.ids().len()), (8, 4));
    }

    #[tokio::test]
    async fn a_span_of_time_takes_what_was_recorded_in_it() {
        let again = Again::open().await;
        for _ in 0..3 {
            again.shop.create_order(5.0).await;
        }
        let (from, until) = span();
        assert_eq!(again.run(json!({ "from": from, "until": until })).await.unwrap().published, 3);
        let before = again.run(json!({ "from": from, "until": from + chrono::TimeDelta::minutes(1) })).await.unwrap();
        assert_eq!(before, Republished { done: true, ..Republished::default() });
    }

    #[tokio::test]
    async fn a_run_that_the_bus_stops_says_why_and_goes_on_where_it_was() {
        let again = Again::open().await;
        let order_id = again.shop.create_order(5.0).await;
        again.bus.down.store(true, Ordering::Relaxed);
        let stopped = again.run(json!({ "order_id": order_id })).await.unwrap();
        assert!(!stopped.done && stopped.problem.as_deref().unwrap().contains("the bus is down"), "{stopped:?}");
        again.bus.down.store(false, Ordering::Relaxed);
        let mut next = json!({ "order_id": order_id });
        next["after"] = serde_json::to_value(&stopped).unwrap()["after"].clone();
        assert_eq!(again.run(next).await.unwrap().published, 1);
    }

    #[tokio::test]
    async fn a_run_goes_on_after_the_place_that_the_answer_before_named() {
        let again = Again::open().await;
        for _ in 0..4 {
            again.shop.create_order(5.0).await;
        }
        let page = again.shop.events().scan(Segment::WHOLE, None).await.unwrap();
        let (from, until) = span();
        let second = &page.commits[1].0;
        let rest = again.run(json!({ "from": from, "until": until, "after": second })).await.unwrap();
        assert_eq!((rest.published, rest.done), (2, true));
    }

    #[tokio::test]
    async fn the_segments_of_a_span_together_take_each_event_once() {
        let again = Again::open().await;
        for _ in 0..8 {
            again.shop.create_order(5.0).await;
        }
        let (from, until) = span();
        for segment in 0..3 {
            let part = json!({ "from": from, "until": until, "segment": segment, "total_segments": 3 });
            assert!(again.run(part).await.unwrap().done);
        }
        assert_eq!((again.bus.taken().len(), again.ids().len()), (8, 8));
        let beyond = json!({ "from": from, "until": until, "segment": 3, "total_segments": 3 });
        assert!(matches!(again.run(beyond).await, Err(NotRepublished::InvalidSegment(_))));
    }

    #[tokio::test]
    async fn what_is_not_clear_or_not_there_is_told() {
        let again = Again::open().await;
        let (from, until) = span();
        let order_id = "00000000-0000-5000-8000-000000000000";
        for asked in [
            json!({}),
            json!({ "from": from }),
            json!({ "from": until, "until": from }),
            json!({ "order_id": order_id, "from": from, "until": until }),
            json!({ "order_id": order_id, "total_segments": 2 }),
        ] {
            assert!(matches!(again.run(asked.clone()).await, Err(NotRepublished::Unclear)), "{asked}");
        }
        let missing = again.run(json!({ "order_id": order_id })).await;
        assert!(matches!(missing, Err(NotRepublished::NoSuchOrder(_))), "{missing:?}");
        assert!(serde_json::from_value::<Asked>(json!({ "order": order_id })).is_err());
    }
}
