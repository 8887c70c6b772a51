//! The JWT authorizer.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>

use std::collections::BTreeMap;

use serde_json::Value;

use super::tokens::Issuer;
use crate::template::{JwtConfiguration, Route};

/// The caller.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The token's claims, all as text.
    pub claims: BTreeMap<String, String>,
    /// Those of the route's scopes that the token has.
    pub scopes: Vec<String>,
}

/// Why a request is rejected.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// 401, with the reason for the `WWW-Authenticate` header when there is a token.
    Unauthorized(Option<&'static str>),
    /// 403.
    Forbidden,
}

/// Accepts a valid token in the `Authorization` header with any one of the route's scopes.
pub(super) fn authorize(
    issuer: &Issuer,
    jwt: &JwtConfiguration,
    route: &Route,
    header: Option<&str>,
) -> Result<Identity, Denied> {
    let header = header.map(str::trim).filter(|header| !header.is_empty()).ok_or(Denied::Unauthorized(None))?;
    let token = match header.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => header,
    };
    let claims = issuer.check(token, jwt).map_err(|reason| Denied::Unauthorized(Some(reason)))?;
    let held: Vec<&str> = match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => text.split_whitespace().collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let scopes: Vec<String> = route.scopes.iter().filter(|scope| held.contains(&scope.as_str())).cloned().collect();
    if scopes.is_empty() && !route.scopes.is_empty() {
        return Err(Denied::Forbidden);
    }
    Ok(Identity { claims: claims.into_iter().map(|(name, value)| (name, claim_text(&value))).collect(), scopes })
}

/// API Gateway's form of a claim: lists in brackets, separated by spaces.
fn claim_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(claim_text).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::template::tests::template;

    fn call(scopes: &[&str], scheme: &str) -> Result<Identity, Denied> {
        let (template, issuer) = (template(), Issuer::new().unwrap());
        let scopes: Vec<String> = scopes.iter().map(|scope| (*scope).to_owned()).collect();
        let token = issuer.token(&template.api.jwt, "ada", &scopes).unwrap();
        let route = &template.function("CreateThing").unwrap().routes[0];
        authorize(&issuer, &template.api.jwt, route, Some(&format!("{scheme}{token}")))
    }

    #[test]
    fn any_one_of_the_routes_scopes_suffices() {
        assert_eq!(call(&["things:admin"], "Bearer ").unwrap().scopes, ["things:admin"]);
        assert_eq!(call(&["x", "things:write"], "bearer ").unwrap().scopes, ["things:write"]);
        assert_eq!(call(&["things:write"], "").unwrap().claims["sub"], "ada");
        assert_eq!(call(&["things:writer", "things"], "Bearer "), Err(Denied::Forbidden));
        assert_eq!(call(&[], "Bearer "), Err(Denied::Forbidden));
    }

    #[test]
    fn a_missing_or_broken_token_is_unauthorized() {
        let (template, issuer) = (template(), Issuer::new().unwrap());
        let route = &template.function("GetThing").unwrap().routes[0];
        let with = |header| authorize(&issuer, &template.api.jwt, route, header);
        assert_eq!(with(None), Err(Denied::Unauthorized(None)));
        assert_eq!(with(Some(" ")), Err(Denied::Unauthorized(None)));
        assert_eq!(with(Some("Bearer x.y.z")), Err(Denied::Unauthorized(Some("the token is malformed"))));
    }

    #[test]
    fn claims_become_text() {
        assert_eq!(claim_text(&json!(1_583_798_639)), "1583798639");
        assert_eq!(claim_text(&json!(["a", "b"])), "[a b]");
        assert_eq!(claim_text(&json!(true)), "true");
    }
}
