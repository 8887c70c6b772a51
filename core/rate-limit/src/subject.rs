//! The subject of a limit: the part of an item's key that comes from the request.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

use sha2::{Digest, Sha256};

/// Longer texts appear in keys as their hash.
const VERBATIM_BYTES: usize = 128;

/// A user or an IP address, as a key of bounded length.
#[doc(alias = "rate_limit_key")]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Subject(String);

impl Subject {
    /// A user, by the id in the token.
    pub fn user(id: &str) -> Self {
        let plain = id.len() <= VERBATIM_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
        // The first character distinguishes plain ids from hashes, so that no id can collide with the hash of another.
        if plain {
            return Self(format!("={id}"));
        }
        Self(Sha256::digest(id.as_bytes()).iter().fold("~".to_owned(), |mut hash, byte| {
            // Writing to a String does not fail.
            let _ = write!(hash, "{byte:02x}");
            hash
        }))
    }

    /// An IP address, as the gateway reports it.
    ///
    /// An IPv6 address counts as its /64 network, because a customer usually controls all addresses in one.
    pub fn address(text: &str) -> Self {
        match text.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(IpAddr::V4(address)) => Self::user(&address.to_string()),
            Ok(IpAddr::V6(address)) => {
                let network = Ipv6Addr::from_bits(address.to_bits() >> 64 << 64);
                Self::user(&format!("{network}/64"))
            }
            Err(_) => Self::user(text),
        }
    }

    /// The text used in keys.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_used_verbatim() {
        assert_eq!(Subject::user("auth0|5f7c8ec7").as_str(), "=auth0|5f7c8ec7");
    }

    #[test]
    fn any_id_is_a_key_of_bounded_length() {
        let strange = ["", "a b", "naïve", "line\nbreak", "\0", &"x".repeat(100_000), "🦀"];
        for (place, id) in strange.into_iter().enumerate() {
            let key = Subject::user(id);
            assert!(key.as_str().is_ascii(), "{id:?}");
            assert!(key.as_str().len() <= 1 + VERBATIM_BYTES, "{id:?}");
            assert_eq!(key, Subject::user(id));
            for other in &strange[..place] {
                assert_ne!(key, Subject::user(other));
            }
        }
    }

    #[test]
    fn no_id_collides_with_the_hash_of_another() {
        let hashed = Subject::user("a b");
        assert_ne!(Subject::user(hashed.as_str()), hashed);
    }

    #[test]
    fn different_spellings_of_an_address_are_one_subject() {
        assert_eq!(Subject::address("192.0.2.7"), Subject::address("::ffff:192.0.2.7"));
        assert_eq!(Subject::address("2001:DB8::1"), Subject::address("2001:db8:0:0:0:0:0:1"));
        assert_ne!(Subject::address("192.0.2.7"), Subject::address("192.0.2.8"));
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_subject() {
        assert_eq!(Subject::address("2001:db8:1:2::1"), Subject::address("2001:db8:1:2:ffff::9"));
        assert_ne!(Subject::address("2001:db8:1:2::1"), Subject::address("2001:db8:1:3::1"));
    }

    #[test]
    fn an_invalid_address_is_a_key_of_bounded_length() {
        assert_eq!(Subject::address("unknown, 10.0.0.1").as_str().len(), 65);
    }
}
