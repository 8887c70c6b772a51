//! Clients: careful ones, who repeat with a key until they know, and careless ones.

use std::time::Duration;

use fastrand::Rng;
use futures::future::join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Run;
use super::client::{Act, Request};
use crate::shop::PRODUCT;

/// What an order costs, in cents.
pub const TOTAL: u64 = 4_498;
/// The owners of orders.
pub const OWNERS: [&str; 2] = ["customer", "other_customer"];

/// Shops until the time is up.
pub async fn shop(run: Run, mut rng: Rng, number: u64) {
    let mut orders = 0;
    while !run.is_over() {
        orders += 1;
        let name = format!("{number}-{orders}");
        let owner = OWNERS[rng.usize(..OWNERS.len())];
        let customer = Customer { run: &run, owner, name };
        match rng.u32(..3) {
            0 => customer.careful(&mut rng).await,
            _ => customer.careless(&mut rng).await,
        }
        sleep(Duration::from_millis(rng.u64(..200))).await;
    }
}

struct Customer<'a> {
    run: &'a Run,
    owner: &'static str,
    /// Names what it creates.
    name: String,
}

impl Customer<'_> {
    fn creation(&self) -> Request {
        let body = json!({
            "user_id": self.run.client.sub(self.owner),
            "items": [
                {"product_id": PRODUCT, "quantity": 2, "price": 19.99},
                {"product_id": PRODUCT, "quantity": 1, "price": 5},
            ],
        });
        let key = Some(format!("create-{}", self.name));
        Request { act: Act::Create, caller: "storefront", order: None, key, body }
    }

    /// A request with a key.
    fn request(&self, act: Act, order: &str, body: Value) -> Request {
        let caller = match act {
            Act::Create => "storefront",
            Act::Pay | Act::Cancel => self.owner,
            Act::Ship | Act::Deliver | Act::Return => "fulfilment",
        };
        let key = Some(format!("{act:?}-{}", self.name).to_lowercase());
        Request { act, caller, order: Some(order.to_owned()), key, body }
    }

    fn payment(&self, number: u32) -> String {
        format!("pay-{}-{number}", self.name)
    }

    fn pay(&self, order: &str, number: u32) -> Request {
        let body = json!({"payment_id": self.payment(number), "amount": 44.98});
        Request { key: Some(format!("pay-{number}")), ..self.request(Act::Pay, order, body) }
    }

    /// Pays at the provider before the service is asked to verify it.
    fn check_out(&self, request: &Request, silent: bool) {
        if let (Act::Pay, Some(order), Some(payment)) =
            (request.act, &request.order, request.body["payment_id"].as_str())
        {
            self.run.producers.provider.pay(order, payment, TOTAL, silent);
        }
    }

    fn ship(&self, order: &str) -> Request {
        self.request(Act::Ship, order, json!({"tracking_number": format!("TRK-{}", self.name)}))
    }

    fn cancel(&self, order: &str) -> Request {
        self.request(Act::Cancel, order, json!({"reason": "changed my mind"}))
    }

    async fn create(&self) -> Option<String> {
        let created = self.run.client.insist(&self.creation()).await?;
        created.body["order_id"].as_str().map(str::to_owned)
    }

    /// One thing after the other, each until it is decided.
    async fn careful(&self, rng: &mut Rng) {
        let Some(order) = self.create().await else { return };
        let path = format!("/orders/{order}?min_version=1");
        drop(self.run.client.get(self.owner, &path).await);
        let insist = async |request: Request| self.run.client.insist(&request).await;
        self.run.client.list(self.owner).await;
        let payment = self.pay(&order, 1);
        self.check_out(&payment, rng.bool());
        insist(payment).await;
        if rng.u32(..4) == 0 {
            insist(self.cancel(&order)).await;
            return;
        }
        if rng.bool() {
            self.run.producers.captured(rng, &order, &self.payment(1)).await;
        }
        if rng.bool() {
            self.run.producers.shipped(rng, &order).await;
        } else {
            insist(self.ship(&order)).await;
            insist(self.request(Act::Deliver, &order, json!({}))).await;
        }
        if rng.u32(..4) == 0 {
            insist(self.request(Act::Return, &order, json!({"reason": "too small"}))).await;
        }
    }

    /// Anything, at once, repeated, without a key or with a used one.
    async fn careless(&self, rng: &mut Rng) {
        let Some(order) = self.create().await else { return };
        for _ in 0..rng.u32(2..7) {
            let mut requests = self.careless_requests(rng, &order);
            for request in &mut requests {
                self.check_out(request, rng.bool());
                request.key.take_if(|_| request.act != Act::Create && rng.u32(..3) == 0);
            }
            join_all(requests.iter().map(|request| self.run.client.send(request))).await;
            let payment = self.payment(rng.u32(1..4));
            match rng.u32(..10) {
                0 => self.run.producers.captured(rng, &order, &payment).await,
                1 => self.run.producers.contradicts(rng, &order, &payment).await,
                2 => self.run.producers.shipped(rng, &order).await,
                _ => {}
            }
        }
    }

    fn careless_requests(&self, rng: &mut Rng, order: &str) -> Vec<Request> {
        let unkeyed = |request: Request| Request { key: None, ..request };
        let pay = |number| self.pay(order, number);
        match rng.u32(..12) {
            0 | 1 => vec![pay(rng.u32(1..4))],
            // Two payments, and one payment twice.
            2 => vec![pay(1), pay(2)],
            3 => vec![unkeyed(pay(1)), unkeyed(pay(1)), pay(1)],
            // Payment against cancellation.
            4 => vec![pay(rng.u32(1..4)), self.cancel(order)],
            5 => vec![unkeyed(self.cancel(order)), unkeyed(self.cancel(order))],
            6 => {
                let body = json!({"payment_id": self.payment(1), "amount": 44.97});
                vec![self.request(Act::Pay, order, body)]
            }
            7 => vec![self.ship(order), unkeyed(self.ship(order))],
            8 => vec![self.request(Act::Deliver, order, json!({})), unkeyed(self.ship(order))],
            9 => vec![self.request(Act::Return, order, json!({"reason": "no"}))],
            // A used key for another request, and the creation again.
            10 => {
                let reused = Request { key: Some("pay-1".into()), ..pay(rng.u32(2..4)) };
                vec![reused.clone(), pay(1), reused]
            }
            _ => vec![self.creation(), self.creation()],
        }
    }
}

/// Creates an order and pays it.
pub async fn pay_one(run: &Run) {
    let name = format!("probe-{}", uuid::Uuid::new_v4().simple());
    let customer = Customer { run, owner: OWNERS[0], name };
    if let Some(order) = customer.create().await {
        let payment = customer.pay(&order, 1);
        customer.check_out(&payment, false);
        run.client.insist(&payment).await;
    }
}
