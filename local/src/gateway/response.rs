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
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    is_base64_encoded: Option<bool>,
}

/// Converts a function's response. Without a status code it is the body of a 200.
pub(super) fn to_response(payload: Bytes) -> Response {
    let Ok(value) = serde_json::from_slice::<Value>(&payload) else { return internal_error() };
    if value.get("statusCode").is_none() {
        // A JSON string is sent without its quotes.
        let body = match value {
            Value::String(text) => Bytes::from(text),
            _ => payload,
        };
        return ([(CONTENT_TYPE, "application/json")], body).into_response();
    }
    serde_json::from_value::<FunctionResponse>(value).ok().and_then(response).unwrap_or_else(internal_error)
}

fn response(function: FunctionResponse) -> Option<Response> {
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
    let body = if function.is_base64_encoded.unwrap_or_default() {
        Body::from(STANDARD.decode(text).ok()?)
    } else {
        text.into()
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(payload: Value) -> (u16, HeaderMap, String) {
        let response = to_response(Bytes::from(payload.to_string()));
        let (head, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (head.status.as_u16(), head.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn status_headers_cookies_and_body_are_forwarded() {
        let (status, headers, body) = answered(json!({
            "statusCode": 201, "headers": {"Location": "/things/7", "etag": "\"1\""}, "cookies": ["a=1", "b=2"],
            "body": "{}", "isBase64Encoded": false, "multiValueHeaders": {"location": ["/things/8"]}
        }))
        .await;
        assert_eq!((status, body.as_str()), (201, "{}"));
        assert_eq!(
            (&headers["location"], &headers["etag"]),
            (&HeaderValue::from_static("/things/7"), &HeaderValue::from_static("\"1\""))
        );
        assert_eq!(headers.get_all("set-cookie").iter().count(), 2);
    }

    #[tokio::test]
    async fn a_body_in_base64_is_decoded() {
        let (_, _, body) = answered(json!({"statusCode": 200, "body": "aGk=", "isBase64Encoded": true})).await;
        assert_eq!(body, "hi");
        assert_eq!(answered(json!({"statusCode": 200, "body": "!", "isBase64Encoded": true})).await.0, 500);
    }

    #[tokio::test]
    async fn a_response_without_status_is_the_body_of_a_200() {
        let (status, headers, body) = answered(json!({"hello": 1})).await;
        assert_eq!((status, body.as_str()), (200, "{\"hello\":1}"));
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(answered(json!("hi")).await.2, "hi");
        assert_eq!(answered(json!([1])).await.2, "[1]");
    }

    #[tokio::test]
    async fn a_304_has_no_content_and_no_content_type() {
        let (status, headers, body) = answered(json!({"statusCode": 304, "headers": {"etag": "\"1\""}})).await;
        assert_eq!((status, body.as_str()), (304, ""));
        assert_eq!((&headers["etag"], headers.get("content-type")), (&HeaderValue::from_static("\"1\""), None));
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
        ] {
            let (status, _, body) = answered(payload.clone()).await;
            assert_eq!((status, body.as_str()), (500, "{\"message\":\"Internal Server Error\"}"), "{payload}");
        }
        assert_eq!(to_response(Bytes::from_static(b"oops")).status(), 500);
    }
}
