//! `deliver-order`: fulfilment records that an order was delivered.

use orders_core::domain::DeliverOrder;
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

/// Responds 200 when the delivery is recorded. The body may be missing.
///
/// # Errors
/// Why it was not recorded, or why that is unknown.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorize(request, NEEDS)?;
    let Body {} = body::parse_or_empty(request)?;
    answer(200, &commands.run(request, &caller, &DeliverOrder).await?, [])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, Shop, body, call, with_header};

    #[tokio::test]
    async fn an_order_is_delivered_with_or_without_an_empty_body() {
        let shop = Shop::open().await;
        for sent in [json!(""), json!("{}"), Value::Null] {
            let order_id = shop.create_order(1.0).await;
            shop.pay(&order_id, 1.0).await;
            shop.ship(&order_id).await;
            let mut event = call("fulfilment", "orders:fulfil", &order_id, &json!({}));
            event["body"] = sent;
            let deliver = async |request: &Request| handle(&shop.commands, request).await;
            let answer = testing::answer(deliver, event).await;
            assert_eq!(answer.status(), 200, "{}", answer.body());
            assert_eq!(body(&answer), json!({"order_id": order_id, "version": 4, "status": "delivered"}));
        }
    }

    #[tokio::test]
    async fn an_empty_body_and_none_are_the_same_request() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(1.0).await;
        shop.pay(&order_id, 1.0).await;
        shop.ship(&order_id).await;
        let deliver = async |request: &Request| handle(&shop.commands, request).await;
        let event = with_header(call("fulfilment", "orders:fulfil", &order_id, &json!({})), "idempotency-key", "k1");
        let mut without_body = event.clone();
        without_body["body"] = Value::Null;
        testing::answer(deliver, event).await;
        let repeat = testing::answer(deliver, without_body).await;
        assert_eq!((repeat.status(), repeat.header("idempotency-replayed")), (200, Some("true")));
    }
}
