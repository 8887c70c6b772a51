//! A payment provider with selectable behaviour: `docs/payments.md` is its contract.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

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
    /// Requests about each payment.
    requests: BTreeMap<String, u32>,
}

/// A provider's endpoint. It is closed when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Its address, for `PAYMENT_PROVIDER_URL`.
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// `POST /dev/payments`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    mode: Mode,
}

impl PaymentProvider {
    /// Serves it on a free port of the loopback interface.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn serve(&self) -> io::Result<Served> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/payments/{payment_id}", get(verify)).with_state(self.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!("the payment provider stopped: {error}");
            }
        });
        Ok(Served { url, task })
    }

    /// From now on it behaves so.
    pub fn set_mode(&self, mode: Mode) {
        self.inner().mode = mode;
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

/// `GET /dev/payments` and `POST /dev/payments {"mode": …}`.
pub(crate) fn router(provider: PaymentProvider) -> Router {
    Router::new().route("/payments", get(state).post(control)).with_state(provider)
}

async fn state(State(provider): State<PaymentProvider>) -> Json<Value> {
    let inner = provider.inner();
    Json(json!({"mode": inner.mode, "asked": inner.requests.values().sum::<u32>(), "payments": inner.requests}))
}

async fn control(State(provider): State<PaymentProvider>, Json(control): Json<Control>) -> Json<Value> {
    provider.set_mode(control.mode);
    state(State(provider)).await
}

async fn verify(
    State(provider): State<PaymentProvider>,
    Path(payment_id): Path<String>,
    Query(payment): Query<BTreeMap<String, String>>,
) -> Response {
    let mode = {
        let mut inner = provider.inner();
        *inner.requests.entry(payment_id.clone()).or_default() += 1;
        inner.mode
    };
    let problem = |status, message: &str| (status, Json(json!({ "message": message }))).into_response();
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
