//! `ship-order`: fulfilment records that an order was shipped.

use orders_core::domain::{ShipOrder, TrackingNumber};
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
    tracking_number: Given<TrackingNumber>,
}

/// Responds 200 when the shipment is recorded.
///
/// # Errors
/// Why it was not recorded, or why that is unknown.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorize(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let command = ShipOrder { tracking_number: body.tracking_number.0 };
    answer(200, &commands.run(request, &caller, &command).await?, [])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{self, OWNER, Shop, body, call, problem};

    async fn ship(shop: &Shop, event: Value) -> Answer {
        testing::answer(async |request| handle(&shop.commands, request).await, event).await
    }

    #[tokio::test]
    async fn fulfilment_ships_a_paid_order_once() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(1.0).await;
        let parcel = |number| call("fulfilment", "orders:fulfil", &order_id, &json!({"tracking_number": number}));
        assert_eq!(problem(&ship(&shop, parcel("TRK-1")).await), "order-not-paid");
        shop.pay(&order_id, 1.0).await;
        let answer = ship(&shop, parcel("TRK-1")).await;
        assert_eq!((answer.status(), answer.header("etag")), (200, Some("\"3\"")));
        assert_eq!(body(&answer), json!({"order_id": order_id, "version": 3, "status": "shipped"}));
        assert_eq!(shop.order(&order_id).await.shipment.unwrap().tracking_number.as_str(), "TRK-1");
        assert_eq!(problem(&ship(&shop, parcel("TRK-2")).await), "order-not-paid");
    }

    #[tokio::test]
    async fn neither_its_owner_nor_the_storefront_may_ship_an_order() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(1.0).await;
        shop.pay(&order_id, 1.0).await;
        for (sub, scopes) in [(OWNER, "orders:read orders:write"), ("storefront", "orders:checkout")] {
            let answer = ship(&shop, call(sub, scopes, &order_id, &json!({"tracking_number": "TRK-1"}))).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (403, "forbidden"));
        }
        assert_eq!(shop.commits().await, 2);
    }
}
