//! CloudFormation takes `"8"` for 8 and `"true"` for true, as parameters are texts; so do these.

use std::str::FromStr;

use serde::{Deserialize, Deserializer, de::Error};

#[derive(Deserialize)]
#[serde(untagged)]
enum Loose<T> {
    Value(T),
    Text(String),
}

/// A number or a truth value, also when written as text.
pub(super) fn value<'de, D: Deserializer<'de>, T: Deserialize<'de> + FromStr>(input: D) -> Result<T, D::Error> {
    match Loose::deserialize(input)? {
        Loose::Value(value) => Ok(value),
        Loose::Text(text) => text.parse().map_err(|_| Error::custom(format!("{text:?} is not of the right type"))),
    }
}

/// The same, where it may be left out.
pub(super) fn option<'de, D: Deserializer<'de>, T: Deserialize<'de> + FromStr>(
    input: D,
) -> Result<Option<T>, D::Error> {
    value(input).map(Some)
}
