//! The template's CORS rules. <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-cors.html>

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::template::Cors;

/// The response of a preflight request.
pub(super) fn preflight(cors: &Cors, origin: Option<&str>) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if allow(cors, origin, headers) {
        set_list(headers, ACCESS_CONTROL_ALLOW_METHODS, &cors.allow_methods);
        set_list(headers, ACCESS_CONTROL_ALLOW_HEADERS, &cors.allow_headers);
        headers.insert(ACCESS_CONTROL_MAX_AGE, cors.max_age.into());
    }
    response
}

/// Sets the headers of a response, in place of the function's own ones.
pub(super) fn decorate(cors: &Cors, origin: Option<&str>, headers: &mut HeaderMap) {
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    if allow(cors, origin, headers) {
        set_list(headers, ACCESS_CONTROL_EXPOSE_HEADERS, &cors.expose_headers);
    }
}

fn allow(cors: &Cors, origin: Option<&str>, headers: &mut HeaderMap) -> bool {
    let Some(origin) = origin else { return false };
    let any = cors.allow_origins.iter().any(|allowed| allowed == "*");
    if !any && !cors.allow_origins.iter().any(|allowed| allowed == origin) {
        return false;
    }
    let Ok(value) = HeaderValue::from_str(if any { "*" } else { origin }) else { return false };
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    true
}

fn set_list(headers: &mut HeaderMap, name: HeaderName, values: &[String]) {
    if let Ok(value) = HeaderValue::from_str(&values.join(","))
        && !values.is_empty()
    {
        headers.insert(name, value);
    }
}
