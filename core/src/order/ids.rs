//! The names of things, parsed once: whoever holds one of these need not check it again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that cannot be the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {min}-{max} characters, none of them a control character or, in a name, a space")]
pub struct TextError {
    min: usize,
    max: usize,
}

macro_rules! uuid_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                let allowed: fn(char) -> bool = $allowed;
                let length = text.chars().count();
                if (1..=$max).contains(&length) && text.chars().all(allowed) { Ok(Self(text)) } else { Err(TextError { min: 1, max: $max }) }
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn visible(c: char) -> bool {
    !c.is_control() && !c.is_whitespace()
}

fn printable(c: char) -> bool {
    !c.is_control()
}

uuid_name!(/// An order.
    OrderId);
uuid_name!(/// A product.
    ProductId);
text_name!(/// A user: the `sub` of a token, 1–128 visible characters.
    UserId, 128, visible);
text_name!(/// The provider's name of a payment, 1–128 visible characters.
    PaymentId, 128, visible);
text_name!(/// The provider's name of a refund, 1–128 visible characters.
    RefundId, 128, visible);
text_name!(/// The carrier's name of a parcel, 1–128 visible characters.
    TrackingNumber, 128, visible);
text_name!(/// Why, in 1–500 printable characters.
    Reason, 500, printable);
