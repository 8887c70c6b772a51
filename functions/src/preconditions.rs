//! `If-Match` and `If-None-Match` (RFC 9110, section 13): a caller changes only a version that it has seen, and reads only
//! one that it has not.

use dynamodb_event_store::{Version, Versions};

use crate::answer::Answer;
use crate::problem::Problem;
use crate::request::Request;

/// The entity tags that a request's headers require or exclude.
///
/// No response has a Last-Modified date, so conditions on dates are ignored, as the RFC says.
#[derive(Debug)]
pub struct Preconditions {
    if_match: Option<EntityTags>,
    if_none_match: Option<EntityTags>,
}

#[derive(Debug)]
enum EntityTags {
    /// `*`
    Any,
    Listed(Vec<EntityTag>),
}

#[derive(Debug)]
struct EntityTag {
    weak: bool,
    opaque: String,
}

impl Preconditions {
    /// Those of a request.
    ///
    /// # Errors
    /// 400 when a header is malformed.
    pub fn of(request: &Request) -> Result<Self, Problem> {
        let read = |header, name: &str| {
            let detail = "must be *, or entity tags such as \"3\", with quotes";
            let tags = |field: &str| entity_tags(field).ok_or_else(|| Problem::invalid_field(name, detail));
            request.header(header).map(tags).transpose()
        };
        Ok(Self { if_match: read("if-match", "If-Match")?, if_none_match: read("if-none-match", "If-None-Match")? })
    }

    /// Whether they fail for a resource that does not exist. `If-None-Match` holds for it.
    pub fn require_existing(&self) -> bool {
        self.if_match.is_some()
    }

    /// Whether they allow a change of an existing resource without an entity tag.
    pub fn hold_without_tag(&self) -> bool {
        matches!(self.if_match, None | Some(EntityTags::Any))
            && matches!(self.if_none_match, None | Some(EntityTags::Listed(_)))
    }

    /// The versions that the caller accepts as an order's newest; `None` without a condition.
    ///
    /// An order's entity tags are its versions, so any other tag names no version. A weak tag never matches in
    /// `If-Match`.
    pub fn versions(&self) -> Option<Versions> {
        let none_of = match &self.if_none_match {
            Some(EntityTags::Any) => return Some(Versions::OneOf(Vec::new())),
            Some(EntityTags::Listed(tags)) => tags.iter().filter_map(EntityTag::version).collect(),
            None => Vec::new(),
        };
        match &self.if_match {
            Some(EntityTags::Listed(tags)) => {
                let versions = tags.iter().filter(|tag| !tag.weak).filter_map(EntityTag::version);
                Some(Versions::OneOf(versions.filter(|version| !none_of.contains(version)).collect()))
            }
            Some(EntityTags::Any) | None => Some(Versions::NoneOf(none_of)).filter(|_| self.if_none_match.is_some()),
        }
    }

    /// Applies them to the response to a read: it fails if `If-Match` does not name its tag, and has no body if
    /// `If-None-Match` does. A response without an entity tag matches no listed one.
    ///
    /// # Errors
    /// 412.
    pub fn select(&self, answer: Answer) -> Result<Answer, Problem> {
        let current = answer.header("etag").map(|tag| tag.trim_matches('"'));
        let has = |tag: &EntityTag| current == Some(tag.opaque.as_str());
        let matches = match &self.if_match {
            Some(EntityTags::Listed(tags)) => tags.iter().any(|tag| !tag.weak && has(tag)),
            Some(EntityTags::Any) | None => true,
        };
        let known = match &self.if_none_match {
            Some(EntityTags::Listed(tags)) => tags.iter().any(has),
            Some(EntityTags::Any) => true,
            None => false,
        };
        match (matches, known) {
            (false, _) => Err(Problem::not_selected(answer.header("etag"))),
            (true, true) => Ok(answer.not_modified()),
            (true, false) => Ok(answer),
        }
    }
}

impl EntityTag {
    /// Tags are compared character by character: `"03"` is not the tag of version 3.
    fn version(&self) -> Option<Version> {
        self.opaque.parse().ok().filter(|version: &Version| version.to_string() == self.opaque)
    }
}

/// `*`, or one or more tags separated by commas; `None` if it is neither.
fn entity_tags(header: &str) -> Option<EntityTags> {
    if header.trim_matches([' ', '\t']) == "*" {
        return Some(EntityTags::Any);
    }
    let blank = [' ', '\t', ','];
    let mut tags = Vec::new();
    let mut rest = header.trim_start_matches(blank);
    while !rest.is_empty() {
        let (weak, quoted) = rest.strip_prefix("W/").map_or((false, rest), |quoted| (true, quoted));
        let (opaque, after) = quoted.strip_prefix('"')?.split_once('"')?;
        if opaque.chars().any(|c| c == ' ' || c.is_ascii_control()) {
            return None;
        }
        tags.push(EntityTag { weak, opaque: opaque.to_owned() });
        let after = after.trim_start_matches([' ', '\t']);
        if !after.is_empty() && !after.starts_with(',') {
            return None;
        }
        rest = after.trim_start_matches(blank);
    }
    (!tags.is_empty()).then_some(EntityTags::Listed(tags))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    fn accepted_by(headers: Value) -> Result<Option<Versions>, u16> {
        let preconditions = Preconditions::of(&testing::request(json!({ "headers": headers })));
        preconditions.map(|preconditions| preconditions.versions()).map_err(|problem| problem.status())
    }

    fn accepted(if_match: &str) -> Result<Option<Versions>, u16> {
        accepted_by(json!({ "if-match": if_match }))
    }

    fn one_of(versions: &[Version]) -> Result<Option<Versions>, u16> {
        Ok(Some(Versions::OneOf(versions.to_vec())))
    }

    fn none_of(versions: &[Version]) -> Result<Option<Versions>, u16> {
        Ok(Some(Versions::NoneOf(versions.to_vec())))
    }

    #[test]
    fn a_tag_names_a_version_and_a_list_several() {
        assert_eq!(accepted(r#""3""#), one_of(&[3]));
        assert_eq!(accepted(r#" "3" , "4","#), one_of(&[3, 4]));
        assert_eq!(accepted(r#", "3""#), one_of(&[3]));
    }

    #[test]
    fn any_version_matches_without_the_header_and_with_a_star() {
        assert_eq!(accepted_by(json!({})), Ok(None));
        assert_eq!(accepted(" * "), Ok(None));
    }

    #[test]
    fn weak_tags_and_tags_that_are_not_versions_never_match() {
        for header in [r#"W/"3""#, r#""03""#, r#""+3""#, r#""3+""#, r#""abc""#, r#""""#, r#""99999999999999999999""#] {
            assert_eq!(accepted(header), one_of(&[]), "{header}");
        }
        assert_eq!(accepted(r#"W/"3", "4""#), one_of(&[4]));
    }

    #[test]
    fn weak_tags_exclude_versions_too() {
        assert_eq!(accepted_by(json!({"if-none-match": "*"})), one_of(&[]));
        assert_eq!(accepted_by(json!({"if-none-match": r#""3", W/"4", "x""#})), none_of(&[3, 4]));
        assert_eq!(accepted_by(json!({"if-match": "*", "if-none-match": r#""3""#})), none_of(&[3]));
        assert_eq!(accepted_by(json!({"if-match": r#""3", "4""#, "if-none-match": r#""3""#})), one_of(&[4]));
    }

    #[test]
    fn a_malformed_header_is_rejected() {
        for header in
            ["", " ", ",", "3", r#""3"#, r#"3""#, r#"w/"3""#, r#""3" "4""#, r#""3";"#, r#"*, "3""#, "*,*", r#""a b""#]
        {
            assert_eq!(accepted(header), Err(400), "{header}");
            assert_eq!(accepted_by(json!({"if-none-match": header})), Err(400), "{header}");
        }
    }
}
