//! The HTTP API of the template: its JWT authorizer and its rules for other origins.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::TemplateError;

/// What `AWS::Serverless::HttpApi` says, or `Globals.HttpApi` when the API is implicit.
#[derive(Clone, Debug, Default)]
pub struct HttpApi {
    /// Authorizers by name.
    pub authorizers: BTreeMap<String, JwtAuthorizer>,
    /// The one of routes that name none.
    pub default_authorizer: Option<String>,
    /// Rules for browsers of other origins.
    pub cors: Option<Cors>,
}

/// Who may sign tokens, and for whom.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct JwtAuthorizer {
    /// Issuer and audience.
    pub jwt_configuration: JwtConfiguration,
    /// Where the token is. Only `$request.header.Authorization` is served.
    #[serde(default = "authorization_header")]
    pub identity_source: String,
    /// Scopes of routes that name none.
    #[serde(default)]
    pub authorization_scopes: Vec<String>,
}

/// The `iss` and the `aud` that a token must have.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfiguration {
    /// The `iss` of every token.
    pub issuer: String,
    /// One of these must be in `aud`, or be the `client_id`.
    pub audience: Vec<String>,
}

/// Rules for browsers of other origins; an empty list leaves the header out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields, default)]
pub struct Cors {
    /// Whether cookies and the like may be sent.
    #[serde(deserialize_with = "super::loose::value")]
    pub allow_credentials: bool,
    /// Request headers that may be sent.
    pub allow_headers: Vec<String>,
    /// Methods that may be used.
    pub allow_methods: Vec<String>,
    /// Origins that may call; `*` is any.
    pub allow_origins: Vec<String>,
    /// Answer headers that the page may read.
    pub expose_headers: Vec<String>,
    /// Seconds for which a browser may remember all this.
    #[serde(deserialize_with = "super::loose::option")]
    pub max_age: Option<u64>,
}

/// The properties that [`HttpApi::read`] reads.
pub(super) const PROPERTIES: &[&str] = &["Auth", "CorsConfiguration"];

const AUTHORIZATION: &str = "$request.header.Authorization";

fn authorization_header() -> String {
    AUTHORIZATION.into()
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Properties {
    auth: Auth,
    cors_configuration: Option<CorsProperty>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
struct Auth {
    authorizers: BTreeMap<String, JwtAuthorizer>,
    default_authorizer: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum CorsProperty {
    Any(bool),
    Rules(Cors),
}

impl HttpApi {
    pub(super) fn read(properties: Value) -> Result<Self, TemplateError> {
        let properties: Properties = serde_json::from_value(properties).map_err(TemplateError::invalid)?;
        for (name, authorizer) in &properties.auth.authorizers {
            if authorizer.identity_source != AUTHORIZATION {
                let source = &authorizer.identity_source;
                return Err(TemplateError::UnknownIntrinsic(format!("the identity source {source} of {name}")));
            }
        }
        let api = Self {
            authorizers: properties.auth.authorizers,
            default_authorizer: properties.auth.default_authorizer,
            cors: match properties.cors_configuration {
                // As SAM reads `true`: any origin may call, and nothing more.
                Some(CorsProperty::Any(true)) => Some(Cors { allow_origins: vec!["*".into()], ..Cors::default() }),
                Some(CorsProperty::Rules(cors)) => Some(cors),
                Some(CorsProperty::Any(false)) | None => None,
            },
        };
        if let Some(name) = &api.default_authorizer {
            api.authorizer(name)?;
        }
        Ok(api)
    }

    pub(super) fn authorizer(&self, name: &str) -> Result<&JwtAuthorizer, TemplateError> {
        self.authorizers.get(name).ok_or_else(|| TemplateError::Invalid(format!("there is no authorizer {name}")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Template, TemplateOptions, fixture};
    use super::*;

    #[test]
    fn a_default_authorizer_that_is_not_declared_is_named() {
        let error = HttpApi::read(json!({"Auth": {"DefaultAuthorizer": "Jwt"}})).unwrap_err().to_string();
        assert!(error.contains("Jwt"), "{error}");
    }

    #[test]
    fn cors_is_a_switch_or_rules() {
        assert_eq!(HttpApi::read(json!({"CorsConfiguration": true})).unwrap().cors.unwrap().allow_origins, ["*"]);
        let rules = json!({"CorsConfiguration": {"AllowOrigins": ["https://shop.example"], "MaxAge": "600"}});
        assert_eq!(HttpApi::read(rules).unwrap().cors.unwrap().max_age, Some(600));
        assert!(HttpApi::read(json!({"CorsConfiguration": false})).unwrap().cors.is_none());
    }

    #[test]
    fn a_condition_around_cors_decides_whether_there_are_rules_and_a_text_of_origins_is_split() {
        let cors = |origins: &str| {
            let mut options = TemplateOptions::default();
            options.parameters.insert("Origins".into(), origins.into());
            Template::parse(fixture::TEXT, &options).unwrap().api.cors
        };
        let rules = cors("https://a.test,https://b.test").unwrap();
        assert_eq!(rules.allow_origins, ["https://a.test", "https://b.test"]);
        assert_eq!((rules.allow_methods.len(), rules.max_age), (2, Some(60)));
        assert!(cors("").is_none());
    }
}
