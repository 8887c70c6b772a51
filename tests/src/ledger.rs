//! The books of one order, kept from its stored events alone. They share no code with the service's own rules.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An item in DynamoDB's JSON.
pub type Item = Map<String, Value>;

/// The books of an order.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Its status; empty before its first event.
    pub status: &'static str,
    /// What it costs.
    pub total: u64,
    /// The payment that paid it.
    pub paid_with: Option<String>,
    /// The payment that has yet to be settled.
    pub deferred: Option<String>,
    /// What each payment captured.
    pub captured: BTreeMap<String, u64>,
    /// What became due for refund of each payment.
    pub due: BTreeMap<String, u64>,
    /// What was refunded of each payment.
    pub refunded: BTreeMap<String, u64>,
    /// The rejections, in order.
    pub rejections: Vec<String>,
}

/// A stored event.
pub struct Stored<'a> {
    /// Its type.
    pub name: &'a str,
    data: &'a Value,
}

impl<'a> Stored<'a> {
    /// The events of a commit.
    pub fn of(commit: &'a Item) -> impl Iterator<Item = Self> {
        let events = commit["events"]["L"].as_array().into_iter().flatten();
        events.map(|event| Self {
            name: event["M"]["type"]["S"].as_str().unwrap_or_default(),
            data: &event["M"]["data"]["M"],
        })
    }

    /// The payment that it is about.
    pub fn payment(&self) -> &'a str {
        self.data["payment_id"]["S"].as_str().unwrap_or_default()
    }

    /// The amount that it is about.
    pub fn amount(&self) -> u64 {
        self.number("amount")
    }

    fn number(&self, field: &str) -> u64 {
        self.data[field]["N"].as_str().and_then(|number| number.parse().ok()).unwrap_or(u64::MAX)
    }
}

impl Ledger {
    /// Books an event.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub fn book(&mut self, event: &Stored<'_>) -> Result<(), String> {
        let (payment, name) = (event.payment().to_owned(), event.name);
        let open = self.captured.contains_key(&payment);
        let rule = |holds: bool, rule: &str| if holds { Ok(()) } else { Err(format!("{name}: {rule}: {self:?}")) };
        match name {
            "OrderCreated" => {
                rule(self.status.is_empty(), "an order is created once")?;
                self.total = event.number("total");
                self.status = "pending";
            }
            "OrderPaid" => {
                rule(self.status == "pending", "only a pending order is paid")?;
                rule(event.amount() == self.total, "an order is paid with its total")?;
                rule(!open, "a payment is captured once")?;
                rule(
                    self.deferred.as_ref().is_none_or(|deferred| *deferred == payment),
                    "another payment is deferred",
                )?;
                self.settle(&payment);
                self.captured.insert(payment.clone(), event.amount());
                self.paid_with = Some(payment);
                self.status = "paid";
            }
            "OrderShipped" => {
                rule(self.status == "paid", "only a paid order is shipped")?;
                self.status = "shipped";
            }
            "OrderDelivered" => {
                rule(self.status == "shipped", "only a shipped order is delivered")?;
                self.status = "delivered";
            }
            "OrderReturned" => {
                rule(self.status == "delivered", "only a delivered order is returned")?;
                self.status = "returned";
            }
            "OrderCancelled" => {
                rule(["pending", "paid", "shipped"].contains(&self.status), "this order is not cancelled")?;
                self.status = "cancelled";
            }
            "OrderPaymentDeferred" => {
                rule(self.status == "pending", "only a pending order waits for a payment")?;
                rule(self.deferred.is_none(), "one payment is deferred at a time")?;
                rule(!open && event.amount() == self.total, "a deferred payment is of the total and not captured")?;
                self.deferred = Some(payment);
            }
            "OrderPaymentRejected" => {
                let matters = self.status == "pending" || self.deferred.as_deref() == Some(event.payment());
                rule(matters && !open, "only a payment that may still be captured is rejected")?;
                self.settle(&payment);
                self.rejections.push(payment);
            }
            "OrderRefundDue" => {
                rule(!self.due.contains_key(&payment), "a refund is due once")?;
                if self.paid_with.as_ref() == Some(&payment) {
                    rule(["cancelled", "returned"].contains(&self.status), "the payment of an order is kept")?;
                    rule(event.amount() == self.total, "the refund of an order is its total")?;
                } else {
                    rule(!open && event.amount() > 0, "another payment's capture is due once")?;
                    self.settle(&payment);
                    self.captured.insert(payment.clone(), event.amount());
                }
                self.due.insert(payment, event.amount());
            }
            "OrderRefunded" => {
                rule(self.due.get(&payment) == Some(&event.amount()), "what is refunded was due")?;
                rule(!self.refunded.contains_key(&payment), "a payment is refunded once")?;
                self.refunded.insert(payment, event.amount());
            }
            _ => return Err(format!("unknown event {name}")),
        }
        Ok(())
    }

    /// Checks the books after a commit.
    ///
    /// # Errors
    /// The payment of an order that is not fulfilled any more is forgotten.
    pub fn balance(&self) -> Result<(), String> {
        let kept = self.kept();
        let fulfilled = !["cancelled", "returned"].contains(&self.status);
        let (captured, due) = (self.captured.values().sum::<u64>(), self.due.values().sum::<u64>());
        if captured != kept + due || (kept > 0 && !fulfilled) {
            return Err(format!("captured money is neither kept nor due for refund: {self:?}"));
        }
        Ok(())
    }

    /// What the shop keeps.
    pub fn kept(&self) -> u64 {
        self.paid_with.as_ref().filter(|payment| !self.due.contains_key(*payment)).map_or(0, |_| self.total)
    }

    /// What is due for refund and not refunded.
    pub fn owed(&self) -> u64 {
        self.due.iter().filter(|(payment, _)| !self.refunded.contains_key(*payment)).map(|(_, amount)| amount).sum()
    }

    fn settle(&mut self, payment: &str) {
        self.deferred.take_if(|deferred| deferred == payment);
    }
}
