//! Refusals and failures as the caller sees them: problem details (RFC 9457).
//!
//! A problem says what is wrong and what to do. What went wrong inside is its source: for the log, never for the
//! answer.

use std::error::Error;

use dynamodb_event_store::{StoreError, Version};
use orders_core::domain::InvalidField;
use serde_json::{Map, Value, json};

use crate::answer::Answer;

/// What stands before a problem's name in its `type`.
const TYPE: &str = "urn:orders:problem:";
/// What stands before the correlation id in a problem's `instance`.
const INSTANCE: &str = "urn:orders:request:";
/// When to try again, in seconds. Contention and throttling last about that long.
const RETRY_AFTER: &str = "1";

/// A request that was not granted.
#[derive(Debug)]
pub struct Problem(Box<Details>);

#[derive(Debug)]
struct Details {
    name: &'static str,
    status: u16,
    title: &'static str,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(&'static str, String)>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl Problem {
    /// A problem of this name, which never changes once clients know it.
    pub fn new(status: u16, name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        let (members, headers) = (Map::new(), Vec::new());
        Self(Box::new(Details { name, status, title, detail: detail.into(), members, headers, source: None }))
    }

    /// With a member of its own.
    #[must_use]
    pub fn with_member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    /// With a header of its own.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    /// With what went wrong inside.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// 400: fields of the body, parameters or headers that the caller has to mend.
    pub fn invalid(fields: &[InvalidField]) -> Self {
        let detail = match fields {
            [field] => format!("{}: {}", field.path, field.detail),
            _ => format!("{} fields are wrong: see errors.", fields.len()),
        };
        let errors = fields.iter().map(|field| json!({"path": field.path, "detail": field.detail}));
        Self::new(400, "invalid-request", "The request is malformed", detail)
            .with_member("errors", errors.collect::<Vec<_>>())
    }

    /// 400 for one place.
    pub fn invalid_field(path: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::invalid(&[InvalidField { path: path.into(), detail: detail.into() }])
    }

    /// 401: nobody vouches for the caller.
    pub fn unauthenticated() -> Self {
        let detail = "Send an access token of this API's issuer, with a subject, as Authorization: Bearer <token>.";
        Self::new(401, "unauthenticated", "Who asks is not known", detail).with_header("www-authenticate", "Bearer")
    }

    /// 403: any one of these scopes would suffice.
    pub fn forbidden(sufficient: &[String]) -> Self {
        let detail = format!("The token needs one of these scopes: {}.", sufficient.join(", "));
        let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", sufficient.join(" "));
        Self::new(403, "forbidden", "The token does not allow this", detail).with_header("www-authenticate", challenge)
    }

    /// 404: there is no such thing, or not for this caller.
    pub fn not_found(what: &str) -> Self {
        let detail = format!("There is no such {what}, or it is not yours. Check the id.");
        Self::new(404, "not-found", "Not found", detail)
    }

    /// 406: it is there in none of the forms that the caller accepts.
    pub fn not_acceptable(offered: &[&str]) -> Self {
        let detail = format!("Accept one of these: {}.", offered.join(", "));
        Self::new(406, "not-acceptable", "None of the accepted media types is available", detail)
    }

    /// 409: the order has not got that far.
    pub fn version_not_reached(current: Version) -> Self {
        let detail = format!("The order is at version {current}. Ask for that one or an older one.");
        Self::new(409, "version-not-reached", "The order has no such version yet", detail)
            .with_member("version", current)
    }

    /// 412: the order is not at a version that `If-Match` names.
    pub fn precondition_failed(current: Version) -> Self {
        let detail = format!("The order is at version {current}. Read it and decide anew.");
        Self::new(412, "precondition-failed", "The order has changed", detail)
            .with_member("version", current)
            .with_header("etag", format!("\"{current}\""))
    }

    /// 412: what is there has not the entity tag that `If-Match` names.
    pub fn not_selected(current: Option<&str>) -> Self {
        let detail = "It has another ETag than those that If-Match names. Read it without If-Match.";
        let problem = Self::new(412, "precondition-failed", "It has changed", detail);
        current.into_iter().fold(problem, |problem, tag| problem.with_header("etag", tag))
    }

    /// 413.
    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("The body may have {limit} bytes at most.");
        Self::new(413, "body-too-large", "The body is too large", detail)
    }

    /// 415.
    pub fn unsupported_media_type() -> Self {
        let detail = "Send the body as Content-Type: application/json, in UTF-8.";
        Self::new(415, "unsupported-media-type", "The body is not JSON", detail)
    }

    /// 415: the body is compressed, or coded in another way.
    pub fn unsupported_coding() -> Self {
        let detail = "Send the body as it is, without Content-Encoding.";
        Self::new(415, "unsupported-content-coding", "The body is coded", detail)
            .with_header("accept-encoding", "identity")
    }

    /// 500: trying again does not help, somebody has to look.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let detail = "This cannot be processed before the service is mended. Report it with the instance.";
        Self::new(500, "internal", "The service is at fault", detail).caused_by(source)
    }

    /// 503: trying again helps.
    pub fn try_again(name: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(503, name, title, detail).with_header("retry-after", RETRY_AFTER)
    }

    /// 503: something that is needed does not answer. Nothing was stored.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::try_again("unavailable", "The service is not available", "Nothing was stored. Try again.")
            .caused_by(source)
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// The name, without what stands before it in the `type`.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What went wrong inside, outermost first; empty if nothing did.
    pub fn cause(&self) -> String {
        let mut chain = Vec::new();
        let mut next = self.0.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = next {
            chain.push(error.to_string());
            next = error.source();
        }
        chain.join(": ")
    }

    /// The answer that tells the caller.
    pub fn into_answer(self, correlation_id: &str) -> Answer {
        let Details { name, status, title, detail, members: mut body, headers, .. } = *self.0;
        body.insert("type".into(), format!("{TYPE}{name}").into());
        body.insert("title".into(), title.into());
        body.insert("status".into(), status.into());
        body.insert("detail".into(), detail.into());
        body.insert("instance".into(), format!("{INSTANCE}{correlation_id}").into());
        let answer = Answer::json(status, &Value::Object(body)).with_header("content-type", "application/problem+json");
        headers.into_iter().fold(answer, |answer, (name, value)| answer.with_header(name, value))
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) => Self::unavailable(error),
            StoreError::Corrupt(_) | StoreError::Unreadable(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(answer: &Answer) -> Value {
        serde_json::from_str(answer.body()).unwrap()
    }

    #[test]
    fn a_problem_is_answered_as_problem_details() {
        let answer = Problem::precondition_failed(4).into_answer("D4yL5b5IZDTl900=");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.header("etag"), Some("\"4\""));
        assert_eq!(
            body(&answer),
            json!({
                "type": "urn:orders:problem:precondition-failed",
                "title": "The order has changed",
                "status": 412,
                "detail": "The order is at version 4. Read it and decide anew.",
                "instance": "urn:orders:request:D4yL5b5IZDTl900=",
                "version": 4,
            })
        );
    }

    #[test]
    fn every_wrong_field_is_named() {
        let field = |path: &str| InvalidField { path: path.into(), detail: "must be 1-10000".into() };
        let answer = Problem::invalid(&[field("items[0].quantity"), field("items[2].quantity")]).into_answer("x");
        assert_eq!(body(&answer)["errors"][1], json!({"path": "items[2].quantity", "detail": "must be 1-10000"}));
        let answer = Problem::invalid(&[field("items[0].quantity")]).into_answer("x");
        assert_eq!(body(&answer)["detail"], "items[0].quantity: must be 1-10000");
    }

    #[test]
    fn what_went_wrong_inside_is_for_the_log_only() {
        let inside = StoreError::Unavailable("connection refused by 10.0.0.7".into());
        let problem = Problem::from(inside);
        assert_eq!(problem.cause(), "the event table is unavailable: connection refused by 10.0.0.7");
        let answer = problem.into_answer("x");
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(!answer.body().contains("table") && !answer.body().contains("10.0.0.7"), "{}", answer.body());
    }
}
