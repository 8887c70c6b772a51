//! Conditional updates as data: written once, they run on DynamoDB, on a container's own memory, and under a test.
//!
//! The meaning is DynamoDB's: a comparison with an attribute that is not there is false, and adding to one begins at
//! nothing.

use std::collections::BTreeMap;

/// What one attribute holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number: a count, or microseconds since 1970.
    Number(u64),
    /// A word.
    Word(String),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(word: &str) -> Self {
        Self::Word(word.to_owned())
    }
}

/// A breaker's item, without its key. Empty when there is none.
pub type Item = BTreeMap<String, Value>;

/// What must hold for a change to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// All of these; there is at least one.
    All(Vec<Guard>),
    /// One of these; there is at least one.
    Any(Vec<Guard>),
    /// The attribute is not there.
    Absent(String),
    /// The attribute is there and is this.
    Is(String, Value),
    /// The attribute is there and less than this.
    Below(String, u64),
    /// The attribute is there and more than this.
    Above(String, u64),
}

impl Guard {
    /// Whether it holds for `item`.
    pub fn holds(&self, item: &Item) -> bool {
        let compare = |name: &String, holds: &dyn Fn(u64) -> bool| match item.get(name) {
            Some(Value::Number(number)) => holds(*number),
            _ => false,
        };
        match self {
            Self::All(guards) => guards.iter().all(|guard| guard.holds(item)),
            Self::Any(guards) => guards.iter().any(|guard| guard.holds(item)),
            Self::Absent(name) => !item.contains_key(name),
            Self::Is(name, value) => item.get(name) == Some(value),
            Self::Below(name, limit) => compare(name, &|number| number < *limit),
            Self::Above(name, limit) => compare(name, &|number| number > *limit),
        }
    }
}

/// One atomic update of an item. No attribute is named twice in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// When it may be made.
    pub guard: Guard,
    /// Attributes and what they become.
    pub set: Vec<(String, Value)>,
    /// Attributes and what they grow by.
    pub add: Vec<(String, u64)>,
    /// Attributes that go.
    pub remove: Vec<String>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made, and this is the item after it.
    Made(Item),
    /// Its guard did not hold, and this is the item that it met.
    Refused(Item),
}

impl Change {
    /// Makes the change to `item`, if its guard holds.
    pub fn apply(&self, mut item: Item) -> Changed {
        if !self.guard.holds(&item) {
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

/// An item that no version of this program has written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {0:?} of a breaker's item cannot be read")]
pub struct Malformed(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    fn item(attributes: &[(&str, u64)]) -> Item {
        attributes.iter().map(|(name, number)| ((*name).to_owned(), Value::from(*number))).collect()
    }

    #[test]
    fn a_comparison_with_what_is_not_there_is_false() {
        let guards = [Guard::Is("n".into(), 1.into()), Guard::Below("n".into(), u64::MAX), Guard::Above("n".into(), 0)];
        for guard in guards {
            assert!(!guard.holds(&Item::new()), "{guard:?}");
            assert!(guard.holds(&item(&[("n", 1)])), "{guard:?}");
        }
        assert!(Guard::Absent("n".into()).holds(&Item::new()));
    }

    #[test]
    fn all_and_any_are_what_they_say() {
        let (yes, no) = (Guard::Absent("x".into()), Guard::Above("x".into(), 0));
        assert!(!Guard::All(vec![yes.clone(), no.clone()]).holds(&Item::new()));
        assert!(Guard::Any(vec![no, yes]).holds(&Item::new()));
    }

    #[test]
    fn a_change_sets_adds_and_removes_at_once_or_not_at_all() {
        let change = Change {
            guard: Guard::Is("gen".into(), 1.into()),
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
