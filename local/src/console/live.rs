//! `GET /dev/live`: the bus, the streams, the payment provider and the log lines, as server-sent events.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use tokio::sync::watch;
use uuid::Uuid;

use super::LogLines;
use crate::journal::Journal;
use crate::payments::PaymentProvider;
use crate::streams::{Position, Progress};

/// How many entries and lines from before its request a client gets.
const BACKLOG: u64 = 200;

/// What is followed.
pub(crate) struct Live {
    pub journal: Journal,
    pub lines: LogLines,
    pub progress: Progress,
    pub payments: PaymentProvider,
}

/// Where a client is.
struct Cursor {
    live: Arc<Live>,
    /// Identifies this start of the stack.
    start: Uuid,
    entry: u64,
    line: u64,
    streams: watch::Receiver<BTreeMap<String, Position>>,
    payments: watch::Receiver<u64>,
}

type Shared = State<(Arc<Live>, Uuid, watch::Receiver<()>)>;

/// `GET /dev/live`. The events end when the sender is dropped, so that open connections do not delay the end of the stack.
pub(crate) fn router(live: Live, running: watch::Receiver<()>) -> Router {
    let state = (Arc::new(live), Uuid::new_v4(), running);
    Router::new().route("/live", get(follow)).with_state(state)
}

async fn follow(
    State((live, start, mut running)): Shared,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let cursor = Cursor::new(live, start, last);
    let batches = stream::unfold(cursor, async |mut cursor| Some((cursor.next().await, cursor)));
    let events = batches.flat_map(|batch| stream::iter(batch.into_iter().map(Ok)));
    let events = events.take_until(async move { drop(running.changed().await) });
    Sse::new(events).keep_alive(KeepAlive::default())
}

impl Cursor {
    /// After the last event that the client has seen of this start, or else the newest ones.
    fn new(live: Arc<Live>, start: Uuid, last: Option<&str>) -> Self {
        let known = last.and_then(|id| {
            let mut parts = id.split(' ');
            let same_start = parts.next()? == start.to_string();
            let (entry, line) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            same_start.then_some((entry, line))
        });
        let (entry, line) = known.unwrap_or_else(|| {
            let entry = live.journal.since(0).last().map_or(0, |entry| entry.sequence);
            let line = live.lines.since(0).last().map_or(0, |line| line.sequence);
            (entry.saturating_sub(BACKLOG), line.saturating_sub(BACKLOG))
        });
        let (mut streams, mut payments) = (live.progress.subscribe(), live.payments.subscribe());
        streams.mark_changed();
        payments.mark_changed();
        Self { live, start, entry, line, streams, payments }
    }

    /// The next events, as soon as there are any.
    async fn next(&mut self) -> Vec<Event> {
        // The senders live as long as the stack.
        tokio::select! {
            () = self.live.journal.past(self.entry) => {}
            () = self.live.lines.past(self.line) => {}
            _ = self.streams.changed() => self.streams.mark_changed(),
            _ = self.payments.changed() => self.payments.mark_changed(),
        }
        let mut events = Vec::new();
        for entry in self.live.journal.since(self.entry) {
            self.entry = entry.sequence;
            events.push(self.event("bus", &entry));
        }
        for line in self.live.lines.since(self.line) {
            self.line = line.sequence;
            events.push(self.event("log", &line));
        }
        if self.streams.has_changed().unwrap_or(false) {
            let positions = self.streams.borrow_and_update().clone();
            events.push(self.event("streams", &positions));
        }
        if self.payments.has_changed().unwrap_or(false) {
            self.payments.mark_unchanged();
            events.push(self.event("payments", &self.live.payments.summary()));
        }
        events
    }

    fn event(&self, name: &str, value: &impl Serialize) -> Event {
        let id = format!("{} {} {}", self.start, self.entry, self.line);
        let event = Event::default().event(name).id(id);
        // A value of these types always becomes JSON.
        event.json_data(value).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::to_bytes;
    use axum::response::IntoResponse;
    use tokio::time::timeout;

    use super::*;
    use crate::journal::EntryKind;
    use crate::payments::Mode;

    fn live() -> Arc<Live> {
        Arc::new(Live {
            journal: Journal::default(),
            lines: LogLines::default(),
            progress: Progress::default(),
            payments: PaymentProvider::default(),
        })
    }

    fn write(live: &Live) {
        live.journal.write(EntryKind::Refused {
            source: None,
            detail_type: None,
            code: "c".into(),
            message: "m".into(),
        });
    }

    /// The names of the events.
    async fn names(cursor: &mut Cursor) -> Vec<String> {
        let name = |event: &Event| {
            let text = format!("{event:?}");
            ["bus", "log", "streams", "payments"]
                .into_iter()
                .find(|name| text.contains(&format!("event: {name}")))
                .unwrap()
                .to_owned()
        };
        cursor.next().await.iter().map(name).collect()
    }

    #[tokio::test]
    async fn a_client_gets_the_state_at_first_and_then_what_is_new() {
        let (live, start) = (live(), Uuid::new_v4());
        write(&live);
        let mut cursor = Cursor::new(live.clone(), start, None);
        let mut first = names(&mut cursor).await;
        while first.len() < 3 {
            first.extend(names(&mut cursor).await);
        }
        assert_eq!(first, ["bus", "streams", "payments"]);
        live.payments.set_mode(Mode::Down);
        assert_eq!(names(&mut cursor).await, ["payments"]);
        live.lines.beside(crate::lambda::Logs::to(|_, _| {})).line("f", "text");
        assert_eq!(names(&mut cursor).await, ["log"]);
    }

    #[tokio::test]
    async fn the_events_end_when_the_stack_stops() {
        let (stack, running) = watch::channel(());
        let response = follow(State((live(), Uuid::new_v4(), running)), HeaderMap::new()).await.into_response();
        drop(stack);
        timeout(Duration::from_secs(10), to_bytes(response.into_body(), usize::MAX)).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_continues_after_the_last_event_of_the_same_start() {
        let (live, start) = (live(), Uuid::new_v4());
        for _ in 0..3 {
            write(&live);
        }
        let at = |start: Uuid| Cursor::new(live.clone(), start, Some(&format!("{start} 2 0"))).entry;
        assert_eq!(at(start), 2);
        assert_eq!(Cursor::new(live.clone(), start, Some(&format!("{} 2 0", Uuid::new_v4()))).entry, 0);
        assert_eq!(Cursor::new(live.clone(), start, Some("garbage")).entry, 0);
    }
}
