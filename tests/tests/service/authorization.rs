//! Who may do what: every route for every kind of caller, at the gateway and in the function itself.

use orders_local::template::{Function, Template, TemplateOptions, project_path};
use serde_json::{Map, Value, json};

use crate::shop::{PRODUCT, Shop};

/// The callers, by the columns of [`MATRIX`]: the subject, and the only scope. The orders belong to `ada`.
const CALLERS: [(&str, &str); 8] = [
    ("ada", "read"),
    ("grace", "read"),
    ("ada", "write"),
    ("grace", "write"),
    ("storefront", "checkout"),
    ("warehouse", "fulfil"),
    ("admin", "admin"),
    ("ada", "profile"),
];

/// The status that each caller gets. Another customer's order does not exist, so it is 404.
const MATRIX: &str = "
                                  read       write      checkout fulfil admin none
                                  own  other own  other
POST /orders                      403  403   403  403   201      403    201   403
POST /orders/{id}/pay             403  403   200  404   200      403    200   403
POST /orders/{id}/ship            403  403   403  403   403      200    200   403
POST /orders/{id}/deliver         403  403   403  403   403      200    200   403
POST /orders/{id}/return          403  403   403  403   403      200    200   403
POST /orders/{id}/cancel          403  403   200  404   403      200    200   403
GET  /orders/{id}                 200  404   403  403   403      200    200   403
HEAD /orders/{id}                 200  404   403  403   403      200    200   403
GET  /orders/{id}/events          200  404   403  403   403      200    200   403
HEAD /orders/{id}/events          200  404   403  403   403      200    200   403
GET  /users/{user_id}/orders      200  404   403  403   403      200    200   403
HEAD /users/{user_id}/orders      200  404   403  403   403      200    200   403
GET  /orders                      403  403   403  403   403      200    200   403
HEAD /orders                      403  403   403  403   403      200    200   403
GET  /reports/sales               403  403   403  403   403      403    200   403
HEAD /reports/sales               403  403   403  403   403      403    200   403
GET  /ops/status                  403  403   403  403   403      403    200   403
HEAD /ops/status                  403  403   403  403   403      403    200   403
PUT  /ops/breakers/{name}/override 403 403   403  403   403      403    200   403
";

/// A route with the status for each of the callers.
struct Row {
    method: &'static str,
    path: &'static str,
    statuses: Vec<u16>,
}

fn matrix() -> Vec<Row> {
    let rows = MATRIX.lines().filter(|line| line.contains('/')).map(|line| {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let statuses: Vec<u16> = words.map(|status| status.parse().unwrap()).collect();
        assert_eq!(statuses.len(), CALLERS.len(), "{line}");
        Row { method, path, statuses }
    });
    rows.collect()
}

/// A request on an order in the state that the route needs, or on any order.
struct Prepared {
    path: String,
    order_id: String,
    body: Option<Value>,
}

async fn prepare(shop: &Shop, row: &Row) -> Prepared {
    let order_id = shop.create().await;
    let action = row.path.rsplit('/').next().unwrap();
    let before = ["ship", "deliver", "return"].iter().position(|known| *known == action).map_or(0, |place| place + 1);
    if before > 0 {
        shop.pay(&order_id).await.expect(200);
    }
    if before > 1 {
        shop.ship(&order_id).await.expect(200);
    }
    if before > 2 {
        shop.deliver(&order_id).await.expect(200);
    }
    let path = row.path.replace("{id}", &order_id).replace("{user_id}", "ada").replace("{name}", "payments");
    let path = match row.path {
        "/orders" if row.method != "POST" => format!("{path}?status=paid"),
        "/reports/sales" => format!("{path}?from=2026-01-01&to=2026-01-02"),
        _ => path,
    };
    Prepared { path, body: body(shop, row, action, &order_id), order_id }
}

fn body(shop: &Shop, row: &Row, action: &str, order_id: &str) -> Option<Value> {
    match (row.method, action) {
        ("POST", "orders") => Some(shop.basket()),
        ("POST", "pay") => Some(json!({ "payment_id": format!("pay-{order_id}"), "amount": 44.98 })),
        ("POST", "ship") => Some(json!({ "tracking_number": "TRK-1" })),
        ("POST", "deliver") => Some(json!({})),
        ("POST", "cancel" | "return") => Some(json!({ "reason": "changed my mind" })),
        ("PUT", "override") => Some(json!({ "state": "none", "reason": PRODUCT })),
        _ => None,
    }
}

/// The event that the gateway would pass on for these claims, without its checks.
fn event(row: &Row, prepared: &Prepared, claims: Option<Value>) -> Value {
    let (path, query) = prepared.path.split_once('?').unwrap_or((&prepared.path, ""));
    let query_parameters: Map<String, Value> = query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let authorizer = claims.map_or(json!({}), |claims| json!({ "jwt": { "claims": claims, "scopes": null } }));
    let route_key = format!("{} {}", row.method, row.path);
    json!({
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": query,
        "headers": { "content-type": "application/json" },
        "queryStringParameters": query_parameters,
        "pathParameters": { "id": prepared.order_id, "user_id": "ada", "name": "payments" },
        "requestContext": {
            "authorizer": authorizer,
            "http": { "method": row.method, "path": path, "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "" },
            "requestId": "r1",
            "routeKey": route_key,
            "stage": "$default",
        },
        "body": prepared.body.as_ref().map(Value::to_string),
        "isBase64Encoded": false,
    })
}

fn function(shop: &Shop, row: &Row) -> String {
    let functions = &shop.stack.template().functions;
    let serves =
        |function: &&Function| function.routes.iter().any(|route| route.method == row.method && route.path == row.path);
    functions.iter().find(serves).unwrap_or_else(|| panic!("{} {}", row.method, row.path)).binary.clone()
}

#[test]
fn every_route_of_the_template_is_in_the_matrix_and_no_other() {
    let template = Template::load(&project_path(), &TemplateOptions::default()).unwrap();
    let routes = template.functions.iter().flat_map(|function| &function.routes);
    let mut routes: Vec<_> = routes.map(|route| format!("{} {}", route.method, route.path)).collect();
    let mut listed: Vec<_> = matrix().iter().map(|row| format!("{} {}", row.method, row.path)).collect();
    routes.sort();
    listed.sort();
    assert_eq!(listed, routes);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_route_answers_each_caller_as_the_matrix_says() {
    let shop = Shop::open().await;
    let mut wrong = Vec::new();
    for row in matrix() {
        for ((sub, scope), status) in CALLERS.iter().zip(&row.statuses) {
            let prepared = prepare(&shop, &row).await;
            let token = shop.stack.token(sub, &[scope]).unwrap();
            let answer = shop.request_as(&token, row.method, &prepared.path, prepared.body).await;
            if answer.status != *status {
                wrong.push(format!("{} {} {sub} {scope}: {} instead of {status}", row.method, row.path, answer.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    shop.close().await;
}

/// A function also runs behind gateways that do not check scopes.
#[tokio::test(flavor = "multi_thread")]
async fn each_function_answers_each_caller_as_the_matrix_says_without_the_gateway() {
    let shop = Shop::open().await;
    let mut wrong = Vec::new();
    for row in matrix() {
        let function = function(&shop, &row);
        let callers =
            CALLERS.iter().map(|(sub, scope)| Some(json!({ "sub": sub, "scope": format!("orders:{scope}") })));
        let callers = callers.zip(row.statuses.iter().copied());
        for (claims, status) in callers.chain([(None, 401), (Some(json!({ "scope": "orders:admin" })), 401)]) {
            let prepared = prepare(&shop, &row).await;
            let answer = shop.invoke(&function, &event(&row, &prepared, claims.clone())).await;
            if answer["statusCode"] != status {
                wrong.push(format!(
                    "{} {} {claims:?}: {} instead of {status}",
                    row.method, row.path, answer["statusCode"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_rejects_every_token_that_is_not_valid_now_for_this_api() {
    let shop = Shop::open().await;
    let tokens = super::tokens::invalid(&shop);
    let mut wrong = Vec::new();
    for row in matrix() {
        let path = row.path.replace("{id}", PRODUCT).replace("{user_id}", "ada").replace("{name}", "payments");
        for (name, token) in &tokens {
            let answer = shop.request_as(token, row.method, &path, Some(json!({}))).await;
            let has_body = row.method != "HEAD";
            if answer.status != 401 || has_body && answer.body != json!({ "message": "Unauthorized" }) {
                wrong.push(format!("{} {} {name}: {} {}", row.method, row.path, answer.status, answer.body));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    shop.close().await;
}
