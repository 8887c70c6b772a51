//! The result of a check and its HTTP response fields.

use super::decision::Decision;
use super::error::TableError;
use super::policy::Policy;

/// The result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The limiter decided.
    Decided(Decision),
    /// The table was unavailable and the limiter in this process's memory decided (`on_error=local`).
    Degraded(Decision, TableError),
    /// The table was unavailable and the policy's fixed decision applies (`on_error=allow` or `deny`).
    Uncounted(Decision, TableError),
}

impl Checked {
    /// The decision, from whatever source.
    pub fn decision(&self) -> &Decision {
        match self {
            Self::Decided(decision) | Self::Degraded(decision, _) | Self::Uncounted(decision, _) => decision,
        }
    }

    /// Why the table was not used, if so.
    pub fn error(&self) -> Option<&TableError> {
        match self {
            Self::Decided(_) => None,
            Self::Degraded(_, error) | Self::Uncounted(_, error) => Some(error),
        }
    }

    /// The response fields of draft-ietf-httpapi-ratelimit-headers-11, in units of requests: `RateLimit-Policy`, and
    /// `RateLimit` if the request was counted. Names are in lower case.
    pub fn fields(&self, policy: &Policy) -> Vec<(&'static str, String)> {
        let mut fields = vec![("ratelimit-policy", policy.policy_field())];
        if let Self::Decided(decision) | Self::Degraded(decision, _) = self {
            fields.push(("ratelimit", policy.limit_field(decision)));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_uncounted_request_gets_the_policy_field_only() {
        let policy: Policy = "token-bucket; rate=1/m; burst=3; by=user; name=change".parse().unwrap();
        let (reset_after, retry_after) = (Duration::from_secs(60), Duration::ZERO);
        let decision = Decision { allowed: true, limit: 3, remaining: 2, reset_after, retry_after };
        let error = TableError::Unavailable("away".to_owned());
        let (quota, left) = ("\"change\";q=3;w=180".to_owned(), "\"change\";r=2;t=60".to_owned());
        for checked in [Checked::Decided(decision), Checked::Degraded(decision, error.clone())] {
            let fields = [("ratelimit-policy", quota.clone()), ("ratelimit", left.clone())];
            assert_eq!(checked.fields(&policy), fields, "{checked:?}");
        }
        assert_eq!(Checked::Uncounted(decision, error).fields(&policy), [("ratelimit-policy", quota)]);
    }
}
