//! From an event to the request that it stands for.
//!
//! `lambda_http` panics on query strings that no URI can hold and on bodies that are not the base64 that they claim to be,
//! and rejects an event with a member of another type. The gateway passes the first on from any caller, and an event made
//! by hand may hold anything. So the members are read one by one here, and no event fails.

use std::collections::{BTreeMap, HashMap};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lambda_http::aws_lambda_events::apigw::{
    ApiGatewayRequestAuthorizer, ApiGatewayRequestAuthorizerJwtDescription, ApiGatewayV2httpRequestContext,
};
use lambda_http::http::header::COOKIE;
use lambda_http::http::uri::{PathAndQuery, Uri};
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, Method};
use lambda_http::request::RequestContext;
use lambda_http::{Body, RequestExt as _};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use strict_json::Strict;

/// What a query string cannot hold, beside everything beyond ASCII.
const NOT_IN_QUERY: AsciiSet = CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
/// What a path cannot hold.
const NOT_IN_PATH: AsciiSet = NOT_IN_QUERY.add(b'?').add(b'`').add(b'{').add(b'}').add(b'\\').add(b'^').add(b'|');

/// The method of an event that names none. As with any other method that is not a read, the response is sent in full.
const UNNAMED: Method = Method::POST;

/// What an event claims and a request cannot hold. It is an extension of the request, so that it is rejected where it is
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unreadable {
    /// The body is not the base64 that it claims to be. It is in the request as it came.
    pub body: bool,
    /// The query string is longer than a URI may be. It is not in the request.
    pub query: bool,
}

/// The members of an event that a request is made of. Each may be missing or of another type.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Event<'a> {
    #[serde(borrow)]
    raw_path: Option<&'a RawValue>,
    #[serde(borrow)]
    raw_query_string: Option<&'a RawValue>,
    #[serde(borrow)]
    headers: Option<&'a RawValue>,
    #[serde(borrow)]
    cookies: Option<&'a RawValue>,
    #[serde(borrow)]
    path_parameters: Option<&'a RawValue>,
    #[serde(borrow)]
    stage_variables: Option<&'a RawValue>,
    #[serde(borrow)]
    request_context: Option<&'a RawValue>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    is_base64_encoded: Option<&'a RawValue>,
}

/// The request that an event stands for, with the extensions that `lambda_http` gives to one.
pub fn request(event: &RawValue) -> lambda_http::Request {
    let event: Event<'_> = read(Some(event)).unwrap_or_default();
    let raw_path = text(event.raw_path).unwrap_or_default();
    let query = text(event.raw_query_string).unwrap_or_default();
    let uri = uri(&raw_path, &query);
    let body = text(event.body);
    let decoded = match read(event.is_base64_encoded) {
        Some(true) => body.as_deref().map(|body| BASE64_STANDARD.decode(body)),
        Some(false) | None => None,
    };
    let unreadable = Unreadable { body: matches!(decoded, Some(Err(_))), query: uri.is_none() };
    let body = match decoded {
        Some(Ok(bytes)) => Body::Binary(bytes),
        Some(Err(_)) | None => body.map(Body::Text).unwrap_or_default(),
    };
    let context = context(event.request_context);
    let mut request = lambda_http::Request::new(body);
    *request.method_mut() = context.http.method.clone();
    *request.uri_mut() = uri.unwrap_or_default();
    *request.headers_mut() = headers(event.headers, event.cookies);
    request.extensions_mut().insert(unreadable);
    request
        .with_raw_http_path(raw_path)
        .with_query_string_parameters(query_parameters(&query))
        .with_path_parameters(texts(event.path_parameters))
        .with_stage_variables(texts(event.stage_variables))
        .with_request_context(RequestContext::ApiGatewayV2(context))
}

/// A member, unless it is missing or of another type.
fn read<'a, T: Deserialize<'a>>(member: Option<&'a RawValue>) -> Option<T> {
    let Strict(value) = serde_json::from_str(member?.get()).ok()?;
    Some(value)
}

/// A member that is to be a text. Anything else is taken as it is written, so that it is rejected and never passes for
/// missing.
fn text(member: Option<&RawValue>) -> Option<String> {
    let json = member?.get();
    (json != "null").then(|| serde_json::from_str(json).unwrap_or_else(|_| json.to_owned()))
}

/// The texts of an object, by their names.
fn texts(member: Option<&RawValue>) -> HashMap<String, String> {
    let members: HashMap<String, &RawValue> = read(member).unwrap_or_default();
    members.into_iter().filter_map(|(name, member)| Some((name, text(Some(member))?))).collect()
}

/// Path and query, encoded where that is needed; `None` if they are too long together.
fn uri(path: &str, query: &str) -> Option<Uri> {
    let path = utf8_percent_encode(path.strip_prefix('/').unwrap_or(path), &NOT_IN_PATH);
    let question_mark = if query.is_empty() { "" } else { "?" };
    let uri = format!("/{path}{question_mark}{}", utf8_percent_encode(query, &NOT_IN_QUERY));
    PathAndQuery::try_from(uri).ok().map(Uri::from)
}

fn query_parameters(query: &str) -> lambda_http::aws_lambda_events::query_map::QueryMap {
    let Ok(parameters) = query.parse();
    parameters
}

/// The headers that have a name. Names that differ in case only are one header, as they are at the gateway.
fn headers(headers: Option<&RawValue>, cookies: Option<&RawValue>) -> HeaderMap {
    let members: BTreeMap<String, &RawValue> = read(headers).unwrap_or_default();
    let members = members
        .into_iter()
        .filter_map(|(name, member)| Some((HeaderName::from_bytes(name.as_bytes()).ok()?, text(Some(member))?)));
    let cookies: Option<Vec<String>> = read(cookies);
    let cookies = cookies.filter(|cookies| !cookies.is_empty()).map(|cookies| (COOKIE, cookies.join("; ")));
    let mut headers = HeaderMap::new();
    for (name, value) in members.chain(cookies) {
        let before = headers.get(&name).map(|before: &HeaderValue| String::from_utf8_lossy(before.as_bytes()));
        let value = before.map(|before| format!("{before},{value}")).unwrap_or(value);
        // Only a map with tens of thousands of headers takes no more.
        if let Some(value) = header_value(&value)
            && headers.try_insert(name, value).is_err()
        {
            break;
        }
    }
    headers
}

/// A value with a mark in place of what no header can hold, so that it is rejected and never passes for another.
fn header_value(value: &str) -> Option<HeaderValue> {
    let forbidden = |c: char| c.is_ascii_control() && c != '\t';
    HeaderValue::from_str(&value.replace(forbidden, "\u{fffd}")).ok()
}

/// The context as `lambda_http` has it. Where a member of another type keeps that from being read, what the service itself
/// needs of it.
fn context(member: Option<&RawValue>) -> ApiGatewayV2httpRequestContext {
    if let Some(context) = read(member) {
        return context;
    }
    let json: Value = read(member).unwrap_or_default();
    let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let claims = json.pointer("/authorizer/jwt/claims").and_then(Value::as_object);
    let claims = claims.into_iter().flatten().filter_map(|(name, claim)| Some((name.clone(), claim.as_str()?.into())));
    let mut jwt = ApiGatewayRequestAuthorizerJwtDescription::default();
    jwt.claims = claims.collect();
    let mut authorizer = ApiGatewayRequestAuthorizer::default();
    authorizer.jwt = Some(jwt);
    let mut context = ApiGatewayV2httpRequestContext::default();
    context.request_id = text("/requestId");
    context.authorizer = Some(authorizer);
    context.http.source_ip = text("/http/sourceIp");
    context.http.method = text("/http/method").and_then(|method| method.parse().ok()).unwrap_or(UNNAMED);
    context
}

#[cfg(test)]
mod tests {
    use lambda_http::http::Request;
    use serde_json::json;

    use super::*;
    use crate::bad_input::functions;
    use crate::testing;

    fn request(event: &Value) -> Request<Body> {
        testing::from_gateway(event.to_string())
    }

    fn gateway(request: &Request<Body>) -> &ApiGatewayV2httpRequestContext {
        match request.request_context_ref().unwrap() {
            RequestContext::ApiGatewayV2(context) => context,
            other => panic!("{other:?}"),
        }
    }

    fn claims(request: &Request<Body>) -> HashMap<String, String> {
        gateway(request).authorizer.clone().unwrap().jwt.unwrap().claims
    }

    #[test]
    fn a_good_event_becomes_the_request_that_lambda_http_makes_of_it() {
        let mut events: Vec<_> = functions::all().map(testing::event).collect();
        let more = json!({
            "rawPath": "/orders", "rawQueryString": "a=1&a=%C3%A9&b=x+y", "body": BASE64_STANDARD.encode([0xff, 0]),
            "isBase64Encoded": true, "cookies": ["a=1", "b=2"], "stageVariables": {"colour": "blue"},
            "headers": {"X-Name": "Jörg"}, "requestContext": {"stage": "$default", "http": {"method": "PATCH"}},
        });
        events.push(more);
        for event in events {
            let (ours, theirs) = (request(&event), lambda_http::request::from_str(&event.to_string()).unwrap());
            assert_eq!((ours.method(), ours.headers()), (theirs.method(), theirs.headers()), "{event}");
            assert_eq!((ours.uri().path(), ours.uri().query()), (theirs.uri().path(), theirs.uri().query()));
            assert_eq!(ours.body(), theirs.body());
            assert_eq!(ours.raw_http_path(), theirs.raw_http_path());
            assert_eq!(ours.path_parameters(), theirs.path_parameters());
            assert_eq!(ours.query_string_parameters(), theirs.query_string_parameters());
            assert_eq!(ours.stage_variables(), theirs.stage_variables());
            assert_eq!(gateway(&ours), gateway(&theirs));
        }
    }

    #[test]
    fn what_a_uri_cannot_hold_is_encoded_and_means_the_same() {
        let query = "status=<paid>&q=\"é#\" \u{0}%20{|}^`\\[]";
        let path = "orders/ a?b#<\u{7f}é>{|}^`\\\"/%20";
        let request = request(&json!({"rawPath": path, "rawQueryString": query}));
        let decoded = |text: &[u8]| form_urlencoded::parse(text).into_owned().collect::<Vec<_>>();
        assert_eq!(decoded(request.uri().query().unwrap().as_bytes()), decoded(query.as_bytes()));
        assert_eq!(request.uri().path(), "/orders/%20a%3Fb%23%3C%7F%C3%A9%3E%7B%7C%7D%5E%60%5C%22/%20");
        assert_eq!(request.raw_http_path(), path);
    }

    #[test]
    fn a_query_string_that_is_too_long_is_marked() {
        for (length, too_long) in [(65_532, false), (65_533, true), (1_000_000, true)] {
            let request = request(&json!({"rawPath": "/", "rawQueryString": "q".repeat(length)}));
            assert_eq!(request.extensions().get(), Some(&Unreadable { query: too_long, body: false }), "{length}");
            assert_eq!(request.uri().query().is_none(), too_long);
        }
    }

    #[test]
    fn a_body_that_is_not_base64_is_marked_and_left_as_it_is() {
        for (body, is_base64) in [("e30=", true), ("", true), ("{}", false), ("e30", false), ("e3 0=", false)] {
            let request = request(&json!({"body": body, "isBase64Encoded": true}));
            assert_eq!(request.extensions().get(), Some(&Unreadable { body: !is_base64, query: false }), "{body}");
            assert!(is_base64 || request.body().as_ref() == body.as_bytes());
        }
        for not_encoded in
            [json!({"body": "{}", "isBase64Encoded": false}), json!({"body": "{}", "isBase64Encoded": "true"})]
        {
            assert_eq!(request(&not_encoded).extensions().get(), Some(&Unreadable::default()));
        }
    }

    #[test]
    fn a_member_that_should_be_text_never_passes_for_missing() {
        for (member, seen) in
            [(json!(7), "7"), (json!(["\"1\""]), "[\"\\\"1\\\"\"]"), (json!({}), "{}"), (json!(true), "true")]
        {
            let event = json!({"headers": {"if-match": member}, "pathParameters": {"id": member}, "body": member});
            let request = request(&event);
            assert_eq!(request.headers()["if-match"], seen);
            assert_eq!(request.path_parameters().first("id"), Some(seen));
            assert_eq!(request.body().as_ref(), seen.as_bytes());
        }
        let nothing = json!({"headers": {"if-match": null}, "pathParameters": {"id": null}, "body": null});
        let nothing = request(&nothing);
        assert_eq!((nothing.headers().len(), nothing.path_parameters_ref(), nothing.body().len()), (0, None, 0));
    }

    #[test]
    fn a_header_keeps_a_mark_of_what_it_cannot_hold_and_one_without_a_name_is_dropped() {
        let headers = json!({"a": "x\ny\u{0}", "b": "\u{7f}", "c": "\té", "": "1", "d e": "2", "f\n": "3", "g:": "4"});
        let request = request(&json!({ "headers": headers }));
        let text = |name: &str| String::from_utf8(request.headers()[name].as_bytes().to_vec()).unwrap();
        assert_eq!(["a", "b", "c"].map(text), ["x\u{fffd}y\u{fffd}", "\u{fffd}", "\té"]);
        assert_eq!(request.headers().len(), 3);
    }

    #[test]
    fn headers_whose_names_differ_in_case_are_one() {
        let request = request(&json!({"headers": {"IF-MATCH": "\"1\"", "If-Match": "\"2\"", "if-match": "\"3\""}}));
        assert_eq!(request.headers()["if-match"], "\"1\",\"2\",\"3\"");
    }

    #[test]
    fn more_headers_than_a_map_holds_are_cut_off() {
        let headers: HashMap<_, _> = (0..40_000).map(|n| (format!("x-{n}"), "")).collect();
        assert!(request(&json!({ "headers": headers })).headers().len() > 20_000);
    }

    #[test]
    fn a_context_of_the_wrong_types_still_gives_what_is_readable() {
        let good = testing::event("create-order");
        let all = claims(&request(&good));
        for (pointer, odd) in [
            ("/requestContext/authorizer/jwt/claims/exp", json!(1795515600)),
            ("/requestContext/authorizer/jwt/claims/exp", json!(["a", "b"])),
            ("/requestContext/timeEpoch", json!("now")),
            ("/requestContext/http/path", json!([])),
            ("/requestContext/stage", json!({})),
            ("/requestContext/authorizer/jwt/scopes", json!("orders:admin")),
        ] {
            let mut event = good.clone();
            *event.pointer_mut(pointer).unwrap() = odd;
            let request = request(&event);
            assert_eq!(
                (request.method(), gateway(&request).request_id.as_deref()),
                (&Method::POST, Some("D4yL5b5IZDTl900="))
            );
            assert_eq!(gateway(&request).http.source_ip.as_deref(), Some("203.0.113.7"));
            let mut left = all.clone();
            if pointer.ends_with("exp") {
                left.remove("exp");
            }
            assert_eq!(claims(&request), left, "{pointer}");
        }
    }

    #[test]
    fn an_event_without_a_usable_method_is_no_read() {
        for method in [json!(null), json!(7), json!("G T"), json!("é"), json!(["GET"])] {
            let request = request(&json!({"requestContext": {"http": {"method": method}}}));
            assert_eq!(request.method(), Method::POST, "{method}");
        }
        assert_eq!(request(&json!({"requestContext": {"http": {"method": "BREW"}}})).method().as_str(), "BREW");
    }

    #[test]
    fn anything_is_a_request() {
        for event in ["null", "7", "\"text\"", "[]", "[null, \"/\"]", "{}", r#"{"headers": [], "requestContext": 5}"#] {
            let request = testing::from_gateway(event.into());
            assert_eq!((request.uri().path(), request.body().len(), request.headers().len()), ("/", 0, 0), "{event}");
            assert!(claims(&request).is_empty());
        }
    }
}
