//! `ship-order`: fulfilment has sent an order.

use orders_core::order::{ShipOrder, TrackingNumber};
use serde::Deserialize;

use super::{Commands, answer};
use crate::answer::Answer;
use crate::body;
use crate::caller::{Needs, Scope};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: None, any: &[Scope::Fulfil] };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    tracking_number: TrackingNumber,
}

/// Answers 200 for an order that is on its way now.
///
/// # Errors
/// Every reason not to record it, or not to know whether it was recorded.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorise(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let command = ShipOrder { tracking_number: body.tracking_number };
    answer(200, &commands.run(request, &caller, &command).await?, [])
}
