//! Parameters in the path and in the query string.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use dynamodb_event_store::Version;
use orders_core::domain::{OrderId, Status, UserId};
use orders_core::read_model::OpenStatus;

use crate::problem::Problem;
use crate::request::Request;
use crate::telemetry;

/// The order that the path names. From here on the request's log lines have its id.
///
/// # Errors
/// 400 when it is not a UUID.
pub fn order_id(request: &Request) -> Result<OrderId, Problem> {
    let order_id: OrderId = parse("order_id", request.path_parameter("id").unwrap_or_default())?;
    telemetry::record_order_id(order_id);
    Ok(order_id)
}

/// The user that the path names.
///
/// # Errors
/// 400 when it is not a valid user id.
pub fn user_id(request: &Request) -> Result<UserId, Problem> {
    parse("user_id", request.path_parameter("user_id").unwrap_or_default())
}

fn parse<T: FromStr<Err: Display>>(path: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: T::Err| Problem::invalid_field(path, error.to_string()))
}

/// The parameters of a query string: each known to the action, and none repeated.
#[derive(Debug)]
pub struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the query string of an action that takes these parameters.
    ///
    /// # Errors
    /// 400 for a parameter that is unknown or repeated, and for a query string that is too long.
    pub fn parse(request: &Request, known: &[&str]) -> Result<Self, Problem> {
        let query = request.query().ok_or_else(|| Problem::invalid_field("query", "is too long"))?;
        let mut parameters = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let detail = match known {
                    [] => "is unknown: this request takes no parameters".to_owned(),
                    _ => format!("is unknown: this request takes {}", known.join(", ")),
                };
                return Err(Problem::invalid_field(shown(&name), detail));
            }
            if parameters.insert(name.to_string(), value.into_owned()).is_some() {
                return Err(Problem::invalid_field(name, "must not be repeated"));
            }
        }
        Ok(Self(parameters))
    }

    /// A parameter's text, if it is present.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A parameter, if it is present.
    ///
    /// # Errors
    /// 400 if it is invalid; `expected` says what it must be.
    pub fn get<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let value = read(text).ok_or_else(|| Problem::invalid_field(name, format!("must be {expected}")))?;
        Ok(Some(value))
    }

    /// How many entries a page may have: 1–100, 20 unless the caller says otherwise.
    ///
    /// # Errors
    /// 400 outside these bounds.
    pub fn limit(&self) -> Result<usize, Problem> {
        let read = |text: &str| text.parse().ok().filter(|limit| (1..=100).contains(limit));
        Ok(self.get("limit", "a whole number of 1-100", read)?.unwrap_or(20))
    }

    /// A version, if the parameter is present.
    ///
    /// # Errors
    /// 400 if it is not one.
    pub fn version(&self, name: &'static str) -> Result<Option<Version>, Problem> {
        self.get(name, "a version: a whole number from 1", |text| text.parse().ok().filter(|version| *version > 0))
    }

    /// A status, if the parameter is present.
    ///
    /// # Errors
    /// 400 if it is not one.
    pub fn status(&self) -> Result<Option<Status>, Problem> {
        self.text("status").map(|text| parse("status", text)).transpose()
    }

    /// The status of a list of open orders.
    ///
    /// # Errors
    /// 400 if it is missing, or not the status of open orders.
    pub fn open_status(&self) -> Result<OpenStatus, Problem> {
        parse("status", self.text("status").unwrap_or_default())
    }
}

/// The beginning of an unknown name.
fn shown(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn query(text: &str) -> Result<Query, Problem> {
        Query::parse(&testing::request(json!({"rawQueryString": text})), &["limit", "as_of"])
    }

    #[test]
    fn parameters_are_decoded() {
        let query = query("as_of=2026-11-24T09%3A31%3A00%2B01%3A00&limit=7").unwrap();
        assert_eq!(query.text("as_of"), Some("2026-11-24T09:31:00+01:00"));
        assert_eq!(query.limit().unwrap(), 7);
    }

    #[test]
    fn an_unknown_or_repeated_parameter_is_rejected() {
        for text in ["limt=7", "limit=7&limit=8", "limit=7&=", "%00=1", "<=%ff"] {
            assert_eq!(query(text).unwrap_err().status(), 400, "{text}");
        }
    }

    #[test]
    fn a_page_has_1_to_100_entries() {
        assert_eq!(query("").unwrap().limit().unwrap(), 20);
        assert_eq!(query("limit=1").unwrap().limit().unwrap(), 1);
        assert_eq!(query("limit=100").unwrap().limit().unwrap(), 100);
        for limit in ["0", "101", "-1", "1e9", "1000000000", "99999999999999999999", "", "ten", "1.5"] {
            assert_eq!(query(&format!("limit={limit}")).unwrap().limit().unwrap_err().status(), 400, "{limit}");
        }
    }

    #[test]
    fn versions_count_from_1() {
        let query = |text: &str| {
            let request = testing::request(json!({"rawQueryString": text}));
            Query::parse(&request, &["at_version"]).unwrap()
        };
        assert_eq!(query("").version("at_version").unwrap(), None);
        assert_eq!(query("at_version=7").version("at_version").unwrap(), Some(7));
        for version in ["0", "-1", "", "x", "1.0", "18446744073709551616"] {
            let query = query(&format!("at_version={version}"));
            assert_eq!(query.version("at_version").unwrap_err().status(), 400, "{version}");
        }
    }

    #[test]
    fn an_order_is_named_by_a_uuid() {
        for id in ["", "1", "c0000000-0000-5000-8000-00000000000", "{c0000000-0000-5000-8000-000000000000}", "a/../b"] {
            let request = testing::request(json!({"pathParameters": {"id": id}}));
            assert_eq!(order_id(&request).unwrap_err().status(), 400, "{id}");
        }
        let request = testing::request(json!({"pathParameters": {"id": "C0000000-0000-5000-8000-000000000000"}}));
        assert_eq!(order_id(&request).unwrap().to_string(), "c0000000-0000-5000-8000-000000000000");
    }
}
