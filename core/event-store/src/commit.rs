//! A commit and its item.

use serde::{Deserialize, Serialize};
use serde_dynamo::Item;
use uuid::Uuid;

use super::aggregate::{Aggregate, StoredEvent};
use super::epoch::Epoch;
use super::error::CommitError;
use super::idempotency::RequestHash;
use super::stream_id::{StreamId, Version};
use super::trace_context::{StoredTrace, TraceContext};
use service_clock::Timestamp;

/// Who caused a commit, and its tracing ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The user or the service that sent the request.
    pub actor: String,
    /// Shared by all commits that follow from one external request.
    pub correlation_id: String,
    /// The request or event that caused this commit. Unique per run, so it distinguishes a repeated request from an
    /// attempt whose response was lost.
    pub causation_id: String,
    /// The trace, if there is one.
    pub trace: Option<TraceContext>,
}

/// Events that are stored together.
#[derive(Clone, Debug, PartialEq)]
pub struct Commit<E> {
    /// The stream.
    pub stream: StreamId,
    /// The version of the first event.
    pub first: Version,
    /// The events, at least one.
    pub events: Vec<E>,
    /// The commit id, the same for every attempt to store it.
    pub id: Uuid,
    /// When it was recorded; never before the previous commit.
    pub recorded_at: Timestamp,
    /// Who caused it.
    pub metadata: Metadata,
    /// The request's hash; present if and only if the request carried an idempotency key.
    pub request_hash: Option<RequestHash>,
    /// The epoch, if the store had one.
    pub epoch: Option<Epoch>,
}

/// The attributes of a commit item without the snapshot, events not decoded.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredCommit {
    pub stream_id: StreamId,
    pub version: Version,
    pub events: Vec<StoredEvent>,
    pub commit_id: Uuid,
    pub recorded_at: Timestamp,
    pub metadata: StoredMetadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
}

/// The attribute `metadata`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StoredMetadata {
    actor: String,
    correlation_id: String,
    causation_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_hash: Option<RequestHash>,
    #[serde(flatten)]
    trace: StoredTrace,
}

impl StoredMetadata {
    fn new(metadata: &Metadata, request_hash: Option<RequestHash>) -> Self {
        let Metadata { actor, correlation_id, causation_id, trace } = metadata.clone();
        Self { actor, correlation_id, causation_id, request_hash, trace: StoredTrace::of(trace.as_ref()) }
    }

    /// The trace of the commit.
    pub fn trace(&self) -> Option<TraceContext> {
        self.trace.context()
    }
}

impl StoredCommit {
    /// # Errors
    /// [`CommitError::Malformed`].
    pub fn from_item(item: Item) -> Result<Self, CommitError> {
        let (stream, version) = place_of(&item);
        let commit = serde_dynamo::from_item(item).and_then(|commit: Self| {
            let last = commit.version.checked_add(commit.events.len() as Version);
            if commit.version > 0 && !commit.events.is_empty() && last.is_some() {
                return Ok(commit);
            }
            Err(serde::de::Error::custom("a commit has at least one event, and versions start at 1"))
        });
        commit.map_err(|source| CommitError::Malformed { stream, version, source })
    }

    /// The version of the last event.
    pub fn last(&self) -> Version {
        self.version + (self.events.len() as Version - 1)
    }

    /// Decodes the events.
    ///
    /// # Errors
    /// [`CommitError::Undecodable`].
    pub fn decode<A: Aggregate>(self) -> Result<Commit<A::Event>, CommitError> {
        let decode = |(version, stored): (Version, StoredEvent)| {
            let event_type = stored.event_type.clone();
            A::decode(stored).map_err(|source| CommitError::Undecodable {
                stream: self.stream_id.to_string(),
                version,
                event_type,
                aggregate: A::NAME,
                source: Box::new(source),
            })
        };
        let StoredMetadata { actor, correlation_id, causation_id, request_hash, trace } = self.metadata;
        Ok(Commit {
            first: self.version,
            events: (self.version..).zip(self.events).map(decode).collect::<Result<_, _>>()?,
            id: self.commit_id,
            recorded_at: self.recorded_at,
            metadata: Metadata { actor, correlation_id, causation_id, trace: trace.context() },
            request_hash,
            epoch: self.epoch,
            stream: self.stream_id,
        })
    }
}

impl<E> Commit<E> {
    /// The version of the last event.
    pub fn last(&self) -> Version {
        self.first + (self.events.len() as Version - 1)
    }

    /// The events with their versions.
    pub fn versioned(&self) -> impl Iterator<Item = (Version, &E)> {
        (self.first..).zip(&self.events)
    }

    /// Parses an item of the event table or of its stream.
    ///
    /// # Errors
    /// See [`CommitError`]. Both kinds persist until the program or the item changes.
    pub fn from_item<A: Aggregate<Event = E>>(item: Item) -> Result<Self, CommitError> {
        StoredCommit::from_item(item)?.decode::<A>()
    }

    /// The commit's item without a snapshot.
    ///
    /// # Errors
    /// An event does not serialize: its data has a key that is not a string.
    pub fn to_item<A: Aggregate<Event = E>>(&self) -> Result<Item, serde_dynamo::Error> {
        serde_dynamo::to_item(StoredCommit {
            stream_id: self.stream.clone(),
            version: self.first,
            events: self.events.iter().map(A::encode).collect(),
            commit_id: self.id,
            recorded_at: self.recorded_at,
            metadata: StoredMetadata::new(&self.metadata, self.request_hash),
            epoch: self.epoch.clone(),
        })
    }
}

/// Stream and version of an item, for error messages.
fn place_of(item: &Item) -> (String, Version) {
    let text = |name: &str| match item.get(name) {
        Some(serde_dynamo::AttributeValue::S(text) | serde_dynamo::AttributeValue::N(text)) => Some(text.clone()),
        _ => None,
    };
    (text("stream_id").unwrap_or_else(|| "?".into()), text("version").and_then(|v| v.parse().ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_dynamo::AttributeValue;
    use serde_json::json;

    use super::*;
    use crate::testing::{Numbers, commit};

    fn keyed() -> Commit<u64> {
        let metadata =
            Metadata { actor: "a".into(), correlation_id: "b".into(), causation_id: "c".into(), trace: None };
        Commit { metadata, request_hash: Some(RequestHash([1; 16])), ..commit(3, 2) }
    }

    #[test]
    fn the_stored_form_never_changes() {
        let item: serde_json::Value = serde_dynamo::from_item(keyed().to_item::<Numbers>().unwrap()).unwrap();
        let event = |value| json!({"type": "Number", "schema": 1, "data": {"value": value}});
        let expected = json!({
            "stream_id": "numbers",
            "version": 3,
            "events": [event(3), event(4)],
            "commit_id": "00000000-0000-0000-0000-000000000003",
            "recorded_at": "2026-01-02T03:00:03.000Z",
            "metadata": {
                "actor": "a",
                "correlation_id": "b",
                "causation_id": "c",
                "request_hash": "01010101010101010101010101010101",
            },
        });
        assert_eq!(item, expected);
        let later = Commit { epoch: Some("2".parse().unwrap()), ..keyed() };
        let item: serde_json::Value = serde_dynamo::from_item(later.to_item::<Numbers>().unwrap()).unwrap();
        let mut expected = expected;
        expected["epoch"] = "2".into();
        assert_eq!(item, expected);
        let mut traced = later;
        traced.metadata.trace = traced_by(PARENT);
        let item: serde_json::Value = serde_dynamo::from_item(traced.to_item::<Numbers>().unwrap()).unwrap();
        expected["metadata"]["traceparent"] = PARENT.into();
        expected["metadata"]["tracestate"] = "vendor=1".into();
        assert_eq!(item, expected);
    }

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traced_by(parent: &str) -> Option<TraceContext> {
        TraceContext::parse(parent).map(|trace| trace.with_state("vendor=1"))
    }

    #[test]
    fn an_invalid_stored_trace_is_ignored_and_the_commit_is_read() {
        for stored in [AttributeValue::N("1".into()), AttributeValue::S("00-x".into()), AttributeValue::M([].into())] {
            let mut item = keyed().to_item::<Numbers>().unwrap();
            let Some(AttributeValue::M(metadata)) = item.get_mut("metadata") else { unreachable!() };
            metadata.insert("traceparent".into(), stored.clone());
            metadata.insert("tracestate".into(), stored);
            assert_eq!(Commit::from_item::<Numbers>(item).unwrap(), keyed());
        }
    }

    #[test]
    fn an_item_round_trips_ignoring_other_attributes() {
        let later = Commit { epoch: Some("2".parse().unwrap()), ..keyed() };
        let mut traced = keyed();
        traced.metadata.trace = traced_by(PARENT);
        for commit in [keyed(), commit(1, 1), later, traced] {
            let mut item = commit.to_item::<Numbers>().unwrap();
            item.insert("snapshot".into(), AttributeValue::Null(true));
            item.insert("later".into(), AttributeValue::S("?".into()));
            assert_eq!(Commit::from_item::<Numbers>(item).unwrap(), commit);
        }
    }

    #[test]
    fn an_invalid_item_is_reported_by_stream_and_version() {
        let with = |name: &str, value: Option<AttributeValue>| {
            let mut item = keyed().to_item::<Numbers>().unwrap();
            item.remove(name);
            item.extend(value.map(|value| (name.to_owned(), value)));
            Commit::from_item::<Numbers>(item).unwrap_err().to_string()
        };
        let number = |n: &str| Some(AttributeValue::N(n.into()));
        let malformed = "the item of stream numbers at version 3 is not a commit";
        assert_eq!(with("commit_id", None), malformed);
        assert_eq!(with("events", Some(AttributeValue::L(Vec::new()))), malformed);
        assert_eq!(with("version", number("0")), "the item of stream numbers at version 0 is not a commit");
        assert!(
            with("version", number("18446744073709551615")).contains("is not a commit"),
            "the last version overflows"
        );
        assert!(with("version", number("-1")).contains("is not a commit"));
        assert!(with("stream_id", None).starts_with("the item of stream ? at version 3"));

        let foreign = [("type", AttributeValue::S("Letter".into())), ("schema", AttributeValue::N("1".into()))];
        let foreign = foreign.into_iter().chain([("data", AttributeValue::M([].into()))]);
        let foreign = AttributeValue::M(foreign.map(|(name, value)| (name.to_owned(), value)).collect());
        assert_eq!(
            with("events", Some(AttributeValue::L(vec![foreign]))),
            "the event `Letter` at version 3 of stream numbers cannot be decoded as an event of `numbers`"
        );
    }

    fn any_value() -> impl Strategy<Value = AttributeValue> {
        let leaf = prop_oneof![
            ".{0,8}".prop_map(AttributeValue::S),
            "-?[0-9]{1,40}(\\.[0-9]{1,3})?".prop_map(AttributeValue::N),
            any::<bool>().prop_map(AttributeValue::Bool),
            Just(AttributeValue::Null(true)),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(AttributeValue::B),
        ];
        let name = prop_oneof!["type", "schema", "data", "value", "actor", ".{0,4}"];
        leaf.prop_recursive(4, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(AttributeValue::L),
                prop::collection::hash_map(name.clone(), inner, 0..4).prop_map(AttributeValue::M),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_item_panics(
            name in prop_oneof!["stream_id", "version", "events", "commit_id", "recorded_at", "metadata", "epoch"],
            value in any_value(),
        ) {
            let mut item = keyed().to_item::<Numbers>().unwrap();
            item.insert(name, value);
            if let Ok(commit) = Commit::from_item::<Numbers>(item) {
                prop_assert!(commit.first > 0 && commit.last() >= commit.first);
            }
        }
    }
}
