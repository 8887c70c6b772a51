//! The issuer of the local stack's tokens, and the callers that have one.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use chrono::Utc;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde_json::{Map, Value, json};

use crate::template::JwtConfiguration;

/// A caller of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's name.
    pub name: &'static str,
    /// The token's `sub`.
    pub sub: &'static str,
    /// The token's scopes, without their prefix.
    pub scopes: &'static [&'static str],
}

/// The callers with ready tokens, who are also those of the events for `sam local invoke`.
pub const CALLERS: [Caller; 5] = [
    Caller { name: "storefront", sub: "storefront", scopes: &["checkout"] },
    Caller { name: "customer", sub: "ada", scopes: &["read", "write"] },
    Caller { name: "other_customer", sub: "grace", scopes: &["read", "write"] },
    Caller { name: "fulfilment", sub: "warehouse", scopes: &["fulfil"] },
    Caller { name: "admin", sub: "admin", scopes: &["admin"] },
];

/// Days for which a token is valid.
const LIFETIME_DAYS: i64 = 90;

/// The key could not be created or used.
#[derive(Debug, thiserror::Error)]
#[error("cannot sign tokens: {0}")]
pub struct TokenError(String);

/// Signs tokens with its own key and verifies them.
///
/// The key is P-256, since generating an RSA key takes seconds. API Gateway accepts only RSA.
#[derive(Clone)]
pub struct Issuer {
    signing: EncodingKey,
    checking: DecodingKey,
    public_key: Vec<u8>,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer")
    }
}

impl Issuer {
    /// One with a new key.
    ///
    /// # Errors
    /// When the key cannot be generated.
    pub fn new() -> Result<Self, TokenError> {
        let failed = |error: &dyn std::fmt::Display| TokenError(error.to_string());
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|error| failed(&error))?;
        let document = key.to_pkcs8v1().map_err(|error| failed(&error))?;
        Ok(Self {
            signing: EncodingKey::from_ec_der(document.as_ref()),
            checking: DecodingKey::from_ec_der(key.public_key().as_ref()),
            public_key: key.public_key().as_ref().to_vec(),
        })
    }

    /// The public key, as an uncompressed point.
    pub fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// A token with exactly these claims.
    ///
    /// # Errors
    /// When the claims cannot be signed.
    pub fn sign(&self, claims: &Value) -> Result<String, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &self.signing)
            .map_err(|error| TokenError(error.to_string()))
    }

    /// A token that the authorizer accepts, for that subject, with these scopes.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn token(&self, jwt: &JwtConfiguration, sub: &str, scopes: &[String]) -> Result<String, TokenError> {
        let now = Utc::now().timestamp();
        self.sign(&json!({
            "iss": jwt.issuer,
            "aud": jwt.audience.first(),
            "sub": sub,
            "scope": scopes.join(" "),
            "iat": now,
            "exp": now + LIFETIME_DAYS * 24 * 3600,
        }))
    }

    /// The claims of a valid token of this issuer, or the reason why it is not valid.
    pub(crate) fn check(&self, token: &str, jwt: &JwtConfiguration) -> Result<Map<String, Value>, &'static str> {
        use jsonwebtoken::errors::ErrorKind;
        let mut rules = Validation::new(Algorithm::ES256);
        rules.leeway = 0;
        rules.validate_nbf = true;
        rules.set_issuer(&[&jwt.issuer]);
        rules.set_required_spec_claims(&["exp", "iss"]);
        // API Gateway accepts `client_id` in its place, so it is checked below.
        rules.validate_aud = false;
        let claims = jsonwebtoken::decode::<Map<String, Value>>(token, &self.checking, &rules)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => "the token has expired",
                ErrorKind::ImmatureSignature => "the token is not valid yet",
                ErrorKind::InvalidIssuer | ErrorKind::MissingRequiredClaim(_) => "the token has invalid claims",
                ErrorKind::InvalidSignature => "the token's signature is invalid",
                _ => "the token is malformed",
            })?
            .claims;
        let named: Vec<&str> = match claims.get("aud").or_else(|| claims.get("client_id")) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if named.iter().any(|name| jwt.audience.iter().any(|audience| audience == name)) {
            Ok(claims)
        } else {
            Err("the token does not have a valid audience")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt() -> JwtConfiguration {
        JwtConfiguration { issuer: "https://issuer.test".into(), audience: vec!["orders".into(), "ops".into()] }
    }

    fn claims(change: impl FnOnce(&mut Value)) -> Value {
        let mut claims =
            json!({"iss": "https://issuer.test", "aud": "orders", "sub": "ada", "exp": Utc::now().timestamp() + 60});
        change(&mut claims);
        claims
    }

    fn verdict(change: impl FnOnce(&mut Value)) -> Result<Map<String, Value>, &'static str> {
        let issuer = Issuer::new().unwrap();
        issuer.check(&issuer.sign(&claims(change)).unwrap(), &jwt())
    }

    #[test]
    fn a_token_of_another_key_issuer_audience_or_time_is_rejected() {
        assert!(verdict(|_| {}).is_ok());
        assert!(verdict(|claims| claims["exp"] = json!(Utc::now().timestamp() - 1)).unwrap_err().contains("expired"));
        assert!(verdict(|claims| claims["nbf"] = json!(Utc::now().timestamp() + 60)).is_err());
        assert!(verdict(|claims| claims["iss"] = json!("https://other.test")).is_err());
        assert!(verdict(|claims| claims["aud"] = json!("billing")).unwrap_err().contains("audience"));
        assert!(verdict(|claims| drop(claims.as_object_mut().unwrap().remove("exp"))).is_err());
        let other = Issuer::new().unwrap().sign(&claims(|_| {})).unwrap();
        assert!(Issuer::new().unwrap().check(&other, &jwt()).unwrap_err().contains("signature"));
    }

    #[test]
    fn a_token_without_signature_is_rejected() {
        let issuer = Issuer::new().unwrap();
        let signed = issuer.sign(&claims(|_| {})).unwrap();
        let payload = signed.split('.').nth(1).unwrap();
        // {"alg":"none"}
        assert!(issuer.check(&format!("eyJhbGciOiJub25lIn0.{payload}."), &jwt()).is_err());
        assert!(issuer.check("", &jwt()).is_err());
        assert!(issuer.check("a.b.c", &jwt()).is_err());
    }

    #[test]
    fn the_client_id_counts_as_audience_only_without_an_audience() {
        let client_only = |claims: &mut Value| {
            claims.as_object_mut().unwrap().remove("aud");
            claims["client_id"] = json!("ops");
        };
        assert!(verdict(client_only).is_ok());
        assert!(
            verdict(|claims| {
                claims["aud"] = json!(["billing"]);
                claims["client_id"] = json!("orders");
            })
            .is_err()
        );
    }
}
