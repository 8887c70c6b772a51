//! A payment provider that can be told how to behave: `docs/payments.md` is its contract.

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

/// Longer than anybody waits for a provider.
const SLOW: Duration = Duration::from_secs(30);

/// How the provider behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every payment is captured, for the order, the amount and the currency that are asked about.
    #[default]
    Ok,
    /// Every question is answered with 503.
    Down,
    /// Every answer takes longer than anybody waits.
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
    /// How often it was asked about each payment.
    asked: BTreeMap<String, u32>,
}

/// Where a provider is reached. It is closed when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Its address, as functions have it in `PAYMENT_PROVIDER_URL`.
    pub url: String,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is asked besides the payment.
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

    /// From now on it behaves like this.
    pub fn behave(&self, mode: Mode) {
        self.inner().mode = mode;
    }

    /// How often it was asked, about all payments together.
    pub fn asked(&self) -> u32 {
        self.inner().asked.values().sum()
    }

    /// How often it was asked about this payment.
    pub fn asked_about(&self, payment_id: &str) -> u32 {
        self.inner().asked.get(payment_id).copied().unwrap_or_default()
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
    Json(json!({"mode": inner.mode, "asked": inner.asked.values().sum::<u32>(), "payments": inner.asked}))
}

async fn control(State(provider): State<PaymentProvider>, Json(control): Json<Control>) -> Json<Value> {
    provider.behave(control.mode);
    state(State(provider)).await
}

async fn verify(
    State(provider): State<PaymentProvider>,
    Path(payment_id): Path<String>,
    Query(claim): Query<BTreeMap<String, String>>,
) -> Response {
    let mode = {
        let mut inner = provider.inner();
        *inner.asked.entry(payment_id.clone()).or_default() += 1;
        inner.mode
    };
    if mode == Mode::Down {
        return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"message": "The provider is down."}))).into_response();
    }
    let Some(Claim { order_id, amount, currency }) = read(&claim) else {
        return (StatusCode::BAD_REQUEST, Json(json!({"message": "order_id, amount and currency are needed"})))
            .into_response();
    };
    if mode == Mode::Slow {
        tokio::time::sleep(SLOW).await;
    }
    let answer = match mode {
        Mode::Declines => json!({
            "payment_id": payment_id, "order_id": order_id, "status": "declined", "reason": "the card was declined",
        }),
        _ => json!({
            "payment_id": payment_id, "order_id": order_id, "status": "captured", "amount": amount,
            "currency": currency,
        }),
    };
    Json(answer).into_response()
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
    async fn the_provider_behaves_as_it_is_told_and_counts_how_often_it_is_asked() {
        let provider = PaymentProvider::default();
        let served = provider.serve().await.unwrap();
        let (status, answer) = ask(&served.url, "p1").await;
        assert_eq!(
            (status, &answer["status"], answer["amount"].to_string().as_str()),
            (200, &json!("captured"), "44.98")
        );
        provider.behave(Mode::Declines);
        assert_eq!(ask(&served.url, "p1").await.1["status"], "declined");
        provider.behave(Mode::Down);
        assert_eq!(ask(&served.url, "p%2F2").await.0, 503);
        assert_eq!((provider.asked(), provider.asked_about("p1"), provider.asked_about("p/2")), (3, 2, 1));
    }
}
