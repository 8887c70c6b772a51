//! The size of an item as DynamoDB counts it (developer guide, "DynamoDB item sizes and formats").

use serde_dynamo::{AttributeValue, Item};

/// The maximum item size: 400 KB, names and values together.
pub(super) const MAX_ITEM_BYTES: usize = 400 * 1024;

/// An upper bound of the item's size in bytes.
pub(super) fn item_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

fn value_bytes(value: &AttributeValue) -> usize {
    /// The overhead of a list or map; each element adds one byte.
    const CONTAINER: usize = 3;
    match value {
        AttributeValue::S(text) => text.len(),
        AttributeValue::N(number) => number_bytes(number),
        AttributeValue::B(bytes) => bytes.len(),
        AttributeValue::Bool(_) | AttributeValue::Null(_) => 1,
        AttributeValue::L(list) => CONTAINER + list.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        AttributeValue::M(map) => {
            CONTAINER + map.iter().map(|(name, value)| 1 + name.len() + value_bytes(value)).sum::<usize>()
        }
        AttributeValue::Ss(set) => set.iter().map(String::len).sum(),
        AttributeValue::Ns(set) => set.iter().map(|number| number_bytes(number)).sum(),
        AttributeValue::Bs(set) => set.iter().map(Vec::len).sum(),
    }
}

/// One byte per two significant digits, one more, and one for a sign; the guide says "approximately", so this rounds
/// up.
fn number_bytes(number: &str) -> usize {
    number.len().div_ceil(2) + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_values_and_containers_all_count() {
        let item = Item::from(std::collections::HashMap::from([
            ("id".to_owned(), AttributeValue::S("four".into())),
            ("l".to_owned(), AttributeValue::L(vec![AttributeValue::Bool(true), AttributeValue::B(vec![0; 10])])),
            ("m".to_owned(), AttributeValue::M([("k".to_owned(), AttributeValue::N("123456".into()))].into())),
        ]));
        assert_eq!(item_bytes(&item), (2 + 4) + (1 + 3 + 2 + 11) + (1 + 3 + 1 + 1 + 5));
    }
}
