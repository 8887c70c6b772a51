//! The contributions of rows to totals.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

/// Counters by their names.
pub type Counters = BTreeMap<String, i128>;

/// Counters by total. Counters that are 0 and totals without counters are omitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counts(BTreeMap<String, Counters>);

/// A malformed `counted` attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the attribute `counted` is not a map of maps of integers")]
pub struct InvalidCounts;

impl Counts {
    /// Parses the attribute; empty if it is missing.
    ///
    /// # Errors
    /// [`InvalidCounts`].
    pub fn read(attribute: Option<&AttributeValue>) -> Result<Self, InvalidCounts> {
        let Some(attribute) = attribute else { return Ok(Self::default()) };
        let mut counts = Self::default();
        for (total, counters) in attribute.as_m().map_err(|_| InvalidCounts)? {
            for (counter, n) in counters.as_m().map_err(|_| InvalidCounts)? {
                counts.add(total, counter, n.as_n().ok().and_then(|n| n.parse().ok()).ok_or(InvalidCounts)?);
            }
        }
        Ok(counts)
    }

    /// The attribute.
    pub fn to_attribute(&self) -> AttributeValue {
        let counters = |counters: &Counters| {
            let counters = counters.iter().map(|(counter, n)| (counter.clone(), AttributeValue::N(n.to_string())));
            AttributeValue::M(counters.collect())
        };
        let totals: HashMap<_, _> = self.0.iter().map(|(total, each)| (total.clone(), counters(each))).collect();
        AttributeValue::M(totals)
    }

    /// Adds to a counter of a total. Names must not be empty; `shard`, `name` and `changes` are reserved.
    ///
    /// Sums beyond 128 bits do not occur, because DynamoDB numbers have 38 digits.
    pub fn add(&mut self, total: &str, counter: &str, n: i128) {
        let counters = self.0.entry(total.to_owned()).or_default();
        let sum = counters.entry(counter.to_owned()).or_default();
        *sum = sum.saturating_add(n);
        if *sum == 0 {
            counters.remove(counter);
        }
        if counters.is_empty() {
            self.0.remove(total);
        }
    }

    /// Adds all counters.
    pub fn add_all(&mut self, other: &Self) {
        other.each(|total, counter, n| self.add(total, counter, n));
    }

    /// The difference to `before`.
    #[must_use]
    pub fn difference(&self, before: &Self) -> Self {
        let mut difference = self.clone();
        before.each(|total, counter, n| difference.add(total, counter, n.saturating_neg()));
        difference
    }

    /// Whether all counters are 0.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The totals by name.
    pub fn totals(&self) -> impl ExactSizeIterator<Item = (&String, &Counters)> {
        self.0.iter()
    }

    fn each(&self, mut f: impl FnMut(&str, &str, i128)) {
        for (total, counters) in &self.0 {
            for (counter, n) in counters {
                f(total, counter, *n);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(all: &[(&str, &str, i128)]) -> Counts {
        let mut counts = Counts::default();
        for (total, counter, n) in all {
            counts.add(total, counter, *n);
        }
        counts
    }

    #[test]
    fn an_attribute_round_trips_and_a_missing_one_is_empty() {
        let some = counts(&[("monday", "orders", 2), ("monday", "value", -7), ("tuesday", "orders", 1)]);
        assert_eq!(Counts::read(Some(&some.to_attribute())), Ok(some));
        assert_eq!(Counts::read(None), Ok(Counts::default()));
    }

    #[test]
    fn a_malformed_attribute_is_rejected() {
        let map = |value| AttributeValue::M([("a".into(), value)].into());
        let text = || AttributeValue::S("1".into());
        for damaged in [text(), map(text()), map(map(text())), map(map(AttributeValue::N("1.5".into())))] {
            assert_eq!(Counts::read(Some(&damaged)), Err(InvalidCounts), "{damaged:?}");
        }
    }

    #[test]
    fn the_difference_holds_only_what_changed() {
        let before = counts(&[("monday", "pending", 1), ("monday", "value", 50), ("tuesday", "paid", 1)]);
        let after = counts(&[("monday", "paid", 1), ("monday", "value", 50), ("tuesday", "paid", 1)]);
        let difference = counts(&[("monday", "pending", -1), ("monday", "paid", 1)]);
        assert_eq!(after.difference(&before), difference);
        assert!(before.difference(&before).is_empty());
        let mut sum = before;
        sum.add_all(&difference);
        assert_eq!(sum, after);
    }
}
