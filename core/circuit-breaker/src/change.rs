//! Conditional updates as data, which run on DynamoDB, on a container's local state and in tests.
//!
//! The semantics are DynamoDB's: a comparison with a missing attribute is false, and adding to one starts at 0.

use std::collections::BTreeMap;

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A count, or microseconds since the Unix epoch.
    Number(u64),
    /// A text.
    Text(String),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// A breaker's item without its key; empty if it does not exist.
pub type Item = BTreeMap<String, Value>;

/// The condition of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All of these, at least one.
    All(Vec<Condition>),
    /// Any of these, at least one.
    Any(Vec<Condition>),
    /// The attribute does not exist.
    Absent(String),
    /// The attribute equals the value.
    Is(String, Value),
    /// The attribute exists and is less.
    Below(String, u64),
    /// The attribute exists and is greater.
    Above(String, u64),
}

impl Condition {
    /// Whether it holds for `item`.
    pub fn holds(&self, item: &Item) -> bool {
        let compare = |name: &String, holds: &dyn Fn(u64) -> bool| match item.get(name) {
            Some(Value::Number(number)) => holds(*number),
            _ => false,
        };
        match self {
            Self::All(conditions) => conditions.iter().all(|condition| condition.holds(item)),
            Self::Any(conditions) => conditions.iter().any(|condition| condition.holds(item)),
            Self::Absent(name) => !item.contains_key(name),
            Self::Is(name, value) => item.get(name) == Some(value),
            Self::Below(name, limit) => compare(name, &|number| number < *limit),
            Self::Above(name, limit) => compare(name, &|number| number > *limit),
        }
    }
}

/// An atomic conditional update of an item. Each attribute appears once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The condition.
    pub condition: Condition,
    /// Attributes to set.
    pub set: Vec<(String, Value)>,
    /// Attributes to increase.
    pub add: Vec<(String, u64)>,
    /// Attributes to remove.
    pub remove: Vec<String>,
}

/// The result of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was applied; the item after it.
    Applied(Item),
    /// The condition did not hold; the current item.
    ConditionFailed(Item),
}

impl Change {
    /// Applies the change to `item`, if its condition holds.
    pub fn apply(&self, mut item: Item) -> Changed {
        if !self.condition.holds(&item) {
            return Changed::ConditionFailed(item);
        }
        for (name, value) in &self.set {
            item.insert(name.clone(), value.clone());
        }
        for (name, more) in &self.add {
            let old = match item.get(name) {
                Some(Value::Number(number)) => *number,
                _ => 0,
            };
            item.insert(name.clone(), old.saturating_add(*more).into());
        }
        for name in &self.remove {
            item.remove(name);
        }
        Changed::Applied(item)
    }
}

/// An item that this library did not write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0:?} of the circuit breaker's item is malformed")]
pub struct Malformed(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn item(attributes: &[(&str, u64)]) -> Item {
        attributes.iter().map(|(name, number)| ((*name).to_owned(), Value::from(*number))).collect()
    }

    #[test]
    fn a_comparison_with_a_missing_attribute_is_false() {
        let conditions = [
            Condition::Is("n".into(), 1.into()),
            Condition::Below("n".into(), u64::MAX),
            Condition::Above("n".into(), 0),
        ];
        for condition in conditions {
            assert!(!condition.holds(&Item::new()), "{condition:?}");
            assert!(condition.holds(&item(&[("n", 1)])), "{condition:?}");
        }
        assert!(Condition::Absent("n".into()).holds(&Item::new()));
    }

    #[test]
    fn all_and_any_combine_conditions() {
        let (yes, no) = (Condition::Absent("x".into()), Condition::Above("x".into(), 0));
        assert!(!Condition::All(vec![yes.clone(), no.clone()]).holds(&Item::new()));
        assert!(Condition::Any(vec![no, yes]).holds(&Item::new()));
    }

    #[test]
    fn a_change_is_applied_as_a_whole_or_not_at_all() {
        let change = Change {
            condition: Condition::Is("gen".into(), 1.into()),
            set: vec![("st".into(), "open".into())],
            add: vec![("f1".into(), 2), ("f2".into(), 1)],
            remove: vec!["p0".into(), "p1".into()],
        };
        let before = item(&[("gen", 1), ("f1", 3), ("p0", 9)]);
        let mut after = item(&[("gen", 1), ("f1", 5), ("f2", 1)]);
        after.insert("st".into(), "open".into());
        assert_eq!(change.apply(before), Changed::Applied(after));
        assert_eq!(change.apply(item(&[("gen", 2)])), Changed::ConditionFailed(item(&[("gen", 2)])));
    }
}
