//! `/dev`: what the local stack tells programs about itself.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

/// Answers the description of the stack at `GET /dev/stack`.
pub(crate) fn router(description: Value) -> Router {
    Router::new()
        .route("/stack", get(move || async move { Json(description) }))
        .fallback(|| async { (axum::http::StatusCode::NOT_FOUND, Json(json!({"message": "Not Found"}))) })
}
