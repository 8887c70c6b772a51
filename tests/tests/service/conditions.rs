//! Conditional requests, HEAD requests and repeated headers, through the gateway.

use serde_json::{Value, json};

use crate::shop::Shop;

#[tokio::test(flavor = "multi_thread")]
async fn a_matching_etag_is_304_with_the_headers_of_the_full_response() {
    let shop = Shop::open_with(&[("CorsOrigins", "https://shop.example.com")]).await;
    let order_id = shop.create().await;
    let origin = ("origin", "https://shop.example.com");
    for path in [format!("/orders/{order_id}"), format!("/orders/{order_id}/events")] {
        for method in ["GET", "HEAD"] {
            let response =
                shop.request(method, "customer", &path, &[("if-none-match", "W/\"1\""), origin]).await.expect(304);
            assert_eq!((response.header("etag"), &response.body), (Some("\"1\""), &Value::Null), "{method} {path}");
            assert_eq!((response.header("cache-control"), response.header("content-type")), (Some("no-store"), None));
            for name in ["ratelimit", "ratelimit-policy", "x-correlation-id", "access-control-allow-origin"] {
                assert!(response.header(name).is_some(), "{name}: {response:?}");
            }
            assert!(response.header("access-control-expose-headers").unwrap().contains("etag"));
        }
    }
    shop.pay(&order_id).await.expect(200);
    let path = format!("/orders/{order_id}?min_version=2");
    let fresh = shop.request("GET", "customer", &path, &[("if-none-match", "\"1\"")]).await.expect(200);
    assert_eq!((fresh.version(), fresh.header("etag")), (2, Some("\"2\"")));
    let stale = shop.request("GET", "customer", &path, &[("if-match", "\"1\"")]).await.expect(412);
    assert_eq!((stale.problem(), stale.header("etag")), ("precondition-failed", Some("\"2\"")));
    assert!(stale.header("ratelimit").is_some());
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_get_route_accepts_head() {
    let shop = Shop::open().await;
    let order_id = shop.create().await;
    let routes = shop.stack.template().functions.iter().flat_map(|function| &function.routes);
    let paths: Vec<_> = routes.filter(|route| route.method == "GET").map(|route| route.path.clone()).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    for path in paths {
        let path = path.replace("{id}", &order_id).replace("{user_id}", shop.sub("customer"));
        let path = match path.as_str() {
            "/orders" => "/orders?status=pending".to_owned(),
            "/reports/sales" => "/reports/sales?from=2026-11-01&to=2026-11-30".to_owned(),
            _ => path,
        };
        for method in ["GET", "HEAD"] {
            let response = shop.request(method, "admin", &path, &[]).await.expect(200);
            assert_eq!(response.body.is_null(), method == "HEAD", "{path}");
            assert_eq!(response.header("content-type"), Some("application/json"));
        }
        let anonymous = reqwest::Client::new().head(format!("{}{path}", shop.stack.url())).send().await.unwrap();
        assert_eq!(anonymous.status().as_u16(), 401, "{path}");
    }
    let foreign = shop.request("HEAD", "other_customer", &format!("/orders/{order_id}"), &[]).await.expect(404);
    assert_eq!(foreign.body, Value::Null);
    shop.request("HEAD", "customer", "/orders?status=pending", &[]).await.expect(403);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeated_headers_are_rejected() {
    let shop = Shop::open().await;
    let json = ("content-type", "application/json");
    for headers in [
        [json, ("idempotency-key", "a"), ("idempotency-key", "b")],
        [json, ("idempotency-key", "a"), ("idempotency-key", "a")],
        [json, ("idempotency-key", "\"a\""), ("idempotency-key", "\"b\"")],
        [json, ("idempotency-key", "a"), ("idempotency-key", "\"b\"")],
    ] {
        let response = shop.post_raw("storefront", "/orders", shop.basket().to_string(), &headers).await.expect(400);
        assert_eq!(response.body["errors"][0]["path"], "Idempotency-Key", "{response:?}");
    }
    let response = shop.post_raw("storefront", "/orders", shop.basket().to_string(), &[json, json]).await;
    assert_eq!((response.status, response.problem()), (415, "unsupported-media-type"));
    let comma = [json, ("idempotency-key", "\"a,b\"")];
    shop.post_raw("storefront", "/orders", shop.basket().to_string(), &comma).await.expect(201);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_maximum_price_follows_the_currency_or_the_deployments_parameter() {
    for (parameters, price, too_high, limit) in [
        (vec![("Currency", "IDR")], json!(2_000_000_000), json!(1e14), "10000000000"),
        (vec![("MaxPrice", "99.50")], json!(99.5), json!(99.51), "99.5"),
    ] {
        let shop = Shop::open_with(&parameters).await;
        let mut basket = shop.basket();
        basket["items"][0]["price"] = price;
        basket["items"][1]["price"] = json!(5);
        shop.post("storefront", "/orders", basket.clone()).await.expect(201);
        basket["items"][0]["price"] = too_high;
        let rejected = shop.post("storefront", "/orders", basket).await.expect(400);
        assert_eq!(rejected.body["errors"][0]["detail"], format!("must not be above {limit}"), "{rejected:?}");
        shop.close().await;
    }
}
