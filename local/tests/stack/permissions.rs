//! What AWS enforces, the local stack enforces: for clients with the credentials of a function, and for others.

use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_eventbridge::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use orders_local::dynamodb::client_as;
use orders_local::stack::{Stack, StackOptions};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::program::Serving;
use crate::support::{Scratch, start};
use crate::{obedient, support};

/// The access key of the function `GetThing`, which shows its environment.
async fn access_key(url: &str, token: &str) -> String {
    let request = reqwest::Client::new().get(format!("{url}/things/1")).bearer_auth(token);
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    seen["environment"]["AWS_ACCESS_KEY_ID"].as_str().unwrap().to_owned()
}

fn buses(url: &str, access_key: &str) -> aws_sdk_eventbridge::Client {
    let config = aws_sdk_eventbridge::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new(access_key, "secret", None, None, "test"))
        .endpoint_url(url);
    aws_sdk_eventbridge::Client::from_conf(config.build())
}

#[tokio::test]
async fn a_denied_call_is_answered_as_aws_does_and_logged_with_the_missing_statement() {
    let scratch = Scratch::new();
    let mut serving = Serving::start(&["--port", "0"], &scratch.0).await;
    let about = serving.get("/dev/stack").await;
    let key = access_key(&serving.url, about["tokens"]["customer"].as_str().unwrap()).await;
    let client = client_as(about["dynamodb"].as_str().unwrap(), &key);
    let id = || AttributeValue::S("1".into());
    client.get_item().table_name("Rows").key("id", id()).send().await.unwrap();
    let get =
        client.get_item().table_name("Events").key("stream_id", id()).key("version", AttributeValue::N("1".into()));
    let denied = get.send().await.unwrap_err().into_service_error();
    assert_eq!(denied.code(), Some("AccessDeniedException"));
    let message = "User: arn:aws:sts::000000000000:assumed-role/GetThingRole/GetThing is not authorized to perform: \
        dynamodb:GetItem on resource: arn:aws:dynamodb:us-east-1:000000000000:table/Events because no identity-based policy \
        allows the dynamodb:GetItem action";
    assert_eq!(denied.message(), Some(message));

    let mut lines = BufReader::new(serving.child.stderr.take().unwrap()).lines();
    let mut logged = String::new();
    while !logged.contains("- {Effect: Allow, Action: dynamodb:GetItem, Resource: !GetAtt Events.Arn}") {
        logged += &lines.next_line().await.unwrap().expect("it is logged");
        logged.push('\n');
    }
    assert!(logged.contains("GetThing may not call dynamodb:GetItem on arn:aws:dynamodb:"), "{logged}");
    // The client of an administrator is allowed what the function is not.
    let administrator = client_as(about["dynamodb"].as_str().unwrap(), "local");
    administrator.scan().table_name("Events").send().await.unwrap();
    serving.signal("TERM").await;
}

#[tokio::test]
async fn each_entry_of_a_request_to_the_bus_is_checked() {
    let running = start(None).await;
    let key = access_key(running.url(), &running.tokens()["customer"]).await;
    let about: Value = reqwest::get(format!("{}/dev/stack", running.url())).await.unwrap().json().await.unwrap();
    let client = buses(about["eventbridge"].as_str().unwrap(), &key);
    let put = async |sources: &[&str]| {
        let entry = |source: &&str| {
            let entry = PutEventsRequestEntry::builder().source(*source).detail_type("T").detail("{}");
            entry.event_bus_name("things").build()
        };
        let entries = sources.iter().map(entry).collect();
        client.put_events().set_entries(Some(entries)).send().await.map_err(|error| error.into_service_error())
    };
    assert_eq!(put(&["things", "things"]).await.unwrap().failed_entry_count(), 0);
    let denied = put(&["things", "payments"]).await.unwrap_err();
    assert_eq!(denied.meta().code(), Some("AccessDeniedException"));
    let described = client.describe_event_bus().name("things").send().await.unwrap_err().into_service_error();
    assert_eq!(described.meta().code(), Some("AccessDeniedException"));
    running.shutdown().await;
}

#[tokio::test]
async fn a_stack_does_not_start_when_a_permission_to_leave_out_does_not_exist() {
    let mut options = StackOptions::new(obedient::directory());
    options.template = support::template();
    options.without_permission = Some("GetThing.7".into());
    let error = Stack::start(options).await.unwrap_err().to_string();
    assert!(error.contains("the template has no permission GetThing.7"), "{error}");
}
