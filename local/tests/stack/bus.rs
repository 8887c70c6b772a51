//! The bus, its queues and schedules, through `/dev`, with real processes.

use orders_local::stack::Stack;
use serde_json::{Value, json};

use crate::support::{Scratch, start};
use dynamodb_testkit::wait::until;

async fn post(stack: &Stack, path: &str, body: &Value) -> (u16, Value) {
    let response = reqwest::Client::new().post(format!("{}/dev/{path}", stack.url())).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

async fn get(stack: &Stack, path: &str) -> Value {
    reqwest::get(format!("{}/dev/{path}", stack.url())).await.unwrap().json().await.unwrap()
}

/// An event that the rule of the function `OnThing` matches.
fn thing(mut detail: Value) -> Value {
    detail["weight"] = json!(2);
    json!({"source": "makers", "detail-type": "ThingMade", "detail": detail})
}

/// The last outcome of the event, when it was delivered that many times, not counting retries.
async fn outcome(stack: &Stack, id: &Value, times: usize) -> Value {
    let (mut after, mut outcomes) = (0, Vec::new());
    while outcomes.len() < times {
        let news = get(stack, &format!("events?after={after}&wait=10")).await;
        assert_ne!(news["next"], after, "no outcome in time");
        after = news["next"].as_u64().unwrap();
        let entries = news["entries"].as_array().unwrap().iter();
        let ended = entries.filter(|entry| entry["event_id"] == *id && entry["outcome"] != "failed");
        outcomes.extend(ended.map(|entry| entry["outcome"].clone()));
    }
    outcomes.remove(times - 1)
}

#[tokio::test]
async fn an_event_reaches_the_functions_whose_rules_match_and_a_schedule_runs_on_demand() {
    let running = start(None).await;
    let (status, put) = post(&running, "events", &thing(json!({"print": "made"}))).await;
    assert_eq!((status, outcome(&running, &put["id"], 1).await), (200, json!("done")));
    assert!(running.log().contains("made"));
    for (field, value) in
        [("source", json!("others")), ("bus", json!("default")), ("detail", json!({"print": "light", "weight": 0}))]
    {
        let mut other = thing(json!({"print": "light"}));
        other[field] = value;
        let (_, put) = post(&running, "events", &other).await;
        let entries = get(&running, "events").await;
        let entry = entries["entries"].as_array().unwrap().iter().find(|entry| entry["event"]["id"] == put["id"]);
        assert_eq!(entry.unwrap()["targets"], json!([]), "{other}");
    }
    assert!(!running.log().contains("light"));

    let (_, run) = post(&running, "schedules/OnThingNightly", &json!({})).await;
    assert_eq!(outcome(&running, &run["id"], 1).await, "done");
    let (status, missing) = post(&running, "schedules/Hourly", &json!({})).await;
    assert_eq!(status, 404);
    assert!(missing["message"].as_str().unwrap().contains("the schedule Hourly does not exist"), "{missing}");
    running.shutdown().await;
}

#[tokio::test]
async fn an_event_that_the_bus_rejects_is_answered_with_the_reason() {
    let running = start(None).await;
    for (body, reason) in [
        (json!({"detail-type": "T", "detail": {}}), "Source is a required argument"),
        (json!({"source": "s", "detail-type": "T", "detail": [1]}), "MalformedDetail"),
        (json!({"source": "aws.s3", "detail-type": "T", "detail": {}}), "NotAuthorizedForSourceException"),
        (json!([1]), "invalid event"),
    ] {
        let (status, answer) = post(&running, "events", &body).await;
        assert_eq!(status, 400);
        assert!(answer["message"].as_str().unwrap().contains(reason), "{answer}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn an_event_that_fails_stays_in_the_functions_queue_until_it_is_redriven() {
    let data = Scratch::new();
    let running = start(Some(&data.0)).await;
    let (_, put) = post(&running, "events", &thing(json!({"fail": "no glue"}))).await;
    let in_queue = json!({"in-queue": "FailedThings"});
    assert_eq!(outcome(&running, &put["id"], 1).await, in_queue);
    assert!(!running.log().contains("the function failed"), "the function has logged it itself: {}", running.log());
    running.shutdown().await;
    // The queue survives a restart.
    let running = start(Some(&data.0)).await;
    let record = get(&running, "queues").await["FailedThings"][0]["body"].clone();
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(record["requestPayload"]["detail"]["fail"], "no glue");
    assert_eq!(record["responsePayload"]["errorMessage"], "no glue");
    assert_eq!(post(&running, "queues/FailedThings/redrive", &json!({})).await.1, json!({"redriven": 1}));
    assert_eq!(outcome(&running, &put["id"], 1).await, in_queue, "it fails again and returns");
    assert_eq!(post(&running, "queues/Nothing/redrive", &json!({})).await.0, 404);
    running.shutdown().await;
}

#[tokio::test]
async fn an_event_that_cannot_be_delivered_stays_in_the_rules_queue_until_it_is_redriven() {
    let running = start(None).await;
    assert_eq!(post(&running, "bus", &json!({"mode": "deaf"})).await.0, 200);
    let (_, put) = post(&running, "events", &thing(json!({"print": "late"}))).await;
    assert_eq!(outcome(&running, &put["id"], 1).await, json!({"in-queue": "UndeliveredThings"}));
    let queues = get(&running, "queues").await;
    assert_eq!(queues["UndeliveredThings"][0]["attributes"]["RETRY_ATTEMPTS"], "2");
    post(&running, "bus", &json!({"mode": "ok"})).await;
    post(&running, "queues/UndeliveredThings/redrive", &json!({})).await;
    assert_eq!(outcome(&running, &put["id"], 2).await, "done");
    assert!(running.log().contains("late"));
    running.shutdown().await;
}

#[tokio::test]
async fn after_a_crash_new_processes_take_over() {
    let running = start(None).await;
    let containers = running.containers("OnThing").unwrap().clone();
    let (_, put) = post(&running, "events", &thing(json!({"print": "begun", "sleep": 60_000}))).await;
    until("the start of the invocation", async || running.log().contains("begun")).await;
    containers.crash();
    let (_, quick) = post(&running, "events", &thing(json!({}))).await;
    assert_eq!(outcome(&running, &quick["id"], 1).await, "done");
    let killed = get(&running, "events").await;
    let killed = killed["entries"].as_array().unwrap().iter().find(|entry| entry["event_id"] == put["id"]).unwrap();
    assert!(killed["reason"].as_str().unwrap().contains("Runtime exited"), "{killed}");
    running.shutdown().await;
}
