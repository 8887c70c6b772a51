//! Answers, in the form that the gateway takes.

use std::collections::BTreeMap;

use dynamodb_event_store::Version;
use serde::Serialize;
use serde_json::Value;

/// An answer of status, headers and a body, JSON if nothing else was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    status_code: u16,
    headers: BTreeMap<&'static str, String>,
    body: String,
    is_base64_encoded: bool,
}

impl Answer {
    /// A JSON answer that no cache keeps: orders are their owners' business.
    pub fn json(status: u16, body: &Value) -> Self {
        Self::of(status, "application/json", body.to_string())
    }

    /// An answer of this media type that no cache keeps.
    pub fn of(status: u16, content_type: &str, body: String) -> Self {
        let headers = [("content-type", content_type), ("cache-control", "no-store")];
        Self {
            status_code: status,
            headers: headers.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
            body,
            is_base64_encoded: false,
        }
    }

    /// With a header more, or another value of one. Names are in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.insert(name, value.into());
        self
    }

    /// With the order's version as its entity tag.
    #[must_use]
    pub fn with_etag(self, version: Version) -> Self {
        self.with_header("etag", format!("\"{version}\""))
    }

    /// With the tag of a version after which there is more: none that the order is at.
    #[must_use]
    pub fn with_passed_etag(self, version: Version) -> Self {
        self.with_header("etag", format!("\"{version}+\""))
    }

    /// In its place, that it is what the caller has already: without the body, and what tells of the body alone.
    #[must_use]
    pub fn not_modified(mut self) -> Self {
        self.status_code = 304;
        self.headers.remove("content-type");
        self.without_body()
    }

    /// Without the body, as `HEAD` is answered.
    #[must_use]
    pub fn without_body(mut self) -> Self {
        self.body.clear();
        self
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status_code
    }

    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The body.
    pub fn body(&self) -> &str {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_has_the_form_that_the_gateway_takes() {
        let answer = Answer::json(200, &json!({"total": 19.99})).with_etag(3);
        assert_eq!(
            serde_json::to_value(answer).unwrap(),
            json!({
                "statusCode": 200,
                "headers": {"content-type": "application/json", "cache-control": "no-store", "etag": "\"3\""},
                "body": "{\"total\":19.99}",
                "isBase64Encoded": false,
            })
        );
    }
}
