//! What a replica that is behind would answer.
//!
//! Only for tables of commits (`stream_id`, `version`), which are written once and never changed: there, an old answer
//! is the new one less the newest items.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};

use crate::exchange::{Response, Request};

type Stream = (String, String);

/// The versions that were stored, by table and stream.
#[derive(Default)]
pub(crate) struct History(HashMap<Stream, BTreeSet<u64>>);

/// What a stale answer must not show: versions from this one on.
pub(crate) struct View(Option<u64>);

impl History {
    /// Takes note of a request that was done.
    pub fn learn(&mut self, request: &Request) {
        let item = &request.body["Item"];
        if request.target.ends_with(".PutItem")
            && let (Some(stream), Some(version)) = (item["stream_id"]["S"].as_str(), number(&item["version"]))
        {
            let table = request.body["TableName"].as_str().unwrap_or_default();
            self.0.entry((table.to_owned(), stream.to_owned())).or_default().insert(version);
        }
    }

    /// Turns an eventually consistent Query into the one that a replica, `commits` commits behind, would run.
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
            // Going back, the replica's newest item is the first below what it lacks; a page that begins lower, or is
            // confined to lower versions, is not concerned.
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
    /// Takes out of an answer what the replica cannot have.
    pub fn hide(&self, mut answer: Response) -> Response {
        let Some(hidden_from) = self.0 else { return answer };
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else { return answer };
        let Some(items) = body["Items"].as_array_mut() else { return answer };
        let before = items.len();
        items.retain(|item| number(&item["version"]).is_none_or(|version| version < hidden_from));
        let left = items.len();
        if left < before {
            body["Count"] = left.into();
            body.as_object_mut().and_then(|body| body.remove("LastEvaluatedKey"));
            answer.body = body.to_string().into_bytes();
        }
        answer
    }
}

fn number(value: &Value) -> Option<u64> {
    value["N"].as_str()?.parse().ok()
}
