//! Rejected requests store nothing.

use serde_json::{Value, json};

use crate::shop::{PRODUCT, Shop};

/// The number of commits of all orders.
async fn commits(shop: &Shop) -> i32 {
    shop.stack.client().scan().table_name(shop.table("OrderEvents")).consistent_read(true).send().await.unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_order_is_rejected_with_the_path_of_the_invalid_field() {
    let shop = Shop::open().await;
    let with = |change: fn(&mut Value)| {
        let mut basket = shop.basket();
        change(&mut basket);
        basket.to_string()
    };
    let item = json!({ "product_id": PRODUCT, "quantity": 1, "price": 1 });
    let too_many = json!({ "items": vec![item; 101] }).to_string();
    let cases = [
        ("{", ""),
        (&with(|b| b["items"] = json!("all")), "items"),
        (&with(|b| b["items"] = json!([])), "items"),
        (&too_many, "items"),
        (&with(|b| b["colour"] = json!("red")), "colour"),
        (&with(|b| drop(b["items"][1].as_object_mut().unwrap().remove("price"))), "items[1]"),
        (&with(|b| b["items"][1]["quantity"] = json!(0)), "items[1].quantity"),
        (&with(|b| b["items"][1]["quantity"] = json!(-1)), "items[1].quantity"),
        (&with(|b| b["items"][1]["quantity"] = json!(1_u64 << 40)), "items[1].quantity"),
        (&with(|b| b["items"][0]["price"] = json!(-1)), "items[0].price"),
        (&with(|b| b["items"][0]["price"] = json!(19.999)), "items[0].price"),
        (&with(|b| b["items"][0]["price"] = json!(1e300)), "items[0].price"),
        (&with(|b| b["items"][0]["price"] = json!("NaN")), "items[0].price"),
        (&with(|b| b["items"][0]["product_id"] = json!("7")), "items[0].product_id"),
        (&with(|b| b["user_id"] = json!("u".repeat(129))), "user_id"),
        (&with(|b| b["user_id"] = json!("a\u{0}b")), "user_id"),
    ];
    for (body, path) in cases {
        let headers = [("content-type", "application/json")];
        let response = shop.post_raw("storefront", "/orders", body.to_owned(), &headers).await;
        assert_eq!((response.status, response.problem()), (400, "invalid-request"), "{body}: {response:?}");
        let named = response.body["errors"][0]["path"].as_str().unwrap();
        assert!(named.starts_with(path), "{body}: {named} is not {path}");
    }
    assert_eq!(commits(&shop).await, 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_json_or_is_too_large_is_rejected() {
    let shop = Shop::open().await;
    let body = shop.basket().to_string();
    let form = shop.post_raw("storefront", "/orders", body, &[("content-type", "text/plain")]).await;
    assert_eq!((form.status, form.problem()), (415, "unsupported-media-type"));
    let large = " ".repeat(65 * 1024);
    let large = shop.post_raw("storefront", "/orders", large, &[("content-type", "application/json")]).await;
    assert_eq!((large.status, large.problem()), (413, "body-too-large"));
    assert_eq!(commits(&shop).await, 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_customers_order_looks_like_one_that_does_not_exist() {
    let shop = Shop::open().await;
    let (order_id, missing) = (shop.create().await, "00000000-0000-4000-8000-000000000000");
    for path in ["/orders/{id}", "/orders/{id}/events", "/orders/{id}?at_version=99", "/orders/{id}?min_version=99"] {
        let response = async |id: &str| shop.get("other_customer", &path.replace("{id}", id)).await;
        let (foreign, missing) = (response(&order_id).await, response(missing).await);
        assert_eq!((foreign.status, foreign.problem()), (404, "not-found"), "{path}");
        assert_eq!((&foreign.body["detail"], missing.problem()), (&missing.body["detail"], "not-found"), "{path}");
    }
    let foreign = shop.cancel("other_customer", &order_id).await.expect(404);
    assert_eq!(foreign.body["detail"], shop.cancel("other_customer", missing).await.body["detail"]);
    let mangled = shop.get("customer", "/orders/not-a-uuid").await;
    assert_eq!((mangled.status, mangled.problem()), (400, "invalid-request"));
    assert_eq!(commits(&shop).await, 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_valid_only_for_the_list_that_returned_it() {
    let shop = Shop::open().await;
    let (one, two) = (shop.create().await, shop.create().await);
    shop.projected(&one, 1).await;
    shop.projected(&two, 1).await;
    let own = format!("/users/{}/orders", shop.sub("customer"));
    let page = shop.get("customer", &format!("{own}?limit=1")).await.expect(200);
    let cursor = page.body["next_cursor"].as_str().unwrap();
    let other = format!("/users/{}/orders", shop.sub("other_customer"));
    let garbled = format!("{}A", &cursor[1..]);
    for (caller, list) in [
        ("other_customer", format!("{other}?cursor={cursor}")),
        ("customer", format!("{own}?status=paid&cursor={cursor}")),
        ("fulfilment", format!("/orders?status=pending&cursor={cursor}")),
        ("customer", format!("{own}?cursor={garbled}")),
        ("customer", format!("{own}?cursor=e30")),
        ("customer", format!("{own}?limit=0")),
        ("customer", format!("{own}?limit=1000000000")),
        ("customer", format!("{own}?status=lost")),
    ] {
        let response = shop.get(caller, &list).await;
        assert_eq!((response.status, response.problem()), (400, "invalid-request"), "{list}: {response:?}");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_the_orders_state_does_not_allow_is_rejected() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    for (response, problem) in
        [(shop.ship(&order_id).await, "order-not-paid"), (shop.deliver(&order_id).await, "order-not-shipped")]
    {
        assert_eq!((response.status, response.problem()), (409, problem));
        assert_eq!(response.body["order_status"], "pending");
    }
    let amount = json!({ "payment_id": "p1", "amount": 44.97 });
    let amount = shop.post("customer", &format!("/orders/{order_id}/pay"), amount).await;
    assert_eq!((amount.status, amount.problem()), (422, "amount-mismatch"));
    let beyond = shop.get("customer", &format!("/orders/{order_id}?min_version=2")).await;
    assert_eq!((beyond.status, beyond.problem()), (409, "version-not-reached"));
    assert_eq!(commits(&shop).await, 1);
    shop.close().await;
}
