//! `deliver-order`: an order has arrived.

use orders_core::order::DeliverOrder;
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
struct Body {}

/// Answers 200 for an order that is delivered now. The body may be missing.
///
/// # Errors
/// Every reason not to record it, or not to know whether it was recorded.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorise(request, NEEDS)?;
    let Body {} = body::parse_or_empty(request)?;
    answer(200, &commands.run(request, &caller, &DeliverOrder).await?, [])
}
