//! The request units of an order's life.

use orders_tests::cost::lives;

/// One at a time, so that every event comes alone: the most that it can cost.
#[tokio::test]
async fn an_orders_life_costs_the_documented_units() {
    let usage = lives(3, 1).await;
    let events = usage.per_order("OrderEvents");
    assert_eq!((events.written, events.read), (4.0, 1.5), "{usage}");
    assert_eq!(usage.per_order("Orders").written, 9.0, "{usage}");
}
