//! Exact money.

use serde::{Deserialize, Serialize};

/// An exact amount in minor units (cents, yen, …) of the deployment's currency. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(pub u64);
