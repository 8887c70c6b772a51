//! The response that a client gets for a function's result.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// A response of the gateway itself.
pub(super) fn message(status: StatusCode, text: &str) -> Response {
    (status, axum::Json(json!({ "message": text }))).into_response()
}

/// The function failed or returned no valid response.
pub(super) fn internal_error() -> Response {
    message(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionResponse {
    status_code: u16,
    headers: Option<Map<String, Value>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

/// Converts a function's response. Without a status code it is the body of a 200.
pub(super) fn to_response(payload: Bytes) -> Response {
    match serde_json::from_slice::<Value>(&payload) {
        Ok(Value::Object(object)) if object.contains_key("statusCode") => {
            let function = serde_json::from_value(Value::Object(object)).ok();
            function.and_then(convert).unwrap_or_else(internal_error)
        }
        // A JSON string is sent without its quotes.
        Ok(Value::String(text)) => ([(CONTENT_TYPE, "application/json")], text).into_response(),
        Ok(_) => ([(CONTENT_TYPE, "application/json")], payload).into_response(),
        Err(_) => internal_error(),
    }
}

fn convert(function: FunctionResponse) -> Option<Response> {
    let mut headers = HeaderMap::new();
    for (name, value) in function.headers.unwrap_or_default() {
        let value = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return None,
        };
        headers.insert(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
    }
    for cookie in function.cookies.unwrap_or_default() {
        headers.append(SET_COOKIE, HeaderValue::try_from(cookie).ok()?);
    }
    let status = StatusCode::from_u16(function.status_code).ok().filter(|status| status.as_u16() >= 200)?;
    if status != StatusCode::NOT_MODIFIED {
        headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("text/plain;charset=UTF-8"));
    }
    let text = function.body.unwrap_or_default();
    let body = match function.is_base64_encoded {
        Some(true) => Body::from(STANDARD.decode(text).ok()?),
        Some(false) | None => text.into(),
    };
    Some((status, headers, body).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn converted(payload: Value) -> (u16, HeaderMap, String) {
        let (head, body) = to_response(Bytes::from(payload.to_string())).into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn status_headers_cookies_and_body_are_forwarded() {
        let function = json!({
            "statusCode": 201, "headers": {"Location": "/things/7"}, "cookies": ["a=1", "b=2"],
            "body": "e30=", "isBase64Encoded": true, "multiValueHeaders": {"location": ["/things/8"]}
        });
        let (status, headers, body) = converted(function).await;
        assert_eq!((status, body.as_str(), &headers["location"]), (201, "{}", &HeaderValue::from_static("/things/7")));
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
        let (_, headers, body) = converted(json!({"statusCode": 304})).await;
        assert_eq!((body.as_str(), headers.get("content-type")), ("", None), "no content has no type");
        for (function, body) in [(json!({"hello": 1}), "{\"hello\":1}"), (json!("hi"), "hi"), (json!([1]), "[1]")] {
            let (status, headers, found) = converted(function).await;
            assert_eq!((status, found.as_str(), &headers["content-type"] == "application/json"), (200, body, true));
        }
    }

    #[tokio::test]
    async fn a_response_that_is_not_valid_is_an_internal_error() {
        for payload in [
            json!({"statusCode": "ok"}),
            json!({"statusCode": 99}),
            json!({"statusCode": 101}),
            json!({"statusCode": 200, "headers": {"a b": "c"}}),
            json!({"statusCode": 200, "headers": {"a": {}}}),
            json!({"statusCode": 200, "body": {}}),
            json!({"statusCode": 200, "body": "!", "isBase64Encoded": true}),
        ] {
            let (status, _, body) = converted(payload.clone()).await;
            assert_eq!((status, body.as_str()), (500, "{\"message\":\"Internal Server Error\"}"), "{payload}");
        }
        assert_eq!(to_response(Bytes::from_static(b"oops")).status(), 500);
    }
}
