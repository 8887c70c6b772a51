//! The event of a request: payload format 2.0.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

use super::authorizer::Identity;
use crate::template::ACCOUNT;

/// A request that has passed the authorizer.
pub(super) struct Request<'a> {
    pub head: &'a Parts,
    pub body: &'a Bytes,
    pub source: IpAddr,
    pub route_key: &'a str,
    pub path_parameters: &'a BTreeMap<String, String>,
    pub identity: &'a Identity,
    pub request_id: &'a str,
    pub now: DateTime<Utc>,
}

impl Request<'_> {
    pub(super) fn to_event(&self) -> Value {
        let Parts { method, uri, headers, version, .. } = self.head;
        let host = text(headers, header::HOST).unwrap_or_default();
        let domain = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
        // Despite its name API Gateway decodes it, but not the query string.
        let path = percent_decode_str(uri.path()).decode_utf8_lossy();
        let Identity { claims, scopes } = self.identity;
        let scopes = if scopes.is_empty() { Value::Null } else { json!(scopes) };
        let mut event = json!({
            "version": "2.0",
            "routeKey": self.route_key,
            "rawPath": path,
            "rawQueryString": uri.query().unwrap_or_default(),
            "headers": self.headers(&host),
            "requestContext": {
                "accountId": ACCOUNT,
                "apiId": "local",
                "authorizer": {"jwt": {"claims": claims, "scopes": scopes}},
                "domainName": domain,
                "domainPrefix": domain.split('.').next(),
                "http": {
                    "method": method.as_str(),
                    "path": path,
                    "protocol": format!("{version:?}"),
                    "sourceIp": self.source,
                    "userAgent": text(headers, header::USER_AGENT).unwrap_or_default(),
                },
                "requestId": self.request_id,
                "routeKey": self.route_key,
                "stage": "$default",
                "time": self.now.format("%d/%b/%Y:%H:%M:%S +0000").to_string(),
                "timeEpoch": self.now.timestamp_millis(),
            },
        });
        let cookies = text(headers, header::COOKIE).unwrap_or_default();
        let cookies: Vec<&str> = cookies.split([';', ',']).map(str::trim).filter(|cookie| !cookie.is_empty()).collect();
        if !cookies.is_empty() {
            event["cookies"] = json!(cookies);
        }
        let query = query_parameters(uri.query().unwrap_or_default());
        if !query.is_empty() {
            event["queryStringParameters"] = json!(query);
        }
        if !self.path_parameters.is_empty() {
            event["pathParameters"] = json!(self.path_parameters);
        }
        let content_type = text(headers, header::CONTENT_TYPE);
        let plain = std::str::from_utf8(self.body).ok().filter(|_| is_text(content_type.as_deref()));
        event["isBase64Encoded"] = json!(plain.is_none() && !self.body.is_empty());
        if !self.body.is_empty() {
            event["body"] = json!(plain.map_or_else(|| STANDARD.encode(self.body), str::to_owned));
        }
        event
    }

    /// In lower case, repeated ones joined with a comma, with those that API Gateway adds.
    fn headers(&self, host: &str) -> Map<String, Value> {
        let headers = &self.head.headers;
        let mut joined: Map<String, Value> = headers
            .keys()
            .filter(|name| **name != header::COOKIE)
            .filter_map(|name| Some((name.as_str().to_owned(), text(headers, name)?.into())))
            .collect();
        let source = self.source.to_string();
        let forwarded = match text(headers, "x-forwarded-for") {
            Some(before) => format!("{before}, {source}"),
            None => source,
        };
        let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
        joined.insert("x-forwarded-for".into(), forwarded.into());
        joined.insert("x-forwarded-port".into(), port.into());
        joined.insert("x-forwarded-proto".into(), "http".into());
        joined.entry("x-amzn-trace-id").or_insert_with(|| {
            let id = self.request_id.replace('-', "");
            format!("Root=1-{:08x}-{}", self.now.timestamp(), id.get(..24).unwrap_or(&id)).into()
        });
        joined
    }
}

/// All values of a header, joined.
fn text(headers: &HeaderMap, name: impl header::AsHeaderName) -> Option<String> {
    let values: Vec<_> =
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// Decoded; the values of a repeated name are joined with a comma.
fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let joined = parameters.get(name.as_ref()).map(|earlier| format!("{earlier},{value}"));
        parameters.insert(name.into_owned(), joined.unwrap_or_else(|| value.into_owned()));
    }
    parameters
}

/// Whether a body of that type is text; any other is encoded in base64.
fn is_text(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml"].contains(&kind.as_str())
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(request: axum::http::request::Builder, body: &'static [u8]) -> Value {
        let (head, ()) = request.body(()).unwrap().into_parts();
        let parameters = BTreeMap::from([("id".to_owned(), "7".to_owned())]);
        let request = Request {
            head: &head,
            body: &Bytes::from_static(body),
            source: [10, 0, 0, 9].into(),
            route_key: "POST /things/{id}",
            path_parameters: &parameters,
            identity: &Identity { claims: [("sub".into(), "ada".into())].into(), scopes: vec!["things:write".into()] },
            request_id: "6b1f2d5e-0000-4000-8000-000000000000",
            now: DateTime::from_timestamp(1_583_348_638, 390_000_000).unwrap(),
        };
        request.to_event()
    }

    fn post(uri: &str) -> axum::http::request::Builder {
        axum::http::Request::post(uri).header("host", "127.0.0.1:3000")
    }

    #[test]
    fn the_event_has_route_caller_source_time_and_decoded_path_and_query() {
        let event = event(post("/things/a%20b?x=1&y=a%26b+c&x=2&flag").header("user-agent", "curl"), b"");
        let context = &event["requestContext"];
        assert_eq!(
            (&context["routeKey"], &event["pathParameters"]),
            (&json!("POST /things/{id}"), &json!({"id": "7"}))
        );
        assert_eq!(
            (&context["http"]["sourceIp"], &context["http"]["protocol"]),
            (&json!("10.0.0.9"), &json!("HTTP/1.1"))
        );
        assert_eq!(context["time"], "04/Mar/2020:19:03:58 +0000");
        assert_eq!(context["timeEpoch"], 1_583_348_638_390_i64);
        assert_eq!(context["authorizer"]["jwt"], json!({"claims": {"sub": "ada"}, "scopes": ["things:write"]}));
        assert_eq!((event.get("body"), event.get("cookies")), (None, None));
        assert_eq!(event["rawPath"], "/things/a b");
        assert_eq!(event["rawQueryString"], "x=1&y=a%26b+c&x=2&flag");
        assert_eq!(event["queryStringParameters"], json!({"x": "1,2", "y": "a&b c", "flag": ""}));
    }

    #[test]
    fn headers_are_in_lower_case_and_joined_and_a_forged_source_is_ignored() {
        let request = post("/").header("X-Tag", "a").header("x-tag", "b").header("Cookie", "a=1; b=2");
        let event = event(request.header("X-Forwarded-For", "1.2.3.4"), b"");
        assert_eq!(event["headers"]["x-tag"], "a,b");
        assert_eq!((&event["cookies"], event["headers"].get("cookie")), (&json!(["a=1", "b=2"]), None));
        assert_eq!(event["headers"]["x-forwarded-for"], "1.2.3.4, 10.0.0.9");
        assert_eq!(event["requestContext"]["http"]["sourceIp"], "10.0.0.9");
    }

    #[test]
    fn a_body_is_text_for_text_types_and_base64_for_others() {
        for (content_type, body, expected) in [
            ("application/json; charset=utf-8", &b"{}"[..], ("{}", false)),
            ("application/merge-patch+json", b"{}", ("{}", false)),
            ("application/octet-stream", b"{}", ("e30=", true)),
            ("application/json", b"\xff", ("/w==", true)),
        ] {
            let event = event(post("/").header("content-type", content_type), body);
            assert_eq!((&event["body"], &event["isBase64Encoded"]), (&json!(expected.0), &json!(expected.1)));
        }
        assert_eq!(event(post("/"), b"{}")["body"], "{}");
    }
}
