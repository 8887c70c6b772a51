//! The state of a row, and the conditions of writes.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::Serialize;

use super::model::{CurrentRow, RowItem};
use crate::stream_id::Version;

/// The attribute of a parked row.
#[derive(Serialize)]
pub(super) struct Parked {
    /// The event that could not be projected.
    pub version: Version,
    /// The reason.
    pub reason: &'static str,
}

/// A row as read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RowState {
    /// The whole row; empty if it does not exist.
    pub row: RowItem,
    /// The newest version in it; 0 if it does not exist or has no readable version.
    pub version: Version,
    /// The version of the event for which it is parked until it is repaired.
    #[doc(alias = "poison_message")]
    pub parked: Option<Version>,
}

impl RowState {
    /// Parses a row.
    pub fn of(item: Option<RowItem>) -> Self {
        let row = item.unwrap_or_default();
        let number = |value: &AttributeValue| value.as_n().ok()?.parse().ok();
        let parked = row.get("parked").map(|mark| {
            let version = mark.as_m().ok().and_then(|mark| number(mark.get("version")?));
            version.unwrap_or(Version::MAX)
        });
        Self { version: row.get("version").and_then(number).unwrap_or(0), parked, row }
    }

    /// Whether it has, or is parked for, an event beyond `version`.
    pub fn is_ahead_of(&self, version: Version) -> bool {
        self.version > version || self.parked.is_some_and(|parked| parked > version)
    }
}

/// What a write expects of the row.
#[derive(Clone, Copy)]
pub(super) enum Expected<'a> {
    /// Not parked, and at this version; 0 for none.
    At(Version),
    /// Not parked, and at the version read.
    Seen(&'a RowState),
    /// At the version read. It is unparked.
    Unpark(&'a RowState),
    /// At the version read, and parked as read.
    Replace(&'a RowState),
    /// Not ahead of this version.
    NotAheadOf(Version),
}

/// A DynamoDB condition expression.
#[derive(Clone, Debug, Default)]
pub(super) struct Condition {
    pub text: String,
    pub names: HashMap<String, String>,
    pub values: HashMap<String, AttributeValue>,
}

/// Adds a condition to any of the SDK's builders of conditional writes, which share no trait.
macro_rules! on_condition {
    ($request:expr, $condition:expr) => {{
        let $crate::projection::state::Condition { text, names, values } = $condition;
        $request
            .condition_expression(text)
            .set_expression_attribute_names(Some(names))
            .set_expression_attribute_values(Some(values).filter(|values| !values.is_empty()))
            .return_values_on_condition_check_failure(
                aws_sdk_dynamodb::types::ReturnValuesOnConditionCheckFailure::AllOld,
            )
    }};
}
pub(super) use on_condition;

impl<'a> Expected<'a> {
    /// The row, as far as it was read.
    pub fn row(self) -> Option<&'a RowItem> {
        match self {
            Self::At(_) | Self::NotAheadOf(_) => None,
            Self::Seen(seen) | Self::Unpark(seen) | Self::Replace(seen) => Some(&seen.row),
        }
    }

    /// The row as passed to the model.
    pub fn before(self) -> CurrentRow<'a> {
        match self {
            Self::Seen(seen) | Self::Unpark(seen) | Self::Replace(seen) if seen.version > 0 => {
                CurrentRow::Row(&seen.row)
            }
            Self::At(0) | Self::Seen(_) | Self::Unpark(_) | Self::Replace(_) => CurrentRow::Missing,
            Self::At(_) | Self::NotAheadOf(_) => CurrentRow::NotRead,
        }
    }

    pub fn version(self) -> Version {
        match self {
            Self::At(version) | Self::NotAheadOf(version) => version,
            Self::Seen(seen) | Self::Unpark(seen) | Self::Replace(seen) => seen.version,
        }
    }

    /// The condition.
    pub fn condition(self) -> Condition {
        let mut condition = Condition::default();
        match self {
            Self::At(version) => {
                let version = (version > 0).then(|| AttributeValue::N(version.to_string()));
                condition.is("version", version.as_ref());
                condition.is("parked", None);
            }
            Self::Seen(seen) => {
                condition.is("version", seen.row.get("version"));
                condition.is("parked", None);
            }
            Self::Unpark(seen) => condition.is("version", seen.row.get("version")),
            Self::Replace(seen) => {
                condition.is("version", seen.row.get("version"));
                condition.is("parked", seen.row.get("parked"));
            }
            Self::NotAheadOf(version) => {
                condition.and(
                    "(attribute_not_exists(#version) OR #version <= :version) \
                     AND (attribute_not_exists(#parked) OR #parked.#version <= :version)",
                );
                condition.values.insert(":version".into(), AttributeValue::N(version.to_string()));
                condition.name("version");
                condition.name("parked");
            }
        }
        condition
    }
}

impl Condition {
    /// Requires that an attribute has this value or does not exist.
    pub fn is(&mut self, attribute: &str, value: Option<&AttributeValue>) {
        match value {
            None => self.and(&format!("attribute_not_exists(#{attribute})")),
            Some(value) => {
                self.and(&format!("#{attribute} = :{attribute}"));
                self.values.insert(format!(":{attribute}"), value.clone());
            }
        }
        self.name(attribute);
    }

    fn and(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push_str(" AND ");
        }
        self.text.push_str(text);
    }

    fn name(&mut self, attribute: &str) {
        self.names.insert(format!("#{attribute}"), attribute.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(pairs: &[(&str, AttributeValue)]) -> RowState {
        RowState::of(Some(pairs.iter().map(|(name, value)| ((*name).into(), value.clone())).collect()))
    }

    #[test]
    fn a_row_without_a_readable_version_is_at_version_0() {
        let number = AttributeValue::N("5".into());
        assert_eq!(RowState::of(None), RowState::default());
        assert_eq!(state(&[("version", number.clone())]).version, 5);
        assert_eq!(state(&[("version", AttributeValue::S("five".into()))]).version, 0);
        let mark = |version| AttributeValue::M([("version".into(), version)].into());
        assert_eq!(state(&[("version", number.clone())]).parked, None);
        assert_eq!(state(&[("parked", mark(number.clone())), ("version", number)]).parked, Some(5));
        assert_eq!(state(&[("parked", AttributeValue::Bool(true))]).parked, Some(Version::MAX), "until it is repaired");
    }

    #[test]
    fn a_row_is_ahead_by_its_version_or_by_the_event_that_parked_it() {
        let number = |n: &str| AttributeValue::N(n.into());
        let parked = |version, at| {
            state(&[
                ("version", number(version)),
                ("parked", AttributeValue::M([("version".into(), number(at))].into())),
            ])
        };
        assert!(state(&[("version", number("5"))]).is_ahead_of(4));
        assert!(!state(&[("version", number("5"))]).is_ahead_of(5));
        assert!(parked("3", "6").is_ahead_of(5) && !parked("3", "5").is_ahead_of(5));
    }
}
