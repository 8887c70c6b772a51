//! From a response to the form in which the gateway takes it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use lambda_http::Body;
use lambda_http::http;
use lambda_http::http::HeaderMap;
use lambda_http::http::header::SET_COOKIE;
use serde::Serialize;

/// A response as the gateway takes it.
///
/// `lambda_http` writes only the first value of a header that has several.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    status_code: u16,
    headers: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    body: String,
    is_base64_encoded: bool,
}

impl From<http::Response<Body>> for Response {
    fn from(response: http::Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let (body, is_base64_encoded) = match body {
            Body::Text(text) => (text, false),
            Body::Binary(bytes) => (BASE64_STANDARD.encode(bytes), true),
            _ => (String::new(), false),
        };
        let names = parts.headers.keys().filter(|name| **name != SET_COOKIE);
        Self {
            status_code: parts.status.as_u16(),
            headers: names.map(|name| (name.to_string(), values(&parts.headers, name).join(", "))).collect(),
            cookies: values(&parts.headers, &SET_COOKIE),
            body,
            is_base64_encoded,
        }
    }
}

fn values(headers: &HeaderMap, name: &http::HeaderName) -> Vec<String> {
    headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(response: http::response::Builder, body: Body) -> serde_json::Value {
        serde_json::to_value(Response::from(response.body(body).unwrap())).unwrap()
    }

    #[test]
    fn a_response_has_the_form_that_the_gateway_takes() {
        let response = http::Response::builder().status(201).header("etag", "\"3\"");
        assert_eq!(
            taken(response, "{}".into()),
            json!({"statusCode": 201, "headers": {"etag": "\"3\""}, "body": "{}", "isBase64Encoded": false})
        );
    }

    #[test]
    fn values_of_one_header_are_joined_and_cookies_are_not() {
        let response = http::Response::builder().header("vary", "accept").header("vary", "origin");
        let response = response.header("set-cookie", "a=1").header("set-cookie", "b=2");
        let taken = taken(response, Body::Empty);
        assert_eq!(
            (&taken["headers"], &taken["cookies"]),
            (&json!({"vary": "accept, origin"}), &json!(["a=1", "b=2"]))
        );
    }

    #[test]
    fn bytes_are_encoded_and_odd_headers_fail_nothing() {
        let response = http::Response::builder().header("x", &b"\xff"[..]);
        let taken = taken(response, vec![0xff, 0].into());
        assert_eq!((&taken["body"], &taken["isBase64Encoded"]), (&json!("/wA="), &json!(true)));
        assert_eq!(taken["headers"]["x"], "\u{fffd}");
    }
}
