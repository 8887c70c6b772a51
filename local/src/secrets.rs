//! Secrets, and their endpoint for AWS SDKs: `GetSecretValue`.
//! <https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html>

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::served::Served;

/// Secrets by their ARNs. Clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    values: BTreeMap<String, String>,
    reads: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetSecretValue {
    secret_id: String,
}

/// An error in AWS's form.
struct Rejection(&'static str, String);

impl Secrets {
    /// Stores the value of a secret.
    pub fn put(&self, arn: &str, value: impl Into<String>) {
        self.inner().values.insert(arn.to_owned(), value.into());
    }

    /// How often secrets were read.
    pub fn reads(&self) -> u32 {
        self.inner().reads
    }

    /// Serves them to AWS SDKs.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn serve(&self) -> io::Result<Served> {
        Served::start("the secrets", Router::new().route("/", post(call)).with_state(self.clone())).await
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get_secret_value(&self, body: &[u8]) -> Result<Value, Rejection> {
        let asked: GetSecretValue =
            serde_json::from_slice(body).map_err(|error| Rejection("SerializationException", error.to_string()))?;
        let mut inner = self.inner();
        inner.reads += 1;
        let value = inner.values.get(&asked.secret_id).ok_or_else(|| {
            let message = "Secrets Manager can't find the specified secret.".to_owned();
            Rejection("ResourceNotFoundException", message)
        })?;
        Ok(json!({"ARN": asked.secret_id, "SecretString": value, "VersionStages": ["AWSCURRENT"]}))
    }
}

async fn call(State(secrets): State<Secrets>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let result = match target.strip_prefix("secretsmanager.") {
        Some("GetSecretValue") => secrets.get_secret_value(&body),
        _ => {
            let message = format!("the local secrets do not support the operation {target:?}");
            Err(Rejection("UnknownOperationException", message))
        }
    };
    let (status, body) = match result {
        Ok(body) => (StatusCode::OK, body),
        Err(Rejection(kind, message)) => (StatusCode::BAD_REQUEST, json!({"__type": kind, "Message": message})),
    };
    (status, [("content-type", "application/x-amz-json-1.1")], body.to_string()).into_response()
}
