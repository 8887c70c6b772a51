//! `demo`: an order's life, driven and shown step by step.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::AttributeValue;
use orders_local::stack::Stack;
use orders_local::tokens::CALLERS;
use serde_json::{Value, json};

use crate::output::say;

/// How long a row may take to follow its events.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why the demo broke off.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The service answered something else than it should.
    #[error("expected the status {expected}, got {got}: {body}")]
    Unexpected {
        /// The status that belongs here.
        expected: u16,
        /// The status that came.
        got: u16,
        /// What came with it.
        body: String,
    },
    /// The service stored something else than it should.
    #[error("expected that {expected:?} is stored, got {got:?}")]
    Stored {
        /// The types of the events that belong here.
        expected: Vec<String>,
        /// Those that came.
        got: Vec<String>,
    },
    /// The service did not answer.
    #[error("no answer: {0}")]
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
    path: String,
    key: Option<&'a str>,
    body: Option<Value>,
    /// The status, and the types of the events that are stored.
    expected: (u16, &'a [&'a str]),
}

struct Demo<'a> {
    stack: &'a Stack,
    http: reqwest::Client,
    database: Client,
    paint: bool,
    number: u32,
    /// What was shown of each order.
    shown: BTreeMap<String, Shown>,
}

/// What the reader has seen of an order: only what is new is shown again.
#[derive(Default)]
struct Shown {
    events: usize,
    row: BTreeMap<String, Value>,
}

/// Drives the walk and prints it.
///
/// # Errors
/// As soon as anything is not as it should be.
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
    let events: usize = demo.shown.values().map(|shown| shown.events).sum();
    say(&format!(
        "{} requests, {} orders, {events} events, {} ms, through the functions that are deployed to Lambda.",
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
        // Where everything is kept, a key of an earlier demo would bring back its order.
        let run = uuid::Uuid::new_v4().simple().to_string();
        let (first_key, second_key) = (format!("demo-{}-1", &run[..8]), format!("demo-{}-2", &run[..8]));
        let create = |title, key, expected| Step {
            title,
            caller: "storefront",
            method: "POST",
            path: "/orders".into(),
            key: Some(key),
            body: Some(basket.clone()),
            expected,
        };
        let command = |title, caller, path: String, body: Value, expected| Step {
            title,
            caller,
            method: "POST",
            path,
            key: None,
            body: Some(body),
            expected,
        };
        let query = |title, caller, path: String, expected| Step {
            title,
            caller,
            method: "GET",
            path,
            key: None,
            body: None,
            expected,
        };

        let first =
            self.take(create("The storefront orders for a customer.", &first_key, (201, &["OrderCreated"]))).await?;
        let title = "Its answer got lost, so it asks again with the same key: nothing is ordered twice.";
        self.take(create(title, &first_key, (201, &[]))).await?;
        let order = format!("/orders/{first}");
        let tracking = json!({"tracking_number": "00340434161094042557"});
        let title = "The warehouse is too eager: an order that nobody paid is not shipped.";
        self.take(command(title, "fulfilment", format!("{order}/ship"), tracking.clone(), (409, &[]))).await?;
        let title = "The customer pays.";
        let payment = json!({"payment_id": "pay_4d1f8b20", "amount": 44.98});
        self.take(command(title, "customer", format!("{order}/pay"), payment, (200, &["OrderPaid"]))).await?;
        let title = "The warehouse finds it in its queue of paid orders,";
        self.take(query(title, "fulfilment", "/orders?status=paid".into(), (200, &[]))).await?;
        self.take(command("ships it,", "fulfilment", format!("{order}/ship"), tracking, (200, &["OrderShipped"])))
            .await?;
        let title = "and reports its delivery.";
        let expected = (200, &["OrderDelivered"][..]);
        self.take(command(title, "fulfilment", format!("{order}/deliver"), json!({}), expected)).await?;
        let title = "Another customer sees nothing of it.";
        self.take(query(title, "other_customer", order.clone(), (404, &[]))).await?;
        let title = "The customer reads its whole history.";
        self.take(query(title, "customer", format!("{order}/events"), (200, &[]))).await?;

        let second = self.take(create("A second order,", &second_key, (201, &["OrderCreated"]))).await?;
        let order = format!("/orders/{second}");
        let payment = json!({"payment_id": "pay_7c2e9f55", "amount": 44.98});
        self.take(command("paid,", "customer", format!("{order}/pay"), payment, (200, &["OrderPaid"]))).await?;
        let title = "and cancelled: one commit says so and that the money is owed back, so it cannot be forgotten.";
        let reason = json!({"reason": "Ordered twice by mistake"});
        let expected = (200, &["OrderCancelled", "OrderRefundDue"][..]);
        self.take(command(title, "customer", format!("{order}/cancel"), reason, expected)).await?;
        Ok(())
    }

    /// Sends the request and shows it, its answer, what it stored and the row that followed; answers the order's id.
    async fn take(&mut self, step: Step<'_>) -> Result<String, DemoError> {
        self.number += 1;
        say(&self.bold(&format!("{:>2}. {}", self.number, step.title)));
        self.line("request", &format!("{} {}   ({})", step.method, step.path, step.caller));
        let method = reqwest::Method::from_bytes(step.method.as_bytes()).unwrap_or_default();
        let mut request = self.http.request(method, format!("{}{}", self.stack.url(), step.path));
        request = request.bearer_auth(self.stack.tokens().get(step.caller).map_or("", String::as_str));
        if let Some(key) = step.key {
            self.line("", &format!("Idempotency-Key: {key}"));
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = &step.body {
            self.line("", &body.to_string());
            request = request.json(body);
        }
        let begun = Instant::now();
        let answer = request.send().await?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.text().await?;
        self.line("answer", &format!("{status}   {}", self.dim(&format!("{} ms", begun.elapsed().as_millis()))));
        for name in ["location", "etag", "idempotency-replayed"] {
            if let Some(value) = headers.get(name) {
                self.line("", &format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
            }
        }
        for line in lines(&body) {
            self.line("", &line);
        }
        if status.as_u16() != step.expected.0 {
            return Err(DemoError::Unexpected { expected: step.expected.0, got: status.as_u16(), body });
        }
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let order = body["order_id"].as_str().or_else(|| step.path.split('/').nth(2)).unwrap_or_default().to_owned();
        if step.method == "POST" {
            let got = self.show_stored(&order).await?;
            let expected: Vec<String> = step.expected.1.iter().map(|kind| (*kind).to_owned()).collect();
            if got != expected {
                return Err(DemoError::Stored { expected, got });
            }
        }
        say("");
        Ok(order)
    }

    /// Shows the order's new events and what they changed in its row; answers the types of the events.
    async fn show_stored(&mut self, order: &str) -> Result<Vec<String>, DemoError> {
        let answered = Instant::now();
        let events = self.events(order).await?;
        let mut shown = self.shown.remove(order).unwrap_or_default();
        let mut kinds = Vec::new();
        for (index, event) in events.iter().enumerate().skip(shown.events) {
            kinds.push(event["type"].as_str().unwrap_or_default().to_owned());
            let mut data = event["data"].clone();
            // It is the stream's name, and shown above.
            data.as_object_mut().and_then(|data| data.remove("order_id"));
            let kind = self.bold(event["type"].as_str().unwrap_or_default());
            self.line(if index == shown.events { "stored" } else { "" }, &format!("v{} {kind} {data}", index + 1));
        }
        if events.len() == shown.events {
            self.line("stored", "nothing");
        } else {
            let row = self.row(order, events.len(), answered).await?;
            let news = row.iter().filter(|(name, value)| shown.row.get(*name) != Some(value));
            let mut news: Vec<String> = news
                .filter(|(name, _)| *name != "items")
                .map(|(name, value)| format!("{name}={}", value.to_string().trim_matches('"')))
                .collect();
            news.extend(shown.row.keys().filter(|name| !row.contains_key(*name)).map(|name| format!("{name} removed")));
            let after = self.dim(&format!("{} ms later", answered.elapsed().as_millis()));
            self.line("row", &format!("{}   {after}", news.join("  ")));
            shown = Shown { events: events.len(), row };
        }
        self.shown.insert(order.to_owned(), shown);
        Ok(kinds)
    }

    /// The order's events. Amounts are in minor units in here.
    async fn events(&self, order: &str) -> Result<Vec<Value>, DemoError> {
        let query = self
            .database
            .query()
            .table_name(self.table("OrderEvents"))
            .key_condition_expression("stream_id = :order")
            .expression_attribute_values(":order", AttributeValue::S(order.to_owned()))
            .consistent_read(true);
        let commits =
            query.send().await.map_err(|error| DemoError::Database(DisplayErrorContext(error).to_string()))?;
        let lists = commits.items().iter().filter_map(|commit| commit.get("events").cloned());
        Ok(lists
            .flat_map(|list| serde_dynamo::from_attribute_value::<_, Vec<Value>>(list).unwrap_or_default())
            .collect())
    }

    /// The row, once it has come to that version.
    async fn row(&self, order: &str, version: usize, since: Instant) -> Result<BTreeMap<String, Value>, DemoError> {
        loop {
            let get = self.database.get_item().table_name(self.table("Orders"));
            let answer = get.key("order_id", AttributeValue::S(order.to_owned())).consistent_read(true).send().await;
            let answer = answer.map_err(|error| DemoError::Database(DisplayErrorContext(error).to_string()))?;
            let row = answer.item.unwrap_or_default().into_iter();
            let row: BTreeMap<_, Value> = row
                .map(|(name, value)| (name, serde_dynamo::from_attribute_value(value).unwrap_or_default()))
                .collect();
            if row.get("version").and_then(Value::as_u64) >= u64::try_from(version).ok() {
                return Ok(row);
            }
            if since.elapsed() > PATIENCE {
                return Err(DemoError::Behind(order.to_owned()));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn table(&self, logical_id: &str) -> String {
        self.stack.template().table(logical_id).map_or_else(|| logical_id.to_owned(), |table| table.name.clone())
    }

    fn line(&self, label: &str, text: &str) {
        say(&format!("    {}{text}", self.dim(&format!("{label:<9}"))));
    }

    fn bold(&self, text: &str) -> String {
        if self.paint { format!("\u{1b}[1m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn dim(&self, text: &str) -> String {
        if self.paint { format!("\u{1b}[2m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// An answer, with the elements of its list on lines of their own.
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
    fn the_elements_of_a_list_are_shown_on_lines_of_their_own() {
        assert_eq!(
            lines(r#"{"next_cursor":null,"orders":[{"a":1},{"a":2}]}"#),
            ["orders:", "  {\"a\":1}", "  {\"a\":2}"]
        );
        assert_eq!(lines(r#"{"a":1}"#), [r#"{"a":1}"#]);
        assert_eq!(lines("plain"), ["plain"]);
    }
}
