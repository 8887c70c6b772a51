//! The payment provider. Its books are the truth about captured money; they outlive a killed stack.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Longer than any timeout of a caller.
const SLOW: Duration = Duration::from_secs(30);

/// The provider's behaviour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Payments are captured when customers pay.
    #[default]
    Ok,
    /// They are declined.
    Declines,
    /// They are captured, and every response to the service is 503.
    Down,
    /// They are captured, and responses to the service take longer than any timeout.
    Slow,
}

/// A payment in the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booked {
    /// Its order.
    pub order: String,
    /// What was captured, in cents.
    pub amount: u64,
    /// Whether its event is lost: the service learns of the capture only by its own request.
    pub silent: bool,
    /// What was refunded, in cents.
    pub refunded: u64,
}

/// The captured payments, by their ids.
pub type Books = BTreeMap<String, Booked>;

/// The provider. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Provider(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    mode: Mode,
    books: Books,
    declined: BTreeSet<String>,
}

impl Provider {
    /// Serves it on a free port of the loopback interface; returns its address.
    pub async fn serve(&self) -> String {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().route("/payments/{payment}", get(verify)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    /// From now on it behaves so.
    pub fn set_mode(&self, mode: Mode) {
        self.0.lock().unwrap().mode = mode;
    }

    /// A customer pays.
    pub fn pay(&self, order: &str, payment: &str, amount: u64, silent: bool) {
        if self.0.lock().unwrap().mode != Mode::Declines {
            self.capture(order, payment, amount, silent);
        }
    }

    /// Captures a payment, unless it is captured. A provider that reverses its own decline reports it.
    pub fn capture(&self, order: &str, payment: &str, amount: u64, silent: bool) {
        let mut inner = self.0.lock().unwrap();
        let silent = silent && !inner.declined.contains(payment);
        let booked = || Booked { order: order.to_owned(), amount, silent, refunded: 0 };
        inner.books.entry(payment.to_owned()).or_insert_with(booked);
    }

    /// The event of this payment will not be lost.
    pub fn report(&self, payment: &str) {
        if let Some(booked) = self.0.lock().unwrap().books.get_mut(payment) {
            booked.silent = false;
        }
    }

    /// Refunds an amount of a payment. A repeat changes nothing.
    pub fn refund(&self, payment: &str, amount: u64) {
        if let Some(booked) = self.0.lock().unwrap().books.get_mut(payment) {
            booked.refunded = amount;
        }
    }

    /// The books.
    pub fn books(&self) -> Books {
        self.0.lock().unwrap().books.clone()
    }
}

/// Cents as a decimal number.
#[expect(clippy::cast_precision_loss, reason = "amounts of these tests are small")]
pub fn decimal(cents: u64) -> f64 {
    cents as f64 / 100.0
}

/// The contract is `docs/payments.md`.
async fn verify(
    State(provider): State<Provider>,
    Path(payment): Path<String>,
    Query(claim): Query<BTreeMap<String, String>>,
) -> Response {
    let mode = provider.0.lock().unwrap().mode;
    match mode {
        Mode::Down => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Mode::Slow => tokio::time::sleep(SLOW).await,
        Mode::Ok | Mode::Declines => {}
    }
    let mut inner = provider.0.lock().unwrap();
    let booked = inner.books.get(&payment).cloned();
    if booked.is_none() {
        inner.declined.insert(payment.clone());
    }
    let said: Value = match booked {
        Some(Booked { order, amount, .. }) => json!({
            "payment_id": payment, "order_id": order, "status": "captured", "currency": "EUR",
            "amount": decimal(amount),
        }),
        None => json!({"payment_id": payment, "order_id": claim.get("order_id"), "status": "declined"}),
    };
    Json(said).into_response()
}
