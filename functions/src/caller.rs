//! The caller, and what they may do.
//!
//! The gateway's authorizer has verified the token; its claims are in the event and nowhere else. A request without claims
//! is rejected, also when it bypassed the authorizer (`sam local` has none).

use std::fmt;

use orders_core::domain::UserId;

use crate::problem::Problem;
use crate::request::Request;

/// What a token may allow. A caller's own orders are those whose owner is the token's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Read own orders.
    Read,
    /// Pay and cancel own orders.
    Write,
    /// Create orders for any user, with prices, and pay them: the shop's backend.
    Checkout,
    /// Read, ship, deliver and cancel any order.
    Fulfil,
    /// Everything.
    Admin,
}

impl Scope {
    /// Its name, without the deployment's prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Checkout => "checkout",
            Self::Fulfil => "fulfil",
            Self::Admin => "admin",
        }
    }
}

/// The scopes of an action, any one of which is sufficient. The template lists the same ones at the action's route.
#[derive(Clone, Copy, Debug)]
pub struct Needs {
    /// The scope for own orders, if owners may do it.
    pub own: Option<Scope>,
    /// The scopes for any order, beside [`Scope::Admin`].
    pub any: &'static [Scope],
}

/// A caller who may perform the action, at least on some orders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    user: UserId,
    any_order: bool,
}

impl Caller {
    /// The caller, if their token allows the action.
    ///
    /// # Errors
    /// 401 without usable claims, 403 without one of the scopes.
    pub fn authorize(request: &Request, scope_prefix: &str, needs: Needs) -> Result<Self, Problem> {
        let user = request.claim("sub").and_then(|sub| sub.parse().ok()).ok_or_else(Problem::unauthenticated)?;
        // The gateway writes a claim that is a list as "[a b]".
        let scopes = request.claim("scope").or_else(|| request.claim("scp")).unwrap_or_default();
        let scopes = scopes.trim_matches(['[', ']']);
        let has = |scope: &Scope| {
            scopes.split_ascii_whitespace().any(|held| held.strip_prefix(scope_prefix) == Some(scope.name()))
        };
        let any_order = has(&Scope::Admin) || needs.any.iter().any(has);
        if any_order || needs.own.as_ref().is_some_and(has) {
            return Ok(Self { user, any_order });
        }
        let sufficient = needs.own.iter().chain(needs.any).chain(&[Scope::Admin]);
        let sufficient: Vec<_> = sufficient.map(|scope| format!("{scope_prefix}{}", scope.name())).collect();
        Err(Problem::forbidden(&sufficient))
    }

    /// The token's subject.
    pub fn user(&self) -> &UserId {
        &self.user
    }

    /// Whether the caller may perform the action on this owner's orders. If not, these orders do not exist for them.
    pub fn may_touch(&self, owner: &UserId) -> bool {
        self.any_order || self.user == *owner
    }

    /// Whether the caller may perform the action on every order.
    pub fn may_touch_all(&self) -> bool {
        self.any_order
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.user.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing;

    const OWNERS_AND_STAFF: Needs = Needs { own: Some(Scope::Read), any: &[Scope::Fulfil] };

    fn authorize(claims: Value, prefix: &str) -> Result<Caller, u16> {
        let request = testing::request(json!({"requestContext": {"authorizer": {"jwt": {"claims": claims}}}}));
        Caller::authorize(&request, prefix, OWNERS_AND_STAFF).map_err(|problem| problem.status())
    }

    #[test]
    fn an_owner_may_touch_own_orders_and_staff_all() {
        let other: UserId = "other-user".parse().unwrap();
        let owner = authorize(json!({"sub": "u1", "scope": "openid orders:read"}), "orders:").unwrap();
        assert!(owner.may_touch(owner.user()) && !owner.may_touch(&other));
        for scope in ["orders:fulfil", "orders:admin", "orders:read orders:fulfil"] {
            let staff = authorize(json!({"sub": "u1", "scope": scope}), "orders:").unwrap();
            assert!(staff.may_touch(&other), "{scope}");
        }
    }

    #[test]
    fn the_prefix_of_scopes_is_the_deployments() {
        let claims = json!({"sub": "u1", "scope": "orders-api/read"});
        assert!(authorize(claims.clone(), "orders-api/").is_ok());
        assert_eq!(authorize(claims, "orders:").unwrap_err(), 403);
    }

    #[test]
    fn scopes_are_read_from_scp_too_in_the_gateways_form_of_a_list() {
        for scp in ["orders:read", "[orders:read openid]", "[openid orders:read]"] {
            assert!(authorize(json!({"sub": "u1", "scp": scp}), "orders:").is_ok(), "{scp}");
        }
    }

    #[test]
    fn a_scope_counts_only_when_it_is_the_whole_word() {
        for scope in ["", "read", "orders:reader", "xorders:read", "orders:READ", "orders:write", "orders:"] {
            assert_eq!(authorize(json!({"sub": "u1", "scope": scope}), "orders:").unwrap_err(), 403, "{scope}");
        }
        assert_eq!(authorize(json!({"sub": "u1"}), "orders:").unwrap_err(), 403);
    }

    #[test]
    fn the_scopes_of_the_route_are_not_the_callers() {
        let jwt = json!({"claims": {"sub": "u1", "scope": "openid"}, "scopes": ["orders:admin"]});
        let request = testing::request(json!({"requestContext": {"authorizer": {"jwt": jwt}}}));
        assert_eq!(Caller::authorize(&request, "orders:", OWNERS_AND_STAFF).unwrap_err().status(), 403);
    }

    #[test]
    fn a_request_without_valid_claims_is_rejected() {
        for authorizer in [json!(null), json!({}), json!("x"), json!({"lambda": {"sub": "u1"}}), json!({"jwt": null})] {
            let request = testing::request(json!({"requestContext": {"authorizer": authorizer}}));
            let problem = Caller::authorize(&request, "orders:", OWNERS_AND_STAFF).unwrap_err();
            assert_eq!(problem.status(), 401);
        }
        let long = "x".repeat(129);
        for sub in [json!(null), json!(""), json!(7), json!("a b"), json!("a\u{0}b"), json!(["u1"]), json!(long)] {
            let claims = json!({"sub": sub, "scope": "orders:read"});
            assert_eq!(authorize(claims, "orders:").unwrap_err(), 401, "{sub}");
        }
        for claims in [json!(null), json!([]), json!("sub=u1"), json!({"scope": "orders:read"})] {
            assert_eq!(authorize(claims.clone(), "orders:").unwrap_err(), 401, "{claims}");
        }
    }
}
