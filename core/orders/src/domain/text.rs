//! What texts may contain, by the Unicode properties of their characters.
//!
//! An id contains only visible characters, so that no two ids differ in invisible characters only. Free text contains at
//! least one, and besides what scripts and emoji need: joiners, variation selectors, tags, direction marks. It contains
//! no control characters, line breaks or direction overrides, which would act on the text around it, such as a log.

use icu_properties::props::{
    BidiClass, DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint, PrependedConcatenationMark,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_segmentation::UnicodeSegmentation;

/// A text that is not accepted. The error text can be shown to clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a UUID in its hyphenated form.
    #[error("must be a UUID such as 123e4567-e89b-12d3-a456-426614174000")]
    NotAUuid,
    /// Empty or too long.
    #[error("must have 1-{max} characters")]
    Length {
        /// The longest it may be, in characters.
        max: usize,
    },
    /// An id with an invisible character.
    #[error("must contain only visible characters and no spaces: U+{:04X} is not allowed", u32::from(*.0))]
    NotVisible(char),
    /// An id that cannot be a path segment: `.` and `..` are resolved, even percent-encoded (RFC 3986, section 5.2.4).
    #[error("must not be . or .., which cannot be path segments")]
    DotSegment,
    /// A text without a visible character.
    #[error("must contain a visible character")]
    NothingVisible,
    /// A text with a character that acts on the text around it.
    #[error("must not contain U+{:04X}: it is a control character, a line break or a direction override", u32::from(*.0))]
    Unprintable(char),
}

/// Checks that a text can be an id of at most `max` characters.
///
/// # Errors
/// [`TextError`].
pub fn check_id(text: &str, max: usize) -> Result<(), TextError> {
    check_length(text, max)?;
    if matches!(text, "." | "..") {
        return Err(TextError::DotSegment);
    }
    text.chars().find(|c| !is_visible(*c)).map_or(Ok(()), |c| Err(TextError::NotVisible(c)))
}

/// Checks that a text can be free text of at most `max` characters.
///
/// # Errors
/// [`TextError`].
pub fn check_free_text(text: &str, max: usize) -> Result<(), TextError> {
    check_length(text, max)?;
    if let Some(c) = text.chars().find(|c| !is_printable(*c)) {
        return Err(TextError::Unprintable(c));
    }
    if text.chars().any(is_visible) { Ok(()) } else { Err(TextError::NothingVisible) }
}

fn check_length(text: &str, max: usize) -> Result<(), TextError> {
    if (1..=max).contains(&text.chars().take(max + 1).count()) { Ok(()) } else { Err(TextError::Length { max }) }
}

/// A text in the form that [`check_free_text`] accepts; empty if it has no visible character. A line break becomes a
/// space, other characters that are not accepted are removed, and a text that is too long is cut between two graphemes.
pub(super) fn normalized(text: &str, max: usize) -> String {
    let printable = text.chars().filter_map(|c| match c {
        c if is_printable(c) => Some(c),
        c if c.is_whitespace() => Some(' '),
        _ => None,
    });
    // Nothing before the first visible character is shown either. One character more than the limit is enough to see
    // whether the cut is between two graphemes.
    let mut text: String = printable.skip_while(|c| !is_visible(*c)).take(max + 1).collect();
    if let Some((longest, _)) = text.char_indices().nth(max) {
        let boundaries = text.grapheme_indices(true).map(|(at, _)| at);
        // A grapheme that is too long by itself is cut inside.
        let cut = boundaries.take_while(|at| *at <= longest).last().filter(|at| *at > 0).unwrap_or(longest);
        text.truncate(cut);
    }
    text.truncate(text.trim_end().len());
    text
}

/// Characters that are drawn as nothing, though no property says so: the empty Braille cell, the musical null notehead,
/// the Egyptian blanks and the Khitan filler.
const BLANK: [char; 5] = ['\u{2800}', '\u{1D159}', '\u{13441}', '\u{13442}', '\u{16FE4}'];

/// Whether a character is visible on its own. An unassigned one is: it may be a script or an emoji that is newer than
/// this program.
fn is_visible(c: char) -> bool {
    let nothing = c.is_control()
        || c.is_whitespace()
        || CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
        || BLANK.contains(&c);
    !nothing && (category(c) != GeneralCategory::Format || is_sign(c))
}

/// Signs of some scripts that are drawn around the digits after them, though they are format characters.
fn is_sign(c: char) -> bool {
    CodePointSetData::new::<PrependedConcatenationMark>().contains(c)
}

/// Whether a character does not act on the text around it: no control character, no end of a line or paragraph, and none of the
/// explicit embeddings, overrides and isolates of the bidirectional algorithm.
fn is_printable(c: char) -> bool {
    let acts = matches!(
        category(c),
        GeneralCategory::Control | GeneralCategory::LineSeparator | GeneralCategory::ParagraphSeparator
    ) || [
        BidiClass::LeftToRightEmbedding,
        BidiClass::LeftToRightOverride,
        BidiClass::LeftToRightIsolate,
        BidiClass::RightToLeftEmbedding,
        BidiClass::RightToLeftOverride,
        BidiClass::RightToLeftIsolate,
        BidiClass::FirstStrongIsolate,
        BidiClass::PopDirectionalFormat,
        BidiClass::PopDirectionalIsolate,
    ]
    .contains(&CodePointMapData::<BidiClass>::new().get(c));
    !acts
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written with characters that show nothing by themselves, in scripts and emoji.
    const LEGITIMATE: [&str; 14] = [
        "changed my mind",
        "passt nicht – zu groß",
        "می\u{200c}خواهم پس بدهم",
        "ශ්\u{200d}රී ලංකා",
        "क्\u{200d}ष नहीं चाहिए",
        "לא מתאים\u{200f}!",
        "e\u{301}t\u{e9}",
        "👨\u{200d}👩\u{200d}👧 said ❤\u{fe0f}",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "1\u{fe0f}\u{20e3}",
        "🇩🇪",
        "\u{600}١٢",
        "ᠮᠣᠩᠭᠣᠯ\u{180e}ᠠ",
        "太大了",
    ];

    /// One of every kind of character that shows nothing.
    const INVISIBLE: [char; 34] = [
        ' ',
        '\u{a0}',
        '\u{ad}',
        '\u{34f}',
        '\u{61c}',
        '\u{115f}',
        '\u{1160}',
        '\u{1680}',
        '\u{17b4}',
        '\u{180b}',
        '\u{180e}',
        '\u{2000}',
        '\u{200b}',
        '\u{200c}',
        '\u{200d}',
        '\u{200e}',
        '\u{200f}',
        '\u{2060}',
        '\u{2064}',
        '\u{206a}',
        '\u{2800}',
        '\u{3000}',
        '\u{3164}',
        '\u{fe00}',
        '\u{fe0f}',
        '\u{feff}',
        '\u{ffa0}',
        '\u{fff9}',
        '\u{fffe}',
        '\u{13430}',
        '\u{1d159}',
        '\u{1d173}',
        '\u{e0041}',
        '\u{e0100}',
    ];

    /// One of every kind of character that acts on what is around it.
    const UNPRINTABLE: [char; 15] = [
        '\0', '\t', '\n', '\u{1b}', '\u{7f}', '\u{85}', '\u{2028}', '\u{2029}', '\u{202a}', '\u{202c}', '\u{202e}',
        '\u{2066}', '\u{2067}', '\u{2068}', '\u{2069}',
    ];

    #[test]
    fn scripts_and_emoji_are_free_text_whatever_they_are_written_with() {
        for text in LEGITIMATE {
            assert_eq!(check_free_text(text, 500), Ok(()), "{text:?}");
            assert_eq!(normalized(text, 500), text);
        }
    }

    #[test]
    fn a_text_in_which_nothing_is_visible_is_none_and_no_id_has_such_a_character() {
        for c in INVISIBLE {
            for text in [c.to_string(), format!("{c}{c} {c}")] {
                assert_eq!(check_free_text(&text, 500), Err(TextError::NothingVisible), "{text:?}");
                assert_eq!(normalized(&text, 500), "");
            }
            assert_eq!(check_free_text(&format!("a{c}b"), 500), Ok(()), "{c:?}");
            assert_eq!(check_id(&format!("a{c}b"), 128), Err(TextError::NotVisible(c)));
        }
    }

    #[test]
    fn what_acts_on_the_text_around_it_is_in_no_text() {
        for c in UNPRINTABLE {
            assert_eq!(check_free_text(&format!("a{c}b"), 500), Err(TextError::Unprintable(c)));
            assert_eq!(check_id(&format!("a{c}b"), 128), Err(TextError::NotVisible(c)));
            assert!(["ab", "a b"].contains(&normalized(&format!("a{c}b"), 500).as_str()), "{c:?}");
        }
    }

    #[test]
    fn whatever_may_be_in_an_id_may_be_in_free_text_and_what_is_normalized_is_free_text() {
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            let id = check_id(&text, 1).is_ok();
            assert!(!id || check_free_text(&text, 1).is_ok(), "{c:?}");
            let normalized = normalized(&format!("{c}a{c}"), 500);
            assert_eq!(check_free_text(&normalized, 500), Ok(()), "{c:?}");
        }
    }

    #[test]
    fn a_text_is_cut_between_the_characters_that_people_see() {
        let family = "👨\u{200d}👩\u{200d}👧";
        for (text, max, kept) in [
            ("abc", 3, "abc"),
            ("abcd", 3, "abc"),
            ("ab\u{301}c", 2, "a"),
            ("ab\u{301}c", 3, "ab\u{301}"),
            ("🇩🇪🇫🇷", 3, "🇩🇪"),
            ("ab   c", 4, "ab"),
            ("❤\u{fe0f}", 2, "❤\u{fe0f}"),
            ("\u{feff}\u{200b} abc", 3, "abc"),
            ("a\u{301}\u{301}\u{301}", 2, "a\u{301}"),
        ] {
            assert_eq!(normalized(text, max), kept, "{text:?} {max}");
        }
        assert_eq!(normalized(&format!("x{family}"), 5), "x");
        assert_eq!(normalized(&format!("{}abc", "\u{200b}".repeat(1_000)), 500), "abc");
        assert_eq!(normalized("Karte \u{2068}Visa 42\u{2069} abgelehnt", 500), "Karte Visa 42 abgelehnt");
        assert_eq!(normalized("no\r\nfunds\u{2028}left\0", 500), "no  funds left");
    }

    #[test]
    fn a_length_is_counted_in_characters_and_said_with_the_rejection() {
        assert_eq!(check_id(&"é".repeat(128), 128), Ok(()));
        for text in ["", &"é".repeat(129)] {
            assert_eq!(check_id(text, 128), Err(TextError::Length { max: 128 }));
            assert_eq!(check_free_text(text, 128), Err(TextError::Length { max: 128 }));
        }
        assert_eq!(TextError::Length { max: 128 }.to_string(), "must have 1-128 characters");
        assert_eq!(
            TextError::NotVisible('\u{200b}').to_string(),
            "must contain only visible characters and no spaces: U+200B is not allowed"
        );
        let told = TextError::Unprintable('\u{202e}').to_string();
        assert!(told.starts_with("must not contain U+202E: "), "{told}");
    }
}
