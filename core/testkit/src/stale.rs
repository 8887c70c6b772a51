//! Simulates the results of a stale replica.
//!
//! Only for tables of commits (`stream_id`, `version`), which never change once written: an old result is the new one
//! without the newest items.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::exchange::{Request, Response};

type Stream = (String, String);

/// The stored versions, by table and stream.
#[derive(Default)]
pub(crate) struct History(HashMap<Stream, BTreeSet<u64>>);

/// The first version that a stale result must not contain.
pub(crate) struct View(Option<u64>);

impl History {
    /// Records a request that was executed.
    pub fn learn(&mut self, request: &Request) {
        let item = &request.body["Item"];
        if request.target.ends_with(".PutItem")
            && let (Some(stream), Some(version)) = (item["stream_id"]["S"].as_str(), number(&item["version"]))
        {
            let table = request.body["TableName"].as_str().unwrap_or_default();
            self.0.entry((table.to_owned(), stream.to_owned())).or_default().insert(version);
        }
    }

    /// Turns an eventually consistent Query into that of a replica that is `commits` commits behind.
    pub fn make_stale(&self, request: &mut Request, commits: usize) -> View {
        let body = &mut request.body;
        if !request.target.ends_with(".Query") || body["ConsistentRead"] == true || commits == 0 {
            return View(None);
        }
        let condition = body["KeyConditionExpression"].as_str().unwrap_or_default().to_owned();
        let operand = |of: &str| {
            let name = condition.split(of).nth(1)?.split_whitespace().next()?;
            Some(&body["ExpressionAttributeValues"][name])
        };
        let Some(stream) = operand("stream_id =").and_then(|value| value["S"].as_str()).map(str::to_owned) else {
            return View(None);
        };
        let highest = operand("version <=").and_then(number);
        let table = body["TableName"].as_str().unwrap_or_default().to_owned();
        let Some(versions) = self.0.get(&(table, stream.clone())) else { return View(None) };
        let Some(hidden_from) = versions.iter().nth_back(commits.min(versions.len()) - 1).copied() else {
            return View(None);
        };
        if body["ScanIndexForward"] == false {
            // Backwards, the replica's newest item is the first one below the missing ones. A page that starts lower,
            // or is limited to lower versions, is unaffected.
            let begins_at = number(&body["ExclusiveStartKey"]["version"]).unwrap_or(u64::MAX);
            if hidden_from < begins_at && highest.is_none_or(|highest| hidden_from <= highest) {
                body["ExclusiveStartKey"] =
                    json!({"stream_id": {"S": stream}, "version": {"N": hidden_from.to_string()}});
            }
        }
        View(Some(hidden_from))
    }
}

impl View {
    /// Removes items that the replica does not have.
    pub fn hide(&self, mut response: Response) -> Response {
        let Some(hidden_from) = self.0 else { return response };
        let Ok(mut body) = serde_json::from_slice::<Value>(&response.body) else { return response };
        let Some(items) = body["Items"].as_array_mut() else { return response };
        let before = items.len();
        items.retain(|item| number(&item["version"]).is_none_or(|version| version < hidden_from));
        let left = items.len();
        if left < before {
            body["Count"] = left.into();
            body.as_object_mut().and_then(|body| body.remove("LastEvaluatedKey"));
            response.body = body.to_string().into_bytes();
        }
        response
    }
}

fn number(value: &Value) -> Option<u64> {
    value["N"].as_str()?.parse().ok()
}
