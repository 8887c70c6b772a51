//! Event patterns, as filters of streams and rules of a bus have them.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>

use serde_json::Value;

/// What an event must have: every one of these.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(Vec<Clause>);

/// A pattern has something that is not known; the text says what and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the event pattern has {0}")]
pub struct PatternError(String);

#[derive(Clone, Debug, PartialEq)]
enum Clause {
    /// The field is an object that matches.
    Field(String, Pattern),
    /// The field passes any one of these.
    Value(String, Vec<Test>),
    /// `$or`
    AnyOf(Vec<Pattern>),
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Equals(Value),
    Exists(bool),
    Prefix(String),
    Suffix(String),
    EqualsIgnoreCase(String),
    /// The fixed parts between the stars.
    Wildcard(Vec<String>),
    /// Comparisons that all hold.
    Numeric(Vec<(Comparison, f64)>),
    /// None of these.
    AnythingBut(Vec<Test>),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it is no pattern, or has an operator that is not known here.
    pub fn parse(pattern: &Value) -> Result<Self, PatternError> {
        let Value::Object(fields) = pattern else {
            return Err(PatternError(format!("{pattern} in place of an object")));
        };
        let clauses = fields.iter().map(|(name, wanted)| match wanted {
            Value::Array(inner) if name == "$or" => {
                inner.iter().map(Self::parse).collect::<Result<_, _>>().map(Clause::AnyOf)
            }
            Value::Object(_) => Self::parse(wanted).map(|inner| Clause::Field(name.clone(), inner)),
            Value::Array(tests) => {
                let tests = tests.iter().map(Test::parse).collect::<Result<_, _>>();
                tests.map(|tests| Clause::Value(name.clone(), tests))
            }
            other => Err(PatternError(format!("{other} for {name}, where a list or an object belongs"))),
        });
        clauses.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the event has what the pattern asks for.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.iter().all(|clause| match clause {
            Clause::AnyOf(patterns) => patterns.iter().any(|pattern| pattern.matches(event)),
            Clause::Field(name, pattern) => match event.get(name) {
                Some(Value::Array(parts)) => parts.iter().any(|part| pattern.matches(part)),
                Some(part) => pattern.matches(part),
                // Only a pattern that asks for absence can match here.
                None => pattern.matches(&Value::Null),
            },
            Clause::Value(name, tests) => tests.iter().any(|test| match event.get(name) {
                // Absence is of the field, and a list is there even when it is empty.
                Some(Value::Array(parts)) if !matches!(test, Test::Exists(_)) => {
                    parts.iter().any(|part| test.passes(Some(part)))
                }
                value => test.passes(value),
            }),
        })
    }
}

impl Test {
    fn parse(test: &Value) -> Result<Self, PatternError> {
        let Value::Object(operator) = test else {
            return match test {
                Value::Array(_) => Err(PatternError(format!("the list {test} in a list"))),
                scalar => Ok(Self::Equals(scalar.clone())),
            };
        };
        let unknown = || PatternError(format!("the operator {test}, which the local stack does not know"));
        let mut operators = operator.iter();
        let (Some((name, argument)), None) = (operators.next(), operators.next()) else { return Err(unknown()) };
        Ok(match (name.as_str(), argument) {
            ("exists", Value::Bool(wanted)) => Self::Exists(*wanted),
            ("prefix", Value::String(text)) => Self::Prefix(text.clone()),
            ("suffix", Value::String(text)) => Self::Suffix(text.clone()),
            ("equals-ignore-case", Value::String(text)) => Self::EqualsIgnoreCase(text.to_lowercase()),
            ("wildcard", Value::String(text)) => Self::Wildcard(text.split('*').map(str::to_owned).collect()),
            ("anything-but", Value::Array(refused)) => {
                Self::AnythingBut(refused.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            ("anything-but", refused) => Self::AnythingBut(vec![Self::parse(refused)?]),
            ("numeric", Value::Array(parts)) if !parts.is_empty() && parts.len().is_multiple_of(2) => {
                let comparisons = parts.chunks(2).map(|pair| {
                    let comparison = match pair[0].as_str()? {
                        "<" => Comparison::Less,
                        "<=" => Comparison::LessOrEqual,
                        "=" => Comparison::Equal,
                        ">=" => Comparison::GreaterOrEqual,
                        ">" => Comparison::Greater,
                        _ => return None,
                    };
                    Some((comparison, pair[1].as_f64()?))
                });
                Self::Numeric(comparisons.collect::<Option<_>>().ok_or_else(unknown)?)
            }
            _ => return Err(unknown()),
        })
    }

    fn passes(&self, value: Option<&Value>) -> bool {
        let text = value.and_then(Value::as_str);
        match self {
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::Equals(Value::Number(wanted)) => value.and_then(Value::as_f64) == wanted.as_f64(),
            Self::Equals(wanted) => value == Some(wanted),
            Self::Prefix(start) => text.is_some_and(|text| text.starts_with(start)),
            Self::Suffix(end) => text.is_some_and(|text| text.ends_with(end)),
            Self::EqualsIgnoreCase(wanted) => text.is_some_and(|text| text.to_lowercase() == *wanted),
            Self::Wildcard(parts) => text.is_some_and(|text| fits(parts, text)),
            Self::Numeric(comparisons) => value
                .and_then(Value::as_f64)
                .is_some_and(|number| comparisons.iter().all(|(comparison, bound)| comparison.holds(number, *bound))),
            Self::AnythingBut(refused) => value.is_some() && !refused.iter().any(|test| test.passes(value)),
        }
    }
}

impl Comparison {
    fn holds(self, number: f64, bound: f64) -> bool {
        match self {
            Self::Less => number < bound,
            Self::LessOrEqual => number <= bound,
            Self::Equal => number == bound,
            Self::GreaterOrEqual => number >= bound,
            Self::Greater => number > bound,
        }
    }
}

/// Whether the text consists of these parts in order, with anything between them.
fn fits(parts: &[String], text: &str) -> bool {
    let [first, middle @ .., last] = parts else { return parts.first().is_some_and(|only| only == text) };
    let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
    for part in middle {
        match rest.split_once(part.as_str()) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last.as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn matches(pattern: Value, event: Value) -> bool {
        Pattern::parse(&pattern).unwrap().matches(&event)
    }

    #[test]
    fn every_field_must_match_one_of_its_values() {
        let pattern = json!({"source": ["payments"], "detail": {"kind": ["a", "b"], "count": [1], "none": [null]}});
        let event = json!({"source": "payments", "detail": {"kind": "b", "count": 1.0, "none": null, "more": 2}});
        assert!(matches(pattern.clone(), event));
        assert!(!matches(pattern, json!({"source": "payments", "detail": {"kind": "c", "count": 1, "none": null}})));
        assert!(!matches(json!({"a": []}), json!({"a": 1})));
    }

    #[test]
    fn a_list_in_the_event_matches_when_one_of_its_values_does() {
        assert!(matches(json!({"tags": ["x"]}), json!({"tags": ["y", "x"]})));
        assert!(matches(json!({"items": {"id": [7]}}), json!({"items": [{"id": 6}, {"id": 7}]})));
        assert!(!matches(json!({"tags": ["x"]}), json!({"tags": []})));
    }

    #[test]
    fn operators_compare_text_numbers_and_presence() {
        for (test, value, expected) in [
            (json!({"prefix": "ab"}), json!("abc"), true),
            (json!({"prefix": "ab"}), json!("ba"), false),
            (json!({"suffix": ".png"}), json!("a.png"), true),
            (json!({"equals-ignore-case": "YES"}), json!("yes"), true),
            (json!({"wildcard": "a*c*e"}), json!("abcde"), true),
            (json!({"wildcard": "a*c"}), json!("abcd"), false),
            (json!({"wildcard": "a*a"}), json!("a"), false),
            (json!({"numeric": [">", 0, "<=", 5]}), json!(5), true),
            (json!({"numeric": [">", 0, "<=", 5]}), json!(0), false),
            (json!({"numeric": ["=", 1]}), json!("1"), false),
            (json!({"anything-but": ["a", "b"]}), json!("c"), true),
            (json!({"anything-but": ["a", "b"]}), json!("b"), false),
            (json!({"anything-but": {"prefix": "x"}}), json!("xy"), false),
            (json!({"exists": true}), json!([]), true),
            (json!({"exists": false}), json!(1), false),
        ] {
            assert_eq!(matches(json!({"f": [test]}), json!({"f": value})), expected, "{test} {value}");
        }
    }

    #[test]
    fn a_missing_field_matches_only_where_absence_is_asked_for() {
        assert!(matches(json!({"detail": {"f": [{"exists": false}]}}), json!({})));
        assert!(!matches(json!({"f": [{"exists": true}]}), json!({})));
        assert!(!matches(json!({"f": [{"anything-but": "a"}]}), json!({})));
        assert!(!matches(json!({"f": [null]}), json!({})));
    }

    #[test]
    fn one_of_the_alternatives_suffices() {
        let pattern = json!({"source": ["s"], "$or": [{"a": [1]}, {"b": [2]}]});
        assert!(matches(pattern.clone(), json!({"source": "s", "b": 2})));
        assert!(!matches(pattern, json!({"source": "s", "a": 2})));
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (pattern, named) in [
            (json!({"f": [{"cidr": "10.0.0.0/8"}]}), "cidr"),
            (json!({"f": "x"}), "f"),
            (json!({"f": [{"numeric": ["~", 1]}]}), "~"),
            (json!([1]), "[1]"),
        ] {
            let error = Pattern::parse(&pattern).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
