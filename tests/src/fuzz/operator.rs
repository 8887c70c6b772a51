//! Events of the functions that operators and schedules invoke.

use dynamodb_event_store::projection::Verification;
use orders_functions::rebuild::{OneSegment, Rebuild, Rebuilt};
use orders_functions::republish::Republish;
use orders_functions::restore::Restore;
use serde::Serialize;
use serde::de::DeserializeOwned;
use strict_json::Strict;

use super::service;

/// A request that is read is written as a request that is read as the same. What concerns one order is executed.
pub fn check(input: &[u8]) {
    round_trip::<Restore>(input);
    round_trip::<OneSegment<Verification>>(input);
    if let Some(rebuild @ Rebuild::Order(_)) = read::<Rebuild>(input) {
        service::with(|service| {
            let rebuilt = service.run(service.maintenance.rebuild(rebuild, &service.context()));
            assert!(matches!(rebuilt, Ok(Rebuilt::Order { .. })), "{rebuilt:?}");
        });
    }
    if let Some(republish) = read::<Republish>(input).filter(|republish| republish.order_id.is_some()) {
        service::with(|service| {
            let first = service.run(service.republisher.run(republish, &service.context()));
            if let Ok(republished) = first {
                assert!(republished.done && republished.after.is_none() && republished.problem.is_none());
                assert_eq!(service.network.outside().bus.entries.len() as u64, republished.published);
            }
        });
    }
}

fn read<T: DeserializeOwned>(input: &[u8]) -> Option<T> {
    serde_json::from_slice(input).ok().map(|Strict(read)| read)
}

fn round_trip<T: DeserializeOwned + Serialize>(input: &[u8]) {
    let Some(first) = read::<T>(input) else { return };
    let written = serde_json::to_string(&first).expect("a response");
    let again = read::<T>(written.as_bytes()).unwrap_or_else(|| panic!("a response is no request: {written}"));
    assert_eq!(serde_json::to_string(&again).expect("a response"), written);
}
