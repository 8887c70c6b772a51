//! `cancel-order`: a customer or fulfilment gives an order up.

use orders_core::order::{CancelOrder, Reason};
use serde::Deserialize;

use super::{Commands, answer};
use crate::answer::Answer;
use crate::body;
use crate::caller::{Needs, Scope};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: Some(Scope::Write), any: &[Scope::Fulfil] };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    reason: Reason,
}

/// Answers 200 for an order that is cancelled now. What was paid becomes due for refund with it.
///
/// # Errors
/// Every reason not to cancel it, or not to know whether it was cancelled.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorise(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let command = CancelOrder { reason: body.reason };
    answer(200, &commands.run(request, &caller, &command).await?, [])
}
