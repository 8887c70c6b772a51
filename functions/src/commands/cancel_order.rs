//! `cancel-order`: a customer or fulfilment cancels an order.

use orders_core::domain::{CancelOrder, Reason};
use serde::Deserialize;

use super::{Commands, answer};
use crate::answer::Answer;
use crate::body::{self, Given};
use crate::caller::{Needs, Scope};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: Some(Scope::Write), any: &[Scope::Fulfil] };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    reason: Given<Reason>,
}

/// Responds 200 when the order is cancelled. What was paid becomes due for refund in the same commit.
///
/// # Errors
/// Why it was not cancelled, or why that is unknown.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorize(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let command = CancelOrder { reason: body.reason.0 };
    answer(200, &commands.run(request, &caller, &command).await?, [])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, OWNER, Shop, body, call, with_header};

    async fn cancel(shop: &Shop, event: Value) -> Answer {
        testing::answer(async |request| handle(&shop.commands, request).await, event).await
    }

    #[tokio::test]
    async fn cancelling_a_paid_order_makes_the_refund_due_in_the_same_commit() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        shop.pay(&order_id, 44.98).await;
        let answer = cancel(&shop, call(OWNER, "orders:write", &order_id, &json!({"reason": "too late"}))).await;
        assert_eq!((answer.status(), answer.header("etag")), (200, Some("\"4\"")));
        assert_eq!(body(&answer), json!({"order_id": order_id, "version": 4, "status": "cancelled"}));
        assert_eq!(shop.commits().await, 3);
        let order = shop.order(&order_id).await;
        assert_eq!(order.refunds.len(), 1);
        assert_eq!(order.cancellation.unwrap().reason.as_str(), "too late");
    }

    #[tokio::test]
    async fn a_replayed_response_has_the_version_of_the_commits_last_event() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        shop.pay(&order_id, 44.98).await;
        let event = call("fulfilment", "orders:fulfil", &order_id, &json!({"reason": "out of stock"}));
        let event = with_header(event, "idempotency-key", "k1");
        let first = cancel(&shop, event.clone()).await;
        let repeat = cancel(&shop, event).await;
        assert_eq!((repeat.status(), repeat.body()), (first.status(), first.body()));
        assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
        assert_eq!(shop.commits().await, 3);
    }

    #[tokio::test]
    async fn the_storefront_may_not_cancel_an_order() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        let answer = cancel(&shop, call("storefront", "orders:checkout", &order_id, &json!({"reason": "x"}))).await;
        assert_eq!(answer.status(), 403);
    }
}
