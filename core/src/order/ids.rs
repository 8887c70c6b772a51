//! The names of things, parsed once: whoever holds one of these need not check it again.
//!
//! Stored facts are read through the same checks, so a limit may be widened later but never narrowed.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A text that cannot be the name it should be. The text of the error is fit for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a UUID in its hyphenated form.
    #[error("must be a UUID such as 123e4567-e89b-12d3-a456-426614174000")]
    NotAUuid,
    /// Empty, too long, or with a character that is not visible.
    #[error("must be 1-{max} visible characters, without spaces")]
    NotAName {
        /// The longest it may be, in characters.
        max: usize,
    },
    /// Blank, too long, or with a control character.
    #[error("must be 1-{max} printable characters, not all of them blank")]
    NotAReason {
        /// The longest it may be, in characters.
        max: usize,
    },
}

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
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:ident, $error:ident) => {
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
                let fits = (1..=$max).contains(&text.chars().count()) && $allowed(&text);
                if fits { Ok(Self(text)) } else { Err(TextError::$error { max: $max }) }
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
text_name!(/// A user: the `sub` of a token, 1–128 visible characters.
    UserId, 128, is_visible, NotAName);
text_name!(/// The provider's name of a payment, 1–128 visible characters.
    PaymentId, 128, is_visible, NotAName);
text_name!(/// The provider's name of a refund, 1–128 visible characters.
    RefundId, 128, is_visible, NotAName);
text_name!(/// The carrier's name of a parcel, 1–128 visible characters.
    TrackingNumber, 128, is_visible, NotAName);
text_name!(/// Why, in 1–500 printable characters, not all of them blank.
    Reason, 500, is_printable, NotAReason);

impl Reason {
    /// One of the service's own reasons. Callers pass a literal that keeps the rule of a reason.
    pub(crate) fn literal(text: &'static str) -> Self {
        debug_assert!(text.len() <= 500 && is_printable(text));
        Self(text.to_owned())
    }
}

fn is_visible(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() && !c.is_whitespace() && !is_invisible(c))
}

fn is_printable(text: &str) -> bool {
    text.chars().all(|c| !c.is_control() && !breaks_text(c)) && text.chars().any(|c| !c.is_whitespace())
}

/// Characters that separate lines or turn the direction of the text around them, in a log line for instance.
fn breaks_text(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// Characters that show nothing: Unicode's Default_Ignorable_Code_Point, annotation marks and the blank Braille cell.
/// Two names that differ in one of these look the same to a person.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}'..='\u{1160}' | '\u{17B4}'..='\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{2800}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
        | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
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
    fn other_spellings_of_a_uuid_are_refused() {
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
        for text in [
            "",
            " ",
            "a b",
            "a\tb",
            "a\n",
            "\u{0}",
            "\u{7f}",
            "a\u{85}",
            "a\u{a0}b",
            "a\u{200b}",
            "\u{202e}a",
            "\u{feff}a",
            "a\u{ad}b",
            "a\u{2028}",
            "\u{e0041}",
            "\u{2800}",
            &"a".repeat(129),
        ] {
            assert_eq!(text.parse::<PaymentId>(), Err(TextError::NotAName { max: 128 }), "{text:?}");
        }
    }

    #[test]
    fn a_reason_is_up_to_500_printable_characters() {
        for text in ["x", "changed my mind", "passt nicht – zu groß", "👨‍👩‍👧 said ❤️", &"é".repeat(500)]
        {
            assert_eq!(text.parse::<Reason>().unwrap().as_str(), text);
        }
        for text in ["", " ", "\u{a0} ", "a\nb", "a\u{0}", "a\u{1b}[31m", "\u{202e}a", "a\u{2028}b", &"a".repeat(501)] {
            assert_eq!(text.parse::<Reason>(), Err(TextError::NotAReason { max: 500 }), "{text:?}");
        }
    }

    #[test]
    fn a_refused_text_says_what_it_must_be() {
        let refused = |value| serde_json::from_value::<TrackingNumber>(value).unwrap_err().to_string();
        assert_eq!(refused(json!("a b")), "must be 1-128 visible characters, without spaces");
        assert_eq!(
            "".parse::<Reason>().unwrap_err().to_string(),
            "must be 1-500 printable characters, not all of them blank"
        );
    }
}
