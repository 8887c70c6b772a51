//! `/dev`: what the local stack tells programs about itself.

use std::collections::BTreeMap;

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// Answers the description of the stack at `GET /dev/stack` and each token as plain text at `GET /dev/tokens/NAME`.
pub(crate) fn router(description: Value, tokens: BTreeMap<&'static str, String>) -> Router {
    let token = move |Path(name): Path<String>| async move { tokens.get(name.as_str()).cloned().ok_or_else(not_found) };
    Router::new()
        .route("/stack", get(move || async move { Json(description) }))
        .route("/tokens/{name}", get(token))
        .fallback(|| async { not_found() })
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))).into_response()
}
