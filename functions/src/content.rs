//! The headers that describe a body: `Content-Type` and `Content-Encoding` (RFC 9110, sections 8.3, 8.4).

/// Optional white space.
pub(crate) const OWS: [char; 2] = [' ', '\t'];

/// Whether a content type is a single `application/json`. It may have parameters, but a charset must be UTF-8: RFC 8259
/// defines none, but a client that names another one has not sent UTF-8.
pub fn is_json(content_type: &str) -> bool {
    let (essence, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    let mut rest = parameters.trim_start_matches([' ', '\t', ';']);
    while !rest.is_empty() {
        let Some((name, value, after)) = parameter(rest) else { return false };
        let utf8 = ["utf-8", "utf8"].iter().any(|name| value.eq_ignore_ascii_case(name));
        let after = after.trim_start_matches(OWS);
        let ends = after.is_empty() || after.starts_with(';');
        if !ends || (name.eq_ignore_ascii_case("charset") && !utf8) {
            return false;
        }
        rest = after.trim_start_matches([' ', '\t', ';']);
    }
    essence.trim_matches(OWS).eq_ignore_ascii_case("application/json")
}

/// Whether a body with this `Content-Encoding` is not encoded.
pub fn is_identity(content_encoding: &str) -> bool {
    let mut codings = content_encoding.split(',').map(|coding| coding.trim_matches(OWS));
    codings.all(|coding| coding.is_empty() || coding.eq_ignore_ascii_case("identity"))
}

/// The name and value of the parameter at the start of a text, and the rest.
pub(crate) fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text)?;
    let rest = rest.strip_prefix('=')?;
    let Some(quoted) = rest.strip_prefix('"') else {
        let (value, rest) = token(rest)?;
        return Some((name, value.to_owned(), rest));
    };
    let (mut value, mut chars) = (String::new(), quoted.chars());
    loop {
        match chars.next()? {
            '"' => return Some((name, value, chars.as_str())),
            '\\' => value.push(chars.next()?),
            c => value.push(c),
        }
    }
}

/// The token at the start of a text, and the rest.
pub(crate) fn token(text: &str) -> Option<(&str, &str)> {
    let in_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    let end = text.find(|c| !in_token(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_may_have_any_parameters_and_only_the_charset_utf_8() {
        for fine in [
            "application/json",
            "Application/JSON",
            " application/json ",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            "application/json; Charset=UTF8",
            "application/json; charset=\"utf8\"; profile=\"a,b;c\\\"\"",
            "application/json;;charset=utf-8 ; ",
            "application/json; profile=x",
        ] {
            assert!(is_json(fine), "{fine}");
        }
        for wrong in [
            "",
            "text/plain",
            "application/jsonp",
            "application/x-www-form-urlencoded",
            "application/json charset=utf-8",
            "application/json; charset",
            "application/json; charset=",
            "application/json; charset=latin1",
            "application/json; charset=us-ascii",
            "application/json; charset = utf-8",
            "application/json; charset=\"utf-8",
            "application/json; charset=utf-8; charset=latin1",
        ] {
            assert!(!is_json(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_repeated_content_type_is_rejected() {
        for twice in [
            "application/json,application/json",
            "application/json, text/plain",
            "application/json; profile=x,text/plain",
            "application/json; profile=\"x\",text/plain",
            "application/json; charset=utf-8,application/json; charset=utf-8",
        ] {
            assert!(!is_json(twice), "{twice}");
        }
    }

    #[test]
    fn only_identity_means_not_encoded() {
        for fine in ["", "identity", "Identity", " identity , identity "] {
            assert!(is_identity(fine), "{fine}");
        }
        for coded in ["gzip", "x-gzip", "br", "identity, gzip", "gzip,identity", "nonsense"] {
            assert!(!is_identity(coded), "{coded}");
        }
    }
}
