//! Event patterns, as filters of streams and rules of a bus have them.
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>

use std::net::IpAddr;

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
    PrefixIgnoreCase(String),
    SuffixIgnoreCase(String),
    /// The fixed parts between the stars.
    Wildcard(Vec<String>),
    /// A network and how many bits of it count.
    Cidr(IpAddr, u8),
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
        if fields.is_empty() {
            return Err(PatternError("an empty object, which no event could match".to_owned()));
        }
        let clauses = fields.iter().map(|(name, wanted)| match wanted {
            Value::Array(empty) if empty.is_empty() => {
                Err(PatternError(format!("an empty list for {name}, which no event could match")))
            }
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
            Clause::Value(name, tests) => {
                let mut values = Vec::new();
                leaves(event.get(name), &mut values);
                tests.iter().any(|test| match test {
                    Test::Exists(wanted) => values.is_empty() != *wanted,
                    test => values.iter().any(|value| test.passes(value)),
                })
            }
        })
    }
}

/// The values in a field that tests are about: one, or those of a list. Objects are none, and so is nothing in a list.
fn leaves<'e>(field: Option<&'e Value>, values: &mut Vec<&'e Value>) {
    match field {
        Some(Value::Array(parts)) => parts.iter().for_each(|part| leaves(Some(part), values)),
        None | Some(Value::Object(_)) => {}
        Some(value) => values.push(value),
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
            ("prefix" | "suffix", Value::Object(inner)) => match (inner.len(), inner.get("equals-ignore-case")) {
                (1, Some(Value::String(text))) if name == "prefix" => Self::PrefixIgnoreCase(text.to_lowercase()),
                (1, Some(Value::String(text))) => Self::SuffixIgnoreCase(text.to_lowercase()),
                _ => return Err(unknown()),
            },
            ("wildcard", Value::String(text)) => Self::Wildcard(wildcard(text).ok_or_else(unknown)?),
            ("cidr", Value::String(text)) => cidr(text).ok_or_else(unknown)?,
            ("anything-but", Value::Array(refused)) if !refused.is_empty() => {
                Self::AnythingBut(refused.iter().map(Self::parse).collect::<Result<_, _>>()?)
            }
            // Of one operator, with one value or several.
            ("anything-but", Value::Object(inner)) => match inner.iter().next() {
                Some((operator, Value::Array(values))) if inner.len() == 1 && !values.is_empty() => {
                    let tests = values.iter().map(|value| Self::parse(&serde_json::json!({ (operator): value })));
                    Self::AnythingBut(tests.collect::<Result<_, _>>()?)
                }
                _ => Self::AnythingBut(vec![Self::parse(argument)?]),
            },
            ("anything-but", Value::String(_) | Value::Number(_)) => Self::AnythingBut(vec![Self::parse(argument)?]),
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

    fn passes(&self, value: &Value) -> bool {
        let text = value.as_str();
        let lower = || text.map(str::to_lowercase).unwrap_or_default();
        match self {
            Self::Exists(wanted) => *wanted,
            Self::Equals(Value::Number(wanted)) => value.is_number() && value.as_f64() == wanted.as_f64(),
            Self::Equals(wanted) => value == wanted,
            Self::Prefix(start) => text.is_some_and(|text| text.starts_with(start)),
            Self::Suffix(end) => text.is_some_and(|text| text.ends_with(end)),
            Self::EqualsIgnoreCase(wanted) => text.is_some() && lower() == *wanted,
            Self::PrefixIgnoreCase(start) => text.is_some() && lower().starts_with(start),
            Self::SuffixIgnoreCase(end) => text.is_some() && lower().ends_with(end),
            Self::Wildcard(parts) => text.is_some_and(|text| fits(parts, text)),
            Self::Cidr(network, bits) => {
                text.and_then(|text| text.parse().ok()).is_some_and(|address| within(address, *network, *bits))
            }
            Self::Numeric(comparisons) => value
                .as_f64()
                .is_some_and(|number| comparisons.iter().all(|(comparison, bound)| comparison.holds(number, *bound))),
            Self::AnythingBut(refused) => !refused.iter().any(|test| test.passes(value)),
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

/// The parts between the stars; a backslash makes a star or a backslash a character like others. None when a star
/// follows a star, or a backslash stands before anything else.
fn wildcard(text: &str) -> Option<Vec<String>> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars();
    let mut star = false;
    while let Some(character) = characters.next() {
        match character {
            '*' if star => return None,
            '*' => parts.push(String::new()),
            '\\' => parts.last_mut()?.push(characters.next().filter(|next| matches!(next, '*' | '\\'))?),
            other => parts.last_mut()?.push(other),
        }
        star = character == '*';
    }
    Some(parts)
}

fn cidr(text: &str) -> Option<Test> {
    let (network, bits) = text.split_once('/')?;
    let (network, bits): (IpAddr, u8) = (network.parse().ok()?, bits.parse().ok()?);
    (bits <= if network.is_ipv4() { 32 } else { 128 }).then_some(Test::Cidr(network, bits))
}

/// Whether the first bits of the two are the same.
fn within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let rest = |width: u32| width - u32::from(bits);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(rest(32)).unwrap_or(0) == 0,
        (IpAddr::V6(a), IpAddr::V6(n)) => (a.to_bits() ^ n.to_bits()).checked_shr(rest(128)).unwrap_or(0) == 0,
        _ => false,
    }
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
    }

    #[test]
    fn a_list_in_the_event_matches_when_one_of_its_values_does() {
        assert!(matches(json!({"tags": ["x"]}), json!({"tags": ["y", "x"]})));
        assert!(matches(json!({"items": {"id": [7]}}), json!({"items": [{"id": 6}, {"id": 7}]})));
        assert!(!matches(json!({"tags": ["x"]}), json!({"tags": []})));
        // Both fields in one and the same part of the list.
        let pattern = json!({"items": {"id": [7], "size": ["s"]}});
        assert!(matches(pattern.clone(), json!({"items": [{"id": 7, "size": "s"}]})));
        assert!(!matches(pattern, json!({"items": [{"id": 7, "size": "m"}, {"id": 6, "size": "s"}]})));
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
            (json!({"wildcard": "*/lib/*"}), json!("/usr/lib/x"), true),
            (json!({"wildcard": "a\\*c"}), json!("a*c"), true),
            (json!({"wildcard": "a\\*c"}), json!("abc"), false),
            (json!({"wildcard": "a\\\\*"}), json!("a\\bc"), true),
            (json!({"wildcard": "abc"}), json!("abcd"), false),
            (json!({"prefix": {"equals-ignore-case": "EventB"}}), json!("eventbridge"), true),
            (json!({"suffix": {"equals-ignore-case": ".PNG"}}), json!("a.png"), true),
            (json!({"suffix": {"equals-ignore-case": ".PNG"}}), json!("a.jpg"), false),
            (json!({"equals-ignore-case": "1"}), json!(1), false),
            (json!({"numeric": [">", 0, "<=", 5]}), json!(5), true),
            (json!({"numeric": [">", 0, "<=", 5]}), json!(0), false),
            (json!({"numeric": ["=", 1]}), json!("1"), false),
            (json!({"anything-but": ["a", "b"]}), json!("c"), true),
            (json!({"anything-but": ["a", "b"]}), json!("b"), false),
            (json!({"anything-but": ["a"]}), json!(["a", "b"]), true),
            (json!({"anything-but": [1, 2]}), json!(2.0), false),
            (json!({"anything-but": 3}), json!("3"), true),
            (json!({"anything-but": {"prefix": "x"}}), json!("xy"), false),
            (json!({"anything-but": {"prefix": ["x", "y"]}}), json!("yx"), false),
            (json!({"anything-but": {"suffix": [".png", ".jpg"]}}), json!("a.gif"), true),
            (json!({"anything-but": {"equals-ignore-case": "Open"}}), json!("OPEN"), false),
            (json!({"anything-but": {"wildcard": "*/lib/*"}}), json!("/usr/lib/x"), false),
            (json!({"cidr": "10.1.0.0/16"}), json!("10.1.255.1"), true),
            (json!({"cidr": "10.1.0.0/16"}), json!("10.2.0.1"), false),
            (json!({"cidr": "0.0.0.0/0"}), json!("10.2.0.1"), true),
            (json!({"cidr": "2001:db8::/32"}), json!("2001:db8:1::1"), true),
            (json!({"cidr": "2001:db8::/32"}), json!("10.2.0.1"), false),
            (json!({"cidr": "10.1.0.0/16"}), json!("next door"), false),
            (json!({"exists": true}), json!([1]), true),
            (json!({"exists": true}), json!(null), true),
            (json!({"exists": false}), json!(1), false),
            // Nothing in a list and an object are no values.
            (json!({"exists": true}), json!([]), false),
            (json!({"exists": true}), json!({"g": 1}), false),
            (json!({"exists": false}), json!({"g": 1}), true),
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
            (json!({"f": [{"cidr": "10.0.0.0/33"}]}), "cidr"),
            (json!({"f": [{"wildcard": "a**"}]}), "a**"),
            (json!({"f": [{"wildcard": "a\\b"}]}), "wildcard"),
            (json!({"f": [{"anything-but": []}]}), "anything-but"),
            (json!({"f": [{"anything-but": {"prefix": [{"prefix": "a"}]}}]}), "prefix"),
            (json!({"f": [{"prefix": {"suffix": "a"}}]}), "suffix"),
            (json!({"f": [{"matches": "a"}]}), "matches"),
            (json!({"f": []}), "empty list for f"),
            (json!({"f": {}}), "empty object"),
            (json!({"f": "x"}), "f"),
            (json!({"f": [{"numeric": ["~", 1]}]}), "~"),
            (json!([1]), "[1]"),
        ] {
            let error = Pattern::parse(&pattern).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
