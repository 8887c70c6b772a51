//! The event bus: what it has accepted.

use serde_json::{Value, json};

use super::tables::Response;

/// An EventBridge that accepts entries.
#[derive(Default)]
pub struct Bus {
    /// The accepted entries, in order.
    pub entries: Vec<Entry>,
}

/// An accepted entry.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its type.
    pub detail_type: String,
    /// Its detail.
    pub detail: Value,
}

impl Bus {
    /// Executes a request. Of a part of the entries it accepts the first, the third and so on.
    pub fn execute(&mut self, operation: &str, request: &Value, part: bool) -> Response {
        if operation == "DescribeEventBus" {
            return (
                200,
                json!({"Name": "orders", "Arn": "arn:aws:events:eu-central-1:123456789012:event-bus/orders"}),
            );
        }
        assert_eq!(operation, "PutEvents");
        let (mut results, mut failed) = (Vec::new(), 0);
        for (place, entry) in request["Entries"].as_array().into_iter().flatten().enumerate() {
            if part && place % 2 == 1 {
                failed += 1;
                results.push(json!({"ErrorCode": "ThrottlingException", "ErrorMessage": "later"}));
                continue;
            }
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let detail = serde_json::from_str(&text("Detail")).expect("a detail in JSON");
            self.entries.push(Entry { detail_type: text("DetailType"), detail });
            results.push(json!({"EventId": format!("{}", self.entries.len())}));
        }
        (200, json!({"FailedEntryCount": failed, "Entries": results}))
    }
}
