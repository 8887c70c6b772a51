//! `demo`: drives an order through its life, and shows each step.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::AttributeValue;
use orders_local::gateway::tokens::CALLERS;
use orders_local::stack::Stack;
use serde_json::{Value, json};

use super::say;

/// How long a row may take to follow its events.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the demo stopped.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Another status than expected.
    #[error("expected the status {0}, got {1}: {2}")]
    Status(u16, u16, String),
    /// Other events than expected.
    #[error("expected the stored events {0:?}, got {1:?}")]
    Stored(Vec<String>, Vec<String>),
    /// No response.
    #[error("no response: {0}")]
    Http(#[from] reqwest::Error),
    /// The tables could not be read.
    #[error("cannot read the tables: {0}")]
    Database(String),
    /// The row did not follow.
    #[error("the row of {0} does not follow its events")]
    Behind(String),
}

/// One request of the walk.
struct Step<'a> {
    title: &'a str,
    caller: &'a str,
    method: &'a str,
    path: &'a str,
    key: Option<&'a str>,
    body: Value,
    status: u16,
    /// The types of the events that it stores.
    stores: &'a [&'a str],
}

struct Demo<'a> {
    stack: &'a Stack,
    http: reqwest::Client,
    database: Client,
    paint: bool,
    number: u32,
    /// What was shown of each order: the number of its events, and its row.
    shown: BTreeMap<String, (usize, Row)>,
}

type Row = BTreeMap<String, Value>;

/// Drives the walk and prints it.
///
/// # Errors
/// At the first unexpected status, event or row.
pub async fn run(stack: &Stack) -> Result<(), DemoError> {
    let begun = Instant::now();
    let mut demo = Demo {
        stack,
        http: reqwest::Client::new(),
        database: stack.client(),
        paint: std::io::stdout().is_terminal(),
        number: 0,
        shown: BTreeMap::new(),
    };
    demo.walk().await?;
    let events: usize = demo.shown.values().map(|(events, _)| events).sum();
    say(&format!(
        "{} requests, {} orders, {events} events, {} ms, through the binaries that Lambda would run.",
        demo.number,
        demo.shown.len(),
        begun.elapsed().as_millis()
    ));
    say("`cargo run` keeps the service running for your own requests.");
    Ok(())
}

impl Demo<'_> {
    async fn walk(&mut self) -> Result<(), DemoError> {
        let customer = CALLERS.iter().find(|caller| caller.name == "customer").map_or("customer", |caller| caller.sub);
        let basket = json!({
            "user_id": customer,
            "items": [
                {"product_id": "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11", "quantity": 2, "price": 19.99},
                {"product_id": "9a1d7e35-0c4b-4f6e-b7a2-6e0d3c58f7b4", "quantity": 1, "price": 5},
            ],
        });
        // With stored data, a key of an earlier demo would return its order.
        let run = uuid::Uuid::new_v4().simple().to_string();
        let (first_key, second_key) = (format!("demo-{}-1", &run[..8]), format!("demo-{}-2", &run[..8]));
        let create = |title, key, stores| Step {
            title,
            caller: "storefront",
            method: "POST",
            path: "/orders",
            key: Some(key),
            body: basket.clone(),
            status: 201,
            stores,
        };
        let command = |title, caller, path, body, status, stores| Step {
            title,
            caller,
            method: "POST",
            path,
            key: None,
            body,
            status,
            stores,
        };
        let query = |title, caller, path, status| Step {
            method: "GET",
            ..command(title, caller, path, Value::Null, status, &[])
        };
        let payment = |id: &str| json!({"payment_id": id, "amount": 44.98});
        let tracking = json!({"tracking_number": "00340434161094042557"});

        let first = self.take(create("The storefront creates an order for a customer.", &first_key, &["OrderCreated"]));
        let order = format!("/orders/{}", first.await?);
        let (pay, ship) = (format!("{order}/pay"), format!("{order}/ship"));
        let (deliver, history) = (format!("{order}/deliver"), format!("{order}/events"));
        for step in [
            create(
                "The response got lost, so it retries with the same key. Nothing is created twice.",
                &first_key,
                &[],
            ),
            command("An order that is not paid cannot be shipped.", "fulfilment", &ship, tracking.clone(), 409, &[]),
            command("The customer pays.", "customer", &pay, payment("pay_4d1f8b20"), 200, &["OrderPaid"]),
            query("The warehouse lists the paid orders,", "fulfilment", "/orders?status=paid", 200),
            command("ships the order,", "fulfilment", &ship, tracking, 200, &["OrderShipped"]),
            command("and reports its delivery.", "fulfilment", &deliver, json!({}), 200, &["OrderDelivered"]),
            query("To another customer the order does not exist.", "other_customer", &order, 404),
            query("The customer reads its history.", "customer", &history, 200),
        ] {
            self.take(step).await?;
        }

        let second = self.take(create("A second order is created,", &second_key, &["OrderCreated"])).await?;
        let (pay, cancel) = (format!("/orders/{second}/pay"), format!("/orders/{second}/cancel"));
        self.take(command("paid,", "customer", &pay, payment("pay_7c2e9f55"), 200, &["OrderPaid"])).await?;
        let title = "and cancelled. One commit stores both the cancellation and the refund that is due.";
        let (reason, stores) = (json!({"reason": "Ordered twice by mistake"}), ["OrderCancelled", "OrderRefundDue"]);
        self.take(command(title, "customer", &cancel, reason, 200, &stores)).await?;
        Ok(())
    }

    /// Sends the request and shows it, its response, what it stored and the row; returns the order's id.
    async fn take(&mut self, step: Step<'_>) -> Result<String, DemoError> {
        self.number += 1;
        say(&self.style(1, &format!("{:>2}. {}", self.number, step.title)));
        self.line("request", &format!("{} {}   ({})", step.method, step.path, step.caller));
        let method = reqwest::Method::from_bytes(step.method.as_bytes()).unwrap_or_default();
        let mut request = self.http.request(method, format!("{}{}", self.stack.url(), step.path));
        request = request.bearer_auth(self.stack.tokens().get(step.caller).map_or("", String::as_str));
        if let Some(key) = step.key {
            self.line("", &format!("Idempotency-Key: {key}"));
            request = request.header("idempotency-key", key);
        }
        if !step.body.is_null() {
            self.line("", &step.body.to_string());
            request = request.json(&step.body);
        }
        let begun = Instant::now();
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await?;
        let took = self.style(2, &format!("{} ms", begun.elapsed().as_millis()));
        self.line("response", &format!("{status}   {took}"));
        for name in ["location", "etag", "idempotency-replayed"] {
            if let Some(value) = headers.get(name) {
                self.line("", &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
            }
        }
        for line in lines(&body) {
            self.line("", &line);
        }
        if status.as_u16() != step.status {
            return Err(DemoError::Status(step.status, status.as_u16(), body));
        }
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let order = body["order_id"].as_str().or_else(|| step.path.split('/').nth(2)).unwrap_or_default().to_owned();
        if step.method == "POST" {
            let stored = self.show_stored(&order).await?;
            if stored != step.stores {
                return Err(DemoError::Stored(step.stores.iter().map(ToString::to_string).collect(), stored));
            }
        }
        say("");
        Ok(order)
    }

    /// Shows the order's new events and the changes of its row; returns the types of the events.
    async fn show_stored(&mut self, order: &str) -> Result<Vec<String>, DemoError> {
        let begun = Instant::now();
        let events = self.events(order).await?;
        let (seen, old) = self.shown.remove(order).unwrap_or_default();
        let mut types = Vec::new();
        for (index, event) in events.iter().enumerate().skip(seen) {
            let kind = event["type"].as_str().unwrap_or_default();
            let mut data = event["data"].clone();
            // It is shown above.
            data.as_object_mut().and_then(|data| data.remove("order_id"));
            let label = if index == seen { "stored" } else { "" };
            self.line(label, &format!("v{} {} {data}", index + 1, self.style(1, kind)));
            types.push(kind.to_owned());
        }
        let mut row = old;
        if types.is_empty() {
            self.line("stored", "nothing");
        } else {
            let new = self.row(order, events.len(), begun).await?;
            let changed = new.iter().filter(|(name, value)| *name != "items" && row.get(*name) != Some(value));
            let mut changes: Vec<String> =
                changed.map(|(name, value)| format!("{name}={}", value.to_string().trim_matches('"'))).collect();
            changes.extend(row.keys().filter(|name| !new.contains_key(*name)).map(|name| format!("{name} removed")));
            let after = self.style(2, &format!("{} ms later", begun.elapsed().as_millis()));
            self.line("row", &format!("{}   {after}", changes.join("  ")));
            row = new;
        }
        self.shown.insert(order.to_owned(), (events.len(), row));
        Ok(types)
    }

    /// The order's events, with amounts in minor units.
    async fn events(&self, order: &str) -> Result<Vec<Value>, DemoError> {
        let query = self
            .database
            .query()
            .table_name(self.table("OrderEvents"))
            .key_condition_expression("stream_id = :order")
            .expression_attribute_values(":order", AttributeValue::S(order.to_owned()))
            .consistent_read(true);
        let commits = query.send().await.map_err(unreadable)?;
        let lists = commits.items().iter().filter_map(|commit| commit.get("events").cloned());
        Ok(lists
            .flat_map(|list| serde_dynamo::from_attribute_value::<_, Vec<Value>>(list).unwrap_or_default())
            .collect())
    }

    /// The row, once it has that version.
    async fn row(&self, order: &str, version: usize, since: Instant) -> Result<Row, DemoError> {
        loop {
            let get = self.database.get_item().table_name(self.table("Orders")).consistent_read(true);
            let found = get.key("order_id", AttributeValue::S(order.to_owned())).send().await.map_err(unreadable)?;
            let row: Row = serde_dynamo::from_item(found.item.unwrap_or_default()).unwrap_or_default();
            if row.get("version").and_then(Value::as_u64) >= u64::try_from(version).ok() {
                return Ok(row);
            }
            if since.elapsed() > PATIENCE {
                return Err(DemoError::Behind(order.to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn table(&self, logical_id: &str) -> &str {
        self.stack.template().table(logical_id).map_or("", |table| &table.name)
    }

    fn line(&self, label: &str, text: &str) {
        say(&format!("    {}{text}", self.style(2, &format!("{label:<9}"))));
    }

    /// Bold (1) or dim (2), in a terminal.
    fn style(&self, code: u8, text: &str) -> String {
        if self.paint { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

fn unreadable(error: impl std::error::Error) -> DemoError {
    DemoError::Database(DisplayErrorContext(error).to_string())
}

/// A body, with the elements of its list on separate lines.
fn lines(body: &str) -> Vec<String> {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let list = parsed.as_object().into_iter().flatten().find_map(|(name, value)| Some((name, value.as_array()?)));
    match list {
        Some((name, elements)) => {
            std::iter::once(format!("{name}:")).chain(elements.iter().map(|element| format!("  {element}"))).collect()
        }
        None => vec![body.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_elements_of_a_list_are_on_separate_lines() {
        assert_eq!(
            lines(r#"{"next_cursor":null,"orders":[{"a":1},{"a":2}]}"#),
            ["orders:", "  {\"a\":1}", "  {\"a\":2}"]
        );
        assert_eq!(lines(r#"{"a":1}"#), [r#"{"a":1}"#]);
        assert_eq!(lines("plain"), ["plain"]);
    }
}
