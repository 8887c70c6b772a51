//! `create-order`: the shop's backend creates an order for a user.

use dynamodb_event_store::{Loaded, StreamId};
use orders_core::domain::{CreateOrder, ItemDraft, Items, OrderId, ProductId, UserId};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{Commands, Conditions, answer};
use crate::answer::Answer;
use crate::body::{self, Given, Object};
use crate::caller::{Needs, Scope};
use crate::problem::Problem;
use crate::request::Request;
use crate::telemetry;

/// A customer's token cannot create orders: the request contains prices.
const NEEDS: Needs = Needs { own: None, any: &[Scope::Checkout] };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    items: Vec<Object<ItemBody>>,
    /// The caller by default.
    #[serde(default, deserialize_with = "body::present")]
    user_id: Option<Given<UserId>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ItemBody {
    product_id: ProductId,
    quantity: Box<RawValue>,
    price: Box<RawValue>,
}

/// Responds 201 with the new order's location.
///
/// With an idempotency key, the order's id is derived from the caller and the key alone. So a retry, or another request
/// with the same key, conflicts with the first one's commit: no read is needed.
///
/// # Errors
/// Why it was not created, or why that is unknown.
pub async fn handle(commands: &Commands, request: &Request) -> Result<Answer, Problem> {
    let caller = commands.authorise(request, NEEDS)?;
    let body: Body = body::parse(request)?;
    let conditions = Conditions::of_new(request)?;
    let items = items(&body.items, commands)?;
    let user_id = body.user_id.map_or_else(|| caller.user().clone(), |Given(user_id)| user_id);
    let order_id = OrderId(match &conditions.key {
        Some(key) => key.derive(&["order", caller.user().as_str()]),
        None => Uuid::new_v4(),
    });
    telemetry::record_order_id(order_id);
    let total = commands.currency.to_json(items.total());
    let command = CreateOrder { order_id, user_id, items };
    let new = Loaded::new_stream(StreamId::from(order_id));
    let executed = commands.execute(request, &caller, &conditions, new, &command).await?;
    let answer = answer(201, &executed, [("total", total.into())])?;
    Ok(answer.with_header("location", format!("/orders/{order_id}")))
}

fn items(items: &[Object<ItemBody>], commands: &Commands) -> Result<Items, Problem> {
    let drafts = items.iter().map(|Object(item)| ItemDraft {
        product_id: item.product_id,
        quantity: item.quantity.get(),
        price: item.price.get(),
    });
    let drafts: Vec<_> = drafts.collect();
    Items::parse(&drafts, &commands.currency).map_err(|invalid| Problem::invalid(&invalid.fields))
}

#[cfg(test)]
mod tests {
    use orders_local::payments::Mode;
    use serde_json::{Value, json};

    use super::*;
    use crate::bad_input::functions;
    use crate::commands::pay_order;
    use crate::testing::{self, OWNER, Shop, body, call, problem, with_header};

    async fn create(shop: &Shop, event: Value) -> Answer {
        testing::answer(async |request| handle(&shop.commands, request).await, event).await
    }

    fn ordered(items: Value) -> Value {
        call("storefront", "orders:checkout", "", &json!({"items": items, "user_id": OWNER}))
    }

    fn item(quantity: u32, price: f64) -> Value {
        json!({"product_id": "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11", "quantity": quantity, "price": price})
    }

    #[tokio::test]
    async fn a_new_order_gets_a_location_a_version_and_a_total() {
        let shop = Shop::open().await;
        let answer = create(&shop, testing::event("create-order")).await;
        assert_eq!(answer.status(), 201, "{}", answer.body());
        let created = body(&answer);
        let order_id = created["order_id"].as_str().unwrap();
        assert_eq!(answer.header("location"), Some(format!("/orders/{order_id}").as_str()));
        assert_eq!(answer.header("etag"), Some("\"1\""));
        assert_eq!(created, json!({"order_id": order_id, "version": 1, "status": "pending", "total": 44.98}));
    }

    #[tokio::test]
    async fn the_sample_events_name_the_order_that_the_first_of_them_creates() {
        let shop = Shop::open().await;
        let created = body(&create(&shop, testing::event("create-order")).await);
        for name in functions::on_an_order() {
            assert_eq!(testing::event(name)["pathParameters"]["id"], created["order_id"], "{name}");
        }
        for name in ["on-payment-event", "on-shipment-event"] {
            assert_eq!(testing::event(name)["detail"]["data"]["order_id"], created["order_id"], "{name}");
        }
    }

    #[tokio::test]
    async fn tenths_add_up_exactly() {
        let shop = Shop::open().await;
        let answer = create(&shop, ordered(json!([item(1, 0.1), item(1, 0.2)]))).await;
        assert_eq!(body(&answer)["total"].to_string(), "0.3");
    }

    #[tokio::test]
    async fn a_retry_with_the_same_key_replays_the_response_and_stores_nothing() {
        let shop = Shop::open().await;
        let keyed = with_header(ordered(json!([item(1, 19.99)])), "idempotency-key", "\"k1\"");
        let first = create(&shop, keyed.clone()).await;
        let repeat = create(&shop, keyed).await;
        assert_eq!((repeat.status(), repeat.body()), (first.status(), first.body()));
        for header in ["location", "etag"] {
            assert_eq!(repeat.header(header), first.header(header));
        }
        assert_eq!(first.header("idempotency-replayed"), None);
        assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn a_key_that_was_used_for_another_order_is_rejected() {
        let shop = Shop::open().await;
        let with = |items| with_header(ordered(items), "idempotency-key", "k1");
        create(&shop, with(json!([item(1, 19.99)]))).await;
        let answer = create(&shop, with(json!([item(2, 19.99)]))).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (422, "idempotency-key-reused"));
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn a_callers_key_cannot_be_reused_for_another_owner() {
        let shop = Shop::open().await;
        let by = |user: Value| {
            let mut order = json!({"items": [item(1, 1.0)]});
            user.as_str().into_iter().for_each(|user| order["user_id"] = user.into());
            with_header(call("storefront", "orders:checkout", "", &order), "idempotency-key", "k1")
        };
        assert_eq!(create(&shop, by("ada".into())).await.status(), 201);
        for other in [json!("bob"), json!("storefront"), Value::Null] {
            let answer = create(&shop, by(other.clone())).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (422, "idempotency-key-reused"), "{other}");
        }
        assert_eq!(create(&shop, by("ada".into())).await.header("idempotency-replayed"), Some("true"));
        assert_eq!(shop.commits().await, 1);
    }

    #[tokio::test]
    async fn an_integer_is_an_integer_however_it_is_written() {
        let shop = Shop::open().await;
        let ordered = |quantity: &str, price: &str| {
            let product = "0b6f2a9c-52a7-4c8e-8a43-1d5d0f8f2f11";
            let items = format!(r#"[{{"product_id": "{product}", "quantity": {quantity}, "price": {price}}}]"#);
            let mut event = call("storefront", "orders:checkout", "", &json!({}));
            event["body"] = format!(r#"{{"items": {items}}}"#).into();
            event
        };
        for quantity in ["2", "2.0", "2e0", "20E-1", "0.2e1", "2000000000e-9", "2.000000000000000000000"] {
            let answer = create(&shop, ordered(quantity, "1")).await;
            assert_eq!((answer.status(), &body(&answer)["total"]), (201, &json!(2)), "{quantity}: {}", answer.body());
        }
        for (quantity, price, path) in [
            ("1.5", "1", "items[0].quantity"),
            ("1e400", "1", "items[0].quantity"),
            ("1e-400", "1", "items[0].quantity"),
            ("1e99999999999999999999", "1", "items[0].quantity"),
            ("0e0", "1", "items[0].quantity"),
            ("-2e0", "1", "items[0].quantity"),
            ("\"2\"", "1", "items[0].quantity"),
            ("1", "1e400", "items[0].price"),
            ("1", "1e-400", "items[0].price"),
        ] {
            let answer = create(&shop, ordered(quantity, price)).await;
            let problem = body(&answer);
            assert_eq!((answer.status(), &problem["errors"][0]["path"]), (400, &json!(path)), "{quantity} {price}");
        }
    }

    #[tokio::test]
    async fn for_a_new_order_if_match_fails_and_if_none_match_holds() {
        let shop = Shop::open().await;
        for header in ["*", "\"1\""] {
            let answer = create(&shop, with_header(ordered(json!([item(1, 1.0)])), "if-match", header)).await;
            assert_eq!((answer.status(), problem(&answer).as_str()), (412, "precondition-failed"), "{header}");
        }
        assert_eq!(shop.commits().await, 0);
        for header in ["*", "\"1\""] {
            let answer = create(&shop, with_header(ordered(json!([item(1, 1.0)])), "if-none-match", header)).await;
            assert_eq!(answer.status(), 201, "{header}");
        }
    }

    #[tokio::test]
    async fn keys_of_different_callers_and_requests_without_a_key_are_independent() {
        let shop = Shop::open().await;
        let mut ids = Vec::new();
        for (caller, key) in [("storefront", Some("k1")), ("other-storefront", Some("k1")), ("storefront", None)] {
            for _ in 0..2 {
                let order = json!({"user_id": OWNER, "items": [item(1, 1.0)]});
                let event = call(caller, "orders:checkout", "", &order);
                let event = key.map_or(event.clone(), |key| with_header(event, "idempotency-key", key));
                let answer = create(&shop, event).await;
                assert_eq!(answer.status(), 201, "{}", answer.body());
                ids.push(body(&answer)["order_id"].to_string());
            }
        }
        assert_eq!((&ids[0], &ids[2]), (&ids[1], &ids[3]));
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), 4);
    }

    #[tokio::test]
    async fn an_order_belongs_to_the_caller_unless_another_owner_is_named() {
        let shop = Shop::open().await;
        for (named, owner) in [(None, "storefront"), (Some(OWNER), OWNER)] {
            let items = json!([item(1, 1.0)]);
            let order = named.map_or(json!({"items": items}), |user| json!({"items": items, "user_id": user}));
            let order_id = body(&create(&shop, call("storefront", "orders:checkout", "", &order)).await)["order_id"]
                .as_str()
                .unwrap()
                .to_owned();
            assert_eq!(shop.order(&order_id).await.user_id.as_str(), owner);
        }
    }

    #[tokio::test]
    async fn a_retry_replays_the_response_however_many_commits_followed() {
        let (shop, provider, _served) = Shop::with_provider("").await;
        provider.set_mode(Mode::Declines);
        let keyed = with_header(ordered(json!([item(1, 19.99)])), "idempotency-key", "k1");
        let first = create(&shop, keyed.clone()).await;
        let order_id = body(&first)["order_id"].as_str().unwrap().to_owned();
        for n in 0..33 {
            let payment = json!({"payment_id": format!("p{n}"), "amount": 19.99});
            let event = call(OWNER, "orders:write", &order_id, &payment);
            let pay = async |request: &Request| pay_order::handle(&shop.paying(), request).await;
            let declined = testing::answer(pay, with_header(event, "idempotency-key", &format!("k{n}"))).await;
            assert_eq!(declined.status(), 422, "{}", declined.body());
        }
        let repeat = create(&shop, keyed).await;
        assert_eq!((repeat.status(), repeat.body()), (201, first.body()));
        assert_eq!(repeat.header("idempotency-replayed"), Some("true"));
    }

    #[tokio::test]
    async fn an_order_of_total_zero_is_rejected() {
        let shop = Shop::open().await;
        let answer = create(&shop, ordered(json!([item(3, 0.0)]))).await;
        assert_eq!((answer.status(), problem(&answer).as_str()), (422, "total-not-positive"));
        assert_eq!(shop.commits().await, 0);
    }
}
