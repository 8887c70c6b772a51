//! Reads of many items.

use std::cmp::Ordering;

use serde_json::{Value, json};

use super::super::expression::{Expression, Item, compare};
use super::{EVENTS, Range, Table, Tables};

/// The indexes of the rows, with their hash and range keys, and what they hold beside the keys.
const INDEXES: [(&str, &str, &str, &[&str]); 3] = [
    ("by-user", "user_id", "created_at", &[]),
    ("by-status", "open_shard", "created_at", &["status"]),
    ("by-deferred", "deferred_shard", "deferred_at", &[]),
];

impl Tables {
    pub(super) fn query(&self, request: &Value, stale: usize) -> Value {
        let table = self.table(request);
        let condition = request["KeyConditionExpression"].as_str().unwrap_or_default();
        let index = INDEXES.iter().find(|(name, ..)| request["IndexName"] == *name);
        let is_events = table.range == Some("version");
        let mut found: Vec<&Item> = match index {
            // The values of a key condition include its hash key's.
            None => {
                let values = request["ExpressionAttributeValues"].as_object().expect("values").values();
                let hashes = values.filter_map(|value| value["S"].as_str());
                let mut of_hashes = Vec::new();
                for hash in hashes {
                    let range = (hash.to_owned(), Range::None)..=(hash.to_owned(), Range::Text("\u{10ffff}".into()));
                    of_hashes.extend(table.items.range(range).map(|(_, versions)| versions));
                }
                let hidden = if is_events { stale.min(of_hashes.len()) } else { 0 };
                of_hashes.truncate(of_hashes.len() - hidden);
                of_hashes.into_iter().filter_map(|versions| versions.at(stale > 0 && !is_events)).collect()
            }
            Some((_, hash, range, _)) => {
                let items = table.items.values().filter_map(|versions| versions.at(stale > 0));
                let mut items: Vec<_> =
                    items.filter(|item| item.contains_key(*hash) && item.contains_key(*range)).collect();
                items.sort_by(|left, right| compare(&left[*range], &right[*range]));
                items
            }
        };
        found.retain(|item| Expression::new(condition, request, item).holds());
        if request["ScanIndexForward"] == false {
            found.reverse();
        }
        let of_index = index.map(|(_, hash, range, _)| [*hash, *range]);
        let last = table.page(request, &mut found, of_index.as_ref().map_or(&[], |names| &names[..]));
        let mut held: Vec<Item> = found.into_iter().map(|item| held_by(index, item)).collect();
        if let Some(filter) = request["FilterExpression"].as_str() {
            // DynamoDB rejects a filter by what an index does not hold.
            if let Some((index, .., beside)) = index {
                let names = request["ExpressionAttributeNames"].as_object().into_iter().flatten();
                let mut filtered =
                    names.filter(|(name, _)| filter.contains(*name)).filter_map(|(_, name)| name.as_str());
                assert!(
                    filtered.all(|name| beside.contains(&name)),
                    "{index} does not hold what is filtered: {filter}"
                );
            }
            held.retain(|item| Expression::new(filter, request, item).holds());
        }
        let mut response = json!({"Count": held.len()});
        if request["Select"] != "COUNT" {
            response["Items"] = json!(held);
        }
        if let Some(last) = last {
            response["LastEvaluatedKey"] = Value::Object(last);
        }
        response
    }

    pub(super) fn scan(&self, request: &Value, stale: usize) -> Value {
        assert!(request["TotalSegments"].is_null(), "the simulation scans whole tables");
        let table = self.table(request);
        let is_events = request["TableName"] == EVENTS;
        let hidden = if is_events { &self.commits[self.commits.len().saturating_sub(stale)..] } else { &[] };
        let items = table.items.values().filter_map(|versions| versions.at(stale > 0 && !is_events));
        let mut found: Vec<&Item> = items.filter(|item| !hidden.contains(item)).collect();
        let last = table.page(request, &mut found, &[]);
        let items: Vec<_> = found.into_iter().map(|item| projected(item, request)).collect();
        json!({"Count": items.len(), "Items": items, "LastEvaluatedKey": last})
    }

    pub(super) fn batch_get(&self, request: &Value, stale: usize) -> Value {
        let mut responses = json!({});
        for (name, wanted) in request["RequestItems"].as_object().into_iter().flatten() {
            let table = &self.tables[name.as_str()];
            let keys = wanted["Keys"].as_array().into_iter().flatten();
            let stale = stale > 0 && wanted["ConsistentRead"] != true;
            let found = keys.filter_map(|key| table.items.get(&table.key(key)).and_then(|versions| versions.at(stale)));
            responses[name] = found.map(|item| projected(item, wanted)).collect();
        }
        json!({"Responses": responses, "UnprocessedKeys": {}})
    }
}

impl Table {
    /// Keeps the items of the page that a request names. Returns the key to continue at, if there may be more.
    fn page(&self, request: &Value, found: &mut Vec<&Item>, index: &[&str]) -> Option<Item> {
        if let Some(start) = request["ExclusiveStartKey"].as_object() {
            // The item at which the page before ended may have been removed since then, or have left the index.
            let order = |item: &Item| {
                let names = index.get(1).copied().into_iter().chain([self.hash]).chain(self.range);
                names.map(|name| compare(&item[name], &start[name])).find(|order| order.is_ne())
            };
            let ahead = if request["ScanIndexForward"] == false { Ordering::Less } else { Ordering::Greater };
            let place = found.iter().position(|item| order(item) == Some(ahead));
            found.drain(..place.unwrap_or(found.len()));
        }
        let limit = request["Limit"].as_u64().map_or(usize::MAX, |limit| limit as usize);
        // A page that reaches its limit has a key to continue at, even at the end.
        let more = found.len() >= limit;
        found.truncate(limit);
        found.last().filter(|_| more).map(|item| {
            let names = index.iter().copied().chain([self.hash]).chain(self.range);
            names.map(|name| (name.to_owned(), item[name].clone())).collect()
        })
    }
}

/// What an index holds of an item; all of it without an index.
fn held_by(index: Option<&(&str, &str, &str, &[&str])>, item: &Item) -> Item {
    let Some((_, hash, range, beside)) = index else { return item.clone() };
    let names = ["order_id", hash, range].into_iter().chain(beside.iter().copied());
    names.filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
}

/// The attributes of an item that a request asks for.
fn projected(item: &Item, request: &Value) -> Item {
    let Some(names) = request["ProjectionExpression"].as_str() else { return item.clone() };
    let names = names.split(',').map(|name| {
        let name = name.trim();
        request["ExpressionAttributeNames"][name].as_str().unwrap_or(name)
    });
    names.filter_map(|name| Some((name.to_owned(), item.get(name)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::ROWS;
    use super::*;

    fn pages(tables: &mut Tables, mut query: Value, mut between: impl FnMut(&mut Tables, &str)) -> Vec<String> {
        let mut ids = Vec::new();
        loop {
            let (status, page) = tables.execute("Query", &query, 0);
            assert_eq!(status, 200, "{page}");
            let items = page["Items"].as_array().unwrap();
            ids.extend(items.iter().map(|item| item["order_id"]["S"].as_str().unwrap().to_owned()));
            if page["LastEvaluatedKey"].is_null() {
                return ids;
            }
            query["ExclusiveStartKey"] = page["LastEvaluatedKey"].clone();
            between(tables, ids.last().unwrap());
        }
    }

    #[test]
    fn the_next_page_begins_after_an_item_that_has_left_the_index() {
        for forward in [true, false] {
            let mut tables = Tables::new(400 * 1024);
            let row = |id: &str, shard: Option<&str>| {
                let mut item = json!({"order_id": {"S": id}, "created_at": {"S": "2026-11-01T00:00:00Z"}});
                if let Some(shard) = shard {
                    item["open_shard"] = json!({"S": shard});
                }
                json!({"TableName": ROWS, "Item": item})
            };
            for id in ["a", "b", "c"] {
                tables.execute("PutItem", &row(id, Some("open#0")), 0);
            }
            let query = json!({"TableName": ROWS, "IndexName": "by-status", "KeyConditionExpression": "#s = :s",
                "ExpressionAttributeNames": {"#s": "open_shard"}, "ExpressionAttributeValues": {":s": {"S": "open#0"}},
                "ScanIndexForward": forward, "Limit": 1});
            let found = pages(&mut tables, query, |tables, id| {
                tables.execute("PutItem", &row(id, None), 0);
            });
            assert_eq!(found, if forward { ["a", "b", "c"] } else { ["c", "b", "a"] });
        }
    }
}
