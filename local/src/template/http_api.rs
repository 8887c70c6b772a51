//! The HTTP API of the template: its JWT authorizer and its CORS rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::intrinsics::Scope;
use super::{TemplateError, properties};

/// `AWS::Serverless::HttpApi`. All routes have its authorizer.
#[derive(Clone, Debug, Default)]
pub struct HttpApi {
    /// What a token must have.
    pub jwt: JwtConfiguration,
    /// The CORS rules, if there are any.
    pub cors: Option<Cors>,
}

/// The `iss` and the `aud` that a token must have.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtConfiguration {
    /// The `iss` of every token.
    pub issuer: String,
    /// One of these must be in `aud`, or be the `client_id`.
    pub audience: Vec<String>,
}

/// Rules for pages of other origins; an empty list omits the header.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Cors {
    /// Request headers that may be sent.
    pub allow_headers: Vec<String>,
    /// Methods that may be used.
    pub allow_methods: Vec<String>,
    /// Origins that may call; `*` is any.
    pub allow_origins: Vec<String>,
    /// Response headers that the page may read.
    pub expose_headers: Vec<String>,
    /// Seconds for which a browser may cache the rules.
    pub max_age: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Properties {
    auth: Auth,
    cors_configuration: Option<Cors>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Auth {
    authorizers: BTreeMap<String, Authorizer>,
    default_authorizer: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Authorizer {
    jwt_configuration: JwtConfiguration,
    identity_source: IdentitySource,
}

#[derive(Deserialize)]
enum IdentitySource {
    #[serde(rename = "$request.header.Authorization")]
    Authorization,
}

impl HttpApi {
    pub(super) fn read(&mut self, api: &Map<String, Value>, scope: &Scope) -> Result<(), TemplateError> {
        if !self.jwt.issuer.is_empty() {
            return Err(TemplateError::Unsupported("more than one AWS::Serverless::HttpApi".into()));
        }
        let Properties { auth, cors_configuration } = properties(api, &["Auth", "CorsConfiguration"], scope)?;
        let mut authorizers = auth.authorizers.into_iter();
        let (Some((name, authorizer)), None) = (authorizers.next(), authorizers.next()) else {
            return Err(TemplateError::Unsupported("an API without exactly one authorizer".into()));
        };
        if name != auth.default_authorizer {
            return Err(TemplateError::Invalid(format!("the authorizer {} does not exist", auth.default_authorizer)));
        }
        let Authorizer { jwt_configuration, identity_source: IdentitySource::Authorization } = authorizer;
        *self = Self { jwt: jwt_configuration, cors: cors_configuration };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::template::tests::{TEXT, error_with, template};
    use crate::template::{Template, TemplateOptions};

    #[test]
    fn a_second_api_or_an_authorizer_that_does_not_exist_is_an_error() {
        assert!(error_with("{Type: AWS::Serverless::HttpApi}").contains("more than one"));
        let text = TEXT.replace("DefaultAuthorizer: Jwt", "DefaultAuthorizer: Other");
        let error = Template::parse(&text, &TemplateOptions::default()).unwrap_err().to_string();
        assert!(error.contains("the authorizer Other does not exist"), "{error}");
    }

    #[test]
    fn a_condition_decides_about_cors_and_a_text_of_origins_is_split() {
        let rules = template().api.cors.unwrap();
        assert_eq!(rules.allow_origins, ["https://shop.test", "https://admin.test"]);
        assert_eq!((rules.allow_methods.len(), rules.max_age), (2, 60));
        let mut options = TemplateOptions::default();
        options.parameters.insert("Origins".into(), String::new());
        assert!(Template::parse(TEXT, &options).unwrap().api.cors.is_none());
    }
}
