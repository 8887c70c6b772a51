//! Stored items of every table, as another version of the service or a restore may have left them.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use dynamodb_rate_limit::{Limiter, Subject, Table, TableError, Update, Updated};
use orders_functions::rebuild::Rebuild;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::service::{self, event};
use crate::hostile_events::well_formed;
use crate::simulation::tables::{EVENTS, KEYS};

/// The requests that read every table, and commands on an order.
static REQUESTS: LazyLock<Vec<(&'static str, Box<RawValue>)>> = LazyLock::new(|| {
    let names = [
        "get-order",
        "get-order-at-version",
        "get-order-as-of",
        "order-history",
        "list-orders",
        "list-user-orders",
        "sales-report",
        "ops-status",
        "override-breaker",
        "pay-order",
        "cancel-order",
        "ship-order",
    ];
    let functions = names.map(|name| {
        let mut event = event(name);
        event["requestContext"]["authorizer"]["jwt"]["claims"] = json!({"sub": "admin", "scope": "orders:admin"});
        let raw = RawValue::from_string(event.to_string()).expect("JSON");
        (service::Service::function(&raw).expect("a function"), raw)
    });
    functions.into()
});

/// No function panics, and a response is well formed even if the tables hold nonsense.
pub fn check(input: &[u8]) {
    let Ok(stored) = serde_json::from_slice::<BTreeMap<String, Vec<Value>>>(input) else { return };
    service::with(|service| {
        for (table, items) in &stored {
            for item in items {
                if table == "RateLimits" {
                    limit(item);
                } else if let Some(request) = put(table, item) {
                    service.network.outside().tables.execute("PutItem", &request, 0);
                }
            }
        }
        for (function, request) in REQUESTS.iter() {
            let response = service.respond(function, request);
            well_formed(&response).unwrap_or_else(|why| panic!("{function}: {why}: {response}"));
        }
        let context = service.context();
        let order = "7fb35858-9b1d-5c20-a5a1-a015e0ccb1e2".parse().expect("an id");
        drop(service.run(service.maintenance.rebuild(Rebuild::Order(order), &context)));
        // Each may fail; the next run tries again.
        drop(service.run(service.models.catch_up(&context)));
        drop(service.run(service.settlement.run(&context)));
        drop(service.run(service.settlement.measure()));
        drop(service.run(service.expiry.run(&context)));
    });
}

/// The request that stores an item as DynamoDB would accept it, if it would.
fn put(table: &str, item: &Value) -> Option<Value> {
    let (_, hash, range) = KEYS.iter().find(|(name, ..)| *name == table)?;
    let item = item.as_object()?;
    let is_text =
        |name: &str| item.get(name).is_some_and(|value| value["S"].as_str().is_some_and(|text| !text.is_empty()));
    let is_version = |name: &str| item.get(name).and_then(|value| value["N"].as_str()?.parse::<u64>().ok()).is_some();
    let keyed = is_text(hash) && range.is_none_or(|range| is_text(range) || (table == EVENTS && is_version(range)));
    let valid =
        item.iter().all(|(name, value)| is_attribute(value, 0) && (table == EVENTS || is_expected(name, value)));
    (keyed && valid).then(|| json!({"TableName": table, "Item": item}))
}

/// Whether a value is one of DynamoDB's.
fn is_attribute(value: &Value, depth: u8) -> bool {
    let Some(object) = value.as_object().filter(|object| object.len() == 1 && depth < 32) else { return false };
    let (kind, value) = object.iter().next().expect("one member");
    match (kind.as_str(), value) {
        ("S", Value::String(_)) | ("BOOL", Value::Bool(_)) | ("NULL", Value::Bool(true)) => true,
        ("N", Value::String(number)) => {
            let digits = number.strip_prefix('-').unwrap_or(number);
            let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
            let all = |part: &str| (1..=38).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
            all(whole) && all(fraction) && whole.len() + fraction.len() <= 38
        }
        ("L", Value::Array(list)) => list.iter().all(|value| is_attribute(value, depth + 1)),
        ("M", Value::Object(map)) => map.values().all(|value| is_attribute(value, depth + 1)),
        _ => false,
    }
}

/// The tables in memory evaluate conditions on whole numbers and texts only: an attribute has the type in which it is stored.
fn is_expected(name: &str, value: &Value) -> bool {
    let number = value["N"].as_str().map(|number| number.parse::<i128>().is_ok());
    let is_text = name.ends_with("_at")
        || name.ends_with("_shard")
        || ["user_id", "status", "st", "name", "shard", "open_shard"].contains(&name);
    if is_text {
        value["S"].is_string()
    } else {
        number != Some(false) && (number.is_some() || !value["S"].is_string() || name.ends_with("_id"))
    }
}

/// A limiter's item: a limiter that reads it decides.
fn limit(item: &Value) {
    let number = |value: &Value| value["N"].as_str().and_then(|number| number.parse().ok());
    let Some(item) = item.as_object() else { return };
    let item: BTreeMap<String, i64> =
        item.iter().filter_map(|(name, value)| Some((name.clone(), number(value)?))).collect();
    for policy in [
        "token-bucket; rate=5/s; burst=20; by=user",
        "sliding-window; limit=100; window=60s; by=ip",
        "token-bucket; rate=1/24h; burst=366; by=user; cost=366",
    ] {
        let policy = policy.parse().expect("a policy");
        let limiter = Limiter::new(Fixed(item.clone()), policy);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        for _ in 0..3 {
            let checked = runtime.block_on(limiter.check(&Subject::user("ada")));
            let decision = checked.decision();
            assert!(decision.remaining <= decision.limit, "{decision:?}");
        }
    }
}

/// A table with one item, whose conditions never hold.
struct Fixed(BTreeMap<String, i64>);

impl Table for Fixed {
    async fn update(&self, _: &str, _: &Update) -> Result<Updated, TableError> {
        Ok(Updated::Failed(Some(self.0.clone())))
    }
}
