//! Reading request bodies: JSON objects with known fields, each at most once; every error has its path.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use orders_core::domain::{Currency, Money};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use strict_json::Strict;

use crate::content;
use crate::problem::Problem;
use crate::request::Request;

/// The most bytes that a decoded body may have.
const MAX_BYTES: usize = 64 * 1024;

/// The most characters of an error, or of the path in it.
const MAX_ECHO: usize = 200;

/// The path of an error about the whole body.
const WHOLE: &str = "body";

/// Reads the body.
///
/// # Errors
/// 413, 415, or 400 with the path of what is wrong.
pub fn parse<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    let bytes = decode(request)?;
    if !content::is_json(request.header("content-type").unwrap_or_default()) {
        return Err(Problem::unsupported_media_type());
    }
    parse_json(bytes)
}

/// Reads the body; an empty one means `{}`.
///
/// # Errors
/// As [`parse`].
pub fn parse_or_empty<T: DeserializeOwned>(request: &Request) -> Result<T, Problem> {
    if decode(request)?.is_empty() { parse_json(b"{}") } else { parse(request) }
}

/// Reads an amount of money, exactly.
///
/// # Errors
/// 400 with the field's path.
pub fn amount(path: &str, number: &RawValue, currency: &Currency) -> Result<Money, Problem> {
    currency.parse(number.get()).map_err(|error| Problem::invalid_field(path, error.to_string()))
}

fn decode(request: &Request) -> Result<&[u8], Problem> {
    let body = request.body();
    let is_empty = body.is_some_and(<[u8]>::is_empty);
    if !is_empty && !content::is_identity(request.header("content-encoding").unwrap_or_default()) {
        return Err(Problem::unsupported_coding());
    }
    match body {
        Some(bytes) if bytes.len() > MAX_BYTES => Err(Problem::body_too_large(MAX_BYTES)),
        Some(bytes) => Ok(bytes),
        None => Err(Problem::invalid_field(WHOLE, "must be valid base64")),
    }
}

fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let Strict(Object(parsed)) = serde_path_to_error::deserialize(&mut json).map_err(|error| invalid(&error))?;
    json.end().map_err(|error| Problem::invalid_field(WHOLE, format!("must be one JSON object: {error}")))?;
    Ok(parsed)
}

fn invalid(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let text = error.inner().to_string();
    // The path locates a wrong value; a position in the text helps only where it is not JSON.
    let detail = match text.rsplit_once(" at line ") {
        _ if !error.inner().is_data() => format!("must be JSON: {text}"),
        Some((why, _)) => why.to_owned(),
        None => text,
    };
    let mut path = String::new();
    for segment in error.path().iter().take_while(|segment| !matches!(segment, Segment::Unknown)) {
        let separator = if path.is_empty() || matches!(segment, Segment::Seq { .. }) { "" } else { "." };
        path = format!("{path}{separator}{segment}");
    }
    // These errors are raised at the object, with the field's name in backticks.
    let named = ["missing field `", "unknown field `", "duplicate field `"];
    let field = named.iter().find_map(|error| detail.strip_prefix(error)?.split('`').next());
    if let Some(field) = field.filter(|field| path != **field && !path.ends_with(&format!(".{field}"))) {
        let dot = if path.is_empty() { "" } else { "." };
        path = format!("{path}{dot}{field}");
    }
    let path = if path.is_empty() { WHOLE } else { &path };
    Problem::invalid_field(shortened(path), shortened(&detail))
}

/// Errors echo what was sent, but not at any length.
fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let beginning: String = chars.by_ref().take(MAX_ECHO).collect();
    if chars.next().is_some() { beginning + "…" } else { beginning }
}

/// A `T` that was written as a JSON object. On its own serde also reads a struct from a list of its fields.
#[derive(Clone, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }

        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// A text from a caller, validated by its type. On its own such a type accepts whatever was stored.
#[derive(Clone, Debug)]
pub struct Given<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

/// Reads a field that may be omitted but not `null`, which serde would read as omitted.
///
/// # Errors
/// Those of the value.
pub fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Parcel {
        name: String,
        parts: Vec<Object<Part>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Part {
        count: i64,
        price: Box<RawValue>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Nothing {}

    fn sent(body: &str, content_type: Option<&str>, is_base64: bool) -> Request {
        let headers = content_type.map(|value| json!({"Content-Type": value}));
        testing::request(json!({"headers": headers, "body": body, "isBase64Encoded": is_base64}))
    }

    /// Status and first path of the rejection.
    fn rejection<T: fmt::Debug>(outcome: Result<T, Problem>) -> (u16, Value) {
        let answer = outcome.unwrap_err().into_answer("x");
        let body: Value = serde_json::from_str(answer.body()).unwrap();
        (answer.status(), body["errors"][0]["path"].clone())
    }

    fn json_rejection(body: &str) -> (u16, Value) {
        rejection(parse::<Parcel>(&sent(body, Some("application/json"), false)))
    }

    #[test]
    fn a_body_is_read_plain_and_from_base64() {
        let body = r#" {"name": "n", "parts": [{"price": 1e1, "count": 2}]} "#;
        for (body, is_base64) in [(body.to_owned(), false), (BASE64_STANDARD.encode(body), true)] {
            let parcel: Parcel = parse(&sent(&body, Some("application/json"), is_base64)).unwrap();
            let Object(part) = &parcel.parts[0];
            assert_eq!((parcel.name.as_str(), part.count, part.price.get()), ("n", 2, "1e1"));
        }
    }

    #[test]
    fn every_error_has_the_path_of_its_field() {
        for (body, path) in [
            ("", "body"),
            ("{", "body"),
            ("null", "body"),
            ("[]", "body"),
            (r#"["n", []]"#, "body"),
            ("nonsense", "body"),
            (r#"{"name": "n", "parts": []} {}"#, "body"),
            (r#"{"name": "n", "parts": [],}"#, "body"),
            (r#"{"name": NaN, "parts": []}"#, "name"),
            ("{}", "name"),
            (r#"{"name": "n"}"#, "parts"),
            (r#"{"name": 7, "parts": []}"#, "name"),
            (r#"{"name": "n", "parts": {}}"#, "parts"),
            (r#"{"name": "n", "parts": [], "more": 1}"#, "more"),
            (r#"{"name": "n", "name": "n", "parts": []}"#, "name"),
            (r#"{"name": "n", "parts": [[1, 2]]}"#, "parts[0]"),
            (r#"{"name": "n", "parts": [{"count": 1}]}"#, "parts[0].price"),
            (r#"{"name": "n", "parts": [{"count": 1.5, "price": 1}]}"#, "parts[0].count"),
            (r#"{"name": "n", "parts": [{"count": "1", "price": 1}]}"#, "parts[0].count"),
            (r#"{"name": "n", "parts": [{"count": 1e300, "price": 1}]}"#, "parts[0].count"),
            (r#"{"name": "n", "parts": [{"count": 99999999999999999999, "price": 1}]}"#, "parts[0].count"),
            (r#"{"name": "n", "parts": [{"count": 1, "price": 1, "price": 2}]}"#, "parts[0].price"),
            (r#"{"name": "n", "parts": [{"count": 1, "price": 1, "tax": 2}]}"#, "parts[0].tax"),
        ] {
            assert_eq!(json_rejection(body), (400, json!(path)), "{body}");
        }
    }

    #[test]
    fn a_wrong_value_is_reported_with_its_path_and_broken_json_with_its_position() {
        let detail = |body: &str| {
            let problem = parse::<Parcel>(&sent(body, Some("application/json"), false)).unwrap_err();
            let answer: Value = serde_json::from_str(problem.into_answer("x").body()).unwrap();
            answer["detail"].as_str().unwrap().to_owned()
        };
        assert_eq!(detail(r#"{"name": null, "parts": []}"#), "name: invalid type: null, expected a string");
        assert!(detail(r#"{"name": "n""#).contains("must be JSON: EOF while parsing an object at line 1 column 12"));
    }

    #[test]
    fn an_error_stays_short_whatever_was_sent() {
        let long = "ä".repeat(30_000);
        for body in [format!(r#"{{"{long}": 1}}"#), format!(r#"{{"name": "n", "parts": "{long}"}}"#)] {
            let answer = parse::<Parcel>(&sent(&body, Some("application/json"), false)).unwrap_err().into_answer("x");
            assert!(answer.body().len() < 2_000, "{}", answer.body().len());
        }
    }

    #[test]
    fn endless_nesting_is_rejected() {
        let deep = "[".repeat(60_000);
        assert_eq!(json_rejection(&deep), (400, json!("body")));
        assert_eq!(json_rejection(&format!(r#"{{"name": {deep}"#)), (400, json!("name")));
        assert_eq!(json_rejection(&format!(r#"{{"name": "n", "more": {deep}"#)), (400, json!("more")));
        let price = format!(r#"{{"name": "n", "parts": [{{"price": {deep}{}, "count": 1}}]}}"#, "]".repeat(100));
        assert_eq!(json_rejection(&price).0, 400);
        let objects = r#"{"parts":"#.repeat(6_000);
        assert_eq!(json_rejection(&objects).0, 400);
    }

    #[test]
    fn a_body_over_64_kib_is_rejected_by_its_decoded_size() {
        let body_of = |bytes: usize| format!(r#"{{"name": "{}", "parts": []}}"#, "n".repeat(bytes - 25));
        assert_eq!(body_of(100).len(), 100);
        for (bytes, fits) in [(MAX_BYTES - 1, true), (MAX_BYTES, true), (MAX_BYTES + 1, false), (65 * 1024, false)] {
            for is_base64 in [false, true] {
                let body = if is_base64 { BASE64_STANDARD.encode(body_of(bytes)) } else { body_of(bytes) };
                let outcome = parse::<Parcel>(&sent(&body, Some("application/json"), is_base64));
                assert_eq!(outcome.map_err(|problem| problem.status()).err(), (!fits).then_some(413), "{bytes}");
            }
        }
    }

    #[test]
    fn a_body_must_say_that_it_is_json() {
        let body = r#"{"name": "n", "parts": []}"#;
        assert!(parse::<Parcel>(&sent(body, Some("application/json; charset=UTF8"), false)).is_ok());
        for wrong in [None, Some("text/plain"), Some("application/json,application/json")] {
            assert_eq!(parse::<Parcel>(&sent(body, wrong, false)).unwrap_err().status(), 415, "{wrong:?}");
        }
    }

    #[test]
    fn a_body_with_a_content_coding_is_rejected_with_the_one_that_is_accepted() {
        let coded = |coding: &str, body: &str| {
            let headers = json!({"content-type": "application/json", "content-encoding": coding});
            parse_or_empty::<Nothing>(&testing::request(json!({"headers": headers, "body": body})))
        };
        assert!(coded("identity", "{}").is_ok());
        assert!(coded("gzip", "").is_ok(), "nothing has no coding");
        let answer = coded("gzip", "{}").unwrap_err().into_answer("x");
        assert_eq!((answer.status(), answer.header("accept-encoding")), (415, Some("identity")));
    }

    #[test]
    fn a_body_that_is_not_base64_or_not_utf8_is_rejected() {
        for body in ["{}", "e30", "e3 0=", "not base64!"] {
            let outcome = parse::<Parcel>(&sent(body, Some("application/json"), true));
            assert_eq!(rejection(outcome), (400, json!("body")), "{body}");
        }
        let latin1 = BASE64_STANDARD.encode(b"{\"name\": \"\xe4\", \"parts\": []}");
        assert_eq!(rejection(parse::<Parcel>(&sent(&latin1, Some("application/json"), true))).0, 400);
    }

    #[test]
    fn a_missing_body_can_mean_an_empty_object() {
        assert!(parse_or_empty::<Nothing>(&sent("", None, false)).is_ok());
        assert!(parse_or_empty::<Nothing>(&sent("", Some("text/plain"), true)).is_ok());
        assert!(parse_or_empty::<Nothing>(&sent("{}", Some("application/json"), false)).is_ok());
        assert_eq!(parse_or_empty::<Nothing>(&sent("{}", None, false)).unwrap_err().status(), 415);
        for wrong in [r#"{"a": 1}"#, "[]", "null", " "] {
            let outcome = parse_or_empty::<Nothing>(&sent(wrong, Some("application/json"), false));
            assert_eq!(outcome.unwrap_err().status(), 400, "{wrong}");
        }
    }
}
