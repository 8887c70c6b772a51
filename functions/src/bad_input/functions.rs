//! The functions that answer HTTP requests: each is tried with bad input.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::answer::Answer;
use crate::commands;
use crate::queries::{get_order, list_orders, list_user_orders, order_history, sales_report};
use crate::request::Request;
use crate::testing::{self, OWNER, Shop};
use crate::{ops_status, override_breaker};

/// What a function takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A body, an idempotency key and a version.
    Command,
    /// A body only.
    Operation,
    /// No body.
    Query,
}
use Kind::{Command, Operation, Query};

/// The functions with a route, in the order of the template: commands on one order are in an order in which they succeed,
/// except that a cancelled order ends its life.
pub static FUNCTIONS: LazyLock<Vec<(String, Kind)>> = LazyLock::new(|| {
    let template: yaml_serde::Value = yaml_serde::from_str(&text("../template.yaml")).unwrap();
    let resources = template["Resources"].as_mapping().unwrap().values();
    let has_route = |resource: &&yaml_serde::Value| {
        let events = resource["Properties"].get("Events").and_then(|events| events.as_mapping());
        events.is_some_and(|events| events.values().any(|event| event["Type"].as_str() == Some("HttpApi")))
    };
    let functions = resources.filter(has_route).map(|function| {
        let function = function["Metadata"]["BuildProperties"]["Binary"].as_str().unwrap();
        let route = testing::event(function)["routeKey"].as_str().unwrap().to_owned();
        let kind = match route.split_once(' ').unwrap() {
            ("GET", _) => Query,
            ("POST", path) if path.starts_with("/orders") => Command,
            _ => Operation,
        };
        (function.to_owned(), kind)
    });
    functions.collect()
});

/// All their names.
pub fn all() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|(function, _)| function.as_str())
}

/// The commands.
pub fn commands() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().filter(|(_, kind)| *kind == Command).map(|(function, _)| function.as_str())
}

/// Those that take a body.
pub fn with_body() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().filter(|(_, kind)| *kind != Query).map(|(function, _)| function.as_str())
}

/// Those whose route names an order.
pub fn on_an_order() -> impl Iterator<Item = &'static str> {
    all().filter(|function| is_on_an_order(&testing::event(function)))
}

fn is_on_an_order(event: &Value) -> bool {
    event["pathParameters"]["id"].is_string()
}

/// The response of a function to an event.
pub async fn send(shop: &Shop, function: &str, event: Value) -> Answer {
    send_request(shop, function, testing::request(event)).await
}

/// The response of a function to a request.
pub async fn send_request(shop: &Shop, function: &str, request: Request) -> Answer {
    let queries = &shop.queries;
    match function {
        "get-order" => testing::respond(async |r| get_order::handle(queries, r).await, request).await,
        "list-user-orders" => testing::respond(async |r| list_user_orders::handle(queries, r).await, request).await,
        "list-orders" => testing::respond(async |r| list_orders::handle(queries, r).await, request).await,
        "order-history" => testing::respond(async |r| order_history::handle(queries, r).await, request).await,
        "sales-report" => testing::respond(async |r| sales_report::handle(&shop.reports(), r).await, request).await,
        "ops-status" => testing::respond(async |r| ops_status::handle(&shop.operations(), r).await, request).await,
        "override-breaker" => {
            testing::respond(async |r| override_breaker::handle(&shop.breakers(), r).await, request).await
        }
        command => testing::respond(async |r| commands::handle(shop, command, r).await, request).await,
    }
}

/// A good request to a function, from a caller who may do everything.
pub fn good(function: &str, order_id: &str) -> Value {
    let mut event = testing::event(function);
    event["requestContext"]["authorizer"]["jwt"]["claims"] = json!({"sub": OWNER, "scope": "orders:admin"});
    event["headers"].as_object_mut().unwrap().remove("idempotency-key");
    event["headers"].as_object_mut().unwrap().remove("if-match");
    if is_on_an_order(&event) {
        event["pathParameters"]["id"] = order_id.into();
    }
    event
}

fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn every_binary_that_answers_http_requests_is_tried_with_bad_input() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin");
    let binaries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let answering = binaries.filter(|binary| text(binary).contains("orders_functions::http"));
    let names: BTreeSet<_> = answering.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(all().map(str::to_owned).collect::<BTreeSet<_>>(), names);
}

#[tokio::test]
async fn the_good_requests_that_bad_ones_are_made_from_succeed() {
    let shop = Shop::open().await;
    let order_id = shop.create_order(44.98).await;
    for function in all() {
        let order_id = if function == "cancel-order" { &shop.create_order(44.98).await } else { &order_id };
        let answer = send(&shop, function, good(function, order_id)).await;
        let expected = if function == "create-order" { 201 } else { 200 };
        assert_eq!(answer.status(), expected, "{function}: {}", answer.body());
    }
}
