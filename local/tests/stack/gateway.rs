//! The HTTP API of a small template, over HTTP, with real processes.

use crate::support::{Running, start};
use dynamodb_testkit::wait::until;
use reqwest::{Client, Method};
use serde_json::{Value, json};

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn call(stack: &Running, method: Method, path: &str, token: Option<&str>, body: Option<Value>) -> Answer {
    let mut request = Client::new().request(method, format!("{}{path}", stack.url()));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_string());
    }
    let response = request.send().await.unwrap();
    Answer {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.text().await.unwrap(),
    }
}

#[tokio::test]
async fn a_request_reaches_the_function_of_its_route_and_the_response_is_returned() {
    let stack = start(None).await;
    let token = stack.token("ada", &["write"]).unwrap();
    let order = json!({"answer": {"statusCode": 201, "headers": {"etag": "\"1\""}, "body": "made"}});
    let answer = call(&stack, Method::POST, "/things", Some(&token), Some(order)).await;
    assert_eq!((answer.status, answer.body.as_str()), (201, "made"));
    assert_eq!(answer.headers["etag"], "\"1\"");
    assert!(answer.headers.contains_key("apigw-requestid"));

    let seen = call(&stack, Method::GET, "/things/7?x=1", Some(&token), None).await.json();
    let event = &seen["event"];
    assert_eq!((event["routeKey"].as_str(), event["rawQueryString"].as_str()), (Some("GET /things/{id}"), Some("x=1")));
    assert_eq!(event["requestContext"]["authorizer"]["jwt"]["claims"]["sub"], "ada");
    assert_eq!(event["requestContext"]["http"]["sourceIp"], "127.0.0.1");
    assert_eq!(seen["environment"]["EVENTS_TABLE"], "Events");
    assert_eq!(seen["environment"]["AWS_ENDPOINT_URL_DYNAMODB"], stack.dynamodb());
    stack.shutdown().await;
}

#[tokio::test]
async fn a_request_that_the_gateway_rejects_has_a_plain_message() {
    let stack = start(None).await;
    let reader = stack.token("ada", &["read"]).unwrap();
    let cases = [
        (Method::POST, "/things", None, 401, "Unauthorized"),
        (Method::POST, "/things", Some("nonsense"), 401, "Unauthorized"),
        (Method::POST, "/things", Some(reader.as_str()), 403, "Forbidden"),
        (Method::GET, "/nowhere", Some(reader.as_str()), 404, "Not Found"),
        (Method::DELETE, "/things", Some(reader.as_str()), 404, "Not Found"),
        (Method::GET, "/dev/nothing", None, 404, "Not Found"),
        (Method::GET, "/dev/tokens/nobody", None, 404, "Not Found"),
    ];
    for (method, path, token, status, message) in cases {
        let answer = call(&stack, method.clone(), path, token, None).await;
        assert_eq!((answer.status, answer.json()), (status, json!({ "message": message })), "{method} {path}");
    }
    let answer = call(&stack, Method::POST, "/things", Some("nonsense"), None).await;
    assert!(answer.headers["www-authenticate"].to_str().unwrap().contains("invalid_token"));
    stack.shutdown().await;
}

#[tokio::test]
async fn a_function_that_fails_is_a_500_without_the_reason() {
    let stack = start(None).await;
    let token = stack.token("ada", &["write"]).unwrap();
    for order in [json!({"fail": "secret"}), json!({"exit": 1}), json!({"sleep": 60_000})] {
        let answer = call(&stack, Method::POST, "/things", Some(&token), Some(order.clone())).await;
        assert_eq!((answer.status, answer.json()), (500, json!({"message": "Internal Server Error"})), "{order}");
    }
    assert!(stack.log().contains("secret") && stack.log().contains("timed out"), "{}", stack.log());
    stack.shutdown().await;
}

#[tokio::test]
async fn a_body_over_ten_megabytes_is_rejected() {
    let stack = start(None).await;
    let token = stack.token("ada", &["write"]).unwrap();
    let large = json!({"print": "x".repeat(10 * 1024 * 1024)});
    assert_eq!(call(&stack, Method::POST, "/things", Some(&token), Some(large)).await.status, 413);
    stack.shutdown().await;
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call() {
    let stack = start(None).await;
    let ask = |method, origin: &str| {
        let request = Client::new().request(method, format!("{}/health", stack.url()));
        request.header("origin", origin.to_owned()).bearer_auth(&stack.tokens()["customer"]).send()
    };
    let preflight = ask(Method::OPTIONS, "https://shop.test").await.unwrap();
    assert_eq!(preflight.status(), 204);
    for (name, value) in [("origin", "https://shop.test"), ("methods", "GET,POST"), ("headers", "authorization")] {
        assert_eq!(preflight.headers()[format!("access-control-allow-{name}")], value);
    }
    assert_eq!(preflight.headers()["access-control-max-age"], "60");
    let answer = ask(Method::GET, "https://shop.test").await.unwrap();
    assert_eq!(answer.headers()["access-control-expose-headers"], "etag");
    let other = ask(Method::GET, "https://evil.test").await.unwrap();
    assert!(!other.headers().contains_key("access-control-allow-origin"));
    stack.shutdown().await;
}

#[tokio::test]
async fn the_page_of_another_site_may_not_use_the_stacks_own_routes() {
    let stack = start(None).await;
    let crash = format!("{}/dev/functions/obedient/crash", stack.url());
    for (name, value, status) in [
        ("origin", stack.url(), 200),
        ("sec-fetch-site", "same-origin", 200),
        ("origin", "https://evil.test", 403),
        ("sec-fetch-site", "cross-site", 403),
    ] {
        let response = Client::new().post(&crash).header(name, value).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{name}: {value}");
    }
    let rebound = Client::new().get(format!("{}/dev/stack", stack.url())).header("host", "evil.test");
    assert_eq!(rebound.send().await.unwrap().status(), 403);
    stack.shutdown().await;
}

#[tokio::test]
async fn the_stack_describes_itself_and_its_tokens_work() {
    let stack = start(None).await;
    let about = call(&stack, Method::GET, "/dev/stack", None, None).await.json();
    assert_eq!(about["url"], stack.url());
    assert_eq!(about["dynamodb"], stack.dynamodb());
    assert_eq!(about["tables"]["Rows"], "Rows");
    assert!(about["functions"].as_array().unwrap().contains(&json!("obedient")));
    assert_ne!(about["users"]["customer"], about["users"]["other_customer"]);
    for name in ["storefront", "customer", "other_customer", "fulfilment", "admin"] {
        assert!(about["tokens"][name].is_string(), "{name}");
    }
    let customer = about["tokens"]["customer"].as_str().unwrap();
    assert_eq!(call(&stack, Method::GET, "/dev/tokens/customer", None, None).await.body, customer);
    let seen = call(&stack, Method::GET, "/things/7", Some(customer), None).await.json();
    assert_eq!(seen["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["scope"], "things:read things:write");
    stack.shutdown().await;
}

#[tokio::test]
async fn a_shutdown_waits_for_a_request_in_progress() {
    let stack = start(None).await;
    let token = stack.token("ada", &["write"]).unwrap();
    let url = format!("{}/things", stack.url());
    let order = json!({"print": "begun", "sleep": 300, "answer": {"statusCode": 200, "body": "done"}});
    let request = tokio::spawn(Client::new().post(url).bearer_auth(token).body(order.to_string()).send());
    until("the request", async || stack.log().contains("begun")).await;
    stack.shutdown().await;
    assert_eq!(request.await.unwrap().unwrap().text().await.unwrap(), "done");
}
