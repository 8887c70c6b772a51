//! Responses of handlers.

use dynamodb_event_store::Version;
use lambda_http::Body;
use lambda_http::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use lambda_http::http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

/// A response of status, headers and a body of text.
#[derive(Debug)]
pub struct Answer(Response<String>);

impl Answer {
    /// A JSON response that caches must not store: orders are private to their owners.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::of(status, "application/json", body.to_string())
    }

    /// A response of this media type that caches must not store.
    pub fn of(status: u16, content_type: &'static str, body: String) -> Self {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Self(response)
    }

    /// With another header, or another value of one. Names are in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        match HeaderValue::try_from(value.into()) {
            Ok(value) => {
                self.0.headers_mut().insert(name, value);
            }
            Err(error) => tracing::error!(header = name, %error, "header not sent"),
        }
        self
    }

    /// With the order's version as its entity tag.
    #[must_use]
    pub fn with_etag(self, version: Version) -> Self {
        self.with_header("etag", format!("\"{version}\""))
    }

    /// With the tag of a version that later events follow: never the tag of a whole order.
    #[must_use]
    pub fn with_passed_etag(self, version: Version) -> Self {
        self.with_header("etag", format!("\"{version}+\""))
    }

    /// 304 in its place: without the body, and without the headers that describe the body.
    #[must_use]
    pub fn not_modified(mut self) -> Self {
        *self.0.status_mut() = StatusCode::NOT_MODIFIED;
        self.0.headers_mut().remove(CONTENT_TYPE);
        self.without_body()
    }

    /// Without the body, as `HEAD` is answered.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.0.body_mut().clear();
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name)?.to_str().ok()
    }

    /// The body.
    pub fn body(&self) -> &str {
        self.0.body()
    }
}

impl From<Answer> for Response<Body> {
    fn from(Answer(response): Answer) -> Self {
        response.map(Body::Text)
    }
}
