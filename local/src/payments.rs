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

/// The parameters of a request.
struct Claim {
    order_id: String,
    amount: Box<RawValue>,
    currency: String,
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
    Query(claim): Query<BTreeMap<String, String>>,
) -> Response {
    let mode = {
        let mut inner = provider.inner();
        *inner.requests.entry(payment_id.clone()).or_default() += 1;
        inner.mode
    };
    if mode == Mode::Down {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"message": "The provider is down."}))).into_response();
    }
    let Some(Claim { order_id, amount, currency }) = read(&claim) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"message": "order_id, amount and currency are required"})))
            .into_response();
    };
    if mode == Mode::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let response = match mode {
        Mode::Declines => json!({
            "payment_id": payment_id, "order_id": order_id, "status": "declined", "reason": "the card was declined",
        }),
        _ => json!({
            "payment_id": payment_id, "order_id": order_id, "status": "captured", "amount": amount,
            "currency": currency,
        }),
    };
    Json(response).into_response()
}

fn read(claim: &BTreeMap<String, String>) -> Option<Claim> {
    let text = |name: &str| claim.get(name).cloned();
    let amount = RawValue::from_string(text("amount")?).ok()?;
    Some(Claim { order_id: text("order_id")?, amount, currency: text("currency")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(url: &str, payment_id: &str) -> (u16, Value) {
        let order = "order_id=7c9e6679-7425-40de-944b-e07fc1f90ae7&amount=44.98&currency=EUR";
        let response = reqwest::get(format!("{url}/payments/{payment_id}?{order}")).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    #[tokio::test]
    async fn the_provider_has_the_behaviour_that_was_set_and_counts_requests() {
        let provider = PaymentProvider::default();
        let served = provider.serve().await.unwrap();
        let (status, answer) = ask(&served.url, "p1").await;
        assert_eq!(
            (status, &answer["status"], answer["amount"].to_string().as_str()),
            (200, &json!("captured"), "44.98")
        );
        provider.set_mode(Mode::Declines);
        assert_eq!(ask(&served.url, "p1").await.1["status"], "declined");
        provider.set_mode(Mode::Down);
        assert_eq!(ask(&served.url, "p%2F2").await.0, 503);
        assert_eq!((provider.requests(), provider.requests_about("p1"), provider.requests_about("p/2")), (3, 2, 1));
    }
}
