//! Access to an order that cannot be read completely.

use dynamodb_event_store::{Consistency, EventStore, StoreError, StreamId, Until};
use orders_core::domain::Order;
use tokio::time::timeout_at;

use crate::caller::Caller;
use crate::problem::Problem;
use crate::request::Request;

/// A failure to read a stream as the caller may see it: the failure itself if they may access the order, otherwise the
/// same 404 as for an order that does not exist. Finding the owner takes another read.
pub async fn visible_failure(
    events: &EventStore<Order>,
    stream: &StreamId,
    request: &Request,
    caller: &Caller,
    failure: Problem,
) -> Problem {
    if failure.status() != 500 || caller.may_touch_all() {
        return failure;
    }
    // Only the first event names the owner, and it is rarely the unreadable one.
    let first = events.load_until(stream, Until::Version(1), Consistency::Strong);
    match timeout_at(request.deadline, first).await {
        Ok(Ok(order)) if order.state().placed().is_some_and(|order| caller.may_touch(&order.user_id)) => failure,
        Err(late) => Problem::unavailable(late),
        Ok(Err(error @ StoreError::Unavailable(_))) => error.into(),
        Ok(_) => Problem::not_found("order").caused_by(failure.cause()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::answer::Answer;
    use crate::commands::{cancel_order, pay_order};
    use crate::queries::{get_order, order_history};
    use crate::request::Request;
    use crate::testing::{self, OWNER, Shop, ask, body, call, problem};

    /// The problem and its detail for every kind of request on an order.
    async fn problems(shop: &Shop, sub: &str, scopes: &str, order_id: &str) -> Vec<(String, String)> {
        let (commands, queries) = (&shop.commands, &shop.queries);
        let get = async |request: &Request| get_order::handle(queries, request).await;
        let history = async |request: &Request| order_history::handle(queries, request).await;
        let pay = async |request: &Request| pay_order::handle(&shop.paying(), request).await;
        let cancel = async |request: &Request| cancel_order::handle(commands, request).await;
        let mut answers: Vec<Answer> = Vec::new();
        for query in ["min_version=9", "at_version=9", "as_of=2999-01-01T00:00:00Z"] {
            answers.push(testing::answer(get, ask(sub, scopes, order_id, query)).await);
        }
        answers.push(testing::answer(history, ask(sub, scopes, order_id, "")).await);
        let payment = json!({"payment_id": "p1", "amount": 44.98});
        answers.push(testing::answer(pay, call(sub, scopes, order_id, &payment)).await);
        answers.push(testing::answer(cancel, call(sub, scopes, order_id, &json!({"reason": "why not"}))).await);
        answers.iter().map(|answer| (problem(answer), body(answer)["detail"].to_string())).collect()
    }

    const BOTH: &str = "orders:read orders:write";

    #[tokio::test]
    async fn only_the_owner_and_staff_learn_that_an_order_cannot_be_read() {
        let shop = Shop::open().await;
        let order_id = shop.create_order(44.98).await;
        shop.store_unreadable(&order_id, 2).await;
        let not_found = problems(&shop, "other-user", BOTH, "00000000-0000-4000-8000-000000000000").await;
        assert!(not_found.iter().all(|(name, _)| name == "not-found"), "{not_found:?}");
        assert_eq!(problems(&shop, "other-user", BOTH, &order_id).await, not_found);
        for (sub, scopes) in [(OWNER, BOTH), ("staff", "orders:admin")] {
            let problems = problems(&shop, sub, scopes, &order_id).await;
            assert!(problems.iter().all(|(name, _)| name == "internal"), "{sub}: {problems:?}");
        }
    }

    #[tokio::test]
    async fn a_customer_does_not_find_an_order_whose_owner_cannot_be_read() {
        let shop = Shop::open().await;
        let order_id = "c0000000-0000-5000-8000-000000000000";
        shop.store_unreadable(order_id, 1).await;
        let not_found = problems(&shop, OWNER, BOTH, "00000000-0000-4000-8000-000000000000").await;
        assert_eq!(problems(&shop, OWNER, BOTH, order_id).await, not_found);
    }
}
