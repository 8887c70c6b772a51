//! `Accept` (RFC 9110, section 12.5.1) selects the media type of a response.

use std::cmp::Reverse;

use crate::content::{OWS, parameter, token};

/// A part of the header: `text/csv`, `text/*` or `*/*`, with its weight in thousandths.
#[derive(Debug)]
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    weight: u16,
}

/// The offered media type that the caller prefers, the first of several; `None` if it accepts none of them. Without the
/// header it accepts everything.
///
/// Parameters other than the weight are ignored, and so are malformed ranges.
pub fn preferred<'a>(accept: Option<&str>, offered: &[&'a str]) -> Option<&'a str> {
    let Some(accept) = accept.filter(|accept| !accept.trim_matches(OWS).is_empty()) else {
        return offered.first().copied();
    };
    let ranges = media_ranges(accept);
    let weighed = offered.iter().map(|media_type| (weight(media_type, &ranges), *media_type));
    let accepted = weighed.filter(|(weight, _)| *weight > 0);
    accepted.min_by_key(|(weight, _)| Reverse(*weight)).map(|(_, media_type)| media_type)
}

/// The weight of the most specific range that matches a media type, or 0.
fn weight(media_type: &str, ranges: &[MediaRange<'_>]) -> u16 {
    let (kind, subtype) = media_type.split_once('/').unwrap_or((media_type, ""));
    let is = |range: &str, own: &str| range.eq_ignore_ascii_case(own);
    let specificity = |range: &MediaRange<'_>| match (range.kind, range.subtype) {
        (own, "*") if is(own, kind) => Some(1),
        ("*", "*") => Some(0),
        (own, also) if is(own, kind) && is(also, subtype) => Some(2),
        _ => None,
    };
    let matching = ranges.iter().filter_map(|range| Some((specificity(range)?, range.weight)));
    matching.max().map_or(0, |(_, weight)| weight)
}

fn media_ranges(mut accept: &str) -> Vec<MediaRange<'_>> {
    let mut ranges = Vec::new();
    loop {
        accept = accept.trim_start_matches([' ', '\t', ',']);
        if accept.is_empty() {
            return ranges;
        }
        accept = match media_range(accept) {
            Some((range, rest)) => {
                ranges.push(range);
                rest
            }
            None => accept.split_once(',').map_or("", |(_, rest)| rest),
        };
    }
}

/// The range at the start of a text, and the rest: empty, or from a comma on.
fn media_range(text: &str) -> Option<(MediaRange<'_>, &str)> {
    let (kind, rest) = token(text)?;
    let (subtype, rest) = token(rest.strip_prefix('/')?)?;
    let (mut rest, mut weight) = (rest.trim_start_matches(OWS), 1_000);
    while let Some(parameters) = rest.strip_prefix(';') {
        rest = parameters.trim_start_matches(OWS);
        if let Some((name, value, after)) = parameter(rest) {
            weight = if name.eq_ignore_ascii_case("q") { thousandths(&value)? } else { weight };
            rest = after.trim_start_matches(OWS);
        }
    }
    (rest.is_empty() || rest.starts_with(',')).then_some((MediaRange { kind, subtype, weight }, rest))
}

/// A weight: 0 to 1, with three decimals at most.
fn thousandths(weight: &str) -> Option<u16> {
    let (whole, decimals) = weight.split_once('.').unwrap_or((weight, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    format!("{whole}{decimals:0<3}").parse().ok().filter(|thousandths| *thousandths <= 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Option<&str> = Some("application/json");
    const CSV: Option<&str> = Some("text/csv");

    fn chosen(accept: &str) -> Option<&'static str> {
        preferred(Some(accept), &["application/json", "text/csv"])
    }

    #[test]
    fn the_first_offered_type_is_chosen_when_all_are_accepted() {
        assert_eq!(preferred(None, &["application/json", "text/csv"]), JSON);
        for accept in ["", " ", "*/*", "*/*;q=0.1", "text/html, */*;q=0.8", "application/json, text/csv", "text/*, */*"]
        {
            assert_eq!(chosen(accept), JSON, "{accept}");
        }
    }

    #[test]
    fn the_higher_weight_wins_and_the_most_specific_range_decides() {
        for (accept, expected) in [
            ("text/csv", CSV),
            ("TEXT/CSV", CSV),
            ("text/*", CSV),
            ("text/csv; charset=utf-8", CSV),
            ("text/csv;header=present;q=1.0", CSV),
            ("application/json;q=0.5, text/csv;q=0.501", CSV),
            ("*/*;q=0.5, text/csv", CSV),
            ("text/csv;q=0.1, application/json", JSON),
            ("text/csv , application/json;q=0", CSV),
            ("text/*;q=0, */*", JSON),
            ("text/csv;profile=\"a,b\", application/json;q=0.9", CSV),
            ("application/*;q=1, application/json;q=0.2, text/csv;q=0.3", CSV),
        ] {
            assert_eq!(chosen(accept), expected, "{accept}");
        }
    }

    #[test]
    fn a_type_that_is_not_offered_or_has_weight_0_is_not_chosen() {
        for accept in
            ["text/html", "application/xml, image/*", "*/*;q=0", "text/csv;q=0", "application/json;q=0.000", "csv"]
        {
            assert_eq!(chosen(accept), None, "{accept}");
        }
    }

    #[test]
    fn malformed_ranges_are_ignored() {
        for malformed in [
            "text/csv;q=2",
            "text/csv;q=1.001",
            "text/csv;q=0.1234",
            "text/csv;q=-1",
            "text/csv;q=",
            "text/csv;q=x",
            "text",
            "text/",
            "/csv",
            "text/csv text/csv",
            "text/csv;\"",
            "*/csv",
            "é/é",
            ";;;",
            "text/csv;q=.5",
        ] {
            assert_eq!(chosen(malformed), None, "{malformed}");
            assert_eq!(chosen(&format!("{malformed}, application/json")), JSON, "{malformed}");
        }
        assert_eq!(chosen(",, text/csv ,,"), CSV);
        assert_eq!(chosen("text/csv;; ;q=0.4"), CSV);
    }
}
