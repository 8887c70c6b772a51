//! `If-Match` (RFC 9110, section 13.1.1): the caller acts only on the order that it has seen.

use orders_core::event_store::Version;

use crate::problem::Problem;
use crate::request::Request;

/// The versions that the caller accepts as the newest, if it cares: none for no header and for `*`.
///
/// An order's entity tags are its versions, so any other tag names no version; a weak tag never matches.
///
/// # Errors
/// 400 when the header is malformed.
pub fn if_match(request: &Request) -> Result<Option<Vec<Version>>, Problem> {
    let Some(header) = request.header("if-match") else { return Ok(None) };
    if header.trim() == "*" {
        return Ok(None);
    }
    let tags = entity_tags(header)
        .ok_or_else(|| Problem::invalid_field("If-Match", "must be *, or entity tags such as \"3\", with quotes"))?;
    let versions = tags.into_iter().filter(|tag| !tag.weak).filter_map(|tag| version(tag.opaque));
    Ok(Some(versions.collect()))
}

/// Tags are compared character by character: `"03"` is not the tag of version 3.
fn version(tag: &str) -> Option<Version> {
    tag.parse().ok().filter(|version: &Version| version.to_string() == tag)
}

struct EntityTag<'a> {
    weak: bool,
    opaque: &'a str,
}

/// One tag or more, separated by commas; `None` if that is not what it is.
fn entity_tags(header: &str) -> Option<Vec<EntityTag<'_>>> {
    let blank = [' ', '\t', ','];
    let mut tags = Vec::new();
    let mut rest = header.trim_start_matches(blank);
    while !rest.is_empty() {
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if opaque.chars().any(|c| c == ' ' || c.is_ascii_control()) {
            return None;
        }
        tags.push(EntityTag { weak, opaque });
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches(blank);
    }
    Some(tags).filter(|tags| !tags.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing;

    fn accepted(header: &str) -> Result<Option<Vec<Version>>, u16> {
        if_match(&testing::request(json!({"headers": {"if-match": header}}))).map_err(|problem| problem.status())
    }

    #[test]
    fn a_tag_names_a_version_and_a_list_several() {
        assert_eq!(accepted(r#""3""#), Ok(Some(vec![3])));
        assert_eq!(accepted(r#" "3" , "4","#), Ok(Some(vec![3, 4])));
        assert_eq!(accepted(r#", "3""#), Ok(Some(vec![3])));
    }

    #[test]
    fn any_version_will_do_without_the_header_and_for_a_star() {
        assert_eq!(if_match(&testing::request(json!({}))).unwrap(), None);
        assert_eq!(accepted(" * "), Ok(None));
    }

    #[test]
    fn weak_tags_and_tags_that_are_no_versions_never_match() {
        for header in [r#"W/"3""#, r#""03""#, r#""+3""#, r#""abc""#, r#""""#, r#""99999999999999999999""#] {
            assert_eq!(accepted(header), Ok(Some(vec![])), "{header}");
        }
        assert_eq!(accepted(r#"W/"3", "4""#), Ok(Some(vec![4])));
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for header in
            ["", " ", ",", "3", r#""3"#, r#"3""#, r#"w/"3""#, r#""3" "4""#, r#""3";"#, r#"*, "3""#, r#""a b""#]
        {
            assert_eq!(accepted(header), Err(400), "{header}");
        }
    }
}
