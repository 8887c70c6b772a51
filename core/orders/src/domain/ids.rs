//! Ids and texts, parsed once: a value of one of these types needs no further check.
//!
//! Input is read with `parse` or `try_from`, which check it. Deserialization is for stored events and takes texts as they
//! are: a rule that becomes stricter must not make the past unreadable.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::text::{TextError, check_free_text, check_id, normalized};

macro_rules! uuid_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Written as hyphenated lower-case text, and read from hyphenated text in either case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "Uuid")]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                // The other spellings of a UUID (braced, without hyphens, as a URN) have other lengths.
                let uuid = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
                uuid.map(Self).ok_or(TextError::NotAUuid)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": "uuid" })
            }
        }

        impl From<$name> for Uuid {
            fn from(name: $name) -> Uuid {
                name.0
            }
        }
    };
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
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
                $check(&text, $max).map(|()| Self(text))
            }
        }

        impl FromStr for $name {
            type Err = TextError;
            fn from_str(text: &str) -> Result<Self, TextError> {
                text.to_owned().try_into()
            }
        }

        #[cfg(test)]
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "minLength": 1, "maxLength": $max })
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

uuid_name!(/// An order.
    OrderId);
uuid_name!(/// A product.
    ProductId);
/// The longest id, in characters.
const MAX_ID: usize = 128;
/// The longest reason, in characters.
const MAX_REASON: usize = 500;

text_name!(/// A user: the `sub` of a token, 1–128 visible characters.
    UserId, MAX_ID, check_id);
text_name!(/// The provider's id of a payment, 1–128 visible characters.
    PaymentId, MAX_ID, check_id);
text_name!(/// The provider's id of a refund, 1–128 visible characters.
    RefundId, MAX_ID, check_id);
text_name!(/// The carrier's id of a parcel, 1–128 visible characters.
    TrackingNumber, MAX_ID, check_id);
text_name!(/// A reason: free text of 1–500 characters, at least one of them visible.
    Reason, MAX_REASON, check_free_text);

impl Reason {
    /// One of the service's own reasons. The literal must be a valid reason.
    pub(crate) fn literal(text: &'static str) -> Self {
        debug_assert!(check_free_text(text, MAX_REASON).is_ok());
        Self(text.to_owned())
    }

    /// A reason from outside, cut and cleaned to be valid; `None` if it has no visible character.
    pub fn from_external(text: &str) -> Option<Self> {
        Self::try_from(normalized(text, MAX_REASON)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_uuid_is_read_hyphenated_in_either_case_and_written_in_lower_case() {
        let id: OrderId = "123E4567-e89b-12d3-A456-426614174000".parse().unwrap();
        assert_eq!(id.to_string(), "123e4567-e89b-12d3-a456-426614174000");
        assert_eq!(serde_json::to_value(id).unwrap(), json!("123e4567-e89b-12d3-a456-426614174000"));
        assert_eq!(serde_json::from_value::<OrderId>(json!("123E4567-E89B-12D3-A456-426614174000")).unwrap(), id);
    }

    #[test]
    fn other_spellings_of_a_uuid_are_rejected() {
        for text in [
            "",
            "123e4567e89b12d3a456426614174000",
            "{123e4567-e89b-12d3-a456-426614174000}",
            "urn:uuid:123e4567-e89b-12d3-a456-426614174000",
            "123e4567-e89b-12d3-a456-42661417400g",
            "123e4567-e89b-12d3-a456-4266141740000",
            "123e4567--e89b-12d3-a456-42661417400",
            "../../../../../../../../../etc/passwd",
        ] {
            assert_eq!(text.parse::<ProductId>(), Err(TextError::NotAUuid), "{text}");
            assert!(serde_json::from_value::<ProductId>(json!(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn a_name_is_up_to_128_visible_characters() {
        for text in ["a", "auth0|5f7c8ec7c33c6c004bbafe82", "a@b.example", "Zoë", "用户", &"é".repeat(128)] {
            assert_eq!(text.parse::<UserId>().unwrap().as_str(), text);
        }
        assert_eq!("a b".parse::<PaymentId>(), Err(TextError::NotVisible(' ')));
        for text in [".", ".."] {
            assert_eq!(text.parse::<PaymentId>(), Err(TextError::DotSegment));
        }
        assert_eq!("a".repeat(129).parse::<TrackingNumber>(), Err(TextError::Length { max: 128 }));
    }

    #[test]
    fn a_reason_is_free_text_of_up_to_500_characters() {
        assert_eq!("passt nicht – zu groß".parse::<Reason>().unwrap().as_str(), "passt nicht – zu groß");
        assert_eq!("é".repeat(501).parse::<Reason>(), Err(TextError::Length { max: 500 }));
        assert_eq!("a\nb".parse::<Reason>(), Err(TextError::Unprintable('\n')));
        assert_eq!("\u{200b}".parse::<Reason>(), Err(TextError::NothingVisible));
    }

    #[test]
    fn an_external_reason_is_cut_and_cleaned() {
        let kept = |text: &str| Reason::from_external(text).map(String::from);
        assert_eq!(kept("Karte \u{2068}Visa 42\u{2069} abgelehnt"), Some("Karte Visa 42 abgelehnt".into()));
        assert_eq!(kept(&"ä".repeat(1_000)), Some("ä".repeat(500)));
        assert_eq!(kept("\u{202e}\u{200b}\n"), None);
    }

    #[test]
    fn stored_texts_are_read_whatever_the_rules_are_now() {
        for text in ["\u{200b}", "a\u{202e}b", "a\nb", "", &"x".repeat(501)] {
            assert_eq!(serde_json::from_value::<Reason>(json!(text)).unwrap().as_str(), text);
            assert_eq!(serde_json::from_value::<UserId>(json!(text)).unwrap().as_str(), text);
            assert_eq!(serde_json::from_value::<PaymentId>(json!(text)).unwrap().as_str(), text);
        }
        assert!(serde_json::from_value::<Reason>(json!(7)).is_err());
    }
}
