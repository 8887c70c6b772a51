//! The trace that a commit belongs to, after the W3C Recommendation "Trace Context".

use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::commit::Metadata;
use super::stream_id::StreamId;

/// The most bytes of `tracestate` that are propagated: a commit must stay within one write unit.
const MAX_STATE: usize = 128;
/// The most members of a `tracestate` (section 3.3.1.1).
const MAX_MEMBERS: usize = 32;

/// A position in a trace: the headers `traceparent` and `tracestate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    parent_id: u64,
    sampled: bool,
    state: String,
}

impl TraceContext {
    /// The position of a span; `None` if an id is zero, which is invalid.
    pub fn new(trace_id: u128, parent_id: u64, sampled: bool) -> Option<Self> {
        (trace_id != 0 && parent_id != 0).then_some(Self { trace_id, parent_id, sampled, state: String::new() })
    }

    /// Parses a `traceparent`. An invalid one is ignored, as the recommendation requires: the caller begins a new trace.
    ///
    /// A higher version is read as version 00, so only the ids and the sampled flag of it are propagated.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let (version, rest) = (traceparent.get(..2)?, traceparent.get(2..55)?);
        let more = &traceparent[55..];
        let known = match version {
            "00" => more.is_empty(),
            _ => more.is_empty() || more.starts_with('-'),
        };
        let mut fields = rest.split('-');
        let ("", trace_id, parent_id, flags, None) =
            (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next())
        else {
            return None;
        };
        let version = hex(version, 2)?;
        let (trace_id, parent_id, flags) = (hex(trace_id, 32)?, hex(parent_id, 16)?, hex(flags, 2)?);
        Self::new(trace_id, u64::try_from(parent_id).ok()?, flags & 1 == 1).filter(|_| known && version != 0xff)
    }

    /// Parses a `traceparent` with its `tracestate`, which may be empty.
    pub fn from_headers(traceparent: &str, tracestate: &str) -> Option<Self> {
        Some(Self::parse(traceparent)?.with_state(tracestate))
    }

    /// Adds a `tracestate`: its first members, up to 128 bytes. An invalid one is ignored.
    #[must_use]
    pub fn with_state(mut self, tracestate: &str) -> Self {
        let members = || tracestate.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|m| !m.is_empty());
        self.state.clear();
        if members().take(MAX_MEMBERS + 1).count() > MAX_MEMBERS || !members().all(is_member) {
            return self;
        }
        for member in members() {
            let separator = if self.state.is_empty() { "" } else { "," };
            if self.state.len() + separator.len() + member.len() > MAX_STATE {
                break;
            }
            self.state.extend([separator, member]);
        }
        self
    }

    /// The id of the trace.
    pub fn trace_id(&self) -> u128 {
        self.trace_id
    }

    /// The id of the span.
    pub fn parent_id(&self) -> u64 {
        self.parent_id
    }

    /// Whether the caller may have recorded the span.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// The value of `tracestate`, if there is one.
    pub fn tracestate(&self) -> Option<&str> {
        Some(self.state.as_str()).filter(|state| !state.is_empty())
    }
}

/// The value of `traceparent`.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace_id, parent_id, sampled, .. } = self;
        write!(f, "00-{trace_id:032x}-{parent_id:016x}-{:02x}", u8::from(*sampled))
    }
}

/// Lowercase hexadecimal digits, exactly so many.
fn hex(digits: &str, length: usize) -> Option<u128> {
    let lower = digits.len() == length && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    u128::from_str_radix(digits, 16).ok().filter(|_| lower)
}

/// Whether a list member is a key with a value (section 3.3.1.3).
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let in_key = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    let in_value = |b: u8| matches!(b, b' '..=b'~') && b != b'=';
    (1..=256).contains(&key.len())
        && key.bytes().all(in_key)
        && (1..=256).contains(&value.len())
        && value.bytes().all(in_value)
}

/// Makes the span of work on a commit of a batch: from the name of the work, the stream and the commit's metadata, which
/// holds its trace.
pub type CommitSpan = fn(&'static str, &StreamId, &Metadata) -> tracing::Span;

/// Makes no span.
pub fn no_span(_: &'static str, _: &StreamId, _: &Metadata) -> tracing::Span {
    tracing::Span::none()
}

/// The attributes of a commit's metadata that carry its trace. They are optional, and what is invalid in them is ignored:
/// events matter more.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct StoredTrace {
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    #[serde(default, deserialize_with = "text", skip_serializing_if = "Option::is_none")]
    tracestate: Option<String>,
}

impl StoredTrace {
    pub fn of(trace: Option<&TraceContext>) -> Self {
        let tracestate = trace.and_then(TraceContext::tracestate).map(str::to_owned);
        Self { traceparent: trace.map(TraceContext::to_string), tracestate }
    }

    pub fn context(&self) -> Option<TraceContext> {
        TraceContext::from_headers(self.traceparent.as_deref()?, self.tracestate.as_deref().unwrap_or_default())
    }
}

fn text<'de, D: Deserializer<'de>>(stored: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stored {
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Stored::deserialize(stored)? {
        Stored::Text(text) => Some(text),
        Stored::Other(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_is_read_and_written_unchanged() {
        for parent in [PARENT, &PARENT.replace("-01", "-00")] {
            let trace = TraceContext::parse(parent).unwrap();
            assert_eq!((trace.to_string(), trace.is_sampled()), (parent.to_owned(), parent == PARENT));
        }
        let trace = TraceContext::parse(PARENT).unwrap();
        assert_eq!((trace.trace_id(), trace.parent_id()), (0x4bf92f3577b34da6a3ce929d0e0e4736, 0x00f067aa0ba902b7));
    }

    #[test]
    fn unknown_flags_and_versions_are_reduced_to_version_00() {
        for later in ["01-", "cc-"] {
            for more in ["", "-", "-more-to-come"] {
                let parent = format!("{}{more}", PARENT.replacen("00-", later, 1));
                assert_eq!(TraceContext::parse(&parent).unwrap().to_string(), PARENT, "{parent}");
            }
        }
        let flags = TraceContext::parse(&PARENT.replace("-01", "-ff")).unwrap();
        assert_eq!(flags.to_string(), PARENT);
    }

    #[test]
    fn an_invalid_traceparent_is_ignored() {
        for invalid in [
            String::new(),
            "00".into(),
            PARENT[..54].into(),
            format!("{PARENT}-"),
            format!("{PARENT}0"),
            format!(" {PARENT}"),
            format!("{PARENT},{PARENT}"),
            PARENT.replacen("00-", "ff-", 1),
            PARENT.replacen("00-", "0g-", 1),
            PARENT.replacen("00-", "01-", 1) + "x",
            PARENT.to_uppercase(),
            PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            PARENT.replace("-00f0", "--0f0"),
            PARENT.replace("-00f0", "-+0f0"),
            PARENT.replace("-01", "-é"),
            "é".repeat(28),
            "x".repeat(100_000),
        ] {
            assert_eq!(TraceContext::parse(&invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_tracestate_keeps_its_first_members_within_the_budget() {
        let state = |text: &str| TraceContext::parse(PARENT).unwrap().with_state(text).tracestate().map(str::to_owned);
        assert_eq!(
            state("congo=t61rcWkgMzE, rojo=00f067aa0ba902b7").unwrap(),
            "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"
        );
        assert_eq!(state("a=1,,b=2,").unwrap(), "a=1,b=2");
        let long = (0..32).map(|n| format!("vendor{n}=12345678")).collect::<Vec<_>>().join(",");
        let kept = state(&long).unwrap();
        assert!(long.starts_with(&kept) && (100..=MAX_STATE).contains(&kept.len()), "{kept}");
        let two = |second: usize| state(&format!("a={},b={}", "x".repeat(62), "x".repeat(second - 2))).unwrap().len();
        assert_eq!([two(63), two(64)], [MAX_STATE, 64], "the comma counts");
        for invalid in [
            "",
            "a",
            "A=1",
            "a=",
            "=1",
            "a=1=2",
            "a=\u{7}",
            "a=é",
            &format!("a={}", "x".repeat(257)),
            &"a=1,".repeat(33),
        ] {
            assert_eq!(state(invalid), None, "{invalid}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_and_what_is_read_is_valid(parent in ".{0,60}", ids in "[0-9a-f-]{0,60}", state in ".{0,300}") {
            for parent in [parent, ids, PARENT.into()] {
                if let Some(trace) = TraceContext::parse(&parent) {
                    let trace = trace.with_state(&state);
                    prop_assert_eq!(TraceContext::parse(&trace.to_string()).map(|t| t.with_state(trace.tracestate().unwrap_or_default())), Some(trace.clone()));
                    prop_assert!(trace.to_string().len() == 55 && trace.tracestate().is_none_or(|state| state.len() <= MAX_STATE));
                }
            }
        }
    }
}
