//! A payment provider with selectable behaviour: `docs/payments.md` is its contract.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::watch;
use uuid::Uuid;

use crate::secrets::Secrets;
use crate::served::Served;
use crate::template::{ACCOUNT, REGION};

/// Longer than any timeout of a caller.
const SLOW: Duration = Duration::from_secs(30);

/// The provider's behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every payment is captured, for the order, the amount and the currency of the request.
    #[default]
    Ok,
    /// Every response is 503.
    Down,
    /// Every response takes longer than any timeout of a caller.
    Slow,
    /// Every payment is declined.
    Declines,
}

/// A running provider. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct PaymentProvider(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    mode: Mode,
    /// The tokens that are accepted, the newest last. Without any, none is required.
    tokens: Vec<String>,
    /// Where callers find the newest one.
    secrets: Option<Secrets>,
    /// Requests about each payment.
    requests: BTreeMap<String, u32>,
    /// Changes with the mode and with every request.
    changes: watch::Sender<u64>,
}

/// A change of the provider's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum TokenChange {
    /// A new one is accepted too, and replaces the secret's value.
    Rotate,
    /// Only the newest one is still accepted.
    Revoke,
}

/// `POST /dev/payments`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    mode: Option<Mode>,
    token: Option<TokenChange>,
}

/// ARN of the secret with the newest token, for `PaymentProviderTokenArn`.
pub fn token_secret() -> String {
    format!("arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:payment-provider-local1")
}

impl PaymentProvider {
    /// A provider that requires a token, and stores it as a secret.
    pub fn with_token(secrets: Secrets) -> Self {
        let provider = Self(Arc::new(Mutex::new(Inner { secrets: Some(secrets), ..Inner::default() })));
        provider.rotate_token();
        provider
    }

    /// Serves it on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn serve(&self) -> io::Result<Served> {
        let router = Router::new().route("/payments/{payment_id}", get(verify)).with_state(self.clone());
        Served::start("the payment provider", router).await
    }

    /// Accepts another token too, and stores it as the secret's value.
    pub fn rotate_token(&self) {
        let (mut inner, token) = (self.inner(), Uuid::new_v4().to_string());
        if let Some(secrets) = &inner.secrets {
            secrets.put(&token_secret(), token.clone());
        }
        inner.tokens.push(token);
    }

    /// Accepts only the newest token.
    pub fn revoke_old_tokens(&self) {
        let mut inner = self.inner();
        let old = inner.tokens.len().saturating_sub(1);
        inner.tokens.drain(..old);
    }

    /// From now on it behaves so.
    pub fn set_mode(&self, mode: Mode) {
        let mut inner = self.inner();
        inner.mode = mode;
        inner.changes.send_modify(|changes| *changes += 1);
    }

    /// Changes with [`Self::describe`].
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.inner().changes.subscribe()
    }

    /// Its mode, and how often it was called.
    pub(crate) fn describe(&self) -> Value {
        let inner = self.inner();
        json!({"mode": inner.mode, "asked": inner.requests.values().sum::<u32>(), "payments": inner.requests})
    }

    /// Its mode, and how often and about how many payments it was called.
    pub(crate) fn summary(&self) -> Value {
        let inner = self.inner();
        json!({"mode": inner.mode, "asked": inner.requests.values().sum::<u32>(), "payments": inner.requests.len()})
    }

    /// The requests about all payments.
    pub fn requests(&self) -> u32 {
        self.inner().requests.values().sum()
    }

    /// The requests about this payment.
    pub fn requests_about(&self, payment_id: &str) -> u32 {
        self.inner().requests.get(payment_id).copied().unwrap_or_default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /dev/payments` and `POST /dev/payments {"mode": …, "token": …}`.
pub(crate) fn router(provider: PaymentProvider) -> Router {
    Router::new().route("/payments", get(state).post(control)).with_state(provider)
}

async fn state(State(provider): State<PaymentProvider>) -> Json<Value> {
    Json(provider.describe())
}

async fn control(State(provider): State<PaymentProvider>, Json(control): Json<Control>) -> Json<Value> {
    if let Some(mode) = control.mode {
        provider.set_mode(mode);
    }
    match control.token {
        Some(TokenChange::Rotate) => provider.rotate_token(),
        Some(TokenChange::Revoke) => provider.revoke_old_tokens(),
        None => {}
    }
    state(State(provider)).await
}

async fn verify(
    State(provider): State<PaymentProvider>,
    Path(payment_id): Path<String>,
    Query(payment): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let problem = |status, message: &str| (status, Json(json!({ "message": message }))).into_response();
    let given = headers.get("authorization").and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    let mode = {
        let mut inner = provider.inner();
        if !inner.tokens.is_empty() && !inner.tokens.iter().any(|token| given == Some(token)) {
            return problem(StatusCode::UNAUTHORIZED, "The token is not accepted.");
        }
        *inner.requests.entry(payment_id.clone()).or_default() += 1;
        inner.changes.send_modify(|changes| *changes += 1);
        inner.mode
    };
    let amount = payment.get("amount").and_then(|amount| RawValue::from_string(amount.clone()).ok());
    let (Some(order_id), Some(amount), Some(currency)) = (payment.get("order_id"), amount, payment.get("currency"))
    else {
        return problem(StatusCode::BAD_REQUEST, "order_id, amount and currency are required");
    };
    match mode {
        Mode::Down => return problem(StatusCode::SERVICE_UNAVAILABLE, "The provider is down."),
        Mode::Slow => tokio::time::sleep(SLOW).await,
        Mode::Ok | Mode::Declines => {}
    }
    let response = if mode == Mode::Declines {
        let reason = "the card was declined";
        json!({"payment_id": payment_id, "order_id": order_id, "status": "declined", "reason": reason})
    } else {
        json!({
            "payment_id": payment_id, "order_id": order_id, "status": "captured", "amount": amount, "currency": currency,
        })
    };
    Json(response).into_response()
}
