//! The payment provider's token is rotated while the service runs.

use orders_tests::shop::Shop;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::{assert_deferred, breaker, history};

/// Changes the provider's tokens as a person does.
async fn change(shop: &Shop, token: &str) {
    let response = Client::new().post(format!("{}/dev/payments", shop.stack.url())).json(&json!({ "token": token }));
    let state: Value = response.send().await.unwrap().json().await.unwrap();
    assert_eq!(state["mode"], "ok", "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_is_read_at_the_first_401_and_that_payment_is_verified_with_it() {
    let shop = Shop::open_as(|options| options.containers = 1).await;
    let reads = || shop.stack.secrets().reads();
    let pay = async || {
        let order_id = shop.create().await;
        shop.pay(&order_id).await.expect(200);
        assert_eq!(history(&shop, &order_id).await, ["OrderCreated", "OrderPaid"]);
    };
    pay().await;
    assert_eq!(reads(), 1, "the token is read once, when the container starts");

    // The provider accepts both tokens: the old one is used as long as it works.
    change(&shop, "rotate").await;
    pay().await;
    assert_eq!(reads(), 1);

    change(&shop, "revoke").await;
    for _ in 0..3 {
        pay().await;
    }
    assert_eq!((reads(), breaker(&shop).await), (2, ("closed".into(), 0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_whose_token_stays_rejected_is_deferred_and_the_secret_is_not_read_for_each_of_them() {
    let shop = Shop::open_as(|options| {
        options.containers = 1;
        // The secret is another one than the provider's.
        options.reading.parameters.insert("PaymentProviderTokenArn".into(), STALE.into());
    })
    .await;
    shop.stack.secrets().put(STALE, "stale");
    let order_id = shop.create().await;
    assert_deferred(&shop.pay(&order_id).await);
    assert_eq!(shop.stack.payments().requests(), 0, "a request with a rejected token verifies nothing");
    assert_eq!(shop.stack.secrets().reads(), 2);
    assert_deferred(&shop.pay(&shop.create().await).await);
    assert_eq!(shop.stack.secrets().reads(), 2, "the secret was read again a moment ago");
}

const STALE: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:stale-local1";
