//! The table on DynamoDB, with the key `name`.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Builder, Config};
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};

use super::change::{Change, Changed, Condition, Item, Value};

/// The default timeout of a table call. Calls are not retried, so a change whose response is lost was applied at most
/// once.
pub const TIMEOUT: Duration = Duration::from_millis(100);

/// A table of circuit breaker items.
pub trait Store: Send + Sync {
    /// The breaker's item; empty if it does not exist.
    ///
    /// # Errors
    /// [`Unavailable`].
    fn read(&self, name: &str, consistent: bool) -> impl Future<Output = Result<Item, Unavailable>> + Send;

    /// Applies a change to the breaker's item atomically, if its condition holds.
    ///
    /// # Errors
    /// [`Unavailable`]; the change may have been applied.
    fn change(&self, name: &str, change: &Change) -> impl Future<Output = Result<Changed, Unavailable>> + Send;
}

/// The table did not respond in time, or with an error.
#[derive(Debug, thiserror::Error)]
#[error("the circuit breaker table is unavailable")]
pub struct Unavailable(#[source] pub Box<dyn Error + Send + Sync>);

impl Unavailable {
    fn new(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(source.into())
    }
}

/// The table on DynamoDB. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Table {
    client: Client,
    table: String,
    timeout: Duration,
}

impl Table {
    /// The table `table`, with the timeout [`TIMEOUT`].
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into(), timeout: TIMEOUT }
    }

    /// Replaces the timeout.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Calls must not wait long for their breaker, and no change may be sent twice.
    fn call_config(&self) -> Builder {
        let timeouts = TimeoutConfig::builder().operation_timeout(self.timeout).build();
        Config::builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts)
    }
}

impl Store for Table {
    async fn read(&self, name: &str, consistent: bool) -> Result<Item, Unavailable> {
        let get = self.client.get_item().table_name(&self.table).key("name", AttributeValue::S(name.to_owned()));
        let get = get.consistent_read(consistent).customize().config_override(self.call_config());
        let found = get.send().await.map_err(Unavailable::new)?;
        found.item.map(from_attributes).transpose().map(Option::unwrap_or_default)
    }

    async fn change(&self, name: &str, change: &Change) -> Result<Changed, Unavailable> {
        let Expressions { update, condition, names, values } = Expressions::of(change);
        let update = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("name", AttributeValue::S(name.to_owned()))
            .update_expression(update)
            .condition_expression(condition)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match update.customize().config_override(self.call_config()).send().await {
            Ok(applied) => Ok(Changed::Applied(from_attributes(applied.attributes.unwrap_or_default())?)),
            Err(error) => match error.into_service_error() {
                UpdateItemError::ConditionalCheckFailedException(failed) => {
                    Ok(Changed::ConditionFailed(from_attributes(failed.item.unwrap_or_default())?))
                }
                error => Err(Unavailable::new(error)),
            },
        }
    }
}

/// Parses numbers and texts; attributes of other types are ignored.
fn from_attributes(attributes: HashMap<String, AttributeValue>) -> Result<Item, Unavailable> {
    let read = |(name, value)| match value {
        AttributeValue::N(number) => match number.parse() {
            Ok(number) => Some(Ok((name, Value::Number(number)))),
            Err(_) => Some(Err(Unavailable::new(format!("attribute {name} is not a whole number")))),
        },
        AttributeValue::S(word) => Some(Ok((name, Value::Text(word)))),
        _ => None,
    };
    attributes.into_iter().filter(|(name, _)| name != "name").filter_map(read).collect()
}

/// A change as DynamoDB expressions.
#[derive(Debug, Default, PartialEq)]
struct Expressions {
    update: String,
    condition: String,
    names: HashMap<String, String>,
    values: HashMap<String, AttributeValue>,
}

impl Expressions {
    fn of(change: &Change) -> Self {
        let mut this = Self::default();
        let set: Vec<_> = change.set.iter().map(|(name, value)| this.pair(name, " = ", value)).collect();
        let add: Vec<_> = change.add.iter().map(|(name, more)| this.pair(name, " ", &Value::Number(*more))).collect();
        let remove: Vec<_> = change.remove.iter().map(|name| this.name(name)).collect();
        for (clause, parts) in [("SET", set), ("ADD", add), ("REMOVE", remove)] {
            if !parts.is_empty() {
                _ = write!(this.update, "{clause} {} ", parts.join(", "));
            }
        }
        this.condition = this.condition(&change.condition);
        this
    }

    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::All(conditions) => self.join(conditions, " AND "),
            Condition::Any(conditions) => self.join(conditions, " OR "),
            Condition::Absent(name) => format!("attribute_not_exists({})", self.name(name)),
            Condition::Is(name, value) => self.pair(name, " = ", value),
            Condition::Below(name, limit) => self.pair(name, " < ", &Value::Number(*limit)),
            Condition::Above(name, limit) => self.pair(name, " > ", &Value::Number(*limit)),
        }
    }

    fn join(&mut self, conditions: &[Condition], between: &str) -> String {
        let parts: Vec<_> = conditions.iter().map(|condition| self.condition(condition)).collect();
        format!("({})", parts.join(between))
    }

    fn pair(&mut self, name: &str, between: &str, value: &Value) -> String {
        let value = match value {
            Value::Number(number) => AttributeValue::N(number.to_string()),
            Value::Text(word) => AttributeValue::S(word.clone()),
        };
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        format!("{}{between}{placeholder}", self.name(name))
    }

    /// A placeholder for the name, which may be a reserved word. Our names are letters, digits and `_`.
    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_one_update_with_one_condition() {
        let change = Change {
            condition: Condition::All(vec![
                Condition::Is("st".into(), "half".into()),
                Condition::Any(vec![Condition::Absent("p0".into()), Condition::Below("p0".into(), 7)]),
                Condition::Above("wins".into(), 1),
            ]),
            set: vec![("gen".into(), 2.into()), ("st".into(), "closed".into())],
            add: vec![("f17".into(), 1)],
            remove: vec!["p0".into(), "p1".into()],
        };
        let expressions = Expressions::of(&change);
        assert_eq!(expressions.update, "SET #gen = :v0, #st = :v1 ADD #f17 :v2 REMOVE #p0, #p1 ");
        assert_eq!(expressions.condition, "(#st = :v3 AND (attribute_not_exists(#p0) OR #p0 < :v4) AND #wins > :v5)");
        assert_eq!(expressions.values[":v1"], AttributeValue::S("closed".into()));
        assert_eq!(expressions.values[":v4"], AttributeValue::N("7".into()));
        assert_eq!(expressions.names.len(), 6);
    }

    #[test]
    fn invalid_numbers_are_rejected_and_other_types_are_ignored() {
        let read = |name: &str, value| from_attributes(HashMap::from([(name.to_owned(), value)]));
        assert!(read("f1", AttributeValue::N("-1".into())).is_err());
        assert!(read("f1", AttributeValue::N("1.5".into())).is_err());
        assert_eq!(read("note", AttributeValue::Bool(true)).unwrap(), Item::new());
        assert_eq!(read("name", AttributeValue::S("payments".into())).unwrap(), Item::new());
    }
}
