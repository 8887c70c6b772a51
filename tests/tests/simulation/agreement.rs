//! The simulated tables respond as a DynamoDB does.

use dynamodb_testkit::proxy::Proxy;
use orders_tests::database::TestTables;
use orders_tests::simulation::tables::{KEYS, Recorded};
use orders_tests::simulation::{directed, generate, step::History};
use serde_json::{Value, json};

/// Responses that may differ in their texts, but not in their meaning.
fn meaning(operation: &str, status: u64, body: &Value) -> Value {
    let kind = body["__type"].as_str().and_then(|kind| kind.rsplit('#').next());
    let reasons = body["CancellationReasons"].as_array().into_iter().flatten();
    let reasons: Vec<_> = reasons.map(|reason| json!([reason["Code"], reason["Item"]])).collect();
    let fields = ["Item", "Count", "LastEvaluatedKey", "Attributes"].map(|field| body[field].clone());
    let mut items = [body["Items"].clone(), body["Responses"].clone()];
    if operation != "Query" {
        // In any order.
        let lists = items.iter_mut().flat_map(|items| match items {
            Value::Object(tables) => tables.values_mut().filter_map(Value::as_array_mut).collect(),
            items => items.as_array_mut().into_iter().collect::<Vec<_>>(),
        });
        lists.for_each(|list| list.sort_by_key(Value::to_string));
    }
    json!([status, kind, reasons, fields, items])
}

/// Sends the requests of a history to a DynamoDB.
async fn replay(name: &str, history: History) -> usize {
    // A history has a runtime of its own.
    let recorded = std::thread::spawn(move || orders_tests::simulation::requests_of(&history));
    let recorded = recorded.join().unwrap();
    let names = KEYS.map(|(name, ..)| name);
    // Histories have the same tokens, and a DynamoDB remembers them for ten minutes.
    let (prefix, place) = ("\"ClientRequestToken\":\"", name.len());
    let token = |mut text: String| {
        if let Some(start) = text.find(prefix).map(|start| start + prefix.len()) {
            text.replace_range(start..start + place, name);
        }
        text
    };
    let tables = TestTables::create(&names).await;
    let proxy = Proxy::start(tables.endpoint());
    let client = reqwest::Client::new();
    for Recorded { operation, request, response: (status, expected) } in &recorded {
        let mut text = request.to_string();
        for name in names {
            let names = |text: &str, name: &str| format!("\"{text}\":\"{name}\"");
            text = text.replace(&names("TableName", name), &names("TableName", tables.name(name)));
            // Of a batch of keys.
            let items = |name: &str| format!("\"RequestItems\":{{\"{name}\":");
            text = text.replace(&items(name), &items(tables.name(name)));
        }
        let sent = client.post(proxy.endpoint()).header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let answered = sent.body(token(text)).send().await.unwrap();
        let answered = (answered.status().as_u16(), answered.text().await.unwrap());
        let mut body = answered.1;
        for name in names {
            body = body.replace(&format!("\"{}\":[", tables.name(name)), &format!("\"{name}\":["));
        }
        let body: Value = serde_json::from_str(&body).unwrap();
        let (ours, theirs) =
            (meaning(operation, (*status).into(), expected), meaning(operation, answered.0.into(), &body));
        assert_eq!(ours, theirs, "{name}: {operation} {request}");
    }
    recorded.len()
}

#[tokio::test]
async fn the_simulated_tables_respond_as_a_dynamodb_does() {
    let mut requests = 0;
    for seed in [2, 3, 4, 5, 6] {
        requests += replay(&format!("s{seed}"), generate::history(seed)).await;
    }
    // Settled by the schedule, rejected again, and rebuilt and verified.
    for kind in [2, 3, 14] {
        let history = directed::history(kind, 5, &mut fastrand::Rng::with_seed(kind));
        requests += replay(&format!("k{kind}"), history).await;
    }
    assert!(requests > 500, "{requests}");
}
