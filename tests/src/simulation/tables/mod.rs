//! A DynamoDB in memory for what the service sends: fast enough for thousands of histories.
//!
//! It holds at least the tables' newest state and the one before it, which a stale read returns.

mod reads;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::expression::{Expression, Item};

/// The table of events.
pub const EVENTS: &str = "OrderEvents";
/// The table of rows.
pub const ROWS: &str = "Orders";
/// The backlog of the read models.
pub const BACKLOG: &str = "ReadModelBacklog";
/// The totals of the sales.
pub const TOTALS: &str = "SalesTotals";

/// The tables, with their hash and range keys.
pub const KEYS: [(&str, &str, Option<&str>); 6] = [
    (EVENTS, "stream_id", Some("version")),
    (ROWS, "order_id", None),
    ("SalesOrders", "order_id", None),
    (TOTALS, "shard", Some("name")),
    (BACKLOG, "model", Some("stream_id")),
    ("CircuitBreakers", "name", None),
];

/// A response: its status and body.
pub type Response = (u16, Value);

/// The tables.
#[derive(Clone)]
pub struct Tables {
    tables: BTreeMap<&'static str, Table>,
    row_limit: usize,
    /// The transactions that were executed: a repeat of one succeeds without being executed again.
    transactions: BTreeSet<String>,
    /// The commits, in the order in which they were stored: the stream of the event table.
    pub commits: Vec<Item>,
    /// The requests that were executed on the newest state, if they are recorded.
    pub recorded: Option<Vec<Recorded>>,
}

/// A request and its response.
#[expect(missing_docs, reason = "the fields say what they are")]
#[derive(Clone)]
pub struct Recorded {
    pub operation: String,
    pub request: Value,
    pub response: Response,
}

#[derive(Clone)]
struct Table {
    hash: &'static str,
    range: Option<&'static str>,
    /// By hash and range key.
    items: BTreeMap<(String, Range), Versions>,
}

/// Numbers sort before texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Range {
    None,
    Number(u64),
    Text(String),
}

#[derive(Clone, Default)]
struct Versions {
    now: Option<Item>,
    before: Option<Item>,
}

impl Tables {
    /// Empty tables.
    pub fn new(row_limit: usize) -> Self {
        let table = |(name, hash, range)| (name, Table { hash, range, items: BTreeMap::new() });
        Self {
            tables: KEYS.into_iter().map(table).collect(),
            row_limit,
            transactions: BTreeSet::new(),
            commits: Vec::new(),
            recorded: None,
        }
    }

    /// The items of a table.
    pub fn items(&self, table: &str) -> impl Iterator<Item = &Item> {
        self.tables[table].items.values().filter_map(|versions| versions.now.as_ref())
    }

    /// The first item of a table, to be doctored.
    #[cfg(test)]
    pub fn item_mut(&mut self, table: &str) -> &mut Item {
        let items = &mut self.tables.get_mut(table).expect("a table").items;
        items.values_mut().find_map(|versions| versions.now.as_mut()).expect("an item")
    }

    /// Executes a request. An eventually consistent read misses the newest `stale` commits, or changes if it is not 0.
    pub fn execute(&mut self, operation: &str, request: &Value, stale: usize) -> Response {
        let response = self.respond(operation, request, stale);
        let reads = ["GetItem", "Query", "Scan", "BatchGetItem"].contains(&operation);
        if let Some(recorded) = self.recorded.as_mut().filter(|_| stale == 0 || !reads) {
            let (operation, request, response) = (operation.to_owned(), request.clone(), response.clone());
            recorded.push(Recorded { operation, request, response });
        }
        response
    }

    fn respond(&mut self, operation: &str, request: &Value, stale: usize) -> Response {
        let stale = if request["ConsistentRead"] == true { 0 } else { stale };
        match operation {
            "GetItem" => {
                let table = self.table(request);
                let found = table.items.get(&table.key(&request["Key"])).and_then(|versions| versions.at(stale > 0));
                (200, found.map_or(json!({}), |item| json!({"Item": item})))
            }
            "Query" => (200, self.query(request, stale)),
            "Scan" => (200, self.scan(request, stale)),
            "BatchGetItem" => (200, self.batch_get(request, stale)),
            "PutItem" | "UpdateItem" | "DeleteItem" => match self.prepare(operation, request) {
                Ok(write) => {
                    let all_new = request["ReturnValues"] == "ALL_NEW";
                    let written = write.item.clone().filter(|_| all_new);
                    self.apply(write);
                    (200, written.map_or(json!({}), |item| json!({"Attributes": item})))
                }
                Err(failed) => {
                    let of = "com.amazonaws.dynamodb.v20120810#";
                    let kind = format!("{of}{}", failed.exception());
                    (400, json!({"__type": kind, "message": failed.message(), "Item": failed.item()}))
                }
            },
            "TransactWriteItems" => self.transact(request),
            _ => panic!("the simulated DynamoDB has no {operation}"),
        }
    }

    fn table(&self, request: &Value) -> &Table {
        let name = request["TableName"].as_str().unwrap_or_default();
        self.tables.get(name).unwrap_or_else(|| panic!("no table {name}"))
    }

    fn transact(&mut self, request: &Value) -> Response {
        let token = request["ClientRequestToken"].as_str().unwrap_or_default();
        if self.transactions.contains(token) {
            return (200, json!({}));
        }
        let (mut writes, mut reasons, mut cancelled) = (Vec::new(), Vec::new(), false);
        for action in request["TransactItems"].as_array().expect("actions") {
            let (kind, action) = action.as_object().and_then(|action| action.iter().next()).expect("an action");
            match self.prepare(&format!("{kind}Item"), action) {
                Ok(write) => {
                    writes.push(write);
                    reasons.push(json!({"Code": "None"}));
                }
                Err(failed) => {
                    cancelled = true;
                    reasons.push(json!({"Code": failed.code(), "Message": failed.message(), "Item": failed.item()}));
                }
            }
        }
        if cancelled {
            return cancelled_transaction(&reasons);
        }
        self.transactions.insert(token.to_owned());
        writes.into_iter().for_each(|write| self.apply(write));
        (200, json!({}))
    }

    /// What a write comes to, if its condition holds.
    fn prepare(&self, operation: &str, request: &Value) -> Result<Write, Failed> {
        let table = self.table(request);
        let name = KEYS.iter().find(|(name, ..)| request["TableName"] == *name).expect("a table").0;
        let key_attributes = if operation == "PutItem" { &request["Item"] } else { &request["Key"] };
        let key = table.key(key_attributes);
        let none = Item::new();
        let before = table.items.get(&key).and_then(|versions| versions.now.as_ref());
        let about = before.unwrap_or(&none);
        let condition = request["ConditionExpression"].as_str();
        if condition.is_some_and(|condition| !Expression::new(condition, request, about).holds()) {
            return Err(Failed::Condition(before.cloned()));
        }
        let item = match operation {
            "PutItem" => request["Item"].as_object().cloned(),
            "UpdateItem" => {
                let update = request["UpdateExpression"].as_str().expect("an update");
                let mut item = Expression::new(update, request, about).updated();
                item.extend(key_attributes.as_object().expect("a key").clone());
                Some(item)
            }
            _ => None,
        };
        let limit = if name == ROWS { self.row_limit } else { 400 * 1024 };
        if item.as_ref().is_some_and(|item| size(item) > limit) {
            return Err(Failed::TooLarge);
        }
        Ok(Write { table: name, key, item })
    }

    fn apply(&mut self, Write { table: name, key, item }: Write) {
        let table = self.tables.get_mut(name).expect("a table");
        if name == EVENTS {
            self.commits.extend(item.clone());
        }
        let versions = table.items.entry(key).or_default();
        versions.before = std::mem::replace(&mut versions.now, item);
    }
}

struct Write {
    table: &'static str,
    key: (String, Range),
    item: Option<Item>,
}

enum Failed {
    Condition(Option<Item>),
    TooLarge,
}

impl Failed {
    fn exception(&self) -> &'static str {
        match self {
            Self::Condition(_) => "ConditionalCheckFailedException",
            Self::TooLarge => "ValidationException",
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Condition(_) => "ConditionalCheckFailed",
            Self::TooLarge => "ValidationError",
        }
    }

    fn message(&self) -> &'static str {
        match self {
            Self::Condition(_) => "The conditional request failed",
            Self::TooLarge => "Item size to update has exceeded the maximum allowed size",
        }
    }

    fn item(&self) -> Option<&Item> {
        match self {
            Self::Condition(item) => item.as_ref(),
            Self::TooLarge => None,
        }
    }
}

/// The response to a transaction that was cancelled.
pub fn cancelled_transaction(reasons: &[Value]) -> Response {
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    (400, json!({"__type": kind, "Message": "Transaction cancelled", "CancellationReasons": reasons}))
}

impl Table {
    fn key(&self, attributes: &Value) -> (String, Range) {
        let hash = attributes[self.hash]["S"].as_str().expect("a hash key of text").to_owned();
        let range = self.range.map_or(Range::None, |range| match &attributes[range] {
            number if number["N"].is_string() => {
                Range::Number(number["N"].as_str().and_then(|number| number.parse().ok()).expect("a number"))
            }
            text => Range::Text(text["S"].as_str().expect("a range key").to_owned()),
        });
        (hash, range)
    }
}

impl Versions {
    fn at(&self, stale: bool) -> Option<&Item> {
        if stale { self.before.as_ref() } else { self.now.as_ref() }
    }
}

/// The bytes of an item, close to how DynamoDB counts them.
fn size(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + bytes(value)).sum()
}

fn bytes(value: &Value) -> usize {
    match value.as_object().and_then(|value| value.iter().next()) {
        Some((kind, Value::String(text))) if kind == "N" => text.len() / 2 + 1,
        Some((_, Value::String(text))) => text.len(),
        Some((_, Value::Array(list))) => 3 + list.iter().map(|value| 1 + bytes(value)).sum::<usize>(),
        Some((_, Value::Object(map))) => {
            3 + map.iter().map(|(name, value)| 1 + name.len() + bytes(value)).sum::<usize>()
        }
        _ => 1,
    }
}
