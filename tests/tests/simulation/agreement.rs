//! The simulated tables respond as a DynamoDB does.

use dynamodb_testkit::proxy::Proxy;
use orders_tests::database::TestTables;
use orders_tests::simulation::tables::{KEYS, Recorded};
use orders_tests::simulation::{directed, generate, step::History};
use serde_json::{Value, json};

/// Responses that may differ in their texts, but not in their meaning.
fn meaning(status: u64, body: &Value) -> Value {
    let kind = body["__type"].as_str().and_then(|kind| kind.rsplit('#').next());
    let reasons = body["CancellationReasons"].as_array().into_iter().flatten();
    let reasons: Vec<_> = reasons.map(|reason| json!([reason["Code"], reason["Item"]])).collect();
    let fields = ["Item", "Items", "Count", "LastEvaluatedKey", "Attributes"].map(|field| body[field].clone());
    json!([status, kind, reasons, fields])
}

/// Sends the requests of a history to a DynamoDB.
async fn replay(history: History) -> usize {
    // A history has a runtime of its own.
    let recorded = std::thread::spawn(move || orders_tests::simulation::requests_of(&history));
    let recorded = recorded.join().unwrap();
    let names = KEYS.map(|(name, ..)| name);
    let tables = TestTables::create(&names).await;
    let proxy = Proxy::start(tables.endpoint());
    let client = reqwest::Client::new();
    for Recorded { operation, request, response: (status, expected) } in &recorded {
        let mut text = request.to_string();
        for name in names {
            text =
                text.replace(&format!("\"TableName\":\"{name}\""), &format!("\"TableName\":\"{}\"", tables.name(name)));
        }
        let sent = client.post(proxy.endpoint()).header("x-amz-target", format!("DynamoDB_20120810.{operation}"));
        let answered = sent.body(text).send().await.unwrap();
        let answered = (answered.status().as_u16(), answered.text().await.unwrap());
        let body: Value = serde_json::from_str(&answered.1).unwrap();
        let (ours, theirs) = (meaning((*status).into(), expected), meaning(answered.0.into(), &body));
        assert_eq!(ours, theirs, "{operation} {request}");
    }
    recorded.len()
}

#[tokio::test]
async fn the_simulated_tables_respond_as_a_dynamodb_does() {
    let mut requests = 0;
    for seed in [2, 3, 4, 5, 6] {
        requests += replay(generate::history(seed)).await;
    }
    // Settled by the schedule, and rejected again.
    for kind in [2, 3] {
        requests += replay(directed::history(kind, 5, &mut fastrand::Rng::with_seed(kind))).await;
    }
    assert!(requests > 500, "{requests}");
}
