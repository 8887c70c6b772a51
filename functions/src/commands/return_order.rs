//! `return-order`: fulfilment takes a delivered order back.

use orders_core::domain::{Reason, ReturnOrder};
use serde::Deserialize;

use super::{Commands, answer};
use crate::answer::Answer;
use crate::body::{self, Given};
use crate::caller::{Needs, Scope};
use crate::problem::Problem;
use crate::request::Request;

const NEEDS: Needs = Needs { own: None, any: &[Scope::Fulfil] };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    reason: Given<Reason>,
}

/// Returns 200 for an order that is now returned. Its payment becomes due for refund in the same commit.
///
/// # Errors
/// Every reason not to record it, or not to know whether it was recorded.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorize(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let command = ReturnOrder { reason: body.reason.0 };
    answer(200, &commands.run(request, &caller, &command).await?, [])
}

#[cfg(test)]
mod tests {
    use orders_core::domain::DeliverOrder;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, OWNER, Shop, body, call, problem, with_header};

    async fn give_back(shop: &Shop, event: Value) -> Answer {
        testing::answer(async |request| handle(&shop.commands, request).await, event).await
    }

    #[tokio::test]
    async fn returning_a_delivered_order_makes_the_refund_due_in_the_same_commit_and_a_repeat_replays_it() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        shop.pay(&order_id, 44.98).await;
        shop.ship(&order_id).await;
        let event = call("fulfilment", "orders:fulfil", &order_id, &json!({"reason": "too small"}));
        let event = with_header(event, "idempotency-key", "k1");
        let early = give_back(&shop, event.clone()).await;
        assert_eq!((early.status(), problem(&early).as_str()), (409, "order-not-delivered"));
        assert_eq!(body(&early)["order_status"], "shipped");

        shop.run(&order_id, &DeliverOrder).await;
        let before = shop.commits().await;
        let answer = give_back(&shop, event.clone()).await;
        assert_eq!((answer.status(), answer.header("etag")), (200, Some("\"6\"")));
        assert_eq!(body(&answer), json!({"order_id": order_id, "version": 6, "status": "returned"}));
        let repeat = give_back(&shop, event).await;
        assert_eq!((repeat.body(), repeat.header("idempotency-replayed")), (answer.body(), Some("true")));
        assert_eq!(shop.commits().await - before, 1);
        let order = shop.order(&order_id).await;
        assert_eq!((order.refunds.len(), order.returned.unwrap().reason.as_str()), (1, "too small"));
    }

    #[tokio::test]
    async fn neither_its_owner_nor_the_storefront_returns_an_order() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(1.0).await;
        for (caller, scopes) in [(OWNER, "orders:read orders:write"), ("storefront", "orders:checkout")] {
            let answer = give_back(&shop, call(caller, scopes, &order_id, &json!({"reason": "too small"}))).await;
            assert_eq!(answer.status(), 403, "{caller}");
        }
    }
}
