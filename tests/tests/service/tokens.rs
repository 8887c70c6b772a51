//! Tokens that the authorizer must reject.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::Utc;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use orders_local::gateway::tokens::Issuer;
use serde_json::{Value, json};

use crate::shop::Shop;

/// Each with its fault. All but the first two would be an administrator's.
pub fn invalid(shop: &Shop) -> Vec<(&'static str, String)> {
    let issuer = shop.stack.issuer();
    let now = Utc::now().timestamp();
    let claims = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let jwt = &shop.stack.template().api.jwt;
        let mut claims = json!({
            "iss": jwt.issuer, "aud": jwt.audience.first(), "sub": "admin", "scope": "orders:admin",
            "iat": now, "exp": now + 3600,
        });
        change(claims.as_object_mut().unwrap());
        claims
    };
    let valid = claims(&|_| {});
    let signed = |change: &dyn Fn(&mut serde_json::Map<String, Value>)| issuer.sign(&claims(change)).unwrap();
    let encoded = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let good = issuer.sign(&valid).unwrap();
    let (head, signature) = (good.split('.').next().unwrap(), good.rsplit('.').next().unwrap());
    let hmac = EncodingKey::from_secret(issuer.public_key());
    let without = |name: &'static str| signed(&move |claims| drop(claims.remove(name)));
    vec![
        ("no token", String::new()),
        ("no token at all in it", "x.y.z".into()),
        ("expired", signed(&|claims| drop(claims.insert("exp".into(), json!(now - 1))))),
        ("not yet valid", signed(&|claims| drop(claims.insert("nbf".into(), json!(now + 3600))))),
        ("of another issuer", signed(&|claims| drop(claims.insert("iss".into(), json!("https://other.example"))))),
        ("for another audience", signed(&|claims| drop(claims.insert("aud".into(), json!("billing"))))),
        (
            "for another client",
            signed(&|claims| {
                claims.remove("aud");
                claims.insert("client_id".into(), json!("billing"));
            }),
        ),
        ("without an expiry", without("exp")),
        ("without an issuer", without("iss")),
        ("without an audience", without("aud")),
        ("with alg none", format!("{}.{}.", encoded(json!({ "alg": "none", "typ": "JWT" })), encoded(valid.clone()))),
        (
            "with alg none and a signature",
            format!("{}.{}.{signature}", encoded(json!({ "alg": "none" })), encoded(valid.clone())),
        ),
        (
            "with HS256 and the public key as the secret",
            jsonwebtoken::encode(&Header::new(Algorithm::HS256), &valid, &hmac).unwrap(),
        ),
        ("signed with another key", Issuer::new().unwrap().sign(&valid).unwrap()),
        (
            "changed after it was signed",
            format!(
                "{head}.{}.{signature}",
                encoded(claims(&|claims| drop(claims.insert("sub".into(), json!("root")))))
            ),
        ),
        ("without its signature", format!("{}.", good.rsplit_once('.').unwrap().0)),
    ]
}
