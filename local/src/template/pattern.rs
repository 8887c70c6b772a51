//! Event patterns, as stream filters and rules of a bus have them: exact values and numeric ranges.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>

use serde::Deserialize;
use serde_json::Value;

/// The fields that an event must have.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Pattern(Vec<(String, Test)>);

/// A pattern that is not valid or not supported; the text says what and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event pattern has {0}")]
pub struct PatternError(String);

#[derive(Clone, Debug, PartialEq)]
enum Test {
    /// The field is an object that matches.
    Object(Pattern),
    /// The field has one of these values.
    OneOf(Vec<Matcher>),
}

#[derive(Clone, Debug, PartialEq)]
enum Matcher {
    Equals(Value),
    /// Comparisons that are all true.
    Numeric(Vec<(Comparison, f64)>),
}

type Comparison = fn(&f64, &f64) -> bool;

impl TryFrom<Value> for Pattern {
    type Error = PatternError;

    fn try_from(pattern: Value) -> Result<Self, PatternError> {
        let Value::Object(fields) = pattern else {
            return Err(PatternError(format!("{pattern} in place of an object")));
        };
        let fields = fields.into_iter().map(|(name, wanted)| match wanted {
            Value::Object(_) => Ok((name, Test::Object(wanted.try_into()?))),
            // `$or` has a list of patterns.
            Value::Array(values) if !values.is_empty() && !name.starts_with('$') => {
                let matchers = values.into_iter().map(Matcher::parse).collect::<Result<_, _>>()?;
                Ok((name, Test::OneOf(matchers)))
            }
            other => Err(PatternError(format!("{other} for {name}, where a list of values or an object belongs"))),
        });
        Ok(Self(fields.collect::<Result<_, _>>()?))
    }
}

impl Pattern {
    /// Whether the event matches.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.iter().all(|(name, test)| {
            let found = match event.get(name) {
                Some(Value::Array(parts)) => parts.iter().collect(),
                found => Vec::from_iter(found),
            };
            match test {
                Test::Object(pattern) => found.iter().any(|value| pattern.matches(value)),
                Test::OneOf(matchers) => matchers.iter().any(|m| found.iter().any(|value| m.matches(value))),
            }
        })
    }
}

impl Matcher {
    fn parse(matcher: Value) -> Result<Self, PatternError> {
        let unsupported = || PatternError(format!("the operator {matcher}, which the local stack does not support"));
        let operator = match &matcher {
            Value::Array(_) => return Err(unsupported()),
            Value::Object(operator) => operator,
            _ => return Ok(Self::Equals(matcher)),
        };
        let (Some(Value::Array(parts)), 1) = (operator.get("numeric"), operator.len()) else {
            return Err(unsupported());
        };
        let comparisons = parts.chunks(2).map(|pair| {
            let (Some(comparison), Some(bound)) = (pair[0].as_str(), pair.get(1)?.as_f64()) else { return None };
            let comparison: Comparison = match comparison {
                "<" => f64::lt,
                "<=" => f64::le,
                "=" => f64::eq,
                ">=" => f64::ge,
                ">" => f64::gt,
                _ => return None,
            };
            Some((comparison, bound))
        });
        let comparisons: Vec<_> = comparisons.collect::<Option<_>>().ok_or_else(unsupported)?;
        if comparisons.is_empty() { Err(unsupported()) } else { Ok(Self::Numeric(comparisons)) }
    }

    fn matches(&self, value: &Value) -> bool {
        match self {
            Self::Equals(Value::Number(wanted)) => value.is_number() && value.as_f64() == wanted.as_f64(),
            Self::Equals(wanted) => value == wanted,
            Self::Numeric(comparisons) => value
                .as_f64()
                .is_some_and(|number| comparisons.iter().all(|(comparison, bound)| comparison(&number, bound))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(pattern: Value, event: Value) -> bool {
        Pattern::try_from(pattern).unwrap().matches(&event)
    }

    #[test]
    fn every_field_needs_one_of_its_values() {
        let pattern = json!({"source": ["payments"], "detail-type": ["A", "B"], "detail": {"data": {"paid": [true]}}});
        let event = json!({"source": "payments", "detail-type": "B", "detail": {"data": {"paid": true}}, "more": 1});
        assert!(matches(pattern.clone(), event.clone()));
        for (field, other) in [("source", json!("other")), ("detail-type", json!("C")), ("detail", json!({"data": {}}))]
        {
            let mut event = event.clone();
            event[field] = other;
            assert!(!matches(pattern.clone(), event), "{field}");
        }
    }

    #[test]
    fn values_are_compared_as_eventbridge_does() {
        for (test, value, expected) in [
            (json!("a"), json!("a"), true),
            (json!("a"), json!("A"), false),
            (json!("a"), json!(["b", "a"]), true),
            (json!(null), json!(null), true),
            (json!(1), json!(1.0), true),
            (json!(1), json!("1"), false),
            (json!({"numeric": [">", 0, "<=", 5]}), json!(5), true),
            (json!({"numeric": [">", 0, "<=", 5]}), json!(0), false),
            (json!({"numeric": ["=", 1]}), json!("1"), false),
        ] {
            assert_eq!(matches(json!({"f": [test]}), json!({"f": value})), expected, "{test} {value}");
        }
        assert!(!matches(json!({"f": [null]}), json!({})), "a missing field has no value");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (pattern, named) in [
            (json!({"f": [{"prefix": "a"}]}), "prefix"),
            (json!({"f": [{"exists": false}]}), "exists"),
            (json!({"f": [{"numeric": ["~", 1]}]}), "~"),
            (json!({"f": [{"numeric": [">"]}]}), "numeric"),
            (json!({"f": [{"numeric": []}]}), "numeric"),
            (json!({"$or": [{"a": [1]}]}), "$or"),
            (json!({"f": []}), "[] for f"),
            (json!({"f": "x"}), "f"),
            (json!([1]), "[1]"),
        ] {
            let error = Pattern::try_from(pattern).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
