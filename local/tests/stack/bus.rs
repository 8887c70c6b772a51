use std::time::Duration;

use orders_local::options::StackOptions;
use orders_local::stack::Stack;
use serde_json::{Value, json};

use crate::obedient;
use crate::support::{Log, Running, start, template};

async fn post(stack: &Stack, path: &str, body: &Value) -> (u16, Value) {
    let answer = reqwest::Client::new().post(format!("{}/dev/{path}", stack.url())).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn get(stack: &Stack, path: &str) -> Value {
    reqwest::get(format!("{}/dev/{path}", stack.url())).await.unwrap().json().await.unwrap()
}

fn thing(detail: Value) -> Value {
    json!({"source": "makers", "detail-type": "ThingMade", "detail": detail})
}

/// What came of the event in the end.
async fn outcome(stack: &Stack, id: &Value) -> Value {
    nth_outcome(stack, id, 1).await
}

/// What came of the event when it had been given to its function that many times, without repeats.
async fn nth_outcome(stack: &Stack, id: &Value, times: usize) -> Value {
    let (mut after, mut outcomes) = (0, Vec::new());
    while outcomes.len() < times {
        let news = get(stack, &format!("events?after={after}&wait=10")).await;
        assert_ne!(news["next"], after, "nothing came of the event in time");
        after = news["next"].as_u64().unwrap();
        let entries = news["entries"].as_array().unwrap().iter();
        let ended = entries.filter(|entry| entry["event_id"] == *id && entry["outcome"] != "failed");
        outcomes.extend(ended.map(|entry| entry["outcome"].clone()));
    }
    outcomes.remove(times - 1)
}

/// One that waits for repeats as little as possible.
async fn hasty(data: Option<&std::path::Path>) -> Running {
    let log = Log::default();
    let mut options = StackOptions::new(obedient::directory());
    options.template = template();
    options.retry_wait = Duration::from_millis(1);
    options.data = data.map(Into::into);
    options.logs = log.logs();
    Running::new(Stack::start(options).await.unwrap(), log)
}

#[tokio::test]
async fn an_event_reaches_the_functions_whose_rules_it_matches_and_no_others() {
    let running = start(&[]).await;
    let (status, put) = post(&running, "events", &thing(json!({"print": "made", "weight": 2}))).await;
    assert_eq!(status, 200);
    assert_eq!(outcome(&running, &put["id"]).await, "done");
    assert!(running.log().contains("made"));
    for other in [
        thing(json!({"print": "light", "weight": 0})),
        json!({"source": "others", "detail-type": "ThingMade", "detail": {"print": "light"}}),
        json!({"source": "makers", "detail-type": "ThingMade", "detail": {"print": "light"}, "bus": "default"}),
    ] {
        let (_, put) = post(&running, "events", &other).await;
        let entries = get(&running, "events").await;
        let entry = entries["entries"].as_array().unwrap().iter().find(|entry| entry["event"]["id"] == put["id"]);
        assert_eq!(entry.unwrap()["targets"], json!([]), "{other}");
    }
    assert!(!running.log().contains("light"));
    running.shutdown().await;
}

#[tokio::test]
async fn what_the_bus_does_not_take_is_told() {
    let running = start(&[]).await;
    for (body, reason) in [
        (json!({"detail-type": "T", "detail": {}}), "Source is a required argument"),
        (json!({"source": "s", "detail-type": "T", "detail": [1]}), "MalformedDetail"),
        (json!({"source": "aws.s3", "detail-type": "T", "detail": {}}), "NotAuthorizedForSourceException"),
        (json!([1]), "the body is no event"),
    ] {
        let (status, answer) = post(&running, "events", &body).await;
        assert_eq!(status, 400);
        assert!(answer["message"].as_str().unwrap().contains(reason), "{answer}");
    }
    running.shutdown().await;
}

#[tokio::test]
async fn an_event_that_fails_lies_in_the_function_s_queue_until_it_is_redriven() {
    let data = std::env::temp_dir().join(format!("orders-local-{}", uuid::Uuid::new_v4()));
    let running = hasty(Some(&data)).await;
    let (_, put) = post(&running, "events", &thing(json!({"fail": "no glue"}))).await;
    assert_eq!(outcome(&running, &put["id"]).await, json!({"in-queue": "FailedThings"}));
    let log = running.log();
    let told = log.lines().filter(|line| line.contains("no glue")).collect::<Vec<_>>();
    assert!(told.iter().all(|line| !line.contains("the function failed")), "the function has told it itself: {told:?}");
    running.shutdown().await;
    // It outlives the stack.
    let running = hasty(Some(&data)).await;
    let queues = get(&running, "queues").await;
    let record = &queues["FailedThings"][0]["body"];
    assert_eq!(record["requestContext"]["condition"], "RetriesExhausted");
    assert_eq!(record["requestContext"]["approximateInvokeCount"], 2);
    assert_eq!(record["requestPayload"]["detail"], json!({"fail": "no glue"}));
    assert_eq!(record["responsePayload"]["errorMessage"], "no glue");
    assert_eq!(post(&running, "queues/FailedThings/redrive", &json!({})).await.1, json!({"redriven": 1}));
    assert_eq!(
        outcome(&running, &put["id"]).await,
        json!({"in-queue": "FailedThings"}),
        "it fails again and comes back"
    );
    assert_eq!(post(&running, "queues/Nothing/redrive", &json!({})).await.0, 404);
    running.shutdown().await;
    std::fs::remove_dir_all(data).unwrap();
}

#[tokio::test]
async fn an_event_whose_function_cannot_be_reached_lies_in_the_rule_s_queue_and_can_be_redriven() {
    let running = hasty(None).await;
    assert_eq!(post(&running, "bus", &json!({"mode": "deaf"})).await.0, 200);
    let (_, put) = post(&running, "events", &thing(json!({"print": "late"}))).await;
    assert_eq!(outcome(&running, &put["id"]).await, json!({"in-queue": "UndeliveredThings"}));
    let queues = get(&running, "queues").await;
    assert_eq!(queues["UndeliveredThings"][0]["attributes"]["RETRY_ATTEMPTS"], "2");
    post(&running, "bus", &json!({"mode": "ok"})).await;
    post(&running, "queues/UndeliveredThings/redrive", &json!({})).await;
    assert_eq!(nth_outcome(&running, &put["id"], 2).await, "done");
    assert!(running.log().contains("late"));
    running.shutdown().await;
}

#[tokio::test]
async fn a_schedule_can_be_run_at_once_with_the_input_that_the_template_gives_it() {
    let running = start(&[]).await;
    let (status, run) = post(&running, "schedules/OnThingNightly", &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(outcome(&running, &run["id"]).await, "done");
    assert!(running.log().contains("good night"));
    let (status, missing) = post(&running, "schedules/Hourly", &json!({})).await;
    assert_eq!(status, 404);
    assert!(missing["message"].as_str().unwrap().contains("there is no schedule Hourly"), "{missing}");
    running.shutdown().await;
}

#[tokio::test]
async fn processes_can_be_killed_and_the_function_goes_on_with_new_ones() {
    let running = hasty(None).await;
    let containers = running.containers("OnThing").unwrap().clone();
    let (_, put) = post(&running, "events", &thing(json!({"print": "begun", "sleep": 60_000}))).await;
    dynamodb_testkit::wait::until("the function begins", async || running.log().contains("begun")).await;
    containers.crash();
    let (_, quick) = post(&running, "events", &thing(json!({}))).await;
    assert_eq!(outcome(&running, &quick["id"]).await, "done");
    let killed = get(&running, "events").await;
    let killed = killed["entries"].as_array().unwrap().iter().find(|entry| entry["event_id"] == put["id"]).unwrap();
    assert!(killed["reason"].as_str().unwrap().contains("Runtime exited"), "{killed}");
    running.shutdown().await;
}
